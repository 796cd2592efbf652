//! What runs in the child between clone3(2) and execve(2).
//!
//! The child is a copy of the shim's memory with one thread, so that this is ordinary code; but it never returns to
//! the shim's, and it drops nothing that it has inherited. Whatever can fail for want of input has been prepared by
//! the parent.

mod console;
mod copy_up;
mod devices;
mod gather;
mod holder;
mod identity;
mod procfs;
mod program;
mod root;
mod view;

use std::{
    cell::OnceCell,
    convert::Infallible,
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use loment_cgroups::Entry;
use loment_sys::{credentials, fd, net, signal};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    sys::{
        personality::Persona,
        prctl,
        stat::{Mode, umask},
    },
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, fchdir, getcwd, setsid},
};

use self::{
    console::Console,
    gather::Cgroups,
    procfs::ProcFs,
    root::{Links, Root},
};
use crate::{
    Error, Result,
    channel::ChildEnd,
    container::{Extras, Io},
    error::Context,
    gate,
    plan::{Plan, mounts::MountPlan, process::ProcessPlan},
    seccomp::Filter,
};

/// A namespace to be joined, opened by the parent.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) kind: CloneFlags,
    pub(crate) namespace: OwnedFd,
    /// For messages.
    pub(crate) path: PathBuf,
}

/// What every child needs.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) channel: ChildEnd,
    pub(crate) entry: Entry,
    /// The cgroup's path below every hierarchy.
    pub(crate) cgroup: PathBuf,
    pub(crate) io: Io,
    /// The host's /dev/null, for standard streams that nobody cares about.
    pub(crate) null: OwnedFd,
    /// Name of the session keyring.
    pub(crate) keyring: CString,
    pub(crate) extras: Extras,
    /// Whoever has opened the gate, if that is not the parent.
    pub(crate) starter: OnceCell<ChildEnd>,
}

impl Birth {
    /// Runs a child to its end; what it answers with is its exit status, if it has one and not a program's.
    pub(crate) fn run(&self, child: impl FnOnce(&Self) -> Result<Infallible>) -> i32 {
        match child(self) {
            Ok(never) => match never {},
            Err(error) => {
                self.starter.get().unwrap_or(&self.channel).failed(&error);
                1
            }
        }
    }

    /// Says that this process is ready, and waits until the gate is opened; false when nobody is left who could.
    fn wait_at_gate(&self, terminal: Option<BorrowedFd<'_>>) -> Result<bool> {
        let Some(listener) = &self.extras.gate else {
            self.channel.ready(terminal)?;
            return Ok(self.channel.wait_at_gate());
        };
        let waiting = gate::Waiting::prepare()?;
        self.channel.ready(terminal)?;
        let starter = waiting.pass(listener.as_fd(), self.channel.as_fd())?;
        Ok(self.starter.set(starter).is_ok())
    }

    /// The first descriptor that its program does not get.
    fn first_private(&self) -> RawFd {
        3 + self.extras.preserve
    }

