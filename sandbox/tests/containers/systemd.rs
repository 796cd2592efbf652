//! Containers in scopes that systemd makes: what systemd knows of them, and what it forgets.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_scope_is_in_its_slice_with_limits_that_systemd_knows,
    a_scope_goes_with_its_container_and_systemd_forgets_it,
    a_container_killed_for_want_of_memory_leaves_no_failed_unit,
    a_kill_for_want_of_memory_is_in_the_slices_count_when_its_scope_is_gone,
    an_update_of_a_part_keeps_the_rest_for_systemd_too,
    runc_2204_an_update_with_the_same_devices_closes_none_for_a_moment,
    an_update_outlasts_a_reload_of_systemd,
    devices_stay_closed_when_systemd_is_reloaded,
    an_exec_is_in_the_scope,
    a_container_in_a_scope_is_paused_and_killed,
    the_next_attempt_has_a_scope_of_the_same_name,
    a_container_that_cannot_be_made_leaves_no_scope,
    a_scope_that_is_alive_is_not_taken_over,
    a_killed_shims_scope_is_swept,
    runc_4853_a_container_says_nothing_on_the_bus_and_costs_systemd_two_jobs,
    runc_4853_no_unit_is_left_of_a_hundred_containers,
];

pub(crate) const TESTS_WITHOUT: &[(&str, fn())] = tests![without_systemd_its_form_is_refused_with_what_to_do];

/// sd_booted(3)
pub(crate) fn runs() -> bool {
    exists("/run/systemd/system")
}

fn systemctl(words: &[&str]) -> String {
    let output = Command::new("systemctl").args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", "--value", "--property", name, unit])
}

