//! Devices, memory, processors: fields that few specifications have, and what is refused of the others.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use loment_sandbox::container::RootfsMount;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    without_device_rules_only_the_devices_of_every_container_open,
    a_device_rule_opens_no_more_than_it_says,
    a_device_may_be_listed_twice_but_not_be_two,
    memory_comes_from_the_nodes_of_the_policy,
    an_exec_runs_on_its_processors_and_init_on_all,
    options_of_every_file_system_are_taken,
    what_is_mounted_already_is_changed_by_a_remount,
    an_image_file_is_a_root,
    an_image_file_is_a_volume,
    a_disk_that_cannot_be_mounted_leaves_nothing,
    scheduling_is_as_given,
    a_personality_and_a_disk_priority_are_for_init_and_execs,
    a_propagation_of_the_root_is_as_given,
    what_is_for_another_platform_is_refused,
    a_mount_label_that_nobody_enforces_is_refused,
];

/// Nodes of devices that no container may open, and what became of opening them.
const OPEN: &str = "mkdir /d; n() { mknod /d/$1 $2 $3 $4; }; n kmsg c 1 11; n mem c 1 1; n port c 1 4; n loop b 7 0; \
    n null c 1 3; n tun c 10 200; for f in kmsg mem port loop tun null; do \
    (exec 3< /d/$f) 2> /dev/null && echo $f r; (exec 3> /d/$f) 2> /dev/null && echo $f w; done; echo end";

fn with_devices(script: &str, resources: Value) -> String {
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["resources"] = resources;
    bundle.output()
}

fn without_device_rules_only_the_devices_of_every_container_open() {
    for resources in [Value::Null, json!({}), json!({"devices": []}), json!({"devices": null})] {
        assert_eq!(with_devices(OPEN, resources.clone()), "null r\nnull w\nend\n", "{resources}");
    }
}

fn a_device_rule_opens_no_more_than_it_says() {
    let rules = |rules: Value| with_devices(OPEN, json!({"devices": rules}));
    let allow = |kind: &str, major: i64, minor: Option<i64>, access: &str| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    assert_eq!(rules(json!([allow("b", 7, Some(0), "r")])), "loop r\nnull r\nnull w\nend\n");
    assert_eq!(rules(json!([allow("b", 7, Some(1), "rwm")])), "null r\nnull w\nend\n");
    assert_eq!(rules(json!([allow("c", 7, Some(0), "rwm")])), "null r\nnull w\nend\n");
    assert_eq!(rules(json!([allow("b", 7, None, "r")])), "loop r\nnull r\nnull w\nend\n");
    let taken_back = json!([allow("b", 7, Some(0), "rw"), {"allow": false, "access": "rwm"}]);
    assert_eq!(rules(taken_back), "null r\nnull w\nend\n");
}

fn a_device_may_be_listed_twice_but_not_be_two() {
    let mut bundle = Bundle::new("stat -c '%t:%T' /dev/x");
    let device = json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3});
    bundle.spec["linux"]["devices"] = json!([device, device]);
    assert_eq!(bundle.output(), "1:3\n");
    bundle.spec["linux"]["devices"][1]["minor"] = json!(5);
    assert_eq!(bundle.refused(), "linux.devices[1].path dev/x: is another device already");
}

fn memory_comes_from_the_nodes_of_the_policy() {
    let mut bundle = Bundle::new("head -n 1 /proc/self/numa_maps; sleep 100");
    let policy = |mode: &str, nodes: &str| json!({"mode": mode, "nodes": nodes});
    bundle.spec["linux"]["memoryPolicy"] = policy("MPOL_BIND", "0");
    bundle.spec["linux"]["memoryPolicy"]["flags"] = json!(["MPOL_F_STATIC_NODES"]);
    let running = bundle.started();
    let (_, text) = running.exec("cat /proc/self/numa_maps /proc/1/numa_maps");
    assert!(text.lines().all(|line| line.split(' ').nth(1) == Some("bind=static:0")), "{text}");
    drop(running);
    bundle.spec["linux"]["memoryPolicy"] = policy("MPOL_BIND", "1000");
    assert!(bundle.refused().starts_with("set memory policy MPOL_BIND of nodes \"1000\": Invalid argument"));
    bundle.spec["linux"]["memoryPolicy"] = policy("MPOL_BIND", "zero");
    assert!(bundle.refused().starts_with("linux.memoryPolicy.nodes \"zero\""));
}

