//! Create and start: what a container's program finds.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use loment_sandbox::container::{Role, RootfsMount};
use nix::libc::{SIGKILL, SIGTERM};
use serde_json::json;

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_program_runs_and_its_exit_code_comes_back,
    a_death_by_signal_is_128_and_the_signal,
    a_created_container_waits_at_its_gate,
    a_created_container_can_be_killed_and_deleted,
    new_namespaces_are_new_and_others_are_the_callers,
    joined_namespaces_are_the_given_ones,
    the_hostname_is_the_containers_only,
    a_namespaced_kernel_parameter_is_set,
    a_new_network_namespace_has_its_loopback_up,
    the_cgroup_is_the_containers_own,
    only_standard_streams_are_open,
    nothing_of_the_hosts_mounts_is_left,
    devices_are_the_default_ones_and_those_listed,
    masked_paths_show_nothing,
    readonly_paths_cannot_be_written,
    a_readonly_root_cannot_be_written_but_its_mounts_can,
    the_process_has_the_given_user_groups_and_umask,
    capabilities_are_the_given_ones,
    ambient_capabilities_reach_a_user_that_is_not_root,
    no_new_privileges_holds,
    limits_are_set,
    signals_are_as_a_fresh_program_expects,
    the_working_directory_is_made_and_entered,
    home_comes_from_the_images_passwd,
    a_seccomp_profile_applies,
    a_user_that_is_not_root_may_reopen_standard_output,
    an_overlay_root_keeps_its_lower_layers_clean,
    a_layer_with_much_in_it_is_emptied_by_an_errand,
    an_overlay_of_many_long_layers_is_mounted,
    a_terminal_is_the_containers_own,
    a_holder_holds_namespaces_and_ends_on_sigterm,
    a_holder_is_pid_1_and_reaps,
    a_holder_keeps_nothing_of_its_makers_memory,
    a_holder_that_fails_at_its_gate_says_why,
    a_container_joins_the_namespaces_of_a_holder,
    an_attempt_ends_and_the_next_has_the_same_cgroup,
    all_processes_get_a_signal,
    a_paused_container_makes_no_progress,
];

fn a_program_runs_and_its_exit_code_comes_back() {
    assert_eq!(Bundle::new("echo hello; exit 7").run(), (7, "hello\n".into()));
}

fn a_death_by_signal_is_128_and_the_signal() {
    let bundle = Bundle::new("sleep 100");
    let mut running = bundle.started();
    assert!(running.0.init().signal(SIGKILL).unwrap());
    assert_eq!(wait(running.0.init_mut()).code, 128 + SIGKILL as u32);
    assert!(!running.0.init().signal(SIGKILL).unwrap(), "a process that is gone gets no signal");
    assert_eq!(wait(running.0.init_mut()).code, 128 + SIGKILL as u32, "the first answer is repeated");
}

fn a_created_container_waits_at_its_gate() {
    let bundle = Bundle::new("echo started");
    let (io, output) = output();
    let mut container = bundle.create(io).unwrap();
    assert_eq!(container.init_mut().try_wait().unwrap(), None);
    container.start().unwrap().finish().unwrap();
    assert_eq!(read(output), "started\n");
    assert!(container.start().is_err(), "a gate opens once");
    assert_eq!(wait(container.init_mut()).code, 0);
    container.delete().unwrap();
    container.delete().unwrap();
}

fn a_created_container_can_be_killed_and_deleted() {
    let bundle = Bundle::new("true");
    let mut container = bundle.create(no_io()).unwrap();
    container.delete().unwrap();
    assert_eq!(wait(container.init_mut()).code, 128 + SIGKILL as u32);
}

fn new_namespaces_are_new_and_others_are_the_callers() {
    let bundle = Bundle::new("sleep 100");
    let running = bundle.started();
    let pid = running.0.init().pid();
    for kind in ["pid", "ipc", "uts", "mnt", "net"] {
        assert_ne!(namespace(pid, kind), namespace("self", kind), "{kind}");
    }
    for kind in ["user", "cgroup", "time"] {
        assert_eq!(namespace(pid, kind), namespace("self", kind), "{kind}");
    }
    assert_eq!(running.exec("readlink /proc/1/ns/pid").1.trim(), namespace(pid, "pid"));
}

