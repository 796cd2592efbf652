//! What runs in the child between clone3(2) and execve(2).
//!
//! The child is a copy of the shim's memory with one thread, so that this is ordinary code; but it never returns to
//! the shim's, and it drops nothing that it has inherited. Whatever can fail for want of input has been prepared by
//! the parent.

mod ambient;
mod birth;
mod builder;
mod carrier;
mod console;
mod copy_up;
mod devices;
pub(crate) mod elf;
mod exec;
pub(crate) mod gather;
mod hierarchy;
mod holder;
mod hooks;
mod identity;
mod last;
mod null;
mod procfs;
mod program;
mod room;
mod root;
pub(crate) mod view;

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use loment_sys::{fd, net};
use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, stat::Mode},
    unistd::getpid,
};

pub(crate) use self::{
    birth::{Birth, enter_cgroups},
    builder::build,
    carrier::carry,
    exec::exec,
    null::of_the_host as null_of_the_host,
};
use self::{
    console::Console,
    last::{Setting, become_program},
    procfs::ProcFs,
    room::Room,
    root::Root,
    view::Stub,
};
use crate::{
    Result,
    channel::Taker,
    container::Io,
    error::Context,
    plan::{
        Plan,
        ids::IdMaps,
        namespaces::{NEWTIME, Namespaces},
    },
    seccomp::Filter,
    trace::Phase,
    user_namespace::UserNamespaces,
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

/// The first process of a container: everything up to the gate, then the program.
pub(crate) fn init(
    birth: &Birth,
    plan: &Plan,
    joins: &[Join],
    users: &UserNamespaces,
    filter: Option<&Filter>,
) -> Result<Infallible> {
    let proc = settle(birth, plan, joins, users)?;
    birth.reached(Phase::NamespacesJoined);
    let room = Room::of(&plan.view)?;
    let parts = gather::gather(&plan.view, &birth.cgroups(plan), users)?;
    birth.reached(Phase::MountsGathered);
    let hooks = |root: BorrowedFd<'_>| hooks::create(birth, plan, Some(root), getpid().as_raw());
    let stub = match birth.stub().filter(|_| can_stand_on_a_stub(plan)) {
        Some(place) => Some(Stub { place, own: proc.own_namespace("mnt").at("open", "the host's mount namespace")? }),
        None => None,
    };
    let root = view::enter(&plan.view, parts, &plan.process.cwd, None, stub, hooks)?;
    drop(room);
    birth.reached(Phase::RootEntered);
    let console = init_console(birth, plan, &root)?;
    view::seal(&root, &plan.view)?;
    birth.reached(Phase::RootSealed);
    let mounts = &plan.view.mounts;
    let hooks = plan.hooks.as_deref();
    let setting = Setting { proc, root, console, filter, mounts, processors: None, gate: true, hooks };
    become_program(birth, &plan.process, plan.personality, &setting)
}

/// Whether nobody looks for the host's file systems once the parts are gathered. Hooks do, for the root where it stands
/// among them.
fn can_stand_on_a_stub(plan: &Plan) -> bool {
    let is_visible = plan.hooks.is_some() || plan.view.root_stands_at.is_some();
    !is_visible && !plan.view.devices.iter().flatten().any(devices::is_special)
}

/// The same in a user namespace, where a carrier has prepared what comes before and a builder builds the root.
pub(crate) fn init_in_user_namespace(birth: &Birth, plan: &Plan, filter: Option<&Filter>) -> Result<Infallible> {
    let mounts = take_over(birth)?;
    setns(&mounts, CloneFlags::CLONE_NEWNS).at("join", "the mount namespace that was built")?;
    drop(mounts);
    birth.reached(Phase::RootEntered);
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

/// A holder of namespaces.
pub(crate) fn hold(birth: &Birth, plan: &Plan, joins: &[Join]) -> Result<Infallible> {
    settle(birth, plan, joins, &UserNamespaces::default())?;
    birth.reached(Phase::NamespacesJoined);
    hold_on(birth, plan)
}

/// The same in a user namespace, where a builder sets names and parameters.
pub(crate) fn hold_in_user_namespace(birth: &Birth, plan: &Plan) -> Result<Infallible> {
    drop(take_over(birth)?);
    hold_on(birth, plan)
}

fn hold_on(birth: &Birth, plan: &Plan) -> Result<Infallible> {
    // Before anyone can know of it.
    holder::prepare()?;
    // The copy of the host's mounts takes time for each of them: nobody has to wait for that but who starts it, later.
    let is_told = plan.hooks.is_none();
    if is_told {
        birth.tell_ready(None)?;
    }
    let root = view::enter_nothing(|| hooks::create(birth, plan, None, getpid().as_raw()))?;
    birth.reached(Phase::RootEntered);
    // It says nothing: any descriptor will do, and this one is nothing that whoever gets hold of it could change.
    birth.connect(None, plan.process.uid, || root.as_fd().try_clone_to_owned().at("copy", "the empty root"))?;
    identity::set_limits(&plan.process, plan.personality, None)?;
    let mut process = plan.process.clone();
    process.capabilities = Default::default();
    identity::assume(&process)?;
    prctl::set_no_new_privs().at("forbid", "new privileges")?;
    // What it keeps of the runtime's memory is small, as long as the kernel does not make a huge page of it.
    prctl::set_thp_disable(true).at("forbid huge pages for", "the holder")?;
    if !is_told {
        birth.tell_ready(None)?;
    }
    if !birth.channel.wait_at_gate() {
        loment_sys::clone::exit_now(1);
    }
    birth.reached(Phase::GatePassed);
    // Nothing is executed, so the end of the channel has to be closed by hand.
    fd::close_all_except(&[]).at("close", "everything")?;
    holder::hold()
}

/// A founder of namespaces, which the runtime takes hold of while it waits at its gate. It never passes.
pub(crate) fn found(birth: &Birth, plan: &Plan, joins: &[Join]) -> Result<Infallible> {
    settle(birth, plan, joins, &UserNamespaces::default())?;
    birth.reached(Phase::NamespacesJoined);
    // Its mount namespace is the stub of the pod's containers.
    view::enter_nothing(|| Ok(()))?;
    birth.reached(Phase::RootEntered);
    wait_to_be_ended(birth)
}

/// The same in a user namespace, where a builder sets names and parameters. A mount namespace that belongs to that would
/// be no stub.
pub(crate) fn found_in_user_namespace(birth: &Birth) -> Result<Infallible> {
    drop(take_over(birth)?);
    wait_to_be_ended(birth)
}

fn wait_to_be_ended(birth: &Birth) -> Result<Infallible> {
    birth.tell_ready(None)?;
    birth.channel.wait_at_gate();
    loment_sys::clone::exit_now(0)
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
