//! Containers with users and clocks of their own.

use std::{
    fs::{self, File},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, chown, lchown},
    },
    path::Path,
};

use loment_sandbox::container::{Io, Role, RootfsMount};
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    root_of_a_user_namespace_is_nobody_outside,
    all_namespaces_belong_to_the_containers_user_namespace,
    file_systems_of_a_user_namespace_belong_to_its_root,
    devices_can_be_used_in_a_user_namespace,
    what_is_made_for_a_mount_belongs_to_the_containers_root,
    names_and_parameters_are_set_in_a_user_namespace,
    root_of_a_user_namespace_cannot_uncover_what_is_masked,
    an_idmapped_volume_shows_its_files_as_the_containers,
    a_volume_may_be_mapped_without_a_user_namespace,
    an_overlay_with_mapped_layers_belongs_to_the_container,
    an_exec_joins_the_user_namespace,
    a_terminal_belongs_to_a_user_of_the_namespace,
    a_user_of_the_namespace_may_reopen_standard_output,
    limits_are_set_in_a_user_namespace,
    a_seccomp_profile_applies_in_a_user_namespace,
    containers_of_a_pod_share_a_user_namespace,
    hooks_of_a_container_with_its_own_users_run,
    an_id_without_meaning_is_refused,
    maps_that_are_not_those_of_the_joined_namespace_are_refused,
    a_root_that_cannot_be_built_in_a_user_namespace_is_told,
    clocks_are_ahead_as_the_spec_says,
    clocks_of_a_user_namespace_are_ahead_too,
    clocks_may_be_joined,
    a_process_at_its_gate_in_a_user_namespace_cannot_be_looked_into,
];

pub(crate) const FIRST: u32 = 100_000;
const COUNT: u32 = 65_536;

fn maps() -> Value {
    json!([{"containerID": 0, "hostID": FIRST, "size": COUNT}])
}

pub(crate) fn give(path: &Path, id: u32) {
    lchown(path, Some(id), Some(id)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), id));
    }
}

/// A bundle with a user namespace, whose root file system belongs to its root.
pub(crate) fn bundle(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    own_users(&mut bundle);
    give(&bundle.rootfs(), FIRST);
    bundle
}

pub(crate) fn own_users(bundle: &mut Bundle) {
    let linux = &mut bundle.spec["linux"];
    linux["uidMappings"] = maps();
    linux["gidMappings"] = maps();
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
}

fn add_namespace(bundle: &mut Bundle, kind: &str) {
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": kind}));
}

/// Field of a process's status.
fn status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

fn root_of_a_user_namespace_is_nobody_outside() {
    let inside = "id -u; id -g; sed 's/  */ /g' /proc/self/uid_map";
    assert_eq!(bundle(inside).output(), format!("0\n0\n 0 {FIRST} {COUNT}\n"));
    let bundle = bundle("sleep 100");
    let running = bundle.started();
    let pid = running.0.init().pid();
    assert_eq!(status(pid, "Uid:"), format!("{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}"));
    assert_eq!(status(pid, "Gid:"), format!("{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}"));
    assert_eq!(status(pid, "Groups:"), (FIRST + 10).to_string());
    assert_ne!(namespace(pid, "user"), namespace("self", "user"));
    assert_eq!(running.exec(inside), (0, format!("0\n0\n 0 {FIRST} {COUNT}\n")));
}

fn all_namespaces_belong_to_the_containers_user_namespace() {
    let mut bundle = bundle("sleep 100");
    add_namespace(&mut bundle, "cgroup");
    add_namespace(&mut bundle, "time");
    let running = bundle.started();
    let pid = running.0.init().pid();
    let user = fs::metadata(format!("/proc/{pid}/ns/user")).unwrap().ino();
    for kind in ["pid", "ipc", "uts", "mnt", "net", "cgroup", "time"] {
        let namespace = File::open(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let owner = File::from(loment_sys::namespace::owner(namespace.as_fd()).unwrap());
        assert_eq!(owner.metadata().unwrap().ino(), user, "{kind}");
    }
}

fn file_systems_of_a_user_namespace_belong_to_its_root() {
    let mut bundle =
        bundle("stat -c '%n %u:%g' /dev /dev/null /dev/shm /run /mine / /bin; touch /dev/x /run/x /mine/x /x");
    bundle.mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["mode=1777"]}));
    bundle.mount(json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}));
    bundle.mount(
        json!({"destination": "/mine", "type": "tmpfs", "source": "t", "options": ["uid=7", "gid=8", "mode=700"]}),
    );
    let expected = "/dev 0:0\n/dev/null 0:0\n/dev/shm 0:0\n/run 0:0\n/mine 7:8\n/ 0:0\n/bin 0:0\n";
    assert_eq!(bundle.output(), expected);
    assert_eq!(fs::metadata(bundle.rootfs().join("x")).unwrap().uid(), FIRST);
}

