//! Another process of a container.

use std::{
    convert::Infallible,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::personality::Persona,
};

use super::{
    Inhabited,
    birth::Birth,
    console::Console,
    identity,
    last::{Setting, become_program},
    own_root,
    procfs::ProcFs,
};
use crate::{
    Result,
    container::Io,
    error::Context,
    plan::{namespaces::NEWTIME, process::ProcessPlan},
    seccomp::Filter,
    trace::Phase,
    user_namespace,
};

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
    birth.reached(Phase::NamespacesJoined);
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
