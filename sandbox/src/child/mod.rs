//! What runs in the child between clone3(2) and execve(2).
//!
//! The child is a copy of the shim's memory with one thread, so that this is ordinary code; but it never returns to
//! the shim's, and it drops nothing that it has inherited. Whatever can fail for want of input has been prepared by
//! the parent.

mod ambient;
mod builder;
mod carrier;
mod console;
mod copy_up;
mod devices;
mod elf;
pub(crate) mod gather;
mod holder;
mod hooks;
mod identity;
mod procfs;
mod program;
mod root;
pub(crate) mod view;

use std::{
    cell::OnceCell,
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::Arc,
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
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, fchdir, getcwd, getpid, setsid},
};

pub(crate) use self::{builder::build, carrier::carry};
use self::{
    console::Console,
    gather::Cgroups,
    procfs::ProcFs,
    root::{Links, Root},
};
use crate::{
    Error, Result,
    channel::{ChildEnd, Taker},
    container::{Extras, Io},
    error::Context,
    gate::{self, Starter},
    hooks::ContainerHooks,
    listener::Place,
    plan::{
        Plan,
        ids::IdMaps,
        mounts::MountPlan,
        namespaces::{NEWTIME, Namespaces},
        process::ProcessPlan,
    },
    seccomp::Filter,
    user_namespace::{self, UserNamespaces},
};

/// A namespace to be joined, opened by the parent.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) kind: CloneFlags,
    pub(crate) namespace: OwnedFd,
    /// For messages.
    pub(crate) path: PathBuf,
}

/// What a further process has to know of the container's namespaces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inhabited {
    /// Maps of its user namespace, if it has one of its own.
    pub(crate) maps: Option<IdMaps>,
    /// Whether it has a time namespace.
    pub(crate) clocks: bool,
}

impl Inhabited {
    pub(crate) fn of(namespaces: &Namespaces, users: &UserNamespaces) -> Self {
        Self { maps: users.maps().cloned(), clocks: namespaces.has(NEWTIME) }
    }
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
    pub(crate) extras: Extras,
    /// Whoever has opened the gate, if that is not the parent.
    pub(crate) starter: OnceCell<Starter>,
    /// Where init gets what a builder has made for it.
    pub(crate) taker: Option<Taker>,
    /// Where to say what the seccomp filter's listener is, if it has one.
    pub(crate) listener: Option<Arc<Place>>,
}

impl Birth {
    /// Runs a child to its end; what it answers with is its exit status, if it has one and not a program's.
    pub(crate) fn run(&self, child: impl FnOnce(&Self) -> Result<Infallible>) -> i32 {
        match child(self) {
            Ok(never) => match never {},
            Err(error) => {
                self.attendant().failed(&error);
                1
            }
        }
    }

