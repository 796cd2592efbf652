//! A container: created with its init waiting at a gate, started by opening the gate.

mod adopted;
mod agent;
mod birth;
mod capabilities;
mod creating;
mod exec;
mod netdev;
mod nursery;
mod pinning;
mod starting;

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use loment_cgroups::Cgroup;
use nix::{libc::SIGKILL, sys::personality::Persona};
use oci_spec::runtime::{LinuxResources, Spec};

use self::agent::{Agent, Call, HandOver};
pub use self::{
    adopted::Adopted,
    creating::Creating,
    exec::Executing,
    pinning::{Pinning, Pins, users_of_network},
    starting::Starting,
};
pub(crate) use self::{birth::FreshCgroup, creating::seed};
pub use crate::plan::check_id;
use crate::{
    Error, Result,
    channel::{ParentEnd, Report},
    child::Inhabited,
    errand::Errand,
    error::Context,
    hooks::{Aftermath, ContainerHooks},
    plan::process::ProcessPlan,
    process::{Other, Process},
    record,
    rootfs::VisibleRoot,
    seccomp::Filter,
    trace::Trace,
};

/// What Create is asked for.
#[derive(Debug)]
pub struct Request {
    /// Name of the container, unique in its namespace.
    pub id: String,
    /// Absolute path of the bundle: relative paths of the spec start here.
    pub bundle: PathBuf,
    /// What to create.
    pub spec: Arc<Spec>,
    /// Mounts that make the root file system, in order, as containerd gives them. Empty: `root.path` of the spec as
    /// it stands.
    pub rootfs: Vec<RootfsMount>,
    /// What the process reads and writes.
    pub io: Io,
    /// Whether a program is run or namespaces are held.
    pub role: Role,
}

/// What a process is given that no specification can say.
#[derive(Debug, Default)]
pub struct Extras {
    /// Where init waits to be started, by [`crate::gate::make`]; without one, whoever creates the container starts it.
    /// Of no meaning for an exec.
    pub gate: Option<OwnedFd>,
    /// How many of the caller's descriptors from 3 on the program gets, as they are. All of them must be open.
    pub preserve: i32,
    /// Stay in the caller's session keyring.
    pub keep_keyring: bool,
    /// Where the record of the container is kept, instead of in the bundle. Of no meaning for an exec.
    pub record: Option<PathBuf>,
    /// A mount namespace with an empty root, by itself or by the pidfd of a process in it: see [`Container::stub`] and
    /// [`Pins::stub`]. Of no meaning for an exec.
    pub stub: Option<OwnedFd>,
    /// Where to note the phases of its start.
    pub trace: Trace,
}

/// One of containerd's mounts (`types.Mount`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// `overlay`, `bind`, …
    pub kind: String,
    /// Source path or device.
    pub source: String,
    /// Where below the root it goes; empty for the root itself.
    pub target: String,
    /// Options as mount(8) takes them.
    pub options: Vec<String>,
}

/// What the container's first process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The program of the spec.
    Program,
    /// Nothing but a holder of the pod's namespaces: no root file system is made and nothing is executed; as pid 1
    /// of a shared pid namespace it reaps. It ends, with status 0, on SIGTERM or SIGINT.
    Holder,
}

/// Standard input, output and error of a process.
#[derive(Debug)]
pub enum Io {
    /// Descriptors; `None` is the container's own /dev/null.
    Plain {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A terminal from the container's own devpts; its other end is handed to the caller.
    Terminal,
}

/// A container that exists: init at its gate, running, or ended.
///
/// Dropping it ends nothing, because a container outlives the shim that lost it: [`Container::delete`] does.
#[derive(Debug)]
pub struct Container {
    bundle: PathBuf,
    role: Role,
    init: Process,
    cgroup: Cgroup,
    /// The gate, until it has been opened.
    gate: Option<Gate>,
    terminal: Option<OwnedFd>,
    defaults: Defaults,
    /// What was executed in it, as long as somebody can ask for the exit.
    others: Mutex<Vec<Other>>,
    /// What is left to be done when it is gone.
    aftermath: Aftermath,
}

/// What init waits at.
#[derive(Debug)]
struct Gate {
    channel: ParentEnd,
    /// Those that are run when it has been opened.
    hooks: Option<Arc<ContainerHooks>>,
    /// Whom to tell about the seccomp listener of init.
    call: Option<Call>,
}

/// What a process of the container has unless it says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) process: Arc<ProcessPlan>,
    personality: Option<Persona>,
    filter: Option<Arc<Filter>>,
    inhabited: Inhabited,
    /// Who is asked about system calls, if the filter asks anybody.
    agent: Option<Arc<Agent>>,
}

