//! Which cgroup hierarchies are mounted where everybody mounts them, without reading the table of all mounts: that takes
//! the kernel time for each mount of the machine, of which every pod brings some.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};

use crate::{
    controller::{Controller, Controllers},
    mountinfo::{Mounts, PLACE, V1Mount},
};

/// A hierarchy in `/proc/PID/cgroup`. cgroups(7)
#[derive(Debug, PartialEq, Eq)]
enum Hierarchy<'a> {
    /// Controllers of v1 that are mounted together, with the name of the directory, or a name (`name=systemd`).
    V1 { controllers: Controllers, name: Option<&'a str>, directory: &'a str },
    /// v2.
    V2,
}

/// All hierarchies of the machine, if each of them is at its place. `cgroup` is the text of `/proc/self/cgroup`.
pub(crate) fn find(cgroup: &str) -> Option<Mounts> {
    arrange(&parse(cgroup)?, |path| statfs(path).ok().map(|found| found.filesystem_type()))
}

fn parse(cgroup: &str) -> Option<Vec<Hierarchy<'_>>> {
    cgroup.lines().map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Hierarchy<'_>> {
    let directory = line.split(':').nth(1)?;
    if directory.is_empty() {
        return Some(Hierarchy::V2);
    }
    if let Some(name) = directory.strip_prefix("name=") {
        return Some(Hierarchy::V1 { controllers: Controllers::default(), name: Some(name), directory: name });
    }
    let controllers: Option<Controllers> = directory.split(',').map(Controller::from_name).collect();
    // One that is not known may be mounted with one that is.
    Some(Hierarchy::V1 { controllers: controllers?, name: None, directory })
}

fn arrange(hierarchies: &[Hierarchy<'_>], kind: impl Fn(&Path) -> Option<FsType>) -> Option<Mounts> {
    let place = Path::new(PLACE);
    let is = |path: &Path, magic: FsType| kind(path) == Some(magic);
    let has_controllers =
        |one: &Hierarchy<'_>| matches!(one, Hierarchy::V1 { controllers, .. } if !controllers.is_empty());
    if !hierarchies.iter().any(has_controllers) {
        // Those with a name are for somebody's bookkeeping; they limit nothing.
        return is(place, CGROUP2_SUPER_MAGIC).then(|| Mounts { v1: Vec::new(), v2: Some(place.to_owned()) });
    }
    if !is(place, TMPFS_MAGIC) {
        return None;
    }
    let mut mounts = Mounts::default();
    for hierarchy in hierarchies {
        match hierarchy {
            // Beside v1 it is in this place, or it is not what runtimes work with: runc and systemd do not look elsewhere.
            Hierarchy::V2 => {
                mounts.v2 = Some(place.join("unified")).filter(|path| is(path, CGROUP2_SUPER_MAGIC));
            }
            Hierarchy::V1 { controllers, name, directory } => {
                let mount_point: PathBuf = place.join(directory);
                if !is(&mount_point, CGROUP_SUPER_MAGIC) {
                    return None;
                }
                mounts.v1.push(V1Mount { controllers: *controllers, name: name.map(str::to_owned), mount_point });
            }
        }
    }
    Some(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo;

    const HYBRID: &str = "4:memory:/\n3:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/init.scope\n";

    fn found(cgroup: &str, there: &[(&str, FsType)]) -> Option<Mounts> {
        let kind = |path: &Path| there.iter().find(|(at, _)| Path::new(at) == path).map(|(_, kind)| *kind);
        arrange(&parse(cgroup)?, kind)
    }

    fn hybrid() -> Vec<(&'static str, FsType)> {
        vec![
            (PLACE, TMPFS_MAGIC),
            ("/sys/fs/cgroup/memory", CGROUP_SUPER_MAGIC),
            ("/sys/fs/cgroup/cpu,cpuacct", CGROUP_SUPER_MAGIC),
            ("/sys/fs/cgroup/systemd", CGROUP_SUPER_MAGIC),
            ("/sys/fs/cgroup/unified", CGROUP2_SUPER_MAGIC),
        ]
    }

    #[test]
    fn v2_alone_is_at_its_place() {
        let expected = Mounts { v1: Vec::new(), v2: Some(PLACE.into()) };
        assert_eq!(found("0::/a\n", &[(PLACE, CGROUP2_SUPER_MAGIC)]), Some(expected));
        assert_eq!(found("0::/a\n", &[]), None);
    }

    #[test]
    fn a_hierarchy_that_only_has_a_name_does_not_make_the_machine_v1() {
        let mounts = found("1:name=elogind:/\n0::/a\n", &[(PLACE, CGROUP2_SUPER_MAGIC)]).unwrap();
        assert!(mounts.v1.is_empty());
    }

    #[test]
    fn each_hierarchy_of_a_hybrid_machine_is_in_the_directory_of_its_name() {
        let mounts = found(HYBRID, &hybrid()).unwrap();
        let points: Vec<&Path> = mounts.v1.iter().map(|mount| mount.mount_point.as_path()).collect();
        let expected = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd"];
        assert_eq!(points, expected.map(Path::new));
        assert_eq!(mounts.v1[1].controllers, [Controller::Cpu, Controller::Cpuacct].into_iter().collect());
        assert_eq!(mounts.v1[2].name.as_deref(), Some("systemd"));
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn what_is_not_at_its_place_has_to_be_looked_for() {
        for missing in 0..hybrid().len() - 1 {
            let mut there = hybrid();
            there.remove(missing);
            assert_eq!(found(HYBRID, &there), None, "without {:?}", hybrid()[missing]);
        }
        assert_eq!(found("5:debug:/\n4:memory:/\n", &hybrid()), None, "a controller that is not known");
        assert_eq!(found("nonsense\n", &hybrid()), None);
    }

    #[test]
    fn v2_beside_v1_is_in_its_place_or_is_not_there() {
        let mut there = hybrid();
        there.pop();
        let mounts = found(HYBRID, &there).unwrap();
        assert_eq!((mounts.v1.len(), mounts.v2), (3, None));
    }

    #[test]
    fn on_this_machine_the_table_of_mounts_says_the_same() {
        let Some(mut found) = find(&std::fs::read_to_string("/proc/self/cgroup").unwrap()) else { return };
        let mut table = mountinfo::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap());
        for mounts in [&mut found, &mut table] {
            mounts.v1.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        }
        assert_eq!(found, table);
    }
}