fn devices_can_be_used_in_a_user_namespace() {
    let bundle = bundle("echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 2 /dev/urandom | wc -c");
    assert_eq!(bundle.output(), "3\n2\n");
}

fn what_is_made_for_a_mount_belongs_to_the_containers_root() {
    let mut bundle = bundle("stat -c '%u:%g' /made /made/deep /etc/made");
    bundle.mount(json!({"destination": "/made/deep/place", "type": "tmpfs", "source": "t"}));
    fs::write(bundle.path.join("file"), "").unwrap();
    let file = bundle.path.join("file").display().to_string();
    bundle.mount(json!({"destination": "/etc/made", "type": "bind", "source": file, "options": ["bind"]}));
    assert_eq!(bundle.output(), "0:0\n0:0\n65534:65534\n", "the last one is the file of the host's root itself");
    assert_eq!(fs::metadata(bundle.rootfs().join("etc/made")).unwrap().uid(), FIRST);
}

fn names_and_parameters_are_set_in_a_user_namespace() {
    let mut bundle = bundle(
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni; ip addr show lo",
    );
    bundle.spec["domainname"] = json!("domain");
    bundle.spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "99"});
    let text = bundle.output();
    assert!(text.starts_with("pod\ndomain\n1\n99\n") && text.contains("LOOPBACK,UP"), "{text}");
}

