//! What a container is shown of the host, and what it can never reach.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use loment_sandbox::container::RootfsMount;
use serde_json::{Value, json};

use crate::{support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_volume_is_shared_and_may_be_readonly,
    a_file_is_mounted_on_a_file,
    a_missing_source_is_named,
    recursive_attributes_reach_what_is_below,
    options_of_a_tmpfs_apply,
    a_tmpfs_begins_with_what_it_covers,
    a_bind_root_may_be_readonly,
    a_link_in_the_image_cannot_lead_a_mount_outside,
    what_a_dangling_link_leads_to_is_made_inside,
    links_that_lead_nowhere_are_refused,
    a_tmpfs_is_read_only_when_everything_is_in_it,
    proc_must_be_a_real_directory,
    nothing_but_procfs_covers_proc,
    a_file_of_procfs_that_is_known_may_be_covered,
    a_working_directory_behind_a_magic_link_is_refused,
    a_shared_volume_propagates_only_if_asked_to,
    the_runtimes_own_program_is_not_executed,
];

/// A directory of the host to be mounted.
fn volume(bundle: &Bundle) -> String {
    let volume = bundle.path.join("volume");
    fs::create_dir_all(volume.join("below")).unwrap();
    fs::write(volume.join("file"), "host\n").unwrap();
    volume.display().to_string()
}

fn bind(destination: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn a_volume_is_shared_and_may_be_readonly() {
    let mut bundle = Bundle::new("cat /new/place/file; echo mine > /new/place/mine; touch /ro/x");
    let volume = volume(&bundle);
    bundle.mount(bind("/new/place", &volume, &["rbind", "rprivate", "rw"]));
    bundle.mount(bind("/ro", &volume, &["rbind", "rprivate", "ro"]));
    let (code, text) = bundle.run();
    assert_eq!((code, text.as_str()), (1, "host\ntouch: /ro/x: Read-only file system\n"));
    assert_eq!(fs::read_to_string(format!("{volume}/mine")).unwrap(), "mine\n");
}

fn a_file_is_mounted_on_a_file() {
    let mut bundle = Bundle::new("cat /etc/hosts; cat /a/b/c; readlink /etc/passwd || cat /etc/passwd");
    let file = format!("{}/file", volume(&bundle));
    for destination in ["/etc/hosts", "/a/b/c", "/etc/passwd"] {
        bundle.mount(bind(destination, &file, &["bind", "ro"]));
    }
    assert_eq!(bundle.output(), "host\nhost\nhost\n");
    let passwd = fs::read_to_string(bundle.rootfs().join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("root:"), "the image's own is covered, not changed");
}

fn a_missing_source_is_named() {
    let mut bundle = Bundle::new("true");
    bundle.mount(bind("/x", "/no/such/volume", &["rbind"]));
    let error = bundle.refused();
    assert!(error.contains("bind mount /no/such/volume: No such file"), "{error}");
}

fn recursive_attributes_reach_what_is_below() {
    let inner = Bundle::new("");
    let mut bundle = Bundle::new("touch /a/proc/x; touch /b/proc/x; touch /a/y && rm /a/y; touch /b/y");
    // A tree with a mount in it, without mounting anything on the host: another container's view through /proc.
    let mut keeper = Bundle::new("sleep 100");
    keeper.mount(json!({"destination": "/tree/proc", "type": "tmpfs", "source": "tmpfs"}));
    let keeper = keeper.started();
    let tree = format!("/proc/{}/root/tree", keeper.0.init().pid());
    bundle.mount(bind("/a", &tree, &["rbind", "rw"]));
    bundle.mount(bind("/b", &tree, &["rbind", "rro"]));
    drop(inner);
    match bundle.create(no_io()) {
        // A tree of another mount namespace can be copied only by who may enter it, from Linux 6.15.
        Err(error) => assert!(error.to_string().contains("Invalid argument"), "{error}"),
        Ok(mut container) => {
            container.delete().unwrap();
            let (_, text) = bundle.run();
            assert_eq!(text.matches("Read-only").count(), 2, "{text}");
        }
    }
}

fn options_of_a_tmpfs_apply() {
    let mut bundle = Bundle::new("stat -c %a /t; grep ' /t ' /proc/mounts; cp /bin/busybox /t/x; /t/x true");
    bundle.mount(json!({
        "destination": "/t", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "noexec", "noatime", "mode=1770", "size=4096k"]
    }));
    let (code, text) = bundle.run();
    assert_eq!(code, 126, "{text}");
    assert!(text.starts_with("1770\ntmpfs /t tmpfs rw,nosuid,nodev,noexec,noatime,size=4096k,mode=1770"), "{text}");
}

