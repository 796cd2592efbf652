//! Statistics and out-of-memory kills of this machine (v1 and hybrid; needs root).

mod common;

use std::{
    io::ErrorKind,
    os::{fd::AsFd, unix::process::ExitStatusExt},
};

use common::TestCgroup;
use libcgroups::common::CgroupManager;
use loment_cgroups::{OomWatch, Stats, stats::v1};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

fn stats(cgroup: &TestCgroup) -> v1::Stats {
    match cgroup.stats().unwrap() {
        Stats::V1(stats) => *stats,
        Stats::V2(_) => panic!("hybrid reports v1"),
    }
}

#[test]
fn statistics_agree_with_the_files_and_with_libcgroups() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"limit": 512 << 20, "swap": 600 << 20}, "pids": {"limit": 50}}));
    cgroup.apply(json!({"cpu": {"quota": 20_000, "period": 100_000}}));
    let work = "x=$(head -c 3000000 /dev/zero | tr '\\0' a); for i in {1..300000}; do :; done; \
                sleep 100 & echo ready; wait";
    let process = cgroup.spawn("bash", &["-c", work]);
    process.hear("ready");
    cgroup.freeze().unwrap();

    let stats = stats(&cgroup);
    let number = |controller: &str, file: &str| cgroup.read(controller, file).parse::<u64>().unwrap();
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (2, 50));

    let cpu = stats.cpu.unwrap();
    assert_eq!(cpu.usage.total, number("cpuacct", "cpuacct.usage"));
    assert!(cpu.usage.total > 10_000_000, "nanoseconds: {}", cpu.usage.total);
    assert_eq!(cpu.usage.per_cpu.iter().sum::<u64>(), cpu.usage.total);
    let apart = (cpu.usage.user + cpu.usage.kernel).abs_diff(cpu.usage.total);
    assert!(apart <= 20_000_000, "two clock ticks of rounding at most: {:?}", cpu.usage);
    assert!(cpu.throttling.throttled_periods > 0 && cpu.throttling.throttled_time > 0);
    assert!(cpu.throttling.periods >= cpu.throttling.throttled_periods);

    let memory = stats.memory.unwrap();
    let usage = memory.usage.unwrap();
    assert_eq!(usage.usage, number("memory", "memory.usage_in_bytes"));
    assert_eq!(usage.max, number("memory", "memory.max_usage_in_bytes"));
    assert_eq!(usage.limit, 512 << 20);
    assert_eq!(memory.swap.unwrap().limit, 600 << 20);
    assert_eq!((memory.hierarchical_memory_limit, memory.hierarchical_swap_limit), (512 << 20, 600 << 20));
    assert!(memory.total_rss >= 3_000_000 && memory.pg_fault > 0, "{memory:?}");
    assert!(memory.kernel.unwrap().usage > 0);

    let theirs = libcgroups::v1::Manager::new(&cgroup.path).unwrap().stats().unwrap();
    assert_eq!((theirs.pids.current, theirs.pids.limit), (pids.current, pids.limit));
    assert_eq!(
        (theirs.cpu.usage.usage_total, theirs.cpu.usage.per_core_usage_total),
        (cpu.usage.total, cpu.usage.per_cpu)
    );
    assert_eq!(theirs.cpu.throttling.throttled_time, cpu.throttling.throttled_time);
    assert_eq!(theirs.memory.memory.usage, usage.usage);
    assert_eq!(theirs.memory.stats.get("total_rss"), Some(&memory.total_rss));
    cgroup.thaw().unwrap();
}

#[test]
fn an_empty_cgroup_has_statistics_without_limits() {
    let cgroup = TestCgroup::new();
    let stats = stats(&cgroup);
    assert_eq!(stats.pids.unwrap(), v1::Pids { current: 0, limit: 0 });
    assert_eq!(stats.cpu.unwrap().usage.total, 0);
    assert_eq!(stats.memory.unwrap().usage.unwrap().limit, 9_223_372_036_854_771_712);
    assert_eq!(stats.memory_oom_control.unwrap(), v1::MemoryOomControl::default());
    assert_eq!(stats.hugetlb, []);
}

#[test]
fn what_a_process_writes_to_a_disk_is_counted() {
    let cgroup = TestCgroup::new();
    let file = std::env::current_dir().unwrap().join(format!("loment-test-io-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let disk = nix::sys::stat::stat(&file).unwrap().st_dev;
    let (major, minor) = (nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    // The kernel (since 6.10) counts for v1 only on disks on which something is throttled; this limit is out of reach.
    cgroup
        .apply(json!({"blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 1_u64 << 40}]}}));
    // v1 counts for a process what it writes itself; what the page cache writes later is nobody's.
    let target = format!("of={}", file.display());
    let mut process = cgroup.spawn("dd", &["if=/dev/zero", &target, "bs=1M", "count=4", "oflag=direct", "status=none"]);
    let written = process.0.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(written.success());
    let entries = stats(&cgroup).blkio.unwrap().io_service_bytes_recursive;
    let sum: u64 =
        entries.iter().filter(|e| e.op == "Write" && (e.major, e.minor) == (major, minor)).map(|e| e.value).sum();
    assert!(sum >= 4 << 20, "{entries:?}");
}

/// Takes 64 MiB where 8 are allowed.
fn eat(cgroup: &TestCgroup) -> Option<i32> {
    let mut process = cgroup.spawn("bash", &["-c", "x=$(head -c 67108864 /dev/zero | tr '\\0' a)"]);
    // bash, or a part of its pipeline: at least one of them dies of it.
    process.0.wait().unwrap().signal()
}

fn is_readable(watch: &OomWatch, patience: u16) -> bool {
    let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(patience)).unwrap() > 0
}

#[test]
fn a_kill_for_want_of_memory_is_counted_and_told() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}}));
    let watch = cgroup.watch_oom().unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    assert!(!is_readable(&watch, 0));
    watch.acknowledge();
    eat(&cgroup);
    assert!(is_readable(&watch, 10_000));
    assert!(cgroup.oom_kills().unwrap() >= 1);
    let reported = match cgroup.stats().unwrap() {
        Stats::V1(stats) => stats.memory_oom_control.unwrap().oom_kill,
        Stats::V2(stats) => stats.memory_events.unwrap().oom_kill,
    };
    assert_eq!(reported, cgroup.oom_kills().unwrap());
    watch.acknowledge();
    assert!(!is_readable(&watch, 0));
    watch.acknowledge();
}

#[test]
fn a_kill_in_a_cgroup_that_the_container_has_made_is_counted() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}}));
    let watch = cgroup.watch_oom().unwrap();
    let nested = TestCgroup::at(cgroup.path.join("nested"));
    eat(&nested);
    assert!(cgroup.oom_kills().unwrap() >= 1);
    assert!(is_readable(&watch, 10_000), "the limit that was hit is the container's");
}

#[test]
fn the_watch_of_a_cgroup_that_is_removed_becomes_readable() {
    let cgroup = TestCgroup::new();
    let watch = cgroup.watch_oom().unwrap();
    cgroup.remove().unwrap();
    // The inotify of v2 says nothing of it.
    assert!(is_readable(&watch, 10_000) || cgroup.is_unified());
    assert_eq!(cgroup.stats().unwrap_err().cause.kind(), ErrorKind::NotFound);
}
