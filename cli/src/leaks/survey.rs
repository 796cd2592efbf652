//! What a look at the machine has found: facts, of which `judge` makes findings. Nothing here touches the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What exists at one moment, as far as it can be a leftover, or tells whose one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// Socket of the containerd that was asked, as shims name it.
    pub(crate) address: String,
    /// Inode of the mount namespace of this command: the machine's.
    pub(crate) own_mounts: u64,
    /// Directory of containerd's state.
    pub(crate) containerd_state: PathBuf,
    /// Directory of what `loment create` keeps.
    pub(crate) state: PathBuf,
    /// What containerd knows, by its namespace and id.
    pub(crate) known: BTreeMap<String, BTreeMap<String, Names>>,
    /// What of it CRI has made and does not list.
    pub(crate) unlisted: Vec<Unlisted>,
    pub(crate) processes: Vec<Process>,
    pub(crate) bundles: Vec<Bundle>,
    pub(crate) mounts: Vec<Mount>,
    /// Directories of cgroups, by their path below the hierarchies, each once.
    pub(crate) cgroups: BTreeSet<PathBuf>,
    pub(crate) networks: Vec<Network>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) kept: Kept,
}

/// What a pod is called, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Names {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Of a container; empty for a sandbox.
    pub(crate) container: String,
    /// First process, if there is one.
    pub(crate) pid: Option<i32>,
}

/// A container or a sandbox of CRI's that is in none of its lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unlisted {
    pub(crate) id: String,
    /// As in `io.containerd.runc.v2`.
    pub(crate) runtime: String,
    /// Since it was made.
    pub(crate) age: Duration,
    pub(crate) names: Names,
}

/// What a shim's command line says, which its forks have too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Of containerd.
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Clock ticks since boot: with the pid it names a process for ever.
    pub(crate) start_time: u64,
    /// As in `ps -o comm`.
    pub(crate) name: String,
    /// What it says of itself, if it executes the shim's program: the very file, not one that is called so.
    pub(crate) claim: Option<Claim>,
    /// Its cgroups, one for each hierarchy.
    pub(crate) cgroups: BTreeSet<PathBuf>,
    /// Inode of its mount namespace.
    pub(crate) mounts: u64,
    /// Inode of its network namespace.
    pub(crate) network: u64,
    /// Sockets on which it listens; of shims only.
    pub(crate) listens: Vec<PathBuf>,
}

/// The directory that containerd makes for a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    /// Of containerd.
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// Whether something in it says that it is this project's.
    pub(crate) is_ours: bool,
    /// Init of each container that is recorded there: pid and start time.
    pub(crate) inits: Vec<(i32, u64)>,
    /// Ids of the containers recorded there, its own apart.
    pub(crate) members: Vec<String>,
    /// Cgroups recorded there.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Where its shim listens.
    pub(crate) socket: Option<PathBuf>,
    /// The network namespace that its specification names.
    pub(crate) network: Option<PathBuf>,
    pub(crate) names: Names,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its id in mountinfo.
    pub(crate) id: u64,
    pub(crate) at: PathBuf,
    pub(crate) kind: String,
    /// A process of another mount namespace, if it is there: pid and name.
    pub(crate) elsewhere: Option<(i32, String)>,
}

/// A network namespace with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) path: PathBuf,
    /// Of the namespace.
    pub(crate) inode: u64,
}

/// What CNI has noted of a network that it has joined a pod to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// CNI's note.
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    /// The sandbox.
    pub(crate) id: String,
    pub(crate) network: String,
    /// Name of the interface in the pod.
    pub(crate) interface: String,
    pub(crate) namespace_path: Option<PathBuf>,
    /// Interfaces on this machine that are there for it alone.
    pub(crate) peers: Vec<String>,
    pub(crate) names: Names,
}

/// A socket file among those of shims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    /// Whether somebody listens.
    pub(crate) is_answered: bool,
}

/// What `loment create` keeps on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) entries: Vec<Entry>,
    /// Names that somebody is making or deleting a pod of: namespace and name.
    pub(crate) taken: BTreeSet<(String, String)>,
    /// Uids of pods that there are, also of those that have lost their sandbox.
    pub(crate) living: BTreeSet<String>,
    /// Uids of pods that were made through another containerd.
    pub(crate) elsewhere: BTreeSet<String>,
    /// Names of pods by their uids, of those that were deleted lately too.
    pub(crate) names: BTreeMap<String, Names>,
}

/// A file or directory of a pod's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) part: Part,
    pub(crate) path: PathBuf,
    pub(crate) inode: u64,
    pub(crate) names: Names,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// The directory of a pod, with a record.
    #[default]
    Record,
    /// A directory in which no record was written yet.
    Making,
    /// A directory whose removal was cut short.
    Removed,
    /// A sandbox that its client has never let begin. `path` is its directory.
    Unbegun,
    /// The lock of a name.
    Lock,
    /// Logs of a pod whose deletion is on record.
    Logs,
}

impl Survey {
    /// Whether containerd knows this id, in whichever namespace. Cgroups do not tell the namespace.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.known.values().any(|all| all.contains_key(id))
    }

    pub(crate) fn knows_in(&self, namespace: &str, id: &str) -> bool {
        self.known.get(namespace).is_some_and(|all| all.contains_key(id))
    }

    pub(crate) fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// The process and those above it. A pid may be given away while procfs is read, so this may not come to an end by
    /// itself.
    pub(crate) fn ancestry<'a>(&'a self, process: &'a Process) -> impl Iterator<Item = &'a Process> {
        std::iter::successors(Some(process), |one| self.process(one.parent)).take(64)
    }
}

/// The ids that the name of a cgroup may stand for: itself, or what comes behind a `-` in the name of a scope
/// (`cri-containerd-ID.scope`).
pub(crate) fn ids_of(name: &str) -> impl Iterator<Item = &str> {
    let scope = name.strip_suffix(".scope").unwrap_or_default();
    let behind = scope.match_indices('-').filter_map(|(at, _)| scope.get(at + 1..));
    std::iter::once(name).chain(behind).filter(|id| crate::lower::layout::is_id(id))
}

/// Every id on the way to a cgroup.
pub(crate) fn ids_on(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| part.as_os_str().to_str()).flat_map(ids_of)
}

/// Whether it is an id as CRI, docker and podman make them.
pub(crate) fn is_made_up(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_told_by_what_its_name_ends_in() {
        assert_eq!(ids_of("abc").collect::<Vec<_>>(), ["abc"]);
        let found: Vec<&str> = ids_of("cri-containerd-abc.scope").collect();
        assert_eq!(found, ["cri-containerd-abc.scope", "containerd-abc", "abc"]);
        assert_eq!(ids_on(Path::new("/kubepods/pod1/x")).collect::<Vec<_>>(), ["kubepods", "pod1", "x"]);
    }

    #[test]
    fn an_ancestry_that_goes_in_circles_ends() {
        let process = |pid, parent| Process { pid, parent, ..Process::default() };
        let survey = Survey { processes: vec![process(1, 2), process(2, 1)], ..Survey::default() };
        assert!(survey.ancestry(&survey.processes[0]).count() <= 64);
    }
}
