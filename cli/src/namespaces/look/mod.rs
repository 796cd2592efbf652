//! Looks at the machine: who is in which namespace, and what else keeps one. proc_pid_ns(5), proc_pid_mountinfo(5)
//!
//! Not seen: pins in a mount namespace that no process is in; what keeps a pid namespace by a procfs, or an IPC namespace
//! by a mqueue file system, that is mounted somewhere.

mod bundles;
mod descriptors;
mod link;
mod pins;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loment_sys::namespace;
use nix::unistd::{SysconfVar, sysconf};

pub(crate) use self::link::{id_of, open_namespace, set};

use self::link::link;
use super::kind::{Id, Kind};
use super::survey::{Container, Pin, Process, Relations, Set, Survey};
use crate::leaks::processes::{self, parse_cgroups, parse_stat, said};

/// Reads all of it. With `sockets` each socket of each process is asked for its network: a copy of its descriptor is taken
/// for that (pidfd_getfd(2)), so that one that its process closes at this very moment is closed a moment later.
pub(crate) fn look(lab: &Path, sockets: bool) -> anyhow::Result<Survey> {
    let own = set(Path::new("/proc/self/ns"));
    let device = fs::metadata("/proc/self/ns/net").context("examine /proc/self/ns/net")?.dev();
    let mut looker = Looker { sockets, own, device, ..Looker::default() };
    let found = processes::pids().filter_map(|pid| looker.process(pid)).collect::<Vec<_>>();
    let pins = looker.pins(&found)?;
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    let ticks = ticks.context("ask for the clock's ticks")?;
    let uptime = fs::read_to_string("/proc/uptime").context("read /proc/uptime")?;
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).context("read /proc/uptime")?;
    Ok(Survey {
        relations: looker.relations(),
        own: looker.own,
        hidden: looker.hidden,
        pins,
        containers: bundles::named(&found),
        lab: lab.to_owned(),
        now: (seconds * ticks as f64) as u64,
        ticks,
        processes: found,
    })
}

#[derive(Default)]
struct Looker {
    sockets: bool,
    own: Set,
    /// Where a namespace can be opened, as far as its process lives.
    places: BTreeMap<Id, Vec<PathBuf>>,
    /// Those of sockets, for which there is no path.
    held: Vec<(Id, OwnedFd)>,
    hidden: usize,
    /// The device of the file system of namespaces.
    device: u64,
}