fn root_of_a_user_namespace_cannot_uncover_what_is_masked() {
    let mut bundle = bundle(
        "mount -o remount,bind,rw /proc/sys; echo $?; umount /proc/keys 2>/dev/null; echo $?; \
         mount -o remount,bind,rw /ro; echo $?; mount -t tmpfs t /tmp && echo may mount; umount /tmp; wc -c < /proc/keys",
    );
    let volume = bundle.path.join("volume");
    fs::create_dir(&volume).unwrap();
    let volume = volume.display().to_string();
    bundle.mount(json!({"destination": "/ro", "type": "bind", "source": volume, "options": ["rbind", "ro"]}));
    for set in ["bounding", "effective", "permitted"] {
        bundle.spec["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
    }
    let text = bundle.output();
    let answers: Vec<_> = text.lines().filter(|line| !line.starts_with("mount:")).collect();
    assert_eq!(answers, ["1", "1", "1", "may mount", "0"], "{text}");
}

fn an_idmapped_volume_shows_its_files_as_the_containers() {
    let mut bundle = bundle("stat -c '%u:%g' /mapped/file /given/file; touch /mapped/new /given/new");
    for name in ["mapped", "given"] {
        fs::create_dir(bundle.path.join(name)).unwrap();
        fs::write(bundle.path.join(name).join("file"), "").unwrap();
    }
    let source = |name: &str| bundle.path.join(name).display().to_string();
    let (mapped, given) = (source("mapped"), source("given"));
    bundle.mount(json!({"destination": "/mapped", "type": "bind", "source": mapped, "options": ["rbind", "idmap"]}));
    let maps = json!([{"containerID": 0, "hostID": FIRST + 5, "size": 10}]);
    bundle.mount(json!({"destination": "/given", "type": "bind", "source": given, "options": ["rbind"],
                        "uidMappings": maps, "gidMappings": maps}));
    fs::set_permissions(&given, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let (code, text) = bundle.run();
    assert_eq!(text.lines().next(), Some("0:0"));
    assert_eq!(text.lines().nth(1), Some("5:5"), "the maps of the mount");
    // Root of the container stands for no user of the second volume.
    assert_eq!(code, 1, "{text}");
    let new = fs::metadata(bundle.path.join("mapped/new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (0, 0), "written as the owner that the volume's root has");
}

fn a_volume_may_be_mapped_without_a_user_namespace() {
    let mut bundle = Bundle::new("stat -c '%u:%g' /mapped/file");
    let volume = bundle.path.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    chown(volume.join("file"), Some(3), Some(4)).unwrap();
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let volume = volume.display().to_string();
    bundle.mount(json!({"destination": "/mapped", "type": "bind", "source": volume, "options": ["bind", "ridmap"],
                        "uidMappings": maps, "gidMappings": maps}));
    assert_eq!(bundle.output(), "1003:1004\n");
    bundle.mount(json!({"destination": "/other", "type": "bind", "source": "/tmp", "options": ["bind", "idmap"]}));
    assert!(bundle.refused().contains("mounts.uidMappings"));
}

fn an_overlay_with_mapped_layers_belongs_to_the_container() {
    let mut bundle =
        Bundle::new("stat -c '%u:%g' /bin/busybox /etc/passwd; touch /etc/new && echo changed > /etc/passwd");
    own_users(&mut bundle);
    for name in ["upper", "work"] {
        fs::create_dir(bundle.path.join(name)).unwrap();
        give(&bundle.path.join(name), FIRST);
    }
    let map = |kind: &str| format!("{kind}=0:{FIRST}:{COUNT}");
    let option = |kind: &str, name: &str| format!("{kind}={}", bundle.path.join(name).display());
    let options = vec![
        option("lowerdir", "rootfs"),
        option("upperdir", "upper"),
        option("workdir", "work"),
        map("uidmap"),
        map("gidmap"),
    ];
    let root = RootfsMount { kind: "overlay".into(), source: "overlay".into(), target: String::new(), options };
    bundle.rootfs = vec![root];
    if kernel() < (6, 15) {
        assert!(bundle.refused().contains("layers with mapped owners need Linux 6.15"));
        return;
    }
    assert_eq!(bundle.output(), "0:0\n0:0\n");
    assert_eq!(fs::metadata(bundle.path.join("upper/etc/new")).unwrap().uid(), FIRST);
    assert_eq!(fs::metadata(bundle.rootfs().join("etc/passwd")).unwrap().uid(), 0, "the layer is as it was");
}

fn an_exec_joins_the_user_namespace() {
    let bundle = bundle("sleep 100");
    let running = bundle.started();
    let script = "id -u; for n in user pid mnt net ipc uts; do readlink /proc/self/ns/$n; done; touch /by-exec";
    let (code, text) = running.exec(script);
    assert_eq!(code, 0, "{text}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("0"));
    for kind in ["user", "pid", "mnt", "net", "ipc", "uts"] {
        assert_eq!(lines.next(), Some(namespace(running.0.init().pid(), kind).as_str()));
    }
    assert_eq!(fs::metadata(bundle.rootfs().join("by-exec")).unwrap().uid(), FIRST);
    let process = |uid: u32| {
        json!({"args": ["sh", "-c", "id -u; grep CapEff /proc/self/status; echo again > /dev/stdout"], "cwd": "/",
               "user": {"uid": uid, "gid": uid}, "env": [PATH]})
    };
    let (code, text) = running.exec_process(process(1000));
    assert_eq!((code, text.as_str()), (0, "1000\nCapEff:\t0000000000000000\nagain\n"));
    let refused = running.0.exec(&serde_json::from_value(process(COUNT)).unwrap(), no_io()).unwrap_err();
    assert!(refused.to_string().contains("process.user.uid"), "{refused}");
    assert_eq!(running.0.outside(1000, 7), (FIRST + 1000, FIRST + 7));
}

fn a_terminal_belongs_to_a_user_of_the_namespace() {
    let mut bundle = bundle("tty; stat -c '%a %u:%g' $(tty); echo to console > /dev/console; echo x > $(tty)");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.spec["root"]["readonly"] = json!(true);
    let mut container = bundle.create(Io::Terminal).unwrap();
    let terminal = container.take_terminal().unwrap();
    container.start().unwrap().finish().unwrap();
    assert_eq!(read(terminal), "/dev/pts/0\r\n620 1000:5\r\nto console\r\nx\r\n");
    assert_eq!(wait(container.init_mut()).code, 0);
    container.delete().unwrap();
}

fn a_user_of_the_namespace_may_reopen_standard_output() {
    let mut bundle = bundle("id -u > /dev/stdout; echo err > /dev/stderr");
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    assert_eq!(bundle.output(), "1000\nerr\n");
}

fn limits_are_set_in_a_user_namespace() {
    let mut bundle = bundle("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj");
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 6, "hard": 7}]);
    assert_eq!(bundle.output(), "6\n7\n1000\n");
}

fn a_seccomp_profile_applies_in_a_user_namespace() {
    let mut bundle = bundle("mkdir /x; echo $?; grep Seccomp: /proc/self/status");
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]
    });
    let text = bundle.output();
    assert!(text.contains("No space left") && text.contains("1\nSeccomp:\t2\n"), "{text}");
}

