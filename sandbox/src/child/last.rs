//! The last steps of a process, from the container it finds itself in to the program that it becomes.

use std::{convert::Infallible, os::fd::AsFd, path::Path};

use loment_sys::fd;
use nix::{
    fcntl::OFlag,
    sys::{personality::Persona, prctl},
    unistd::{fchdir, getcwd},
};

use super::{
    birth::Birth,
    console::Console,
    hooks, identity, null,
    procfs::ProcFs,
    program,
    root::{Links, Root},
};
use crate::{
    Error, Result,
    error::Context,
    hooks::ContainerHooks,
    plan::{mounts::MountPlan, process::ProcessPlan},
    seccomp::Filter,
    trace::Phase,
};

/// Where a program is about to run.
pub(super) struct Setting<'a> {
    pub(super) proc: ProcFs,
    pub(super) root: Root,
    pub(super) console: Option<Console>,
    pub(super) filter: Option<&'a Filter>,
    /// Where others may still put the program while this process waits.
    pub(super) mounts: &'a [MountPlan],
    /// Processors to run on; `None` is all that the cgroup allows.
    pub(super) processors: Option<&'a [usize]>,
    /// Whether to wait for the parent before becoming the program.
    pub(super) gate: bool,
    /// What may have to be run after the gate.
    pub(super) hooks: Option<&'a ContainerHooks>,
}

impl Setting<'_> {
    /// From here on paths are resolved that an image gives: of its program, the directories of its `PATH`, an
    /// interpreter. Each may begin with `/proc/self/fd/N`, and from a directory of the host's, the cgroup's say, `..`
    /// leads on to the host's root (CVE-2024-21626). That everything is close-on-exec comes too late for that.
    fn close_the_rest(&self, birth: &Birth) -> Result<()> {
        let mut keep = vec![birth.channel.as_fd(), self.proc.as_fd(), self.root.as_fd()];
        keep.extend(birth.extras.gate.as_ref().map(AsFd::as_fd));
        keep.extend(self.console.iter().flat_map(|console| [console.master.as_fd(), console.slave.as_fd()]));
        fd::close_from_except(birth.first_private(), &keep).at("close", "what only setting up needed")
    }
}

/// The last steps. Everything is done before the gate that can be: only a seccomp filter has to wait, because a profile
/// may forbid what waiting takes.
pub(super) fn become_program(
    birth: &Birth,
    process: &ProcessPlan,
    personality: Option<Persona>,
    setting: &Setting<'_>,
) -> Result<Infallible> {
    birth.connect(setting.console.as_ref(), process.uid, || null::open(&setting.root))?;
    setting.close_the_rest(birth)?;
    identity::set_limits(process, personality, setting.processors)?;
    setting.proc.set_exec_labels(process.apparmor.as_deref(), process.selinux.as_deref())?;
    enter_working_directory(&setting.root, &process.cwd)?;
    let env = program::environment(process, &setting.root);
    if process.no_new_privileges {
        prctl::set_no_new_privs().at("forbid", "new privileges")?;
    }
    // Without no_new_privs only CAP_SYS_ADMIN may load a filter, so that privileges are given up after that.
    let late = setting.filter.is_some() && !process.no_new_privileges;
    if !late {
        identity::assume(process)?;
    }
    // A program of the image is missing now or never, which is worth knowing before the gate; an init container may yet
    // put one into a volume.
    let mut volumes = setting.mounts.iter().filter(|mount| mount.is_bind()).map(|mount| mount.target.as_path());
    let found =
        if program::is_in_one_of(process, &mut volumes) { None } else { Some(program::find(process, &setting.proc)?) };
    let terminal = setting.console.as_ref().map(|console| console.master.as_fd());
    match setting.gate {
        true if birth.wait_at_gate(terminal)? => {}
        true => loment_sys::clone::exit_now(1),
        false => birth.tell_ready(terminal)?,
    }
    if let Some(container) = setting.hooks {
        hooks::start(container, birth, process, setting, late)?;
    }
    // Before the filter, which may forbid what looking takes.
    let mut program = found.map_or_else(|| program::find(process, &setting.proc), Ok)?;
    fd::cloexec_from(birth.first_private()).at("mark for closing", "all descriptors")?;
    identity::limit_descriptors(process)?;
    // The last: a look at the clock may be a system call, which the filter may forbid.
    birth.reached(Phase::Prepared);
    if let Some(filter) = setting.filter {
        let listener = filter.load().at("load", "the seccomp filter")?;
        if let (Some(place), Some(listener)) = (birth.listener_place(), listener) {
            place.offer(listener);
        }
    }
    if late {
        identity::assume(process)?;
        // As this user sees it.
        program = program::find(process, &setting.proc)?;
    }
    program::execute(&program, process, &env)
}

/// Enters the working directory as a descriptor that was found below the root: a path like /proc/self/fd/7 could lead
/// to the host's (CVE-2024-21626). The kernel's own word is asked for afterwards.
fn enter_working_directory(root: &Root, path: &Path) -> Result<()> {
    let shown = || format!("/{}", path.display());
    let directory = root
        .open(path, Links::Follow, OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map_err(|errno| Error::os("enter working directory", shown(), errno))?;
    fchdir(&directory).at("enter working directory", format_args!("/{}", path.display()))?;
    // The kernel says "(unreachable)" of a directory outside of the root; libc makes that ENOENT.
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::invalid("process.cwd", shown(), "is outside of the container")),
    }
}