fn joined_namespaces_are_the_given_ones() {
    let first = Bundle::new("sleep 100");
    let first = first.started();
    let pid = first.0.init().pid();
    let mut second = Bundle::new("for n in pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done; echo $$");
    let join = |kind: &str, name: &str| json!({"type": kind, "path": format!("/proc/{pid}/ns/{name}")});
    second.spec["linux"]["namespaces"] = json!([
        join("pid", "pid"), join("ipc", "ipc"), join("uts", "uts"), join("network", "net"), {"type": "mount"},
        {"type": "cgroup"}
    ]);
    second.spec.as_object_mut().unwrap().remove("hostname");
    let text = second.output();
    let lines: Vec<_> = text.lines().collect();
    for (line, kind) in lines.iter().zip(["pid", "ipc", "uts", "net"]) {
        assert_eq!(*line, namespace(pid, kind));
    }
    assert_ne!(lines[4], namespace("self", "cgroup"));
    assert_ne!(lines[5], "1", "not the first process of the joined pid namespace");
    assert_eq!(namespace("self", "pid"), namespace("self", "pid_for_children"), "the runtime has come back");
}

fn the_hostname_is_the_containers_only() {
    let before = nix::unistd::gethostname().unwrap();
    assert_eq!(Bundle::new("hostname").output(), "pod\n");
    assert_eq!(nix::unistd::gethostname().unwrap(), before);
}

fn a_namespaced_kernel_parameter_is_set() {
    let mut bundle = Bundle::new("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni");
    bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmni": "99"});
    let host = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    assert_eq!(bundle.output(), "7\n99\n");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), host);
}

fn a_new_network_namespace_has_its_loopback_up() {
    let text = Bundle::new("ip addr show lo; ls /sys/class/net").output();
    assert!(text.contains("LOOPBACK,UP") && text.contains("127.0.0.1/8"), "{text}");
}

fn the_cgroup_is_the_containers_own() {
    let bundle = Bundle::new("sleep 100");
    let running = bundle.started();
    let pid = running.0.init().pid();
    let own = format!("{}/{}", cgroups(), bundle.id);
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    // Beside v1's controllers there may be a v2 hierarchy that nobody asked for.
    let counts = |line: &&str| is_unified() || !line.starts_with("0::");
    assert!(cgroups.lines().filter(counts).count() > 0);
    assert!(cgroups.lines().filter(counts).all(|line| line.ends_with(&own)), "{cgroups}");
    assert_eq!(running.0.cgroup().pids().unwrap().first(), Some(&pid));
    let (_, text) = running.exec("cat /proc/self/cgroup");
    assert!(text.lines().filter(counts).all(|line| line.ends_with(&own)), "{text}");

    let (memory, weight) = match is_unified() {
        true => ("/sys/fs/cgroup", ("cpu.weight", "1\n")),
        false => ("/sys/fs/cgroup/memory", ("cpu.shares", "2\n")),
    };
    let (code, text) = running.exec(&format!("cat {memory}/cgroup.procs && ls {memory}/memory.stat"));
    assert_eq!(code, 0, "{text}");
    let (code, text) = running.exec(&format!("cat {memory}/cgroup.procs && mkdir {memory}/x"));
    assert_eq!(code, 1, "what the container sees of its cgroups is read-only: {text}");
    let (_, text) = running.exec(&format!("echo 1 > {memory}/cgroup.procs"));
    assert!(text.contains("Read-only"), "{text}");
    assert_eq!(fs::read_to_string(cgroup_directory("cpu", &own).join(weight.0)).unwrap(), weight.1);
}

fn only_standard_streams_are_open() {
    let open: Vec<_> = (0..5).map(|_| fs::File::open("/dev/null").unwrap()).collect();
    // The fourth is the listing's own.
    assert_eq!(Bundle::new("ls /proc/self/fd").output(), "0\n1\n2\n3\n");
    drop(open);
}

fn nothing_of_the_hosts_mounts_is_left() {
    let text = Bundle::new("cat /proc/self/mountinfo").output();
    let roots: Vec<_> = text.lines().filter(|line| line.split(' ').nth(4) == Some("/")).collect();
    assert_eq!(roots.len(), 1, "{text}");
    assert!(!text.contains("/sys/fs/cgroup/memory /sys"), "{text}");
    assert!(!text.contains("shared:") && !text.contains("master:"), "nothing propagates: {text}");
}