fn an_exec_runs_on_its_processors_and_init_on_all() {
    let all = format!("{}\n", nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).unwrap().unwrap());
    let mut bundle = Bundle::new("sleep 100");
    bundle.spec["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    let running = bundle.started();
    let list = "grep Cpus_allowed_list: /proc/PID/status | tr -d '\\t'";
    let exec = |affinity: Value| {
        let mut process = json!({"args": ["sh", "-c", "nproc"], "cwd": "/", "user": {}, "env": [PATH]});
        process["execCPUAffinity"] = affinity;
        running.exec_process(process).1
    };
    assert_eq!(running.exec(&list.replace("PID", "self")).1, "Cpus_allowed_list:0\n", "an exec's default");
    assert_eq!(exec(json!({"final": "0"})), "1\n");
    assert_eq!(exec(json!({"initial": "0"})), "1\n");
    assert_eq!(exec(json!({})), all);
    let init = fs::read_to_string(format!("/proc/{}/status", running.0.init().pid())).unwrap();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let line = |text: &str| text.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned();
    assert_eq!(line(&init), line(&own));
    drop(running);
    bundle.spec["process"]["execCPUAffinity"] = json!({"initial": "9000"});
    assert!(bundle.refused().starts_with("process.execCPUAffinity.initial \"9000\""));
}

fn options_of_every_file_system_are_taken() {
    let mut bundle =
        Bundle::new("grep -E ' /(t|v) ' /proc/self/mountinfo; ln -s /etc/passwd /t/link; cat /t/link 2>&1");
    let options = ["sync", "dirsync", "mand", "lazytime", "silent", "iversion", "nosymfollow", "noatime"];
    let volume = bundle.path.join("volume");
    fs::create_dir(&volume).unwrap();
    bundle.mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": options}));
    let options = [&["bind"], options.as_slice()].concat();
    bundle.mount(json!({"destination": "/v", "type": "bind", "source": volume, "options": options}));
    let (_, text) = bundle.run();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" rw,noatime,nosymfollow ") && lines[0].contains("sync,"), "{text}");
    assert!(lines[0].contains("dirsync") && lines[0].contains("lazytime"), "{text}");
    assert!(lines[1].contains(" rw,noatime,nosymfollow ") && !lines[1].contains("sync"), "{text}");
    assert!(lines[2].contains("Too many levels of symbolic links"), "{text}");
}

fn what_is_mounted_already_is_changed_by_a_remount() {
    let mut bundle =
        Bundle::new("grep -E ' /(t|v) ' /proc/self/mountinfo; touch /t/x; touch /v/x; touch /v/t/x && echo end");
    let volume = bundle.path.join("volume");
    fs::create_dir_all(volume.join("t")).unwrap();
    let tmpfs = |destination: &str| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
    bundle.mount(tmpfs("/t"));
    bundle.mount(json!({"destination": "/v", "type": "bind", "source": volume, "options": ["bind"]}));
    bundle.mount(tmpfs("/v/t"));
    bundle.mount(json!({"destination": "/t", "type": "tmpfs", "options": ["remount", "ro", "noexec"]}));
    bundle.mount(json!({"destination": "/v", "options": ["remount", "bind", "ro", "nodev", "sync"]}));
    let text = bundle.output();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" ro,noexec,"), "{text}");
    assert!(lines[1].contains(" ro,nodev,"), "{text}");
    assert_eq!((text.matches("Read-only file system").count(), lines.last()), (2, Some(&"end")), "{text}");
    bundle.mount(json!({"destination": "/work", "options": ["remount", "ro"]}));
    assert!(bundle.refused().starts_with("change the mount on /work: Invalid argument (is anything mounted there?)"));
    *bundle.spec["mounts"].as_array_mut().unwrap().last_mut().unwrap() =
        json!({"destination": "/t", "options": ["remount", "size=64k"]});
    assert!(bundle.refused().contains("\"size\": is an option of a file system"), "{}", bundle.refused());
}

