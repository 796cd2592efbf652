//! Which cgroup hierarchies are mounted, from the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use crate::controller::{Controller, Controllers};

/// Where cgroups are mounted, or where the directory is in which they are.
pub(crate) const PLACE: &str = "/sys/fs/cgroup";

/// What is mounted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    pub(crate) v1: Vec<V1Mount>,
    pub(crate) v2: Option<PathBuf>,
}

/// One v1 hierarchy: controllers that are mounted together, or a name (`name=systemd`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct V1Mount {
    pub(crate) controllers: Controllers,
    pub(crate) name: Option<String>,
    pub(crate) mount_point: PathBuf,
}

/// Lines that do not have the documented form are passed over: another file system's line must not keep a pod from
/// starting.
pub(crate) fn parse(mountinfo: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        match parse_line(line) {
            Some(Line::V1(mount)) => add_v1(&mut mounts.v1, mount),
            Some(Line::V2(path)) if mounts.v2.as_deref().is_none_or(|old| is_better(&path, old)) => {
                mounts.v2 = Some(path);
            }
            _ => {}
        }
    }
    // Beside v1, v2 is in its usual place, or it is not what runtimes work with: runc and systemd do not look elsewhere.
    if mounts.v1.iter().any(|mount| !mount.controllers.is_empty()) {
        mounts.v2 = mounts.v2.filter(|path| path.starts_with(PLACE));
    }
    // A v2 machine may carry named v1 hierarchies for somebody's bookkeeping; they limit nothing.
    if mounts.v2.is_some() && mounts.v1.iter().all(|m| m.controllers.is_empty()) {
        mounts.v1.clear();
    }
    mounts
}

enum Line {
    V1(V1Mount),
    V2(PathBuf),
}

fn parse_line(line: &str) -> Option<Line> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    if kind != "cgroup" && kind != "cgroup2" {
        return None;
    }
    let mount_point = unescape(left.split(' ').nth(4)?.as_bytes());
    if kind == "cgroup2" {
        return Some(Line::V2(mount_point));
    }
    let options = right.nth(1)?;
    let name = options.split(',').find_map(|o| o.strip_prefix("name=")).map(str::to_owned);
    let controllers: Controllers = options.split(',').filter_map(Controller::from_name).collect();
    (name.is_some() || !controllers.is_empty()).then_some(Line::V1(V1Mount { controllers, name, mount_point }))
}

/// A hierarchy can be mounted in several places; each is used once.
fn add_v1(mounts: &mut Vec<V1Mount>, new: V1Mount) {
    match mounts.iter_mut().find(|m| m.controllers == new.controllers && m.name == new.name) {
        Some(old) if is_better(&new.mount_point, &old.mount_point) => *old = new,
        Some(_) => {}
        None => mounts.push(new),
    }
}

/// The usual place wins over wherever else the same hierarchy is mounted.
fn is_better(new: &Path, old: &Path) -> bool {
    new.starts_with(PLACE) && !old.starts_with(PLACE)
}

/// A path in proc_pid_mountinfo(5), where the kernel writes space, tab, newline and backslash as three octal digits.
pub fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEBIAN_12: &str = "\
22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
26 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
    const UBUNTU_20_04: &str = "\
33 24 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
35 33 0:30 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
38 33 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
39 33 0:34 / /sys/fs/cgroup/net_cls,net_prio rw,relatime shared:16 - cgroup cgroup rw,net_cls,net_prio
40 33 0:35 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory
";
    const ONE_MOUNT_EACH: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn points(mounts: &Mounts) -> Vec<&str> {
        mounts.v1.iter().filter_map(|m| m.mount_point.to_str()).collect()
    }

    #[test]
    fn debian_12_is_v2_only() {
        let mounts = parse(DEBIAN_12);
        assert_eq!(mounts, Mounts { v1: vec![], v2: Some("/sys/fs/cgroup".into()) });
    }

    #[test]
    fn ubuntu_20_04_is_hybrid_with_controllers_mounted_together() {
        let mounts = parse(UBUNTU_20_04);
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(
            points(&mounts),
            [
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/net_cls,net_prio",
                "/sys/fs/cgroup/memory"
            ]
        );
        assert_eq!(mounts.v1[0].name.as_deref(), Some("systemd"));
        assert_eq!(mounts.v1[1].controllers, [Controller::Cpu, Controller::Cpuacct].into_iter().collect());
    }

    #[test]
    fn each_controller_may_be_a_mount_of_its_own() {
        let mounts = parse(ONE_MOUNT_EACH);
        assert_eq!(mounts.v1.len(), 4);
        assert_eq!(mounts.v1[2].controllers, [Controller::Freezer].into_iter().collect());
        assert!(mounts.v2.is_some());
    }

    #[test]
    fn nothing_mounted_is_nothing_found() {
        assert_eq!(parse(""), Mounts::default());
        assert_eq!(parse("28 1 8:1 / / rw - ext4 /dev/sda1 rw\n"), Mounts::default());
    }

    #[test]
    fn a_hierarchy_mounted_twice_is_used_once_and_at_the_usual_place() {
        let twice = "\
50 23 0:29 / /mnt/other rw - cgroup cgroup rw,cpu
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
51 23 0:29 / /mnt/third rw - cgroup cgroup rw,cpu
";
        assert_eq!(points(&parse(twice)), ["/sys/fs/cgroup/cpu"]);
    }

    #[test]
    fn a_named_hierarchy_beside_v2_does_not_make_the_machine_v1() {
        let text = format!("{DEBIAN_12}60 26 0:40 / /run/elogind rw - cgroup elogind rw,name=elogind\n");
        assert_eq!(parse(&text).v1, []);
    }

    #[test]
    fn v2_in_another_place_does_not_make_a_v1_machine_hybrid() {
        let text = ONE_MOUNT_EACH.replace("/sys/fs/cgroup/unified", "/run/cilium/cgroupv2");
        let mounts = parse(&text);
        assert_eq!((mounts.v1.len(), mounts.v2), (4, None));
    }

    #[test]
    fn escaped_characters_of_a_mount_point_are_read() {
        let mounts = parse("1 1 0:1 / /a\\040b\\134c rw - cgroup2 x rw\n");
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/a b\\c")));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s).{0,400}", tail in "[ -~]{0,80}") {
            parse(&text);
            parse(&format!("1 1 0:1 / {tail} - cgroup {text} {tail}"));
        }
    }
}
