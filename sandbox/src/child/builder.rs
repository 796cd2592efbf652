//! The process that builds the root of a container with a user namespace: with the privileges of the host, because
//! overlays, volumes and devices take them, and in the container's other namespaces, because the kernel's own file
//! systems belong to those. It hands the finished mount namespace to init and leaves.
//!
//! Before that it enters the user namespace and copies the mount namespace: the copy belongs to the container, and the
//! kernel locks in it what came from outside. Not even the container's root can take a mask off, or make writable what
//! is read-only. mount_namespaces(7), "Restrictions on mount namespaces"

use std::{
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::{
    clone,
    mount::{self, Propagation},
    net,
};
use nix::sched::{CloneFlags, setns, unshare};

use super::{
    Birth, gather, hooks, identity,
    procfs::ProcFs,
    room::Room,
    root::{Links, Root},
    view,
};
use crate::{
    Result,
    channel::Giver,
    container::Io,
    error::Context,
    plan::{Plan, View},
    user_namespace::UserNamespaces,
};

/// Builds for `init`, a pidfd, and gives it to `giver`'s other end: the mount namespace, if it is to have a root, and in any
/// case a procfs, when all names and parameters are set.
pub(crate) fn build(
    birth: &Birth,
    plan: &Plan,
    has_root: bool,
    init: &OwnedFd,
    users: &UserNamespaces,
    giver: &Giver,
) -> Result<Infallible> {
    let keep = [init.as_fd(), giver.as_fd()].into_iter().chain(birth.cgroup_directory()).chain(users.descriptors());
    birth.shed(&keep.collect::<Vec<_>>())?;
    let kinds =
        [CloneFlags::CLONE_NEWNET, CloneFlags::CLONE_NEWIPC, CloneFlags::CLONE_NEWUTS, CloneFlags::CLONE_NEWCGROUP];
    let kinds =
        kinds.into_iter().filter(|kind| plan.namespaces.has(*kind)).fold(CloneFlags::empty(), |all, one| all | one);
    if !kinds.is_empty() {
        setns(init, kinds).at("join the namespaces of", "the container's process")?;
    }
    if plan.namespaces.new.contains(CloneFlags::CLONE_NEWNET) {
        net::loopback_up().at("bring up", "the loopback interface")?;
    }
    let proc = ProcFs::open()?;
    identity::set_names(plan, &proc)?;
    // Those of an IPC namespace take the root of its user namespace, all others the host's.
    let (of_root, others): (Vec<_>, Vec<_>) = plan.sysctls.iter().partition(|sysctl| sysctl.is_ipc());
    proc.set_sysctls(others)?;
    let root = match has_root {
        true => Some(build_root(birth, plan, users, proc.innermost_pid(init.as_fd())?)?),
        false => None,
    };
    if let Some(user) = users.container() {
        user.enter()?;
    }
    proc.set_sysctls(of_root)?;
    if let Some(root) = root {
        unshare(CloneFlags::CLONE_NEWNS).at("make", "the container's mount namespace")?;
        share_again(&root, &plan.view)?;
        giver.give(proc.own_namespace("mnt").at("open", "the container's mount namespace")?.as_fd())?;
    }
    giver.give(proc.as_fd())?;
    clone::exit_now(0)
}

/// `init` is the pid of the container's process, as the container sees it. Hooks of the container run here, with the
/// host's privileges, as for a container without users of its own.
fn build_root(birth: &Birth, plan: &Plan, users: &UserNamespaces, init: i32) -> Result<Root> {
    let _room = Room::of(&plan.view)?;
    let parts = gather::gather(&plan.view, &birth.cgroups(plan), users)?;
    let hooks = |root: BorrowedFd<'_>| hooks::create(birth, plan, Some(root), init);
    let (root, open) = view::enter(&plan.view, parts, &plan.process.cwd, users.maps(), None, hooks)?;
    if matches!(birth.io, Io::Terminal) && plan.view.devices.is_some() {
        // Where init, who may not make it in a read-only root, shows the terminal.
        root.make_file(Path::new("dev/console"), Links::Refuse)?;
    }
    view::seal(&root, &plan.view, open)?;
    Ok(root)
}

/// The copy for the container has made slaves of all shared mounts, so that nothing goes from there to the host. Below
/// the container, for namespaces that it makes, they are shared as the spec says.
fn share_again(root: &Root, view: &View) -> Result<()> {
    let is_shared = |(propagation, _): &&(Propagation, _)| *propagation == Propagation::Shared;
    let flags = nix::fcntl::OFlag::O_PATH;
    for plan in &view.mounts {
        let Some((propagation, recursion)) = plan.propagation.iter().rfind(is_shared) else { continue };
        let shown = || format!("/{}", plan.target.display());
        let place = root.open(&plan.target, Links::Follow, flags).at("find", shown())?;
        let recursive = *recursion == crate::plan::options::Recursion::All;
        mount::set_attributes(place.as_fd(), recursive, 0, 0, Some(*propagation)).at("share", shown())?;
    }
    Ok(())
}