fn until_forgotten(unit: &str) {
    for _ in 0..500 {
        if property(unit, "LoadState") == "not-found" {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("systemd still knows {unit}: {}", systemctl(&["status", unit]));
}

/// A bundle whose cgroup is a scope in the system's slice, and the scope's name.
fn scoped(script: &str) -> (Bundle, String) {
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["cgroupsPath"] = json!(format!(":loment:{}", bundle.id));
    let unit = format!("loment-{}.scope", bundle.id);
    (bundle, unit)
}

fn limit(bundle: &mut Bundle, name: &str, value: Value) {
    bundle.spec["linux"]["resources"][name] = value;
}

fn read(running: &Running, controller: &str, v1: &str, v2: &str) -> String {
    let path = running.0.cgroup().path().to_str().unwrap().to_owned();
    let file = if is_unified() { v2 } else { v1 };
    fs::read_to_string(cgroup_directory(controller, &path).join(file)).unwrap().trim().to_owned()
}

fn a_scope_is_in_its_slice_with_limits_that_systemd_knows() {
    let mut bundle = Bundle::new("sleep 100");
    let slice = format!("lomenttest-p{}.slice", std::process::id());
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("{slice}:cri-containerd:{}", bundle.id));
    limit(&mut bundle, "memory", json!({"limit": 64 << 20}));
    limit(&mut bundle, "cpu", json!({"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0"}));
    limit(&mut bundle, "pids", json!({"limit": 99}));
    let running = bundle.started();
    let unit = format!("cri-containerd-{}.scope", bundle.id);
    let expected = PathBuf::from("lomenttest.slice").join(&slice).join(&unit);
    assert_eq!(running.0.cgroup().path(), expected);
    let pid = running.0.init().pid();
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(own.lines().all(|line| line.ends_with(expected.to_str().unwrap())), "{own}");
    assert_eq!(running.0.cgroup().pids().unwrap(), [pid], "nobody but init is in it");

    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "Delegate"), "yes");
    assert_eq!(property(&unit, "Slice"), slice);
    let memory = if is_unified() { "MemoryMax" } else { "MemoryLimit" };
    assert_eq!(property(&unit, memory), (64 << 20).to_string());
    assert_eq!(property(&unit, "TasksMax"), "99");
    assert_eq!(property(&unit, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(read(&running, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(read(&running, "pids", "pids.max", "pids.max"), "99");
    assert_eq!(read(&running, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert!(read(&running, "cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert_eq!(read(&running, "cpu", "cpu.shares", "cpu.weight"), if is_unified() { "100" } else { "1024" });
    drop(running);
    until_forgotten(&unit);
    systemctl(&["stop", "lomenttest.slice"]);
}

fn a_scope_goes_with_its_container_and_systemd_forgets_it() {
    let (bundle, unit) = scoped("exit 3");
    let (code, _) = bundle.run();
    assert_eq!(code, 3);
    until_forgotten(&unit);
    assert!(!exists(cgroup_directory("memory", &format!("system.slice/{unit}"))));
    assert!(exists(cgroup_directory("memory", "system.slice")), "the slice is systemd's");
}

fn a_container_killed_for_want_of_memory_leaves_no_failed_unit() {
    let (mut bundle, unit) = scoped("exec dd if=/dev/zero of=/dev/null bs=100M");
    limit(&mut bundle, "memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    let mut running = bundle.started();
    assert_eq!(wait(running.0.init_mut()).code, 137);
    drop(running);
    until_forgotten(&unit);
}

fn a_kill_for_want_of_memory_is_in_the_slices_count_when_its_scope_is_gone() {
    let mut bundle = Bundle::new("exec dd if=/dev/zero of=/dev/null bs=100M");
    bundle.spec["linux"]["cgroupsPath"] =
        json!(format!("lomenttest-m{}.slice:loment:{}", std::process::id(), bundle.id));
    limit(&mut bundle, "memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    let mut running = bundle.started();
    let slice = running.0.cgroup().slice().unwrap();
    assert_eq!(wait(running.0.init_mut()).code, 137);
    match slice {
        Some(slice) => {
            until_forgotten(&format!("loment-{}.scope", bundle.id));
            let gone = running.0.cgroup().oom_kills().unwrap_err();
            assert_eq!(gone.cause.kind(), std::io::ErrorKind::NotFound, "{gone}");
            assert_eq!(slice.oom_kills().unwrap(), 1);
        }
        // v1 counts a kill where it was.
        None => assert!(!is_unified()),
    }
    drop(running);
    systemctl(&["stop", "lomenttest.slice"]);
}

/// As the shim and the command line do it.
fn update(running: &Running, resources: Value) {
    let mut resources = serde_json::from_value(resources).unwrap();
    running.0.cgroup().tell_systemd(&mut resources).unwrap().expect("it is a scope").finish().unwrap();
    running.0.update(&resources).unwrap();
}

fn an_update_of_a_part_keeps_the_rest_for_systemd_too() {
    let (mut bundle, unit) = scoped("sleep 100");
    limit(&mut bundle, "memory", json!({"limit": 64 << 20}));
    limit(&mut bundle, "cpu", json!({"quota": 33_333, "period": 100_000}));
    let running = bundle.started();
    let told = || (property(&unit, "CPUQuotaPerSecUSec"), property(&unit, "CPUQuotaPeriodUSec"));
    let quota = || read(&running, "cpu", "cpu.cfs_quota_us", "cpu.max");
    update(&running, json!({"cpu": {"period": 50_000}}));
    // 66.666 per cent, rounded up, for systemd only.
    assert_eq!(told(), ("670ms".into(), "50ms".into()));
    assert_eq!(quota(), if is_unified() { "33333 50000" } else { "33333" });
    update(&running, json!({"cpu": {"quota": 25_000}}));
    assert_eq!(told(), ("500ms".into(), "50ms".into()));
    assert_eq!(quota(), if is_unified() { "25000 50000" } else { "25000" });
    if is_unified() {
        update(&running, json!({"memory": {"swap": 96 << 20}, "unified": {"memory.min": "1048576"}}));
        assert_eq!(property(&unit, "MemorySwapMax"), (32 << 20).to_string());
        assert_eq!(property(&unit, "MemoryMin"), (1 << 20).to_string());
    }
}

fn runc_2204_an_update_with_the_same_devices_closes_none_for_a_moment() {
    if !is_unified() {
        // There systemd writes its own list anew whatever it is told: docs/cgroups.md.
        return;
    }
    // Not `:`, with which the shell would end.
    let (bundle, unit) =
        scoped("while [ ! -e /tmp/done ]; do cat </dev/null || touch /tmp/closed; done; [ ! -e /tmp/closed ]");
    let mut running = bundle.started();
    let devices = bundle.spec["linux"]["resources"]["devices"].clone();
    for pids in 50..70 {
        update(&running, json!({"devices": devices, "pids": {"limit": pids}}));
    }
    assert_eq!(property(&unit, "TasksMax"), "69");
    assert_eq!(running.exec("touch /tmp/done").0, 0);
    assert_eq!(wait(running.0.init_mut()).code, 0);
}

fn an_update_outlasts_a_reload_of_systemd() {
    let (mut bundle, unit) = scoped("sleep 100");
    limit(&mut bundle, "memory", json!({"limit": 64 << 20}));
    let running = bundle.started();
    update(&running, json!({"memory": {"limit": 96 << 20}, "pids": {"limit": 55}}));
    assert_eq!(property(&unit, "TasksMax"), "55");
    systemctl(&["daemon-reload"]);
    // Something that makes systemd write the scope's limits again.
    systemctl(&["set-property", "--runtime", &unit, "TasksMax=44"]);
    assert_eq!(read(&running, "memory", "memory.limit_in_bytes", "memory.max"), (96 << 20).to_string());
    assert_eq!(read(&running, "pids", "pids.max", "pids.max"), "44");
}

fn devices_stay_closed_when_systemd_is_reloaded() {
    let (bundle, unit) = scoped("mknod /tmp/kmsg c 1 11; sleep 100");
    let running = bundle.started();
    let closed = |running: &Running| {
        let (_, text) = running.exec("cat /dev/null && echo null; head -c 1 /tmp/kmsg 2>&1");
        assert!(text.contains("null") && text.contains("not permitted"), "{text}");
    };
    closed(&running);
    systemctl(&["daemon-reload"]);
    systemctl(&["set-property", "--runtime", &unit, "TasksMax=44"]);
    closed(&running);
}

fn an_exec_is_in_the_scope() {
    let (bundle, unit) = scoped("sleep 100");
    let running = bundle.started();
    let inside = cgroup_directory("pids", &format!("system.slice/{unit}")).join("pids.current");
    assert_eq!(fs::read_to_string(&inside).unwrap(), "1\n");
    let (code, _) = running.exec("exit 5");
    assert_eq!(code, 5);
    assert_eq!(fs::metadata(inside).unwrap().uid(), 0);
    assert_eq!(property(&unit, "ActiveState"), "active", "an exec that ends does not end the scope");
}

fn a_container_in_a_scope_is_paused_and_killed() {
    let (bundle, unit) = scoped("while :; do :; done");
    let running = bundle.started();
    running.0.pause().unwrap();
    running.0.resume().unwrap();
    let mut running = running;
    assert!(running.0.signal_all(nix::libc::SIGKILL).unwrap());
    assert_eq!(wait(running.0.init_mut()).code, 137);
    drop(running);
    until_forgotten(&unit);
}

fn the_next_attempt_has_a_scope_of_the_same_name() {
    let (bundle, unit) = scoped("sleep 100");
    let mut first = bundle.create(no_io()).unwrap();
    first.start().unwrap().finish().unwrap();
    first.end_attempt().unwrap();
    let second = bundle.started();
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(second.0.cgroup().pids().unwrap(), [second.0.init().pid()]);
}

fn a_container_that_cannot_be_made_leaves_no_scope() {
    let (mut bundle, unit) = scoped("true");
    bundle.mount(json!({"destination": "/x", "type": "bind", "source": "/no/such/thing", "options": ["bind"]}));
    assert!(bundle.refused().contains("/no/such/thing"));
    until_forgotten(&unit);
    let (mut bundle, unit) = scoped("true");
    bundle.spec["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
    bundle.refused();
    assert_eq!(property(&unit, "LoadState"), "not-found", "systemd is not asked");
}

fn a_scope_that_is_alive_is_not_taken_over() {
    let (bundle, unit) = scoped("sleep 100");
    let running = bundle.started();
    let mut other = Bundle::new("true");
    other.spec["linux"]["cgroupsPath"] = json!(format!(":loment:{}", bundle.id));
    let error = other.refused();
    assert!(error.contains(&unit) && error.contains("UnitExists"), "{error}");
    assert_eq!(running.0.cgroup().pids().unwrap(), [running.0.init().pid()]);
}

fn a_killed_shims_scope_is_swept() {
    let (bundle, unit) = scoped("sleep 100 & sleep 100");
    let run = || {
        std::mem::forget(bundle.started());
        0
    };
    let (_, parent) = loment_sys::clone::clone3(0, None, run).unwrap();
    loment_sys::pidfd::reap(std::os::fd::AsFd::as_fd(&parent)).unwrap();
    assert!(loment_sandbox::record::sweep(&bundle.path).unwrap().killed);
    until_forgotten(&unit);
    assert!(!Path::new("/sys/fs/cgroup/system.slice").join(&unit).exists());
}

/// The bus of the system as nobody can reach it, as long as this exists.
struct NoBus;

impl NoBus {
    const SOCKET: &'static str = "/run/dbus/system_bus_socket";

    fn new() -> Self {
        mount(Some("/dev/null"), Self::SOCKET, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        Self
    }
}

impl Drop for NoBus {
    fn drop(&mut self) {
        clean_up(|| umount(Self::SOCKET).unwrap());
    }
}

/// How many jobs systemd has ever taken on.
fn jobs() -> u32 {
    systemctl(&["show", "--value", "--property", "NInstalledJobs"]).parse().unwrap()
}

/// There the bus of the node answered nobody any more when many containers came and went: each asked systemd over it, also
/// for each exec. docs/faults-of-others.md
fn runc_4853_a_container_says_nothing_on_the_bus_and_costs_systemd_two_jobs() {
    let _nobody_answers = NoBus::new();
    let before = jobs();
    let (mut bundle, unit) = scoped("sleep 100");
    limit(&mut bundle, "memory", json!({"limit": 64 << 20}));
    limit(&mut bundle, "pids", json!({"limit": 99}));
    let running = bundle.started();
    let started = jobs();
    assert_eq!(started - before, 1, "to start the scope, limits and all");
    for _ in 0..20 {
        assert_eq!(running.exec("exit 5").0, 5);
    }
    running.0.pause().unwrap();
    running.0.resume().unwrap();
    assert_eq!(jobs(), started, "an exec is none of systemd's business");
    drop(running);
    until_forgotten(&unit);
    let ended = jobs() - started;
    assert!(ended <= 1, "to stop the scope: {ended}");
}

fn runc_4853_no_unit_is_left_of_a_hundred_containers() {
    let units = || systemctl(&["list-units", "--all", "--plain", "--no-legend", "loment-*.scope"]);
    assert_eq!(units(), "");
    let mut names = Vec::new();
    for number in 0..100 {
        let (bundle, unit) = scoped(&format!("exit {}", number % 7));
        assert_eq!(bundle.run().0, number % 7);
        names.push(unit);
    }
    names.iter().for_each(|unit| until_forgotten(unit));
    assert_eq!(units(), "");
}

fn without_systemd_its_form_is_refused_with_what_to_do() {
    let mut bundle = Bundle::new("true");
    bundle.spec["linux"]["cgroupsPath"] = json!(format!("kubepods.slice:cri-containerd:{}", bundle.id));
    let error = bundle.refused();
    assert!(error.contains("systemd does not run here") && error.contains("SystemdCgroup = false"), "{error}");
}
