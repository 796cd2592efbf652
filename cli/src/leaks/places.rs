//! Files that belong to containers: bundles, sockets of shims, cgroups, network namespaces with a name.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use loment_sandbox::record;
use serde_json::Value;

use super::processes::SHIM;
use super::survey::{Bundle, Names, Network, Socket};
use crate::lower::layout::is_id;

/// Where containerd keeps the bundles of tasks, below its state directory and, for what is on the disk, below its root.
pub(crate) const TASKS: &str = "io.containerd.runtime.v2.task";
/// Where shims listen, whatever containerd's state directory is.
pub(crate) const SOCKETS: &str = "/run/containerd/s";
/// Where CNI's clients give names to network namespaces.
pub(crate) const NETWORKS: &str = "/run/netns";
/// The longest file of a bundle that is read: a specification with a seccomp profile has some 30 KiB.
const LONGEST: u64 = 8 << 20;

/// What is in a directory by name, and is what `is_it` says; links are not followed.
fn entries(directory: &Path, is_it: impl Fn(&fs::FileType) -> bool) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name().to_str()?.to_owned();
        is_it(&entry.file_type().ok()?).then(|| (entry.path(), name))
    })
}

fn directories(directory: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    entries(directory, fs::FileType::is_dir)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The bundles of all tasks of a containerd.
pub(crate) fn bundles(state: &Path) -> Vec<Bundle> {
    let mut found = Vec::new();
    for (directory, namespace) in directories(&state.join(TASKS)) {
        for (path, id) in directories(&directory).filter(|(_, id)| is_id(id)) {
            found.extend(bundle(path, &namespace, id));
        }
    }
    found
}

fn bundle(path: PathBuf, namespace: &str, id: String) -> Option<Bundle> {
    let inode = fs::symlink_metadata(&path).ok()?.ino();
    let members: Vec<(PathBuf, String)> = directories(&path.join("members")).filter(|(_, id)| is_id(id)).collect();
    let records: Vec<record::Record> = std::iter::once(&path)
        .chain(members.iter().map(|(directory, _)| directory))
        .filter_map(|directory| record::read(directory).ok().flatten())
        .collect();
    let program = read(&path.join("shim-binary-path")).unwrap_or_default();
    let is_linked = fs::symlink_metadata(path.join("loment.member")).is_ok();
    let is_ours = !records.is_empty()
        || !members.is_empty()
        || is_linked
        || Path::new(program.trim()).file_name().is_some_and(|name| name == SHIM);
    let socket = read(&path.join("address")).and_then(|text| Some(PathBuf::from(text.strip_prefix("unix://")?)));
    let spec: Value =
        read(&path.join("config.json")).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Some(Bundle {
        inode,
        namespace: namespace.to_owned(),
        id,
        is_ours,
        inits: records.iter().map(|record| (record.pid, record.start_time)).collect(),
        cgroups: records.into_iter().map(|record| record.cgroup).collect(),
        members: members.into_iter().map(|(_, id)| id).collect(),
        socket,
        network: network_of(&spec),
        names: names_of(&spec),
        path,
    })
}

/// CRI's annotations.
fn names_of(spec: &Value) -> Names {
    let text = |name: &str| spec["annotations"][name].as_str().unwrap_or_default().to_owned();
    Names {
        namespace: text("io.kubernetes.cri.sandbox-namespace"),
        name: text("io.kubernetes.cri.sandbox-name"),
        uid: text("io.kubernetes.cri.sandbox-uid"),
        container: text("io.kubernetes.cri.container-name"),
        pid: None,
    }
}

fn network_of(spec: &Value) -> Option<PathBuf> {
    let namespaces = spec["linux"]["namespaces"].as_array()?;
    let network = namespaces.iter().find(|one| one["type"] == "network")?;
    Some(PathBuf::from(network["path"].as_str()?))
}

/// The sockets of shims.
pub(crate) fn sockets() -> Vec<Socket> {
    let found = entries(Path::new(SOCKETS), fs::FileType::is_socket);
    let socket = |(path, _): (PathBuf, String)| {
        let inode = fs::symlink_metadata(&path).ok()?.ino();
        Some(Socket { is_answered: is_answered(&path), inode, path })
    };
    found.filter_map(socket).collect()
}

/// Whether somebody listens. What is not certain counts as an answer: nothing is done to such a socket.
pub(crate) fn is_answered(path: &Path) -> bool {
    path.symlink_metadata().is_err() || loment_shim::is_answered(path).unwrap_or(true)
}

/// Network namespaces with a name: a file is one only if it is of the kernel's file system for them.
pub(crate) fn networks() -> Vec<Network> {
    let own = fs::metadata("/proc/self/ns/net").map(|file| file.dev()).unwrap_or_default();
    let network = |(path, _): (PathBuf, String)| {
        let file = fs::symlink_metadata(&path).ok()?;
        (file.dev() == own).then(|| Network { inode: file.ino(), path })
    };
    entries(Path::new(NETWORKS), fs::FileType::is_file).filter_map(network).collect()
}

/// Every cgroup below these hierarchies, by its path in them.
pub(crate) fn cgroups<'a>(hierarchies: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for hierarchy in hierarchies {
        let mut todo = vec![hierarchy.to_owned()];
        while let Some(directory) = todo.pop() {
            for (path, _) in directories(&directory) {
                found.extend(path.strip_prefix(hierarchy).ok().map(|path| Path::new("/").join(path)));
                todo.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::disk::tests::Scratch;

    #[test]
    fn a_bundle_is_ours_by_what_is_in_it_and_no_link_is_one() {
        let scratch = Scratch::new("bundles");
        let tasks = scratch.0.join(TASKS).join("k8s.io");
        for id in ["recorded", "replaced", "named", "other"] {
            fs::create_dir_all(tasks.join(id)).unwrap();
        }
        let record = r#"{"id":"recorded","pid":7,"start_time":9,"cgroup":"/pods/x/recorded"}"#;
        fs::write(tasks.join("recorded/loment.json"), record).unwrap();
        fs::write(tasks.join("named/shim-binary-path"), "/usr/local/bin/containerd-shim-loment-v2").unwrap();
        fs::write(tasks.join("other/address"), "unix:///run/containerd/s/0").unwrap();
        let spec = r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":"shop"},
            "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/cni-1"}]}}"#;
        fs::write(tasks.join("recorded/config.json"), spec).unwrap();
        symlink(tasks.join("recorded"), tasks.join("linked")).unwrap();
        let mut found = bundles(&scratch.0);
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let seen: Vec<(&str, bool)> = found.iter().map(|one| (one.id.as_str(), one.is_ours)).collect();
        assert_eq!(seen, [("named", true), ("other", false), ("recorded", true), ("replaced", false)]);
        assert_eq!(found[1].socket.as_deref(), Some(Path::new("/run/containerd/s/0")));
        let recorded = &found[2];
        assert_eq!((recorded.inits.as_slice(), recorded.names.name.as_str()), ([(7, 9)].as_slice(), "web"));
        assert_eq!(recorded.network.as_deref(), Some(Path::new("/run/netns/cni-1")));
    }

    #[test]
    fn a_socket_that_nobody_listens_on_refuses_and_a_file_is_left_alone() {
        let scratch = Scratch::new("answered");
        let (socket, file) = (scratch.0.join("s"), scratch.0.join("gone"));
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(is_answered(&socket));
        drop(listener);
        assert!(!is_answered(&socket));
        assert!(is_answered(&file), "what is not there is no leftover");
    }

    #[test]
    fn a_link_among_the_names_of_networks_is_no_network() {
        assert!(networks().iter().all(|network| !network.path.is_symlink()));
    }
}
