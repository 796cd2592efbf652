//! What goes wrong is named, and leaves nothing behind.

use std::{fs, os::fd::AsFd, process::Command};

use loment_cgroups::Layout;
use loment_sandbox::{
    container::Creating,
    error::Cause,
    record::{self, Record, Swept},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};
use serde_json::json;

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_program_that_does_not_exist_is_told_at_create,
    a_missing_interpreter_is_told_at_start,
    a_namespace_that_is_gone_is_named,
    a_cgroup_that_cannot_be_made_is_named,
    a_missing_rootfs_is_named,
    a_missing_layer_of_an_overlay_is_named,
    a_file_system_that_the_kernel_does_not_know_is_named,
    a_limit_that_cannot_be_raised_is_named,
    what_is_not_supported_is_refused_by_name,
    a_label_that_nobody_enforces_is_refused,
    a_death_before_the_gate_is_told,
    a_creation_that_is_dropped_leaves_nothing,
    a_child_at_its_gate_leaves_when_its_parent_dies,
    a_killed_shims_container_is_swept,
    a_sweep_touches_no_other_process,
    a_process_with_threads_does_not_clone,
];

fn a_program_that_does_not_exist_is_told_at_create() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["nope"]);
    let error = bundle.create(no_io()).unwrap_err();
    assert!(matches!(error.cause, Cause::Exec(Errno::ENOENT, _)));
    assert_eq!(error.to_string(), r#"exec: "nope": executable file not found in $PATH"#);
    bundle.spec["process"]["args"] = json!(["/etc/passwd"]);
    let error = bundle.create(no_io()).unwrap_err();
    assert!(matches!(error.cause, Cause::Exec(Errno::EACCES, _)), "{error}");
}

fn a_missing_interpreter_is_told_at_start() {
    let mut bundle = Bundle::new("");
    let script = bundle.rootfs().join("bin/script");
    fs::copy("/bin/busybox", &script).unwrap();
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    bundle.spec["process"]["args"] = json!(["script"]);
    let mut container = bundle.create(no_io()).unwrap();
    let error = container.start().unwrap().finish().unwrap_err();
    assert!(error.to_string().contains("interpreter"), "{error}");
    assert_eq!(wait(container.init_mut()).code, 1);
    container.delete().unwrap();
}

fn a_namespace_that_is_gone_is_named() {
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network", "path": "/run/netns/gone"}]);
    bundle.spec.as_object_mut().unwrap().remove("hostname");
    let error = bundle.refused();
    assert!(error.contains("open namespace /run/netns/gone: No such file"), "{error}");
    bundle.spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/ipc"}]);
    let error = bundle.refused();
    assert!(error.contains("join namespace /proc/self/ns/ipc: Invalid argument"), "{error}");
}

fn a_cgroup_that_cannot_be_made_is_named() {
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["cgroupsPath"] = json!("/cgroup.procs/below-a-file");
    let error = bundle.refused();
    assert!(error.contains("cgroup.procs") && error.contains("Not a directory"), "{error}");
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("{}/../../x", cgroups()));
    assert!(bundle.refused().contains("'..' is not allowed"));
}

fn a_missing_rootfs_is_named() {
    let mut bundle = Bundle::new("true");
    bundle.spec["root"]["path"] = json!("nowhere");
    let error = bundle.refused();
    assert!(error.contains("/nowhere: No such file"), "{error}");
}

fn a_missing_layer_of_an_overlay_is_named() {
    let mut bundle = Bundle::new("true");
    let options = vec![format!("lowerdir=/no/such/layer:{}", bundle.rootfs().display())];
    bundle.rootfs = vec![loment_sandbox::container::RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options,
    }];
    let error = bundle.refused();
    assert!(error.contains("mount overlay of /no/such/layer: No such file"), "{error}");
}

fn a_file_system_that_the_kernel_does_not_know_is_named() {
    let mut bundle = Bundle::new("true");
    bundle.mount(json!({"destination": "/x", "type": "nofs", "source": "nofs"}));
    assert!(bundle.refused().contains("mount a file system of type nofs"));
    bundle.spec["mounts"].as_array_mut().unwrap().pop();
    bundle.mount(json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["frobnicate=1"]}));
    let error = bundle.refused();
    assert!(error.contains("mount tmpfs from tmpfs: Invalid argument") && error.contains("frobnicate"), "{error}");
}

fn a_limit_that_cannot_be_raised_is_named() {
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let mut bundle = Bundle::new("true");
    // Above fs.nr_open nobody may go.
    bundle.spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": u64::MAX / 2}]);
    let error = bundle.refused();
    assert!(error.contains("set limit RLIMIT_NOFILE") && error.contains("CAP_SYS_RESOURCE"), "{hard}: {error}");
}

fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "timeout": 0}]}), "hooks.prestart[0].timeout"),
        ("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt"),
        ("/linux/namespaces", json!([{"type": "user"}, {"type": "mount"}]), "linux.uidMappings"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "linux.gidMappings"),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}), "linux.timeOffsets"),
        ("/linux/namespaces", json!([{"type": "pid"}]), "linux.namespaces mount"),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation sideways"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!(["a\0b"]), "process.args"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "kernel.panic"),
        ("/process/oomScoreAdj", json!(2000), "process.oomScoreAdj 2000"),
    ];
    for (pointer, value, expected) in cases {
        let mut bundle = Bundle::new("true");
        bundle.spec.as_object_mut().unwrap().remove("hostname");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        bundle.spec.pointer_mut(parent).unwrap()[name] = value;
        let error = bundle.create(no_io()).unwrap_err();
        assert!(matches!(error.cause, Cause::Invalid(_)) && error.to_string().contains(expected), "{error}");
    }
}

fn a_label_that_nobody_enforces_is_refused() {
    if exists("/sys/module/apparmor") {
        return;
    }
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["apparmorProfile"] = json!("cri-containerd.apparmor.d");
    assert!(bundle.refused().contains("process.apparmorProfile cri-containerd.apparmor.d"));
    bundle.spec["process"]["apparmorProfile"] = json!("unconfined");
    bundle.output();
}

fn a_death_before_the_gate_is_told() {
    let mut bundle = Bundle::new("true");
    // Too little to set anything up in: the kernel kills the child.
    bundle.spec["linux"]["resources"]["memory"] = json!({"limit": 4096});
    let error = bundle.refused();
    assert!(error.contains("137") && error.contains("memory limit"), "{error}");
}

fn a_creation_that_is_dropped_leaves_nothing() {
    let bundle = Bundle::new("true");
    let creating = Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()).unwrap();
    poll(&mut [PollFd::new(creating.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    drop(creating);
    assert!(!exists(cgroup_directory("memory", &format!("{}/{}", cgroups(), bundle.id))));
    assert_eq!(record::read(&bundle.path).unwrap(), None);
}

/// Runs `parent` in another process, which must end by itself, as a shim that is killed does: without cleaning up.
pub(crate) fn in_a_parent_that_dies(parent: impl FnOnce()) {
    let run = || {
        parent();
        0
    };
    let (pid, _pidfd) = loment_sys::clone::clone3(0, None, run).unwrap();
    assert_eq!(waitpid(Pid::from_raw(pid), None).unwrap(), WaitStatus::Exited(Pid::from_raw(pid), 0));
}

fn a_child_at_its_gate_leaves_when_its_parent_dies() {
    let bundle = Bundle::new("echo must not run > /tmp/ran; sleep 100");
    in_a_parent_that_dies(|| std::mem::forget(bundle.create(no_io()).unwrap()));
    let record = record::read(&bundle.path).unwrap().unwrap();
    if let Ok(pidfd) = loment_sys::pidfd::open(record.pid) {
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }
    assert!(!record::sweep(&bundle.path).unwrap().killed);
    assert!(!exists(bundle.rootfs().join("tmp/ran")));
}

fn a_killed_shims_container_is_swept() {
    let bundle = Bundle::new("sleep 100 & sleep 100");
    in_a_parent_that_dies(|| std::mem::forget(bundle.started()));
    let record = record::read(&bundle.path).unwrap().unwrap();
    let swept = record::sweep(&bundle.path).unwrap();
    assert_eq!(swept, Swept { record: Some(record.clone()), killed: true });
    let state = fs::read_to_string(format!("/proc/{}/stat", record.pid)).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "ended, and perhaps not yet reaped by its new parent: {state}");
    assert!(!exists(cgroup_directory("memory", record.cgroup.to_str().unwrap())));
    assert_eq!(record::sweep(&bundle.path).unwrap(), Swept::default(), "a second time there is nothing to do");
}

fn a_sweep_touches_no_other_process() {
    let bundle = Bundle::new("true");
    let mut bystander = Command::new("/bin/sleep").arg("100").spawn().unwrap();
    let record = Record {
        id: bundle.id.clone(),
        pid: bystander.id() as i32,
        // Of a process that had this pid before.
        start_time: 1,
        cgroup: format!("{}/{}", cgroups().trim_start_matches('/'), bundle.id).into(),
    };
    fs::write(bundle.path.join("loment.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    assert!(!record::sweep(&bundle.path).unwrap().killed);
    assert_eq!(bystander.try_wait().unwrap(), None);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

fn a_process_with_threads_does_not_clone() {
    let bundle = Bundle::new("true");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv().is_ok());
    let error = bundle.refused();
    drop(sender);
    assert!(!thread.join().unwrap());
    assert!(error.contains("more than one thread"), "{error}");
}
