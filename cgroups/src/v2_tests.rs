//! v2 on the real kernel: a hybrid machine has a v2 hierarchy too, with the files of the cgroup core and with the
//! controllers that v1 leaves to it. Here it is taken for the only one. Needs root.

use std::{
    fs,
    io::ErrorKind,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Cgroup, Entry, Kind, Layout, Stats, mountinfo::Mounts};

/// Enabling a controller in the root is seen by all: one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct V2 {
    layout: Layout,
    root: PathBuf,
    path: PathBuf,
    enabled_before: String,
    _turn: MutexGuard<'static, ()>,
}

impl V2 {
    fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(nix::unistd::geteuid().is_root(), "run as root (scripts/test does)");
        let root = Layout::detect().unwrap().v2().expect("a v2 hierarchy is mounted").path().to_owned();
        let layout = Layout::open(Mounts { v1: vec![], v2: Some(root.clone()) }).unwrap();
        assert_eq!(layout.kind(), Kind::V2);
        let enabled_before = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap();
        let path = format!("loment-test-v2-{}", std::process::id()).into();
        Self { layout, root, path, enabled_before, _turn: turn }
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::create(&self.layout, &self.path.join("pod/container")).unwrap()
    }

    fn read(&self, cgroup: &Cgroup, file: &str) -> String {
        fs::read_to_string(self.root.join(cgroup.path()).join(file)).unwrap().trim().to_owned()
    }

    /// A process in the cgroup. (Being born inside needs a caller with one thread: the sandbox's tests do that.)
    fn spawn(&self, cgroup: &Cgroup, script: &str) -> Process {
        let procs = self.root.join(cgroup.path()).join("cgroup.procs");
        let script = format!("echo 0 > {} || exit 9; {script}", procs.display());
        let child = Command::new("bash").arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
        let process = Process(child);
        until(|| !cgroup.pids().unwrap().is_empty());
        process
    }
}

impl Drop for V2 {
    fn drop(&mut self) {
        let cgroup = Cgroup::open(&self.layout, &self.path).unwrap();
        let _ = cgroup.thaw();
        let _ = cgroup.kill();
        let removed = cgroup.remove();
        let enabled = fs::read_to_string(self.root.join("cgroup.subtree_control")).unwrap();
        for new in enabled.split_whitespace().filter(|c| !self.enabled_before.contains(c)) {
            let _ = fs::write(self.root.join("cgroup.subtree_control"), format!("-{new}"));
        }
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "waited ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn apply(cgroup: &Cgroup, resources: Value) -> crate::Result<()> {
    cgroup.apply(&serde_json::from_value(resources).unwrap())
}

#[test]
fn the_controllers_of_the_root_reach_the_container() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    let available = fs::read_to_string(v2.root.join("cgroup.controllers")).unwrap();
    assert!(!available.trim().is_empty(), "this machine leaves no controller to v2");
    assert_eq!(v2.read(&cgroup, "cgroup.controllers"), available.trim());
    assert_eq!(v2.read(&cgroup, "cgroup.subtree_control"), "", "the container's own choice");
    // Once more is nothing new.
    Cgroup::create(&v2.layout, cgroup.path()).unwrap();
}

#[test]
fn huge_page_limits_land_and_are_accounted() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    apply(&cgroup, json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]})).unwrap();
    assert_eq!(v2.read(&cgroup, "hugetlb.2MB.max"), (2 << 20).to_string());
    let Stats::V2(stats) = cgroup.stats().unwrap() else { panic!("v2") };
    let two = stats.hugetlb.iter().find(|h| h.pagesize == "2MB").unwrap();
    assert_eq!((two.current, two.max, two.failcnt), (0, 2 << 20, 0));
    let error = apply(&cgroup, json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]})).unwrap_err();
    assert_eq!(error.cause.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_limit_whose_controller_is_not_enabled_says_so() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    // Where v1 has the controller it is not there in the first place.
    if v2.read(&cgroup, "cgroup.controllers").contains("memory") {
        fs::write(v2.root.join(&v2.path).join("pod/cgroup.subtree_control"), "-memory").unwrap();
    }
    for resources in [json!({"memory": {"limit": 1 << 20}}), json!({"unified": {"memory.high": "1"}})] {
        let error = apply(&cgroup, resources).unwrap_err();
        assert_eq!(error.cause.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("not enabled"), "{error}");
    }
    // Without a swap controller no swap can be used: nothing to forbid.
    apply(&cgroup, json!({"memory": {"swap": -1}})).unwrap();
}

