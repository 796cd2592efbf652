//! Hooks: programs of the host that have a hand in a container's life. Who runs them, and what they are told.
//!
//! Those that run in the runtime's namespaces are run by an errand, one after the other, so that the runtime itself
//! waits for a descriptor only. Those that run in the container's are run by the container's own process on its way to
//! its program. Either way a hook gets the container's state on its standard input, its own arguments and environment,
//! and nothing else of the runtime's.

mod run;

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, chdir},
};
use oci_spec::runtime::{ContainerState, Spec};

use self::run::Outcome;
use crate::{
    Error, Result,
    channel::ChildEnd,
    container::Role,
    errand::Errand,
    error::Context,
    plan::hooks::{self, Hook, Hooks},
    record, rootfs,
    state::Known,
};

/// A container's hooks and what they are told of it.
#[derive(Debug)]
pub(crate) struct ContainerHooks {
    hooks: Hooks,
    known: Known,
}

impl ContainerHooks {
    /// The hooks of a specification, checked; `None` when there are none.
    pub(crate) fn of(spec: &Spec, role: Role, id: &str, bundle: &Path) -> Result<Option<Arc<Self>>> {
        let Some(hooks) = hooks::hooks(spec, role)? else { return Ok(None) };
        Ok(Some(Arc::new(Self { hooks, known: Known::of(spec, id, bundle) })))
    }

    /// Whether there are some before the root is switched, who may look for the root file system in the bundle.
    pub(crate) fn see_the_root(&self) -> bool {
        self.hooks.see_the_root()
    }

    /// Whether there are some for the time after the container.
    pub(crate) fn has_poststop(&self) -> bool {
        !self.hooks.poststop.is_empty()
    }

    /// `prestart` and `createRuntime`, if there are some, while the container's process `pid` waits. The first that fails
    /// is the last.
    pub(crate) fn send_runtime(&self, pid: i32) -> Result<Option<Errand>> {
        if self.hooks.runtime.is_empty() {
            return Ok(None);
        }
        let state = self.state(ContainerState::Creating, Some(pid))?;
        let errand = Errand::send("run the hooks before the root is switched", |channel| {
            self.attend()?;
            self.hooks.runtime.iter().try_for_each(|hook| run_and_clear_up(hook, &state, channel))
        });
        errand.map(Some)
    }

    /// `createContainer`, in the container's namespaces. `parent` is the runtime, without which they are stopped; `init`
    /// is the container's process.
    pub(crate) fn run_create(&self, parent: BorrowedFd<'_>, init: i32) -> Result<()> {
        self.run_inside(&self.hooks.create, (ContainerState::Creating, init), parent, || Ok(()))
    }

    /// `startContainer`, by the container's own process: `assume` makes of a hook's process what the container's program
    /// will be. Without `starter`, who has opened the gate, they are stopped.
    pub(crate) fn run_start(&self, starter: BorrowedFd<'_>, assume: impl Fn(&Hook) -> Result<()>) -> Result<()> {
        for hook in &self.hooks.start {
            let told = (ContainerState::Created, nix::unistd::getpid().as_raw());
            self.run_inside(std::slice::from_ref(hook), told, starter, || assume(hook))?;
        }
        Ok(())
    }

    fn run_inside(
        &self,
        hooks: &[Hook],
        (status, init): (ContainerState, i32),
        parent: BorrowedFd<'_>,
        prepare: impl Fn() -> Result<()>,
    ) -> Result<()> {
        if hooks.is_empty() {
            return Ok(());
        }
        let state = self.state(status, Some(init))?;
        for hook in hooks {
            match run::run(hook, &state, parent, &prepare)? {
                Outcome::Ended(result) => result?,
                Outcome::Abandoned => loment_sys::clone::exit_now(1),
            }
        }
        Ok(())
    }

    /// `poststart`, if there are some. One that fails stops nothing.
    pub(crate) fn send_poststart(&self, pid: i32) -> Result<Option<Errand>> {
        if self.hooks.poststart.is_empty() {
            return Ok(None);
        }
        let state = self.state(ContainerState::Running, Some(pid))?;
        let errand = Errand::send("run the hooks after the start", |channel| {
            self.attend()?;
            self.run_all(&self.hooks.poststart, &state, channel);
            Ok(())
        });
        errand.map(Some)
    }