fn devices_are_the_default_ones_and_those_listed() {
    let mut bundle = Bundle::new(
        "stat -c '%n %F %t:%T %a %u:%g' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/a/disk; \
         readlink /dev/ptmx; readlink /dev/fd; head -c 3 /dev/zero | wc -c",
    );
    bundle.spec["linux"]["devices"] = json!([
        {"path": "/dev/a/disk", "type": "b", "major": 7, "minor": 300, "fileMode": 0o4640, "uid": 5, "gid": 6}
    ]);
    let special = "character special file";
    let expected = format!(
        "/dev/null {special} 1:3 666 0:0\n/dev/zero {special} 1:5 666 0:0\n/dev/full {special} 1:7 666 0:0\n\
         /dev/random {special} 1:8 666 0:0\n/dev/urandom {special} 1:9 666 0:0\n/dev/tty {special} 5:0 666 0:0\n\
         /dev/a/disk block special file 7:12c 4640 5:6\npts/ptmx\n/proc/self/fd\n3\n"
    );
    assert_eq!(bundle.output(), expected);
}

fn masked_paths_show_nothing() {
    let mut bundle = Bundle::new(
        "ls -A /sys/firmware /secret; cat /proc/keys /proc/timer_list /password; touch /secret/x 2>&1; echo lost > /password",
    );
    fs::create_dir(bundle.rootfs().join("secret")).unwrap();
    fs::write(bundle.rootfs().join("secret/key"), "key").unwrap();
    fs::write(bundle.rootfs().join("password"), "password").unwrap();
    let masked = bundle.spec["linux"]["maskedPaths"].as_array_mut().unwrap();
    masked.extend(["/secret", "/password", "/absent/path"].map(Into::into));
    let text = bundle.output();
    assert!(text.contains("Read-only file system") && !text.contains("key") && !text.contains("password\n"), "{text}");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("password")).unwrap(), "password");
}

fn readonly_paths_cannot_be_written() {
    let mut bundle = Bundle::new("echo 1 > /proc/sys/kernel/shmmni; touch /work/x; touch /tmp/x && echo good");
    bundle.spec["linux"]["readonlyPaths"] = json!(["/proc/sys", "/work", "/absent"]);
    let text = bundle.output();
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    assert!(text.ends_with("good\n"), "{text}");
}

fn a_readonly_root_cannot_be_written_but_its_mounts_can() {
    let mut bundle = Bundle::new("touch /x; touch /tmp/x && echo good");
    bundle.spec["root"]["readonly"] = json!(true);
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
    let text = bundle.output();
    assert!(text.contains("Read-only file system") && text.ends_with("good\n"), "{text}");
    assert!(!exists(bundle.rootfs().join("x")));
}

fn the_process_has_the_given_user_groups_and_umask() {
    let mut bundle = Bundle::new("grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask");
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o027});
    let text = bundle.output().replace('\t', " ");
    assert_eq!(text, "Uid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 7 8 \n0027\n");
}

pub(crate) fn capability_line(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn capabilities_are_the_given_ones() {
    let mut bundle = Bundle::new("cat /proc/self/status");
    bundle.spec["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"],
    });
    let text = bundle.output();
    let (kill, chown) = (1 << 5, 1);
    assert_eq!(capability_line(&text, "CapBnd:"), kill | chown);
    // Root gains what is in the bounding set when it executes a program; nothing more is left to gain.
    assert_eq!(capability_line(&text, "CapPrm:"), kill | chown);
    assert_eq!(capability_line(&text, "CapInh:"), 0);
    assert_eq!(capability_line(&text, "CapAmb:"), 0);
    bundle.spec["process"]["capabilities"] = json!({});
    let text = bundle.output();
    for set in ["CapBnd:", "CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(capability_line(&text, set), 0, "{set}");
    }
}