#[test]
fn unified_files_are_written() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    apply(&cgroup, json!({"unified": {"cgroup.max.depth": "3", "hugetlb.2MB.max": "0"}})).unwrap();
    assert_eq!(v2.read(&cgroup, "cgroup.max.depth"), "3");
    assert_eq!(v2.read(&cgroup, "hugetlb.2MB.max"), "0");
}

#[test]
fn the_entry_is_the_directory() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    let Entry::Into(directory) = cgroup.entry().unwrap() else { panic!("born inside") };
    let expected = nix::sys::stat::stat(&v2.root.join(cgroup.path())).unwrap();
    assert_eq!(nix::sys::stat::fstat(&directory).unwrap().st_ino, expected.st_ino);
}

#[test]
fn processes_are_listed_frozen_thawed_accounted_and_killed() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    let mut process = v2.spawn(&cgroup, "while :; do :; done");
    assert_eq!(cgroup.pids().unwrap(), [process.0.id().cast_signed()]);
    let used = || match cgroup.stats().unwrap() {
        Stats::V2(stats) => stats.cpu.unwrap().usage_usec,
        Stats::V1(_) => panic!("v2"),
    };
    until(|| used() > 0);
    cgroup.freeze().unwrap();
    assert!(v2.read(&cgroup, "cgroup.events").contains("frozen 1"));
    // The kernel counts the last slice when the process has left its processor, which it may do after it is frozen.
    let uses_in_a_while = || {
        let before = used();
        std::thread::sleep(Duration::from_millis(100));
        used() - before
    };
    until(|| uses_in_a_while() == 0);
    let before = used();
    cgroup.thaw().unwrap();
    until(|| used() > before);
    cgroup.freeze().unwrap();
    cgroup.kill().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(process.0.wait().unwrap().signal(), Some(9), "a frozen process dies");
    until(|| cgroup.pids().unwrap().is_empty());
}

#[test]
fn the_pod_counts_its_containers_also_when_they_are_gone() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    let pod = crate::Pod::around(&cgroup, Some("pod")).unwrap();
    assert_eq!(pod.cgroup().unwrap().path(), v2.path.join("pod"));
    let process = v2.spawn(&cgroup, "while :; do :; done");
    until(|| cgroup.usage().unwrap().cpu.total > 50_000_000);
    drop(process);
    until(|| cgroup.pids().unwrap().is_empty());
    let used = cgroup.usage().unwrap();
    assert_eq!(used.cpu.total % 1000, 0, "nanoseconds of the kernel's microseconds");
    assert!(used.pressure.is_some(), "a kernel without pressure stall information");
    cgroup.remove().unwrap();
    let total = pod.usage([].iter()).unwrap();
    assert!(total.cpu.total >= used.cpu.total, "{total:?} and {used:?}");
}

#[test]
fn a_reset_takes_back_what_was_made_below_handed_down_and_stopped() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    let directory = v2.root.join(cgroup.path());
    fs::create_dir_all(directory.join("init/deeper")).unwrap();
    let controllers = v2.read(&cgroup, "cgroup.controllers");
    let first = controllers.split(' ').next().unwrap();
    fs::write(directory.join("cgroup.subtree_control"), format!("+{first}")).unwrap();
    cgroup.freeze().unwrap();
    let init = Cgroup::open(&v2.layout, &cgroup.path().join("init")).unwrap();
    let procs = directory.join("init/cgroup.procs");
    let script = format!("echo 0 > {} || exit 9; read", procs.display());
    let process = Process(Command::new("bash").arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap());
    until(|| !init.pids().unwrap().is_empty());
    assert!(!cgroup.try_reset().unwrap(), "a process is in it");
    cgroup.kill().unwrap();
    drop(process);
    cgroup.reset().unwrap();
    assert!(!directory.join("init").exists());
    assert_eq!(v2.read(&cgroup, "cgroup.subtree_control"), "");
    assert_eq!(v2.read(&cgroup, "cgroup.freeze"), "0");
    cgroup.remove().unwrap();
    assert!(cgroup.try_reset().unwrap(), "one that is gone is ready");
}

#[test]
fn remove_takes_nested_cgroups_and_says_when_it_is_in_use() {
    let v2 = V2::new();
    let cgroup = v2.cgroup();
    fs::create_dir_all(v2.root.join(cgroup.path()).join("a/b")).unwrap();
    let process = v2.spawn(&cgroup, "read");
    assert!(!cgroup.try_remove().unwrap());
    drop(process);
    cgroup.remove().unwrap();
    assert!(!v2.root.join(cgroup.path()).exists());
    assert_eq!(cgroup.stats().unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert_eq!(Cgroup::open(&v2.layout, cgroup.path()).unwrap().entry().unwrap_err().cause.kind(), ErrorKind::NotFound);
}