    /// First of all: nothing of the parent is kept but what this child was given. Its copies of other containers'
    /// gates and pipes would keep those open.
    fn begin(&self, more: &[BorrowedFd<'_>]) -> Result<()> {
        signal::reset().at("reset", "signals")?;
        prctl::set_dumpable(false).at("close to debuggers", "the setting-up process")?;
        let mut keep = vec![self.channel.as_fd(), self.null.as_fd()];
        keep.extend(more);
        keep.extend(self.extras.gate.as_ref().map(AsFd::as_fd));
        if let Io::Plain { stdin, stdout, stderr } = &self.io {
            keep.extend([stdin, stdout, stderr].into_iter().flatten().map(AsFd::as_fd));
        }
        let (directory, tasks) = parts(&self.entry);
        keep.extend(directory.map(AsFd::as_fd));
        keep.extend(tasks.iter().map(|file| file.fd.as_fd()));
        fd::close_from_except(self.first_private(), &keep).at("close", "what was inherited")?;
        umask(Mode::empty());
        // A session of its own: a signal to the shim's process group must not reach the container.
        setsid().at("begin", "a session")?;
        self.enter_cgroups(tasks)
    }

    fn enter_cgroups(&self, tasks: &[loment_cgroups::TasksFile]) -> Result<()> {
        for file in tasks {
            nix::unistd::write(&file.fd, b"0").at("enter cgroup by", file.path.display())?;
        }
        Ok(())
    }

    /// Puts the standard streams in place.
    fn connect(&self, console: Option<&Console>, uid: u32) -> Result<()> {
        let stream = |fd: &Option<OwnedFd>| fd.as_ref().map_or(self.null.as_fd(), AsFd::as_fd).try_clone_to_owned();
        let (stdin, stdout, stderr) = match (&self.io, console) {
            (Io::Plain { stdin, stdout, stderr }, _) => (stream(stdin), stream(stdout), stream(stderr)),
            (Io::Terminal, Some(console)) => {
                let slave = console.control()?;
                (slave.try_clone_to_owned(), slave.try_clone_to_owned(), slave.try_clone_to_owned())
            }
            (Io::Terminal, None) => return Err(Error::invalid("process.terminal", "true", "without a terminal")),
        };
        let name = "standard streams";
        dup2_stdin(stdin.at("copy", name)?).at("connect", name)?;
        dup2_stdout(stdout.at("copy", name)?).at("connect", name)?;
        dup2_stderr(stderr.at("copy", name)?).at("connect", name)?;
        identity::own_standard_streams(uid)
    }

    fn new_keyring(&self) -> Result<()> {
        if self.extras.keep_keyring {
            return Ok(());
        }
        match credentials::new_session_keyring(&self.keyring) {
            // A kernel without keyrings has no keys to leak.
            Ok(()) | Err(Errno::ENOSYS) => Ok(()),
            Err(errno) => Err(Error::os("join a new session keyring", self.keyring.to_string_lossy(), errno)),
        }
    }
}

fn parts(entry: &Entry) -> (Option<&OwnedFd>, &[loment_cgroups::TasksFile]) {
    match entry {
        Entry::Tasks(tasks) => (None, tasks),
        Entry::Into(directory) => (Some(directory), &[]),
        Entry::Both(directory, tasks) => (Some(directory), tasks),
    }
}

/// The first process of a container: everything up to the gate, then the program.
pub(crate) fn init(birth: &Birth, plan: &Plan, joins: &[Join], filter: Option<&Filter>) -> Result<Infallible> {
    let proc = settle(birth, plan, joins)?;
    let cgroup = Cgroups {
        entry: &birth.entry,
        path: &birth.cgroup,
        has_namespace: plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP),
    };
    let parts = gather::gather(&plan.view, &cgroup)?;
    let root = view::enter(&plan.view, parts, &plan.process.cwd)?;
    let console = match birth.io {
        Io::Terminal => Some(Console::open(&root, plan.process.console_size)?),
        Io::Plain { .. } => None,
    };
    if let Some(console) = console.as_ref().filter(|_| plan.view.devices.is_some()) {
        console.bind(&root)?;
    }
    view::seal(&root, &plan.view)?;
    let mounts = &plan.view.mounts;
    become_program(birth, &plan.process, plan.personality, &Setting { proc, root, console, filter, mounts, gate: true })
}

/// Another process of a container, born in its pid namespace: `container` is a pidfd of its init, whose other
/// namespaces are joined.
pub(crate) fn exec(
    birth: &Birth,
    process: &ProcessPlan,
    personality: Option<Persona>,
    container: &OwnedFd,
    filter: Option<&Filter>,
) -> Result<Infallible> {
    birth.begin(&[container.as_fd()])?;
    birth.new_keyring()?;
    let kinds = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    setns(container, kinds).at("join the namespaces of", "the container")?;
    let proc = ProcFs::open()?;
    proc.set_oom_score_adj(process.oom_score_adj)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open("/", flags, Mode::empty()).at("open", "the container's root").map(Root::new)?;
    let console = match birth.io {
        Io::Terminal => Some(Console::open(&root, process.console_size)?),
        Io::Plain { .. } => None,
    };
    become_program(birth, process, personality, &Setting { proc, root, console, filter, mounts: &[], gate: false })
}