    /// Whoever waits for what this process does: the parent, and when somebody else has opened the gate, that one.
    fn attendant(&self) -> &ChildEnd {
        self.starter.get().map_or(&self.channel, |starter| &starter.channel)
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

    /// Where to say what the seccomp filter's listener is.
    fn listener_place(&self) -> Option<&Place> {
        self.listener.as_deref().or_else(|| self.starter.get()?.place.as_ref())
    }

    /// The first descriptor that its program does not get.
    fn first_private(&self) -> RawFd {
        3 + self.extras.preserve
    }

    /// First of all in a process that comes to be in the container: see [`Birth::shed`]; and it enters the cgroups.
    fn begin(&self, more: &[BorrowedFd<'_>]) -> Result<()> {
        let (_, tasks) = parts(&self.entry);
        let keep = more.iter().copied().chain(tasks.iter().map(|file| file.fd.as_fd()));
        self.shed(&keep.collect::<Vec<_>>())?;
        ambient::forget()?;
        self.enter_cgroups(tasks)
    }

    /// Nothing of the parent is kept but what this child was given. Its copies of other containers' gates and pipes
    /// would keep those open.
    fn shed(&self, more: &[BorrowedFd<'_>]) -> Result<()> {
        signal::reset().at("reset", "signals")?;
        prctl::set_dumpable(false).at("close to debuggers", "the setting-up process")?;
        let mut keep = vec![self.channel.as_fd(), self.null.as_fd()];
        keep.extend(more);
        keep.extend(self.extras.gate.as_ref().map(AsFd::as_fd));
        if let Io::Plain { stdin, stdout, stderr } = &self.io {
            keep.extend([stdin, stdout, stderr].into_iter().flatten().map(AsFd::as_fd));
        }
        fd::close_from_except(self.first_private(), &keep).at("close", "what was inherited")?;
        umask(Mode::empty());
        // A session of its own: a signal to the shim's process group must not reach the container.
        setsid().at("begin", "a session").map(drop)
    }

    /// For who mounts the cgroup, or makes who does.
    fn cgroup_directory(&self) -> Option<BorrowedFd<'_>> {
        parts(&self.entry).0.map(AsFd::as_fd)
    }

    fn taker(&self) -> Option<BorrowedFd<'_>> {
        self.taker.as_ref().map(AsFd::as_fd)
    }

    fn cgroups(&self, plan: &Plan) -> Cgroups<'_> {
        let has_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP);
        Cgroups { entry: &self.entry, path: &self.cgroup, has_namespace }
    }

    /// Gives the streams to a user of a user namespace, who must be able to open them again, while that takes no
    /// privilege that the process will lose.
    fn give_streams(&self, maps: &IdMaps, uid: u32) -> Result<()> {
        let (Io::Plain { stdin, stdout, stderr }, Some(owner)) = (&self.io, maps.users.outside(uid)) else {
            return Ok(());
        };
        let streams: Vec<_> = [stdin, stdout, stderr].into_iter().flatten().map(AsFd::as_fd).collect();
        identity::own_streams(&streams, owner)
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
        match credentials::new_session_keyring() {
            // A kernel without keyrings has no keys to leak.
            Ok(()) | Err(Errno::ENOSYS) => Ok(()),
            Err(errno) => Err(Error::os("join", "a new session keyring", errno)),
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
pub(crate) fn init(
    birth: &Birth,
    plan: &Plan,
    joins: &[Join],
    users: &UserNamespaces,
    filter: Option<&Filter>,
) -> Result<Infallible> {
    let proc = settle(birth, plan, joins, users)?;
    let parts = gather::gather(&plan.view, &birth.cgroups(plan), users)?;
    let hooks = |root: BorrowedFd<'_>| hooks::create(birth, plan, Some(root), getpid().as_raw());
    let root = view::enter(&plan.view, parts, &plan.process.cwd, None, hooks)?;
    let console = init_console(birth, plan, &root)?;
    view::seal(&root, &plan.view)?;
    let mounts = &plan.view.mounts;
    let hooks = plan.hooks.as_deref();
    let setting = Setting { proc, root, console, filter, mounts, processors: None, gate: true, hooks };
    become_program(birth, &plan.process, plan.personality, &setting)
}

/// The same in a user namespace, where a carrier has prepared what comes before and a builder builds the root.
pub(crate) fn init_in_user_namespace(birth: &Birth, plan: &Plan, filter: Option<&Filter>) -> Result<Infallible> {
    let mounts = take_over(birth)?;
    setns(&mounts, CloneFlags::CLONE_NEWNS).at("join", "the mount namespace that was built")?;
    let proc = ProcFs::given(take(birth));
    let root = own_root()?;
    let console = init_console(birth, plan, &root)?;
    let mounts = &plan.view.mounts;
    let hooks = plan.hooks.as_deref();
    let setting = Setting { proc, root, console, filter, mounts, processors: None, gate: true, hooks };
    become_program(birth, &plan.process, plan.personality, &setting)
}

/// First of all in what a carrier has cloned: waits for the first thing that the builder gives.
fn take_over(birth: &Birth) -> Result<OwnedFd> {
    birth.shed(&birth.taker().into_iter().collect::<Vec<_>>())?;
    birth.new_keyring()?;
    Ok(take(birth))
}

/// What the builder gives. Without one, there is nothing to add to what it has reported itself.
fn take(birth: &Birth) -> OwnedFd {
    let given = birth.taker.as_ref().and_then(Taker::take);
    given.unwrap_or_else(|| loment_sys::clone::exit_now(1))
}

fn own_root() -> Result<Root> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open("/", flags, Mode::empty()).at("open", "the container's root").map(Root::new)
}

fn init_console(birth: &Birth, plan: &Plan, root: &Root) -> Result<Option<Console>> {
    let Io::Terminal = birth.io else { return Ok(None) };
    let console = Console::open(root, plan.process.console_size)?;
    if plan.view.devices.is_some() {
        console.bind(root)?;
    }
    Ok(Some(console))
}

/// Another process of a container, born in its pid namespace: `container` is a pidfd of its init, whose other
/// namespaces are joined.
pub(crate) fn exec(
    birth: &Birth,
    process: &ProcessPlan,
    personality: Option<Persona>,
    container: &OwnedFd,
    inhabited: &Inhabited,
    filter: Option<&Filter>,
) -> Result<Infallible> {
    if let Some(initial) = &process.affinity.initial {
        identity::set_processors(Some(initial))?;
    }
    birth.begin(&[container.as_fd()])?;
    birth.new_keyring()?;
    let mut kinds = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    if inhabited.clocks {
        kinds |= NEWTIME;
    }
    // Born in the container's pid namespace; made before its mount namespace is joined, where a user namespace would
    // not let it be made.
    let proc = ProcFs::open()?;
    proc.set_oom_score_adj(process.oom_score_adj)?;
    if let Some(maps) = &inhabited.maps {
        identity::raise_limits(process)?;
        birth.give_streams(maps, process.uid)?;
        // A process must not join the user namespace that it is in.
        kinds |= CloneFlags::CLONE_NEWUSER;
    }
    setns(container, kinds).at("join the namespaces of", "the container")?;
    if let Some(maps) = &inhabited.maps {
        user_namespace::become_root(maps)?;
    }
    let root = own_root()?;
    let console = match birth.io {
        Io::Terminal => Some(Console::open(&root, process.console_size)?),
        Io::Plain { .. } => None,
    };
    // Without a last word the first one holds.
    let processors = process.affinity.last.as_deref().or(process.affinity.initial.as_deref());
    let setting = Setting { proc, root, console, filter, mounts: &[], processors, gate: false, hooks: None };
    become_program(birth, process, personality, &setting)
}

/// A holder of namespaces.
pub(crate) fn hold(birth: &Birth, plan: &Plan, joins: &[Join]) -> Result<Infallible> {
    settle(birth, plan, joins, &UserNamespaces::default())?;
    hold_on(birth, plan)
}

/// The same in a user namespace, where a builder sets names and parameters.
pub(crate) fn hold_in_user_namespace(birth: &Birth, plan: &Plan) -> Result<Infallible> {
    drop(take_over(birth)?);
    hold_on(birth, plan)
}

fn hold_on(birth: &Birth, plan: &Plan) -> Result<Infallible> {
    birth.connect(None, plan.process.uid)?;
    view::enter_nothing(|| hooks::create(birth, plan, None, getpid().as_raw()))?;
    identity::set_limits(&plan.process, plan.personality, None)?;
    let mut process = plan.process.clone();
    process.capabilities = Default::default();
    identity::assume(&process)?;
    prctl::set_no_new_privs().at("forbid", "new privileges")?;
    // What it keeps of the runtime's memory is small, as long as the kernel does not make a huge page of it.
    prctl::set_thp_disable(true).at("forbid huge pages for", "the holder")?;
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
fn settle(birth: &Birth, plan: &Plan, joins: &[Join], users: &UserNamespaces) -> Result<ProcFs> {
    let namespaces = joins.iter().map(|join| join.namespace.as_fd());
    birth.begin(&namespaces.chain(users.descriptors()).chain(birth.cgroup_directory()).collect::<Vec<_>>())?;
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
    /// Processors to run on; `None` is all that the cgroup allows.
    processors: Option<&'a [usize]>,
    /// Whether to wait for the parent before becoming the program.
    gate: bool,
    /// What may have to be run after the gate.
    hooks: Option<&'a ContainerHooks>,
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
fn become_program(
    birth: &Birth,
    process: &ProcessPlan,
    personality: Option<Persona>,
    setting: &Setting<'_>,
) -> Result<Infallible> {
    birth.connect(setting.console.as_ref(), process.uid)?;
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
        false => birth.channel.ready(terminal)?,
    }
    if let Some(container) = setting.hooks {
        hooks::start(container, birth, process, setting, late)?;
    }
    // Before the filter, which may forbid what looking takes.
    let mut program = found.map_or_else(|| program::find(process, &setting.proc), Ok)?;
    fd::cloexec_from(birth.first_private()).at("mark for closing", "all descriptors")?;
    identity::limit_descriptors(process)?;
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
    fchdir(&directory).at("enter working directory", shown())?;
    // The kernel says "(unreachable)" of a directory outside of the root; libc makes that ENOENT.
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::invalid("process.cwd", shown(), "is outside of the container")),
    }
}
