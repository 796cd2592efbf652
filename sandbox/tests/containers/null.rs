//! The null device, which a container's root may not change for the host and for everybody else.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
};
use serde_json::json;

use crate::{secrecy, support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_container_cannot_change_the_hosts_null_device,
    an_exec_cannot_change_the_hosts_null_device,
    a_container_with_its_own_users_cannot_change_the_hosts_null_device,
    a_container_without_a_null_device_has_streams_all_the_same,
    a_stream_of_a_holder_is_nothing_that_could_be_changed,
    a_stream_that_nobody_cares_about_is_the_containers_own_null_device,
];

/// A null device in the place of the host's, in this process's mount namespace: whatever happens to it, the machine's
/// stays as it is.
struct Null {
    node: PathBuf,
    before: (u32, u32, u32, i64, i64),
}

impl Null {
    fn of_the_host(bundle: &Bundle) -> Self {
        let node = bundle.path.join("null");
        mknod(&node, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
        fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
        let none: Option<&str> = None;
        mount(Some(&node), "/dev/null", none, MsFlags::MS_BIND, none).unwrap();
        let before = state(&node);
        Self { node, before }
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        umount2("/dev/null", MntFlags::MNT_DETACH).unwrap();
        if !std::thread::panicking() {
            assert_eq!(state(&self.node), self.before, "mode, owner, group and time of the last change");
        }
    }
}

fn state(node: &Path) -> (u32, u32, u32, i64, i64) {
    let node = fs::metadata(node).unwrap();
    (node.mode(), node.uid(), node.gid(), node.ctime(), node.ctime_nsec())
}

/// Tries to change its standard input and a file that is masked, and uses both.
const TRY: &str = "for file in /proc/self/fd/0 /secret; do busybox chmod 0 $file; busybox chown 7:8 $file; done 2> /tmp/said; \
                   grep -c Read-only /tmp/said; cat /proc/self/fd/0 /secret; echo lost > /secret && echo lost";

fn with_a_secret(mut bundle: Bundle) -> Bundle {
    fs::write(bundle.rootfs().join("secret"), "secret").unwrap();
    bundle.spec["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/secret"));
    bundle
}

fn a_container_cannot_change_the_hosts_null_device() {
    let bundle = with_a_secret(Bundle::new(TRY));
    let _null = Null::of_the_host(&bundle);
    assert_eq!(bundle.output(), "2\nlost\n", "the mask stays as it is, and swallows what is written");
}

fn an_exec_cannot_change_the_hosts_null_device() {
    let bundle = with_a_secret(Bundle::new("sleep 100"));
    let _null = Null::of_the_host(&bundle);
    assert_eq!(bundle.started().exec(TRY), (0, "2\nlost\n".into()));
}

fn a_container_with_its_own_users_cannot_change_the_hosts_null_device() {
    let bundle = with_a_secret(users::bundle("busybox chmod 777 /tmp; sleep 100"));
    let _null = Null::of_the_host(&bundle);
    let running = bundle.started();
    let (_, text) = running.exec(TRY);
    assert!(text.ends_with("lost\n"), "{text}");
}

/// In the place of /dev a volume without any.
fn a_container_without_a_null_device_has_streams_all_the_same() {
    let mut bundle = with_a_secret(Bundle::new("sleep 100"));
    let volume = bundle.path.join("volume");
    fs::create_dir_all(volume.join("pts")).unwrap();
    fs::create_dir_all(volume.join("mqueue")).unwrap();
    bundle.spec["mounts"][1] = json!({"destination": "/dev", "type": "bind", "source": volume, "options": ["bind"]});
    let _null = Null::of_the_host(&bundle);
    let running = bundle.started();
    let look = "for n in 0 1 2; do stat -L -c %t:%T /proc/1/fd/$n; done; stat -L -c %t:%T /proc/self/fd/0";
    assert_eq!(running.exec(look), (0, "1:3\n".repeat(4)));
    assert_eq!(running.exec(TRY), (0, "2\nlost\n".into()));
    fs::write(volume.join("null"), "no device").unwrap();
    assert_eq!(running.exec(look), (0, "1:3\n".repeat(4)), "what is there is not the null device");
    drop(running);
    bundle.spec["process"]["args"][2] = json!(TRY);
    assert_eq!(bundle.output(), "2\nlost\n");
    assert_eq!(fs::read_to_string(volume.join("null")).unwrap(), "no device");
}

/// CAP_SYS_PTRACE is what it takes to get hold of it at all.
fn a_stream_of_a_holder_is_nothing_that_could_be_changed() {
    let bundle = Bundle::new("");
    let _null = Null::of_the_host(&bundle);
    let script = "for n in 0 1 2; do busybox chmod 0 /proc/1/fd/$n; busybox chown 7 /proc/1/fd/$n; done 2>&1; true";
    let text = secrecy::beside_a_holder(script, Some("CAP_SYS_PTRACE"));
    assert_eq!(text.matches("Read-only file system").count(), 6, "{text}");
}

fn a_stream_that_nobody_cares_about_is_the_containers_own_null_device() {
    let look = "readlink /proc/self/fd/0; cat; echo $(stat -L -c '%t:%T %d' /proc/self/fd/0) = $(stat -c '%t:%T %d' /dev/null)";
    for bundle in [Bundle::new(look), users::bundle(look)] {
        let text = bundle.output();
        let (name, same) = text.split_once('\n').unwrap();
        let (stream, node) = same.trim().split_once(" = ").unwrap();
        assert_eq!((name, stream), ("/dev/null", node), "{text}");
    }
}