fn a_tmpfs_begins_with_what_it_covers() {
    let mut bundle =
        Bundle::new("cat /work/a/file; readlink /work/link; stat -c '%a %u:%g' /work/a/file; rm -r /work/a");
    let work = bundle.rootfs().join("work");
    fs::create_dir(work.join("a")).unwrap();
    fs::write(work.join("a/file"), "text\n").unwrap();
    fs::set_permissions(work.join("a/file"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(work.join("a/file"), Some(3), Some(4)).unwrap();
    symlink("/etc/passwd", work.join("link")).unwrap();
    let options = ["tmpcopyup"];
    bundle.mount(json!({"destination": "/work", "type": "tmpfs", "source": "tmpfs", "options": options}));
    assert_eq!(bundle.output(), "text\n/etc/passwd\n640 3:4\n");
    assert!(exists(work.join("a/file")));
}

fn a_bind_root_may_be_readonly() {
    let mut bundle = Bundle::new("touch /x; touch /tmp/x && echo good");
    let source = bundle.rootfs().display().to_string();
    let options = vec!["rbind".into(), "ro".into()];
    bundle.rootfs = vec![RootfsMount { kind: "bind".into(), source, target: String::new(), options }];
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
    let text = bundle.output();
    assert!(text.contains("/x: Read-only") && text.ends_with("good\n"), "{text}");
    assert!(!loment_sandbox::layer::fresh_writable_layer(&bundle.rootfs).unwrap());
}

fn a_link_in_the_image_cannot_lead_a_mount_outside() {
    let mut bundle = Bundle::new("ls /outside; ls /elsewhere");
    let volume = volume(&bundle);
    let outside = bundle.path.join("outside");
    fs::create_dir(&outside).unwrap();
    symlink("../../../../../..".to_owned() + outside.to_str().unwrap(), bundle.rootfs().join("up")).unwrap();
    symlink(&outside, bundle.rootfs().join("absolute")).unwrap();
    // What the links lead to inside of the root.
    fs::create_dir_all(bundle.rootfs().join(outside.strip_prefix("/").unwrap())).unwrap();
    for destination in ["/up/a", "/absolute/b", "/../../../../c"] {
        bundle.mount(bind(destination, &volume, &["rbind"]));
    }
    bundle.run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(exists(bundle.rootfs().join("c")));
    let inside = bundle.rootfs().join(outside.strip_prefix("/").unwrap());
    assert!(exists(inside.join("a")) && exists(inside.join("b")));
}

/// As images have them: /etc/resolv.conf of systemd's, /var/run where there is no /run.
fn what_a_dangling_link_leads_to_is_made_inside() {
    let mut bundle = Bundle::new("cat /etc/resolv.conf /up /absolute/place/file; ls /var/run/secrets /run/secrets");
    let volume = volume(&bundle);
    let (rootfs, outside) = (bundle.rootfs(), bundle.path.join("outside"));
    fs::create_dir(rootfs.join("var")).unwrap();
    for (target, link) in [
        ("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf"),
        ("/run", "var/run"),
        ("etc/../../../.././../over/the/top", "up"),
        (outside.to_str().unwrap(), "absolute"),
    ] {
        symlink(target, rootfs.join(link)).unwrap();
    }
    for destination in ["/etc/resolv.conf", "/up"] {
        bundle.mount(bind(destination, &format!("{volume}/file"), &["bind"]));
    }
    for destination in ["/var/run/secrets", "/absolute/place"] {
        bundle.mount(bind(destination, &volume, &["bind"]));
    }
    assert_eq!(bundle.output(), "host\nhost\nhost\n/run/secrets:\nbelow\nfile\n\n/var/run/secrets:\nbelow\nfile\n");
    assert!(!exists(&outside) && exists(rootfs.join("over/the/top")));
    assert!(rootfs.join("run/systemd/resolve/stub-resolv.conf").is_file());
    assert!(rootfs.join("etc/resolv.conf").is_symlink() && rootfs.join("run/secrets").is_dir());
}

fn links_that_lead_nowhere_are_refused() {
    for (links, reason) in [
        (&[("b", "a"), ("a", "b")][..], "Too many symbolic links"),
        (&[("/new/../loop", "a"), ("a", "loop")], "Too many symbolic links"),
        (&[("/proc/self/root/new", "a")], "Too many symbolic links"),
        (&[("/etc/passwd/new", "a")], "Not a directory"),
        (&[("/new/../etc/passwd/new", "a")], "Not a directory"),
    ] {
        let mut bundle = Bundle::new("true");
        let volume = volume(&bundle);
        links.iter().for_each(|(target, link)| symlink(target, bundle.rootfs().join(link)).unwrap());
        for source in [&volume, &format!("{volume}/file")] {
            bundle.mount(bind("/a", source, &["bind"]));
            let error = bundle.refused();
            assert!(error.contains(reason), "{links:?}: {error}");
            bundle.spec["mounts"].as_array_mut().unwrap().pop();
        }
    }
}

fn a_tmpfs_is_read_only_when_everything_is_in_it() {
    let script = "cat /work/a /t/below/file /t/one; stat -c %t:%T /dev/null; ls -d /dev/pts /dev/mqueue; \
                  for d in /dev /work /t; do touch $d/x; done 2>&1; touch /dev/mqueue/x";
    for mut bundle in [Bundle::new(script), users::bundle(script)] {
        let volume = volume(&bundle);
        fs::write(bundle.rootfs().join("work/a"), "a\n").unwrap();
        let tmpfs = |destination: &str, options: &[&str]| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options});
        bundle.spec["mounts"][1]["options"].as_array_mut().unwrap().push(json!("ro"));
        bundle.mount(tmpfs("/work", &["ro", "tmpcopyup"]));
        bundle.mount(tmpfs("/t", &["rro"]));
        bundle.mount(bind("/t/below", &volume, &["bind"]));
        bundle.mount(bind("/t/one", &format!("{volume}/file"), &["bind"]));
        let refused: String =
            ["/dev", "/work", "/t"].map(|d| format!("touch: {d}/x: Read-only file system\n")).concat();
        assert_eq!(bundle.output(), format!("a\nhost\nhost\n1:3\n/dev/mqueue\n/dev/pts\n{refused}"));
    }
}