/// An ext4 file system with the contents of the bundle's root.
fn image(bundle: &Bundle) -> PathBuf {
    let path = bundle.path.join("image");
    File::create(&path).unwrap().set_len(24 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(bundle.rootfs()).arg(&path).output();
    let made = made.expect("e2fsprogs must be installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// What the kernel has a disk made of.
fn disks_of(image: &std::path::Path) -> usize {
    let all = fs::read_dir("/sys/block").unwrap().flatten();
    let backing = all.map(|disk| fs::read_to_string(disk.path().join("loop/backing_file")).unwrap_or_default());
    backing.filter(|file| file.trim() == image.to_str().unwrap()).count()
}

fn an_image_file_is_a_root() {
    let mut bundle = Bundle::new("grep ' / ' /proc/self/mountinfo; (exec 3< /dev/loop0) || touch /made; sleep 100");
    let image = image(&bundle);
    let mount = |options: &[&str]| RootfsMount {
        kind: "ext4".into(),
        source: image.display().to_string(),
        target: String::new(),
        options: options.iter().map(ToString::to_string).collect(),
    };
    bundle.rootfs = vec![mount(&["loop"])];
    let running = bundle.started();
    let (_, text) = running.exec("grep ' / ' /proc/self/mountinfo; mkdir /d; mknod /d/x b 7 0; (exec 3< /d/x) 2>&1");
    assert!(text.contains(" - ext4 /dev/loop"), "{text}");
    assert_eq!(disks_of(&image), 1);
    drop(running);
    assert_eq!(disks_of(&image), 0, "the disk has gone with the container");
    bundle.rootfs = vec![mount(&["loop", "direct-io", "ro"])];
    bundle.spec["process"]["args"] = json!(["sh", "-c", "touch /made"]);
    assert!(bundle.run().1.contains("Read-only file system"));
}

fn an_image_file_is_a_volume() {
    let mut bundle = Bundle::new("cat /volume/etc/passwd | wc -l; echo kept > /volume/kept; cat /volume/kept");
    let image = image(&bundle);
    bundle.mount(json!({"destination": "/volume", "type": "ext4", "source": image, "options": ["loop"]}));
    assert_eq!(bundle.output(), "2\nkept\n");
    // What is mounted is a disk, which the container itself may not open.
    let rules = "mkdir /d; mknod /d/x b 7 0; (exec 3< /d/x) 2>&1; mknod /d/k c 1 11; (exec 3< /d/k) 2>&1";
    bundle.spec["process"]["args"] = json!(["sh", "-c", rules]);
    assert_eq!(bundle.run().1.matches("Operation not permitted").count(), 2);
    assert_eq!(disks_of(&image), 0);
}

fn a_disk_that_cannot_be_mounted_leaves_nothing() {
    let mut bundle = Bundle::new("true");
    let file = bundle.path.join("no-image");
    File::create(&file).unwrap().set_len(1 << 20).unwrap();
    bundle.mount(json!({"destination": "/volume", "type": "ext4", "source": file, "options": ["loop"]}));
    assert!(bundle.refused().starts_with("mount ext4 from /dev/loop"), "{}", bundle.refused());
    assert_eq!(disks_of(&file), 0);
    fs::remove_file(&file).unwrap();
    assert!(bundle.refused().starts_with(&format!("open image file {}: No such file", file.display())));
    bundle.spec["mounts"].as_array_mut().unwrap().pop();
    bundle.mount(json!({"destination": "/v", "type": "bind", "source": "/tmp", "options": ["bind", "loop"]}));
    assert!(bundle.refused().contains("\"loop\": is for a file system in an image file"));
}

fn scheduling_is_as_given() {
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["args"] = json!(["cat", "/proc/self/stat"]);
    bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    let text = bundle.output();
    let fields: Vec<_> = text.split(' ').collect();
    // proc_pid_stat(5): nice is field 19, policy field 41.
    assert_eq!((fields[18], fields[40]), ("7", "3"), "{text}");
    bundle.spec["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": 20});
    assert_eq!(bundle.refused(), "process.scheduler.nice 20: is not between -20 and 19");
}

fn a_personality_and_a_disk_priority_are_for_init_and_execs() {
    let mut bundle = Bundle::new("busybox uname -m; busybox ionice; sleep 100");
    bundle.spec["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.spec["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    let running = bundle.started();
    let (_, text) = running.exec("busybox uname -m; busybox ionice; busybox ionice -p 1");
    let machine = if cfg!(target_arch = "x86_64") { "i686" } else { "armv8l" };
    assert_eq!(text, format!("{machine}\nidle\nidle\n"));
    let personality = fs::read_to_string(format!("/proc/{}/personality", running.0.init().pid())).unwrap();
    assert_eq!(personality, "00000008\n");
    drop(running);
    bundle.spec["linux"]["personality"]["flags"] = json!(["ADDR_NO_RANDOMIZE"]);
    assert!(bundle.refused().starts_with("linux.personality.flags ADDR_NO_RANDOMIZE"));
    bundle.spec["linux"]["personality"] = Value::Null;
    bundle.spec["process"]["ioPriority"]["priority"] = json!(8);
    assert!(bundle.refused().starts_with("process.ioPriority.priority 8"));
}

fn a_propagation_of_the_root_is_as_given() {
    for (name, expected) in [("shared", "shared:"), ("rslave", ""), ("private", ""), ("unbindable", "unbindable")] {
        let mut bundle = Bundle::new("grep ' / ' /proc/self/mountinfo");
        bundle.spec["linux"]["rootfsPropagation"] = json!(name);
        let text = bundle.output();
        let optional = text.split(" - ").next().unwrap();
        let has = |word: &str| optional.contains(word);
        assert!(has(expected) && has("shared:") == (name == "shared") && has("unbindable") == (name == "unbindable"));
    }
}

fn what_is_for_another_platform_is_refused() {
    let cases = [
        ("windows", json!({"layerFolders": ["c:\\\\layers"]})),
        ("vm", json!({"kernel": {"path": "/kernel"}})),
        ("zos", json!({})),
        ("solaris", json!({})),
    ];
    for (field, value) in cases {
        let mut bundle = Bundle::new("true");
        bundle.spec[field] = value;
        assert_eq!(bundle.refused(), format!("{field}: is for another platform than Linux"));
    }
    let mut bundle = Bundle::new("true");
    bundle.spec["ociVersion"] = json!("2.0.0");
    assert!(bundle.refused().starts_with("ociVersion \"2.0.0\""));
}

fn a_mount_label_that_nobody_enforces_is_refused() {
    if exists("/sys/fs/selinux/enforce") {
        return;
    }
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
    assert!(bundle.refused().starts_with("linux.mountLabel system_u:object_r:container_file_t:s0: cannot be enforced"));
}