    /// `poststop`, for a container that is gone.
    fn run_poststop(&self, channel: &ChildEnd) -> Result<()> {
        let state = self.state(ContainerState::Stopped, None)?;
        self.attend()?;
        self.run_all(&self.hooks.poststop, &state, channel);
        Ok(())
    }

    fn run_all(&self, hooks: &[Hook], state: &[u8], channel: &ChildEnd) {
        for hook in hooks {
            if let Err(error) = run_and_clear_up(hook, state, channel) {
                channel.failed(&error);
            }
        }
    }

    /// What an errand that runs hooks does first.
    fn attend(&self) -> Result<()> {
        // What a hook leaves behind can be found: it becomes this process's child.
        prctl::set_child_subreaper(true).at("become", "the reaper of hooks")?;
        let bundle = self.known.bundle();
        chdir(bundle).at("enter", bundle.display())
    }

    /// For a hook's standard input; `pid` as the hook sees it.
    fn state(&self, status: ContainerState, pid: Option<i32>) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.known.state(status, pid))
            .map_err(|error| Error::invalid("state", self.known.id(), format!("cannot be written: {error}")))
    }
}

/// What is left to be done when a container's processes and its cgroup are gone.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    hooks: Option<Arc<ContainerHooks>>,
    /// Its root file system, as it is mounted in the bundle.
    root: Option<PathBuf>,
}

impl Aftermath {
    pub(crate) fn new(hooks: Option<Arc<ContainerHooks>>, root: Option<PathBuf>) -> Self {
        Self { hooks: hooks.filter(|hooks| hooks.has_poststop()), root }
    }

    /// Whether there is anything.
    pub(crate) fn is_nothing(&self) -> bool {
        self.hooks.is_none() && self.root.is_none()
    }

    /// Sends for it: `poststop` hooks, of which one that fails stops nothing; then the root is unmounted, and the record
    /// `of` the bundle, if one is named, is removed.
    pub(crate) fn send(&self, of: Option<&Path>) -> Result<Errand> {
        Errand::send("clear up after the container", |channel| {
            if let Some(Err(error)) = self.hooks.as_ref().map(|hooks| hooks.run_poststop(channel)) {
                channel.failed(&error);
            }
            if let Some(root) = &self.root {
                // The bundle may be the working directory of what was just run, never of what unmounts.
                chdir("/").at("enter", "/")?;
                rootfs::unmount(root)?;
            }
            of.map_or(Ok(()), |of| record::forget(of).map(drop))
        })
    }
}

/// Sends for the `poststop` hooks of a container whose shim is gone, if there are some.
///
/// # Errors
/// [`crate::error::Cause::Invalid`] for hooks that cannot be honoured.
pub fn poststop(spec: &Spec, id: &str, bundle: &Path) -> Result<Option<Errand>> {
    let aftermath = Aftermath::new(ContainerHooks::of(spec, Role::Program, id, bundle)?, None);
    if aftermath.is_nothing() { Ok(None) } else { aftermath.send(None).map(Some) }
}

/// Runs one hook in an errand. What a hook that failed has left running is ended, and what another one has left, which
/// did not fail, is not.
fn run_and_clear_up(hook: &Hook, state: &[u8], channel: &ChildEnd) -> Result<()> {
    let before = children();
    let outcome = run::run(hook, state, channel.as_fd(), &|| Ok(()))?;
    if let Outcome::Ended(Ok(())) = outcome {
        return Ok(());
    }
    run::end_each(
        || children().into_iter().filter(|pid| !before.contains(pid)).collect(),
        |pid| {
            // An error means that it is gone.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        },
    );
    match outcome {
        Outcome::Ended(result) => result,
        Outcome::Abandoned => loment_sys::clone::exit_now(1),
    }
}

/// Pids of this process's children. A kernel that does not tell has none to be ended.
fn children() -> Vec<i32> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
