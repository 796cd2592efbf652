//! The process before a container's init where init cannot be the runtime's direct clone: with a user namespace, whose
//! other namespaces must be made by a process that is in it already, or new clocks, which must be set before anyone is
//! in them. It clones init as its own sibling (`CLONE_PARENT`), so that init is the runtime's child as ever, and leaves.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    os::fd::AsFd,
    path::Path,
};

use loment_sys::clone;
use nix::{
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    unistd::write,
};

use super::{Birth, Join, identity, procfs::ProcFs};
use crate::{
    Result,
    container::Io,
    error::{self, Context},
    plan::{Plan, namespaces::NEWTIME},
    user_namespace::{UserNamespace, UserNamespaces},
};

/// Prepares what init is born into, clones init, which runs `child`, and hands its pidfd to the parent.
pub(crate) fn carry(
    birth: &Birth,
    plan: &Plan,
    joins: &[Join],
    users: &UserNamespaces,
    child: impl FnOnce(&Birth) -> Result<Infallible>,
) -> Result<Infallible> {
    let namespaces = joins.iter().map(|join| join.namespace.as_fd());
    let for_init = birth.taker().into_iter().chain(birth.cgroup_directory());
    birth.begin(&namespaces.chain(users.descriptors()).chain(for_init).collect::<Vec<_>>())?;
    let new = plan.namespaces.new - CloneFlags::CLONE_NEWNS - CloneFlags::CLONE_NEWUSER;
    let proc = ProcFs::open()?;
    // Opened as the host's root, whose the file is.
    let clocks = match plan.clocks.is_empty() {
        true => None,
        false => Some(proc.file(Path::new("self/timens_offsets"), OFlag::O_WRONLY).at("open", "the clocks' offsets")?),
    };
    let mut with_init = new - CloneFlags::CLONE_NEWCGROUP - NEWTIME;
    if let Some(user) = users.container() {
        leave_host(birth, plan, &proc, user)?;
        for join in joins {
            setns(&join.namespace, join.kind).at("join namespace", join.path.display())?;
        }
        // A pid namespace begins with its first process; the cgroup namespace's root is the cgroup that we are in.
        with_init = new & CloneFlags::CLONE_NEWPID;
        unshare(new - with_init - NEWTIME).at("make namespaces in", "the user namespace")?;
    }
    if new.contains(NEWTIME) {
        unshare(NEWTIME).at("make", "a time namespace")?;
    }
    if let Some(clocks) = clocks {
        write(&clocks, plan.clocks.as_bytes()).at("set the clocks", plan.clocks.trim_end())?;
    }
    drop(proc);
    // Init says nothing before the parent has been told that it is there.
    let (mut told, tell) = std::io::pipe().at("make", "a pipe")?;
    let mut tell = Some(tell);
    let init = || {
        drop(tell.take());
        match told.read(&mut [0; 1]) {
            Ok(1) => birth.run(child),
            _ => 1,
        }
    };
    let born = clone::clone3(clone::PARENT | with_init.bits() as u64, None, init);
    let (_, init) = error::born(born, "clone", "the container's process")?;
    birth.channel.born(init.as_fd())?;
    tell.map_or(Ok(()), |mut tell| tell.write_all(b"B")).at("wake", "the container's process")?;
    clone::exit_now(0)
}

/// The last that is done with the host's privileges, and on behalf of init, who will have none.
fn leave_host(birth: &Birth, plan: &Plan, proc: &ProcFs, user: &UserNamespace) -> Result<()> {
    proc.set_oom_score_adj(plan.process.oom_score_adj)?;
    identity::raise_limits(&plan.process)?;
    if let Io::Plain { .. } = &birth.io {
        birth.give_streams(user.maps(), plan.process.uid)?;
    }
    user.enter()
}