impl Container {
    /// One whose processes were brought back from disk, with its root file system in the bundle.
    pub(crate) fn restored(init: Process, cgroup: FreshCgroup, root: VisibleRoot, defaults: Defaults) -> Result<Self> {
        let (cgroup, bundle) = cgroup.keep()?;
        let (aftermath, others) = (Aftermath::new(None, Some(root.keep())), Mutex::default());
        Ok(Self { bundle, role: Role::Program, init, cgroup, gate: None, terminal: None, defaults, others, aftermath })
    }

    /// Its init process.
    pub fn init(&self) -> &Process {
        &self.init
    }

    /// Its init process, to be reaped.
    pub fn init_mut(&mut self) -> &mut Process {
        &mut self.init
    }

    /// Of a holder whose start has come to its end, a process over an empty root: where others may begin whose mounts are
    /// to be few. One with a user namespace is none: what is made there would belong to that.
    pub fn stub(&self) -> Option<OwnedFd> {
        let is_one = self.role == Role::Holder && self.gate.is_none() && self.defaults.inhabited.maps.is_none();
        is_one.then(|| self.init.try_clone_pidfd().ok()).flatten()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The caller's end of the terminal, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Opens the gate.
    ///
    /// # Errors
    /// It has been opened before.
    pub fn start(&mut self) -> Result<Starting> {
        let gate = self.gate.take().ok_or(nix::errno::Errno::EALREADY).at("start process", self.init.pid())?;
        let listener = match (gate.call, &self.defaults.agent) {
            (Some(call), Some(agent)) => {
                let (pid, process) = (self.init.pid(), self.init.try_clone_pidfd()?);
                Some(HandOver::begin(call, agent, (pid, process), pid)?)
            }
            _ => None,
        };
        gate.channel.open_gate()?;
        Ok(Starting::new(gate.channel, self.init.pid(), listener, gate.hooks))
    }

    /// Why init has ended before its gate was opened, if it has said so. To be asked when it has ended.
    pub fn failure_at_gate(&self) -> Option<Error> {
        match self.gate.as_ref()?.channel.receive() {
            Ok(Report::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Begins another process in the container's namespaces and cgroup. What `process` leaves open (capabilities,
    /// limits, `noNewPrivileges`, `oomScoreAdj`) is as for the container's init; the container's seccomp profile
    /// applies.
    pub fn exec(&self, process: &oci_spec::runtime::Process, io: Io) -> Result<Executing> {
        self.exec_with(process, io, Extras::default())
    }

    /// [`Container::exec`] with more than a specification can say.
    pub fn exec_with(&self, process: &oci_spec::runtime::Process, io: Io, extras: Extras) -> Result<Executing> {
        Executing::begin(self, process, io, extras)
    }

    /// Stops every process of the container.
    pub fn pause(&self) -> Result<()> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets stopped processes run again.
    pub fn resume(&self) -> Result<()> {
        Ok(self.cgroup.thaw()?)
    }

    /// User and group of the host that one of the container's stands for.
    pub fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let maps = self.defaults.inhabited.maps.as_ref();
        maps.map_or((uid, gid), |maps| maps.outside(uid, gid).unwrap_or((uid, gid)))
    }

    /// Changes limits, all of them or none.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        Ok(self.cgroup.update(resources)?)
    }

    /// Sends init a signal. `Ok(false)` when it has ended. One that is paused dies of SIGKILL, and is paused no more.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        signal_init(&self.init, &self.cgroup, signal)
    }

    /// Sends a signal to every process of the container. `Ok(false)` when there is none.
    pub fn signal_all(&self, signal: i32) -> Result<bool> {
        signal_all(&self.cgroup, signal)
    }

    /// Kills what is left and removes the cgroup, within a bounded time; then waits for what has to be done after it: see
    /// [`Container::aftermath`]. Idempotent. The root file system of a container without hooks goes with its last
    /// process: it was never mounted anywhere else.
    pub fn delete(&mut self) -> Result<()> {
        self.remove()?.map_or(Ok(()), |errand| errand.finish().map(drop))
    }

    /// [`Container::delete`] without waiting for what has to be done after it.
    pub fn remove(&mut self) -> Result<Option<Errand>> {
        self.kill()?;
        self.cgroup.remove_with_parent()?;
        if self.aftermath.is_nothing() {
            record::forget(&self.bundle)?;
        }
        self.aftermath()
    }

    /// [`Container::delete`] without waiting: false while something of the container is still ending. To be asked again.
    /// When it is true there may still be an [`Container::aftermath`].
    pub fn try_delete(&mut self) -> Result<bool> {
        let gone = self.try_end()? && self.cgroup.try_remove_with_parent()?;
        if gone && self.aftermath.is_nothing() {
            record::forget(&self.bundle)?;
        }
        Ok(gone)
    }

    /// Sends for what is left to be done when a container has been deleted, if there is anything: its `poststop` hooks,
    /// whose failures are what the errand answers with, and the end of its root file system, if that was mounted for
    /// hooks. Until then the container can be found by [`record::sweep`]. Once.
    pub fn aftermath(&mut self) -> Result<Option<Errand>> {
        self.send_for_aftermath(true)
    }

    /// The same when only this attempt at running the container has ended, and its cgroup is kept.
    pub fn aftermath_of_attempt(&mut self) -> Result<Option<Errand>> {
        self.send_for_aftermath(false)
    }

    fn send_for_aftermath(&mut self, is_last: bool) -> Result<Option<Errand>> {
        if self.aftermath.is_nothing() {
            return Ok(None);
        }
        let errand = self.aftermath.send(is_last.then_some(&self.bundle))?;
        self.aftermath = Aftermath::default();
        Ok(Some(errand))
    }

    /// Ends this attempt at running the container: kills what is left, and keeps the cgroup with what it has counted
    /// for the next [`Creating::begin`] of the same container. What the container has done to it is undone: cgroups below,
    /// controllers for them, a pause.
    pub fn end_attempt(&mut self) -> Result<()> {
        self.kill()?;
        self.cgroup.reset()?;
        self.aftermath_of_attempt()?.map_or(Ok(()), |errand| errand.finish().map(drop))
    }

    /// [`Container::end_attempt`] without waiting: false while a process is still ending. To be asked again.
    pub fn try_end_attempt(&mut self) -> Result<bool> {
        Ok(self.try_end()? && self.cgroup.try_reset()?)
    }

    fn try_end(&mut self) -> Result<bool> {
        self.cgroup.kill()?;
        let others = self.others.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut failure = None;
        others.retain(|other| {
            let ended = other.try_end().unwrap_or_else(|error| {
                failure.get_or_insert(error);
                false
            });
            !ended
        });
        let others_ended = others.is_empty();
        match failure {
            Some(error) => return Err(error),
            None if !(self.init.try_end()? && others_ended) => return Ok(false),
            None => {}
        }
        self.gate = None;
        Ok(true)
    }

    fn kill(&mut self) -> Result<()> {
        self.cgroup.kill()?;
        // As pid 1 of its namespace init waits in the kernel until all the others have been reaped.
        let others = self.others.get_mut().unwrap_or_else(PoisonError::into_inner);
        others.iter().try_for_each(Other::end)?;
        others.clear();
        // It is signalled once more: the cgroup may be gone.
        self.init.end()?;
        // Not before: one that waits at its gate would leave by itself, and with another status.
        self.gate = None;
        Ok(())
    }

    fn remember(&self, process: Option<Other>) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(Other::is_owned);
        others.extend(process);
    }
}

fn signal_init(init: &Process, cgroup: &Cgroup, signal: i32) -> Result<bool> {
    // Before: on v2 it dies at once, and what is dying is not frozen.
    let is_frozen = if signal == SIGKILL { cgroup.is_frozen() } else { Ok(false) };
    let sent = init.signal(signal)?;
    if sent && is_frozen? {
        // On v1 a stopped process does not even die; on v2 who came next would be stopped.
        cgroup.thaw()?;
    }
    Ok(sent)
}

fn signal_all(cgroup: &Cgroup, signal: i32) -> Result<bool> {
    let pids = cgroup.pids()?;
    if signal == SIGKILL {
        // Forks that race it are killed too.
        cgroup.kill()?;
        return Ok(!pids.is_empty());
    }
    let mut any = false;
    for pid in pids {
        match loment_sys::pidfd::open(pid).and_then(|fd| loment_sys::pidfd::send_signal(fd.as_fd(), signal)) {
            Ok(()) => any = true,
            Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os(format!("send signal {signal} to process"), pid, errno)),
        }
    }
    Ok(any)
}
