//! What a look at the machine has found. Nothing here touches the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::kind::{Id, Kind};
use crate::leaks::survey::Claim;

/// The namespaces of a process or thread.
pub(crate) type Set = BTreeMap<Kind, u64>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Those of this command.
    pub(crate) own: Set,
    pub(crate) processes: Vec<Process>,
    pub(crate) pins: Vec<Pin>,
    /// Of each namespace that could be opened.
    pub(crate) relations: BTreeMap<Id, Relations>,
    /// Containers and pods by id, as their bundles tell.
    pub(crate) containers: BTreeMap<String, Container>,
    /// Where sandboxes are pinned.
    pub(crate) lab: PathBuf,
    /// Clock ticks since boot.
    pub(crate) now: u64,
    /// Clock ticks of a second.
    pub(crate) ticks: u64,
    /// Processes that could not be looked into, which takes root.
    pub(crate) hidden: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
    /// As in `ps -o comm`.
    pub(crate) name: String,
    pub(crate) cgroups: BTreeSet<PathBuf>,
    pub(crate) namespaces: Set,
    /// Those that its children will be born in, where they are not its own.
    pub(crate) for_children: Set,
    /// Threads that are somewhere else than the first: by tid.
    pub(crate) threads: BTreeMap<i32, Set>,
    pub(crate) descriptors: Vec<Descriptor>,
    /// Whether it is the first process of its pid namespace.
    pub(crate) is_first: bool,
    /// What a shim says of itself.
    pub(crate) claim: Option<Claim>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) number: i32,
    pub(crate) namespace: Id,
    /// It is a socket of that network, and not the namespace itself.
    pub(crate) is_socket: bool,
}

/// A mount that keeps a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) namespace: Id,
    pub(crate) at: PathBuf,
    /// A process of the mount namespace that it is in, if that is another one: pid and name.
    pub(crate) elsewhere: Option<(i32, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relations {
    /// The user namespace whose root may change it; `None`: one above this command's.
    pub(crate) owner: Option<u64>,
    /// Of a pid or user namespace: the one it was made in, as far as that can be seen from here.
    pub(crate) parent: Option<u64>,
    /// Of a user namespace: who has made it.
    pub(crate) maker: Option<u32>,
}

/// What a bundle tells of its container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// Kubernetes namespace of the pod.
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// Empty for a sandbox.
    pub(crate) name: String,
}