impl Looker {
    /// One that ends meanwhile is left out.
    fn process(&mut self, pid: i32) -> Option<Process> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let stat = String::from_utf8_lossy(&fs::read(directory.join("stat")).ok()?).into_owned();
        let (parent, start_time, name) = parse_stat(&stat)?;
        let namespaces = self.set_at(&directory.join("ns"));
        if namespaces.is_empty() {
            // One that is still there is hidden.
            self.hidden += usize::from(processes::start_time(pid) == Some(start_time));
            return None;
        }
        let for_children = self.for_children(&directory, &namespaces);
        let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
        // What it says is believed, and files are read where it says. So it has to be root's, with the machine's own mounts:
        // a container, or a user, may call a program so.
        let is_own = |kind| namespaces.get(&kind).is_some_and(|inode| self.own.get(&kind) == Some(inode));
        let is_shim =
            name.starts_with("containerd-shim") && is_roots(&status) && is_own(Kind::User) && is_own(Kind::Mount);
        let words = if is_shim { fs::read(directory.join("cmdline")).ok() } else { None };
        Some(Process {
            pid,
            parent,
            start_time,
            name,
            cgroups: parse_cgroups(&fs::read_to_string(directory.join("cgroup")).unwrap_or_default()),
            threads: self.threads(pid, &directory, &namespaces),
            namespaces,
            for_children,
            descriptors: self.descriptors(pid, &directory),
            is_first: is_first(&status),
            claim: words.and_then(|words| said(&words)),
        })
    }

    fn set_at(&mut self, directory: &Path) -> Set {
        let found = set(directory);
        found.iter().for_each(|(&kind, &inode)| self.seen(Id { kind, inode }, directory.join(kind.file())));
        found
    }

    fn seen(&mut self, id: Id, path: PathBuf) {
        /// More than one, because their processes may end before they are opened.
        const ENOUGH: usize = 8;
        let places = self.places.entry(id).or_default();
        if places.len() < ENOUGH {
            places.push(path);
        }
    }

    fn for_children(&mut self, directory: &Path, own: &Set) -> Set {
        let mut found = Set::new();
        for kind in Kind::FOR_CHILDREN {
            let path = directory.join(format!("ns/{kind}_for_children"));
            if let Some(id) = link(&path).filter(|id| own.get(&kind) != Some(&id.inode)) {
                found.insert(kind, id.inode);
                self.seen(id, path);
            }
        }
        found
    }

    fn threads(&mut self, pid: i32, directory: &Path, own: &Set) -> BTreeMap<i32, Set> {
        let entries = fs::read_dir(directory.join("task")).into_iter().flatten().flatten();
        let tids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let mut found = BTreeMap::new();
        for tid in tids.into_iter().filter(|tid| *tid != pid) {
            let directory = directory.join(format!("task/{tid}/ns"));
            let mut elsewhere = set(&directory);
            elsewhere.retain(|kind, inode| own.get(kind) != Some(inode));
            elsewhere.iter().for_each(|(&kind, &inode)| self.seen(Id { kind, inode }, directory.join(kind.file())));
            if !elsewhere.is_empty() {
                found.insert(tid, elsewhere);
            }
        }
        found
    }

    /// The pins in each mount namespace that somebody is in.
    fn pins(&mut self, processes: &[Process]) -> anyhow::Result<Vec<Pin>> {
        let table = fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let own = self.own.get(&Kind::Mount).copied();
        let mut done: BTreeSet<u64> = own.into_iter().collect();
        let mut found: Vec<Pin> =
            pins::pins(&table).map(|(namespace, at)| Pin { namespace, at, elsewhere: None }).collect();
        for process in processes {
            let sets = std::iter::once((process.pid, &process.namespaces))
                .chain(process.threads.iter().map(|(tid, set)| (*tid, set)));
            for (tid, set) in sets {
                let Some(mounts) = set.get(&Kind::Mount).filter(|mounts| !done.contains(mounts)) else { continue };
                let root = PathBuf::from(format!("/proc/{}/task/{tid}", process.pid));
                let Ok(table) = fs::read(root.join("mountinfo")) else { continue };
                done.insert(*mounts);
                let elsewhere = Some((process.pid, process.name.clone()));
                for (namespace, at) in pins::pins(&table) {
                    let inside = at.strip_prefix("/").unwrap_or(&at);
                    self.seen(namespace, root.join("root").join(inside));
                    found.push(Pin { namespace, at, elsewhere: elsewhere.clone() });
                }
            }
        }
        for pin in found.iter().filter(|pin| pin.elsewhere.is_none()) {
            self.seen(pin.namespace, pin.at.clone());
        }
        Ok(found)
    }

    /// Owner and parent of each that was seen, and of those: a user namespace may be there for what belongs to it alone.
    fn relations(&mut self) -> BTreeMap<Id, Relations> {
        let mut todo = std::mem::take(&mut self.held);
        for (id, places) in &self.places {
            let opened = places.iter().filter_map(|path| open_namespace(path).ok());
            // Another one may have come to the same place meanwhile.
            let mut right = opened.filter(|fd| id_of(fd.as_fd(), id.kind) == Ok(*id));
            todo.extend(right.next().map(|fd| (*id, fd)));
        }
        let mut found = BTreeMap::new();
        while let Some((id, fd)) = todo.pop() {
            if found.contains_key(&id) {
                continue;
            }
            let mut related = |answer: nix::Result<OwnedFd>, kind: Kind| {
                let fd = answer.ok()?;
                let id = id_of(fd.as_fd(), kind).ok()?;
                todo.push((id, fd));
                Some(id.inode)
            };
            let relations = Relations {
                owner: related(namespace::owner(fd.as_fd()), Kind::User),
                parent: related(namespace::parent(fd.as_fd()), id.kind),
                maker: namespace::maker(fd.as_fd()).ok(),
            };
            found.insert(id, relations);
        }
        found
    }
}

/// Whether root has started it: `Uid:` has the real, effective, saved and file system's.
fn is_roots(status: &str) -> bool {
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or("-");
    uids.split_ascii_whitespace().all(|uid| uid == "0")
}

/// Whether a process is the first one of its pid namespace.
pub(crate) fn is_first_of_its(pid: i32) -> bool {
    is_first(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

/// `NSpid:` has the pid in each pid namespace, that of the process itself last.
fn is_first(status: &str) -> bool {
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    pids.split_ascii_whitespace().next_back() == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_pid_namespace_is_told() {
        assert!(is_first("Name:\tpause\nNSpid:\t812\t1\nNSpgid:\t812\t1\n"));
        assert!(!is_first("Name:\tsh\nNSpid:\t812\t11\n"));
        assert!(!is_first(""));
    }

    #[test]
    fn a_program_that_a_user_has_started_is_no_shim() {
        assert!(is_roots("Name:\tshim\nUid:\t0\t0\t0\t0\n"));
        assert!(!is_roots("Uid:\t1000\t0\t0\t0\n") && !is_roots("Name:\tx\n"));
    }
}