fn containers_of_a_pod_share_a_user_namespace() {
    let mut sandbox = Bundle::new("this is never run");
    own_users(&mut sandbox);
    sandbox.role = Role::Holder;
    sandbox.spec["process"]["user"] = json!({"uid": 65535, "gid": 65535});
    let sandbox = sandbox.started();
    let holder = sandbox.0.init().pid();
    assert_eq!(status(holder, "Uid:").split('\t').next(), Some(&*(FIRST + 65_535).to_string()));
    assert_eq!(status(holder, "CapBnd:"), "0000000000000000");

    let mut app = Bundle::new("sleep 100");
    give(&app.rootfs(), FIRST);
    let join = |kind: &str, name: &str| json!({"type": kind, "path": format!("/proc/{holder}/ns/{name}")});
    app.spec["linux"]["namespaces"] = json!([
        join("user", "user"), join("ipc", "ipc"), join("uts", "uts"), join("network", "net"), {"type": "mount"},
        {"type": "pid"}
    ]);
    app.spec["linux"]["uidMappings"] = maps();
    app.spec["linux"]["gidMappings"] = maps();
    app.spec.as_object_mut().unwrap().remove("hostname");
    let app = app.started();
    let pid = app.0.init().pid();
    for kind in ["user", "ipc", "uts", "net"] {
        assert_eq!(namespace(pid, kind), namespace(holder, kind), "{kind}");
    }
    assert_eq!(app.exec("hostname; id -u; echo $(ps | wc -l)").1.lines().take(2).collect::<Vec<_>>(), ["pod", "0"]);
    let own = File::open(format!("/proc/{pid}/ns/pid")).unwrap();
    let owner = File::from(loment_sys::namespace::owner(own.as_fd()).unwrap()).metadata().unwrap().ino();
    assert_eq!(owner, fs::metadata(format!("/proc/{holder}/ns/user")).unwrap().ino());
}

fn hooks_of_a_container_with_its_own_users_run() {
    let mut bundle = bundle("cat /etc/from-hook; stat -c %u /etc/from-hook; cat /work/start");
    bundle.rootfs = vec![RootfsMount {
        kind: "bind".into(),
        source: bundle.rootfs().display().to_string(),
        target: String::new(),
        options: vec!["rbind".into()],
    }];
    let notes = bundle.path.join("notes");
    let hook = |script: &str| {
        json!([{"path": "/bin/busybox", "args": ["sh", "-c", script], "env": [
        format!("NOTES={}", notes.display()), format!("ROOT={}", bundle.rootfs().display())]}])
    };
    let inside = json!([{"path": "/bin/sh", "args": ["sh", "-c", "id -u > /work/start"]}]);
    bundle.spec["hooks"] = json!({
        "createRuntime": hook("cat > $NOTES.runtime"),
        "createContainer": hook("cat > $NOTES.create; readlink /proc/self/ns/net >> $NOTES.create; echo hi > $ROOT/etc/from-hook"),
        "startContainer": inside,
        "poststop": hook("cat > $NOTES.stop"),
    });
    let (io, output) = output();
    let mut container = bundle.create(io).unwrap();
    let pid = container.init().pid();
    let network = namespace(pid, "net");
    container.start().unwrap().finish().unwrap();
    assert_eq!(read(output), "hi\n65534\n0\n");
    wait(container.init_mut());
    container.delete().unwrap();
    let noted = |kind: &str| fs::read_to_string(bundle.path.join(format!("notes.{kind}"))).unwrap();
    assert!(noted("runtime").contains(&format!("\"pid\":{pid}")), "{}", noted("runtime"));
    assert!(noted("create").contains("\"pid\":1") && noted("create").contains(&network), "{}", noted("create"));
    assert!(noted("stop").contains("stopped"));
}