fn ambient_capabilities_reach_a_user_that_is_not_root() {
    let mut bundle = Bundle::new("cat /proc/self/status");
    let bind = json!(["CAP_NET_BIND_SERVICE"]);
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.spec["process"]["capabilities"] =
        json!({"bounding": bind, "permitted": bind, "effective": bind, "inheritable": bind, "ambient": bind});
    let text = bundle.output();
    for set in ["CapBnd:", "CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(capability_line(&text, set), 1 << 10, "{set}");
    }
    bundle.spec["process"]["capabilities"] = json!({"bounding": bind, "permitted": bind, "effective": bind});
    assert_eq!(capability_line(&bundle.output(), "CapEff:"), 0, "without the ambient set a change of user loses them");
}

fn no_new_privileges_holds() {
    let mut bundle = Bundle::new("grep NoNewPrivs /proc/self/status");
    assert_eq!(bundle.output(), "NoNewPrivs:\t0\n");
    bundle.spec["process"]["noNewPrivileges"] = json!(true);
    assert_eq!(bundle.output(), "NoNewPrivs:\t1\n");
}

fn limits_are_set() {
    let mut bundle = Bundle::new("grep -E 'open files|core' /proc/self/limits; cat /proc/self/oom_score_adj");
    bundle.spec["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    ]);
    let text = bundle.output();
    let words: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0][..6], ["Max", "core", "file", "size", "0", "0"]);
    assert_eq!(words[1][..5], ["Max", "open", "files", "100", "200"]);
    assert_eq!(words[2], ["1000"]);
}

fn signals_are_as_a_fresh_program_expects() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    let text = bundle.output();
    assert_eq!(text.matches("0000000000000000").count(), 3, "{text}");
}

fn the_working_directory_is_made_and_entered() {
    let mut bundle = Bundle::new("pwd");
    bundle.spec["process"]["cwd"] = json!("/a/b/../c");
    assert_eq!(bundle.output(), "/a/c\n");
    symlink("/work", bundle.rootfs().join("link")).unwrap();
    bundle.spec["process"]["cwd"] = json!("/link");
    assert_eq!(bundle.output(), "/work\n");
}

fn home_comes_from_the_images_passwd() {
    let mut bundle = Bundle::new("echo $HOME");
    assert_eq!(bundle.output(), "/root\n");
    bundle.spec["process"]["user"]["uid"] = json!(1000);
    assert_eq!(bundle.output(), "/home/app\n");
    bundle.spec["process"]["user"]["uid"] = json!(1234);
    assert_eq!(bundle.output(), "/\n");
    bundle.spec["process"]["env"] = json!([PATH, "HOME=/mine"]);
    assert_eq!(bundle.output(), "/mine\n");
}

fn a_seccomp_profile_applies() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 72}]
    });
    let mut bundle = Bundle::new("grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1; sleep 100 & wait");
    bundle.spec["linux"]["seccomp"] = profile;
    for no_new_privileges in [true, false] {
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let running = bundle.started();
        let (_, text) = running.exec("grep Seccomp: /proc/self/status; grep Seccomp: /proc/1/status; mkdir /tmp/y");
        assert_eq!(text.matches("Seccomp:\t2").count(), 2, "{text}");
        assert!(text.contains("Multihop") && !exists(bundle.rootfs().join("tmp/y")), "{text}");
    }
}

fn a_user_that_is_not_root_may_reopen_standard_output() {
    let mut bundle = Bundle::new("echo again > /dev/stdout; echo error > /dev/stderr");
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(bundle.output(), "again\nerror\n");
    assert_eq!(fs::metadata("/dev/null").unwrap().uid(), 0, "the host's null device stays the host's");
}

/// The bundle's rootfs as the lowest layer of an overlay.
fn overlay(bundle: &mut Bundle, more_lower: &[String]) {
    let at = |name: &str| bundle.path.join(name);
    for name in ["upper", "overlay-work"] {
        fs::create_dir(at(name)).unwrap();
    }
    let mut lower = more_lower.to_vec();
    lower.push(bundle.rootfs().display().to_string());
    let options = vec![
        "index=off".into(),
        format!("workdir={}", at("overlay-work").display()),
        format!("upperdir={}", at("upper").display()),
        format!("lowerdir={}", lower.join(":")),
    ];
    let kind = "overlay".to_owned();
    bundle.rootfs = vec![RootfsMount { kind, source: "overlay".into(), target: String::new(), options }];
}

