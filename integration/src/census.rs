//! What exists in a lab: taken before and after, the difference says what was left behind.
//!
//! A lab has its own mount, network, cgroup and IPC namespaces and is a subreaper, so a census counts the lab's things
//! and nobody else's, on a machine where others work too.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{files, hierarchy, isolate::LAB_DIR, process};

/// The bridge that the first pod makes and that stays, like a node's.
const BRIDGE: &str = "loment0";

/// The directory in which containerd keeps bundles: of each namespace a directory, in which each container has one.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// What exists at one moment. An entry is a phrase: `mount /run/... (overlay)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census(BTreeSet<String>);

impl Census {
    /// Counts what exists below the calling process and in its namespaces, without the processes `own`.
    pub fn take(own: &[u32]) -> Self {
        process::reap_adopted(own);
        let mut found = BTreeSet::new();
        found.extend(processes(own));
        found.extend(mounts());
        found.extend(cgroups());
        found.extend(interfaces());
        found.extend(ipc_objects());
        found.extend(runtime_files(Path::new("/run")));
        found.extend(runtime_files(Path::new("/var/lib/cni/results")));
        let kept = Path::new(LAB_DIR).join("root");
        found.extend([TASKS, "io.containerd.grpc.v1.cri"].into_iter().flat_map(|name| runtime_files(&kept.join(name))));
        found.extend(addresses());
        found
            .extend(["/var/lib/loment/pods", "/var/lib/loment/locks", "/var/log/pods"].into_iter().flat_map(pod_files));
        Self(found)
    }

    /// What exists now and did not then.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }

    /// Takes a census until nothing that counts is left since `before`, at most for `limit`: the end of a process and the
    /// release of its mounts and cgroups take the kernel a moment. Returns what is left.
    pub fn settle(before: &Self, own: &[u32], counts: impl Fn(&str) -> bool, limit: Duration) -> Vec<String> {
        let deadline = Instant::now() + limit;
        loop {
            let mut left = Self::take(own).since(before);
            left.retain(|entry| counts(entry));
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn processes(own: &[u32]) -> Vec<String> {
    process::descendants(nix::unistd::getpid().as_raw())
        .iter()
        .filter(|process| !own.iter().any(|pid| i32::try_from(*pid) == Ok(process.pid)))
        .map(|process| {
            let ended = if process.state == 'Z' { ", ended and not reaped" } else { "" };
            format!("process {}: {}{ended}", process.pid, process::command_line(process))
        })
        .collect()
}

fn mounts() -> Vec<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mountinfo.lines().filter_map(mount_phrase).collect()
}

/// A line of mountinfo in words. The id tells mounts apart that are stacked on one directory.
fn mount_phrase(line: &str) -> Option<String> {
    let mut fields = line.split(' ');
    let (id, mountpoint) = (fields.next()?, fields.nth(3)?);
    let kind = line.split_once(" - ")?.1.split(' ').next()?;
    Some(format!("mount {id} on {mountpoint} ({kind})"))
}

fn cgroups() -> Vec<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut todo: Vec<_> = hierarchy::parse_mountinfo(&mountinfo).into_iter().map(|one| one.mountpoint).collect();
    let mut found = Vec::new();
    while let Some(directory) = todo.pop() {
        for child in files::subdirectories(&directory) {
            found.push(format!("cgroup {}", child.display()));
            todo.push(child);
        }
    }
    found
}

fn interfaces() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()));
    names.filter(|name| name != BRIDGE).map(|name| format!("network interface {name}")).collect()
}

fn ipc_objects() -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["shm", "sem", "msg"] {
        let table = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        found.extend(table.lines().skip(1).map(|line| {
            let id: Vec<&str> = line.split_whitespace().take(2).collect();
            format!("SysV {kind} object {}", id.join(" "))
        }));
    }
    let shared = files::entries(Path::new("/dev/shm"));
    found.extend(shared.iter().map(|file| format!("shared memory {}", file.display())));
    found
}

/// Sockets, pinned namespaces and files below a directory of state, and the directories of pods and containers, which
/// are named by their ids. What the lab itself keeps in [`LAB_DIR`] does not count, containerd's state there does.
fn runtime_files(root: &Path) -> Vec<String> {
    let lab = Path::new(LAB_DIR);
    let mut found = Vec::new();
    for entry in files::entries(root) {
        let inside_lab = root == lab && !entry.ends_with("state");
        // crun keeps the seccomp filters that it has compiled, for the next container.
        let of_the_compared = entry.ends_with(".cache/seccomp");
        if inside_lab || of_the_compared {
            continue;
        }
        let is_directory = entry.is_dir() && !entry.is_symlink();
        if !is_directory {
            found.push(format!("file {}", entry.display()));
        } else if is_id(&entry) || is_of_one(&entry) {
            found.push(format!("directory {}", entry.display()));
        } else {
            found.extend(runtime_files(&entry));
        }
    }
    found
}

/// What `loment` keeps of pods.
fn pod_files(directory: &str) -> Vec<String> {
    files::entries(Path::new(directory)).iter().map(|entry| format!("{}", entry.display())).collect()
}

/// Whether a file is named by a pod's or container's id.
fn is_id(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a directory is of one container, or one sandbox that is held, whatever it is called: it may be empty.
fn is_of_one(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return false };
    [Path::new("/run/loment"), Path::new("/run/loment-ns")].contains(&parent)
        || parent.parent().is_some_and(|directory| directory.ends_with(TASKS))
}

/// Addresses that the host-local plugin has given away: one file each.
fn addresses() -> Vec<String> {
    let directory = Path::new(LAB_DIR).join("ipam/loment-lab");
    let names = files::entries(&directory).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    names.filter(|name| name.parse::<IpAddr>().is_ok()).map(|name| format!("pod address {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_by_its_id_place_and_type() {
        let line = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(mount_phrase(line).as_deref(), Some("mount 41 on /sys/fs/cgroup/unified (cgroup2)"));
        assert_eq!(mount_phrase("short"), None);
    }

    #[test]
    fn a_directory_of_one_container_counts_by_where_it_is() {
        let bundle = Path::new(LAB_DIR).join("state").join(TASKS).join("k8s.io/of-ctr");
        assert!(is_of_one(&bundle) && is_of_one(Path::new("/run/loment/of-runtime")));
        assert!(!is_of_one(bundle.parent().expect("a namespace")) && !is_of_one(&bundle.join("rootfs")));
        assert!(!is_of_one(Path::new("/run/loment")) && !is_of_one(Path::new("/")));
    }

    #[test]
    fn a_file_that_appears_is_left_behind_and_one_that_goes_is_not() {
        let census = |names: &[&str]| Census(names.iter().map(|name| (*name).to_owned()).collect());
        let (before, after) = (census(&["file a", "file b"]), census(&["file b", "file c"]));
        assert_eq!(after.since(&before), ["file c"]);
    }

    #[test]
    fn the_census_sees_a_process_until_it_is_reaped() {
        let before = Census::take(&[]);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("start sleep");
        // By its pid: until execve has finished in the child, its command line may be empty.
        let phrase = format!("process {}:", child.id());
        let left = Census::take(&[]).since(&before);
        assert!(left.iter().any(|found| found.starts_with(&phrase)), "{left:?}");
        child.kill().expect("kill sleep");
        child.wait().expect("reap sleep");
        let left = Census::settle(&before, &[], |_| true, Duration::from_secs(5));
        assert!(!left.iter().any(|found| found.starts_with(&phrase)), "{left:?}");
    }
}