fn an_id_without_meaning_is_refused() {
    let mut bundle = bundle("true");
    bundle.spec["process"]["user"]["additionalGids"] = json!([COUNT]);
    assert!(bundle.refused().contains("process.user.additionalGids"));
    bundle.spec["process"]["user"] = json!({"uid": COUNT, "gid": 0});
    assert!(bundle.refused().contains("process.user.uid"));
    bundle.spec["process"]["user"] = json!({"uid": 0, "gid": 0});
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "uid": COUNT, "gid": 0}]);
    assert!(bundle.refused().contains("linux.devices"));
}

fn maps_that_are_not_those_of_the_joined_namespace_are_refused() {
    let other = bundle("sleep 100");
    let other = other.started();
    let path = format!("/proc/{}/ns/user", other.0.init().pid());
    let mut bundle = Bundle::new("id -u");
    give(&bundle.rootfs(), FIRST);
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user", "path": path}));
    assert_eq!(bundle.output(), "0\n", "without maps in the spec, those of the namespace hold");
    let maps = json!([{"containerID": 0, "hostID": 1, "size": 50}]);
    bundle.spec["linux"]["uidMappings"] = maps.clone();
    bundle.spec["linux"]["gidMappings"] = maps;
    let refused = bundle.refused();
    assert!(refused.contains("linux.uidMappings") && refused.contains(&path), "{refused}");
}

fn a_root_that_cannot_be_built_in_a_user_namespace_is_told() {
    let mut bundle = bundle("true");
    bundle.mount(json!({"destination": "/v", "type": "bind", "source": "/no/such/volume", "options": ["rbind"]}));
    let refused = bundle.refused();
    assert!(refused.contains("/no/such/volume"), "{refused}");
}

/// Seconds of a clock: of `/proc/uptime`, which is the boot time's.
fn uptime(text: &str) -> f64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn is_ahead(text: &str) {
    let host = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    assert!((86_000.0..87_000.0).contains(&(uptime(text) - host)), "{text} on a host at {host}");
}

fn with_clocks(bundle: &mut Bundle) {
    // The carrier has a directory of cgroup v2 to hand on.
    limit_huge_pages(bundle);
    add_namespace(bundle, "time");
    bundle.spec["linux"]["timeOffsets"] =
        json!({"boottime": {"secs": 86_400, "nanosecs": 5}, "monotonic": {"secs": 1}});
}

fn clocks_are_ahead_as_the_spec_says() {
    let mut bundle = Bundle::new("sed 's/  */ /g' /proc/self/timens_offsets; cat /proc/uptime");
    with_clocks(&mut bundle);
    let text = bundle.output();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["monotonic 1 0", "boottime 86400 5"]);
    is_ahead(lines[2]);
    assert_eq!(namespace("self", "time"), namespace("self", "time_for_children"), "the runtime's own are untouched");
    let mut bundle = Bundle::new("sleep 100");
    with_clocks(&mut bundle);
    is_ahead(&bundle.started().exec("cat /proc/uptime").1);
}

fn clocks_of_a_user_namespace_are_ahead_too() {
    let mut bundle = bundle("cat /proc/uptime");
    with_clocks(&mut bundle);
    is_ahead(&bundle.output());
}

fn clocks_may_be_joined() {
    let mut first = Bundle::new("sleep 100");
    with_clocks(&mut first);
    let first = first.started();
    let mut second = Bundle::new("cat /proc/uptime");
    let path = format!("/proc/{}/ns/time", first.0.init().pid());
    second.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time", "path": path}));
    is_ahead(&second.output());
}

fn a_process_at_its_gate_in_a_user_namespace_cannot_be_looked_into() {
    let bundle = bundle("true");
    let mut container = bundle.create(no_io()).unwrap();
    let pid = container.init().pid();
    // What is not dumpable belongs to the host's root, whatever its user is.
    assert_eq!(fs::metadata(format!("/proc/{pid}/fd")).unwrap().uid(), 0);
    container.delete().unwrap();
}