fn an_overlay_root_keeps_its_lower_layers_clean() {
    let mut bundle = Bundle::new("echo new > /tmp/new; rm /etc/passwd; cat /proc/mounts | head -1");
    overlay(&mut bundle, &[]);
    assert!(bundle.output().starts_with("overlay / overlay rw"));
    assert!(exists(bundle.rootfs().join("etc/passwd")) && !exists(bundle.rootfs().join("tmp/new")));
    assert_eq!(fs::read_to_string(bundle.path.join("upper/tmp/new")).unwrap(), "new\n");
    assert!(loment_sandbox::layer::fresh_writable_layer(&bundle.rootfs).unwrap());
    assert_eq!(fs::read_dir(bundle.path.join("upper")).unwrap().count(), 0);
    bundle.output();
}

fn a_layer_with_much_in_it_is_emptied_by_an_errand() {
    let mut bundle = Bundle::new("i=0; while [ $i -lt 2000 ]; do : > /tmp/$i; i=$((i+1)); done");
    overlay(&mut bundle, &[]);
    bundle.output();
    let errand = loment_sandbox::layer::begin_fresh_writable_layer(&bundle.rootfs).unwrap();
    let left = fs::read_dir(bundle.path.join("upper/tmp")).unwrap().count();
    assert!((1..2000).contains(&left), "{left} files are left to the errand");
    assert!(errand.expect("an errand").finish().unwrap().is_empty());
    assert_eq!(fs::read_dir(bundle.path.join("upper")).unwrap().count(), 0);
    let errand = loment_sandbox::layer::begin_fresh_writable_layer(&bundle.rootfs).unwrap();
    assert!(errand.is_none(), "what is empty needs none");
}

fn an_overlay_of_many_long_layers_is_mounted() {
    let mut bundle = Bundle::new("ls / | grep -c layer");
    let layers: Vec<_> = (0..40)
        .map(|number| {
            let layer = bundle.path.join("x".repeat(100)).join(number.to_string());
            fs::create_dir_all(layer.join(format!("layer{number}"))).unwrap();
            layer.display().to_string()
        })
        .collect();
    overlay(&mut bundle, &layers);
    assert_eq!(bundle.output(), "40\n");
}

fn a_terminal_is_the_containers_own() {
    let mut bundle = Bundle::new(
        "tty; stty size; stat -c '%a %u:%g' $(tty); stat -c %t:%T /dev/console; echo to console > /dev/console",
    );
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({"width": 91, "height": 17});
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let mut container = bundle.create(loment_sandbox::container::Io::Terminal).unwrap();
    let terminal = container.take_terminal().unwrap();
    assert!(container.take_terminal().is_none());
    container.start().unwrap().finish().unwrap();
    let text = read(terminal);
    assert_eq!(text, "/dev/pts/0\r\n17 91\r\n620 1000:5\r\n88:0\r\nto console\r\n");
    assert_eq!(wait(container.init_mut()).code, 0);
    container.delete().unwrap();
}

fn holder() -> Bundle {
    let mut bundle = Bundle::new("this is never run");
    bundle.role = Role::Holder;
    bundle.spec["process"]["user"] = json!({"uid": 65535, "gid": 65535});
    bundle
}

fn a_holder_holds_namespaces_and_ends_on_sigterm() {
    let bundle = holder();
    let mut running = bundle.started();
    let pid = running.0.init().pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.starts_with("Name:\tpause\n"), "{status}");
    for set in ["CapBnd:", "CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(capability_line(&status, set), 0, "{set}");
    }
    assert_ne!(namespace(pid, "net"), namespace("self", "net"));
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(open.len(), 3, "{open:?}");
    let root = fs::read_dir(format!("/proc/{pid}/root/")).unwrap();
    assert_eq!(root.count(), 0, "nothing of the host can be reached through it");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(
        running
            .0
            .exec(&serde_json::from_value(json!({"args": ["x"], "cwd": "/", "user": {}})).unwrap(), no_io())
            .is_err()
    );
    running.0.init().signal(SIGTERM).unwrap();
    assert_eq!(wait(running.0.init_mut()).code, 0);
}