fn proc_must_be_a_real_directory() {
    let bundle = Bundle::new("true");
    let proc = bundle.rootfs().join("proc");
    fs::remove_dir(&proc).unwrap();
    symlink("/work", &proc).unwrap();
    let error = bundle.refused();
    assert!(error.contains("/proc of the image must be a real directory"), "{error}");
}

fn nothing_but_procfs_covers_proc() {
    for destination in ["/proc/self/attr", "/proc/sys", "/proc/1", "/proc"] {
        let mut bundle = Bundle::new("true");
        let volume = volume(&bundle);
        bundle.mount(bind(destination, &volume, &["rbind"]));
        let error = bundle.refused();
        assert!(error.contains("may not cover a part of procfs"), "{destination}: {error}");
    }
}

fn a_file_of_procfs_that_is_known_may_be_covered() {
    let mut bundle = Bundle::new("cat /proc/meminfo");
    let file = format!("{}/file", volume(&bundle));
    bundle.mount(bind("/proc/meminfo", &file, &["bind"]));
    assert_eq!(bundle.output(), "host\n");
}

fn a_working_directory_behind_a_magic_link_is_refused() {
    let open: Vec<_> = (0..8).map(|_| fs::File::open("/").unwrap()).collect();
    for number in 3..20 {
        let mut bundle = Bundle::new("ls /; pwd");
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let error = bundle.refused();
        assert!(error.contains("/proc/self/fd") || error.contains("proc/self/fd"), "{error}");
    }
    drop(open);
}

fn a_shared_volume_propagates_only_if_asked_to() {
    let script =
        "grep ' /volume ' /proc/self/mountinfo | sed 's/ - .*//' | grep -oE '(shared|master):' || echo private";
    for (option, expected) in [("rprivate", "private\n"), ("rslave", "private\n"), ("rshared", "shared:\n")] {
        let mut bundle = Bundle::new(script);
        let volume = volume(&bundle);
        bundle.mount(bind("/volume", &volume, &["rbind", option]));
        // The host's mount is private here: a slave of it is private too, and sharing begins with the container.
        assert_eq!(bundle.output(), expected, "{option}");
    }
}

fn the_runtimes_own_program_is_not_executed() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["/proc/self/exe"]);
    assert!(bundle.refused().contains("is the runtime's own program"));
    let script = bundle.rootfs().join("script");
    fs::write(&script, "#! /proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.spec["process"]["args"] = json!(["/script"]);
    assert!(bundle.refused().contains("is the runtime's own program"));
}