/// A holder of namespaces.
pub(crate) fn hold(birth: &Birth, plan: &Plan, joins: &[Join]) -> Result<Infallible> {
    settle(birth, plan, joins)?;
    birth.connect(None, plan.process.uid)?;
    view::enter_nothing()?;
    identity::set_limits(&plan.process, plan.personality)?;
    let mut process = plan.process.clone();
    process.capabilities = Default::default();
    identity::assume(&process)?;
    prctl::set_no_new_privs().at("forbid", "new privileges")?;
    let holder = holder::Holder::prepare()?;
    birth.channel.ready(None)?;
    if !birth.channel.wait_at_gate() {
        loment_sys::clone::exit_now(1);
    }
    // Nothing is executed, so the end of the channel has to be closed by hand.
    fd::close_all_except(&[]).at("close", "everything")?;
    loment_sys::clone::exit_now(holder.hold())
}

/// What a container's init and a holder have in common: cgroups, namespaces, names, parameters.
fn settle(birth: &Birth, plan: &Plan, joins: &[Join]) -> Result<ProcFs> {
    let namespaces: Vec<_> = joins.iter().map(|join| join.namespace.as_fd()).collect();
    birth.begin(&namespaces)?;
    birth.new_keyring()?;
    for join in joins {
        setns(&join.namespace, join.kind).at("join namespace", join.path.display())?;
    }
    // Only now: the root of a cgroup namespace is the cgroup that its maker is in.
    if plan.namespaces.new.contains(CloneFlags::CLONE_NEWCGROUP) {
        unshare(CloneFlags::CLONE_NEWCGROUP).at("make", "a cgroup namespace")?;
    }
    if plan.namespaces.new.contains(CloneFlags::CLONE_NEWNET) {
        net::loopback_up().at("bring up", "the loopback interface")?;
    }
    let proc = ProcFs::open()?;
    proc.set_oom_score_adj(plan.process.oom_score_adj)?;
    identity::set_names(plan, &proc)?;
    proc.set_sysctls(&plan.sysctls)?;
    Ok(proc)
}

/// Where a program is about to run.
struct Setting<'a> {
    proc: ProcFs,
    root: Root,
    console: Option<Console>,
    filter: Option<&'a Filter>,
    /// Where others may still put the program while this process waits.
    mounts: &'a [MountPlan],
    /// Whether to wait for the parent before becoming the program.
    gate: bool,
}

/// The last steps. Everything is done before the gate that can be: only a seccomp filter has to wait, because a profile
/// may forbid what waiting takes.
fn become_program(
    birth: &Birth,
    process: &ProcessPlan,
    personality: Option<Persona>,
    setting: &Setting<'_>,
) -> Result<Infallible> {
    birth.connect(setting.console.as_ref(), process.uid)?;
    identity::set_limits(process, personality)?;
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
        false => birth.channel.ready(terminal)?,
    }
    // Before the filter, which may forbid what looking takes.
    let mut program = found.map_or_else(|| program::find(process, &setting.proc), Ok)?;
    fd::cloexec_from(birth.first_private()).at("mark for closing", "all descriptors")?;
    if let Some(filter) = setting.filter {
        filter.load().at("load", "the seccomp filter")?;
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
    fchdir(&directory).at("enter working directory", shown())?;
    // The kernel says "(unreachable)" of a directory outside of the root; libc makes that ENOENT.
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::invalid("process.cwd", shown(), "is outside of the container")),
    }
}