fn a_holder_is_pid_1_and_reaps() {
    let bundle = holder();
    let running = bundle.started();
    let pid = running.0.init().pid();
    let mut other = Bundle::new(
        "(sleep 0.05 &); cat /proc/1/comm; while grep -qs sleep /proc/[0-9]*/comm; do sed -n 1p /dev/null; done",
    );
    other.spec["linux"]["namespaces"] =
        json!([{"type": "mount"}, {"type": "pid", "path": format!("/proc/{pid}/ns/pid")}]);
    other.spec.as_object_mut().unwrap().remove("hostname");
    assert_eq!(other.output(), "pause\n", "the loop ends only when pid 1 has reaped the orphan");
    assert_eq!(running.0.cgroup().pids().unwrap(), [pid]);
}

fn a_holder_keeps_nothing_of_its_makers_memory() {
    let bundle = holder();
    let of_the_maker = std::hint::black_box(vec![1_u8; 8 << 20]);
    let running = bundle.started();
    let pid = running.0.init().pid();
    drop(of_the_maker);
    let anonymous = || -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // It does so after it was let through its gate: nobody waits for it.
    let kept = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        Some(anonymous()).filter(|kept| *kept <= 64)
    });
    assert!(kept.is_some(), "it keeps {} KiB", anonymous());
}

fn a_holder_that_fails_at_its_gate_says_why() {
    let mut bundle = holder();
    // More than a process can have.
    bundle.spec["process"]["user"]["additionalGids"] = (0..65_537).collect();
    let mut container = bundle.create(no_io()).unwrap();
    assert_eq!(wait(container.init_mut()).code, 1);
    let error = container.failure_at_gate().unwrap().to_string();
    container.delete().unwrap();
    assert!(error.contains("groups"), "{error}");
}

fn a_container_joins_the_namespaces_of_a_holder() {
    let bundle = holder();
    let running = bundle.started();
    let pid = running.0.init().pid();
    let mut app = Bundle::new("hostname; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; ls /sys/class/net");
    app.spec["linux"]["namespaces"] = json!([
        {"type": "mount"}, {"type": "pid"}, {"type": "network", "path": format!("/proc/{pid}/ns/net")},
        {"type": "ipc", "path": format!("/proc/{pid}/ns/ipc")}, {"type": "uts", "path": format!("/proc/{pid}/ns/uts")}
    ]);
    app.spec.as_object_mut().unwrap().remove("hostname");
    assert!(app.output().starts_with(&format!("pod\n{}\n{}\n", namespace(pid, "net"), namespace(pid, "ipc"))));
}

fn an_attempt_ends_and_the_next_has_the_same_cgroup() {
    let bundle = Bundle::new("sleep 100 & sleep 100");
    let mut first = bundle.create(no_io()).unwrap();
    first.start().unwrap().finish().unwrap();
    let directory = cgroup_directory("memory", &format!("{}/{}", cgroups(), bundle.id));
    let inode = fs::metadata(&directory).unwrap().ino();
    let pid = first.init().pid();
    first.end_attempt().unwrap();
    assert!(!exists(format!("/proc/{pid}")));
    let second = bundle.started();
    assert_eq!(fs::metadata(&directory).unwrap().ino(), inode);
    drop(second);
    assert!(!exists(&directory));
}

fn all_processes_get_a_signal() {
    let bundle = Bundle::new("trap 'echo caught; exit 3' TERM; sleep 100 & wait");
    let mut running = bundle.started();
    // The trap is set once the shell has a child.
    while running.0.cgroup().pids().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    assert!(running.0.signal_all(SIGTERM).unwrap());
    assert_eq!(wait(running.0.init_mut()).code, 3);
    assert!(!running.0.signal_all(SIGTERM).unwrap() || running.0.signal_all(SIGKILL).is_ok());
}

fn a_paused_container_makes_no_progress() {
    let bundle = Bundle::new("while :; do :; done");
    let running = bundle.started();
    running.0.pause().unwrap();
    let stat = format!("/proc/{}/stat", running.0.init().pid());
    let before = fs::read_to_string(&stat).unwrap();
    std::thread::yield_now();
    assert_eq!(fs::read_to_string(&stat).unwrap(), before);
    running.0.resume().unwrap();
}
