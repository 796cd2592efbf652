//! Statistics and out-of-memory kills of this machine (any layout; needs root).

mod common;

use std::{
    io::ErrorKind,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    time::Duration,
};

use common::{TestCgroup, enclosed, layout, unique_path, until};
use libcgroups::common::CgroupManager;
use loment_cgroups::{Cgroup, OomWatch, Pod, Stats, stats::v1};
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
    if cgroup.is_unified() {
        // In `unified`: libcgroups fails all statistics of v2 for one absent file.
        return;
    }
    cgroup.apply(json!({"memory": {"limit": 512 << 20, "swap": 600 << 20}, "pids": {"limit": 50}}));
    // Less than a process gets on a machine that is busy with others: it is held back in any case.
    cgroup.apply(json!({"cpu": {"quota": 5_000, "period": 100_000}}));
    let work = "x=$(head -c 3000000 /dev/zero | tr '\\0' a); for i in {1..20000}; do :; done; \
                sleep 100 & echo ready; wait";
    let process = cgroup.spawn("bash", &["-c", work]);
    process.hear("ready");
    cgroup.freeze().unwrap();
    // What was held back when it was frozen is counted when its period ends.
    let mut before = String::new();
    until("the quota has come to rest", || {
        std::thread::sleep(Duration::from_millis(120));
        let now = cgroup.read("cpu", "cpu.stat");
        std::mem::replace(&mut before, now.clone()) == now
    });

    let number = |controller: &str, file: &str| cgroup.read(controller, file).parse::<u64>().unwrap();
    let ask = || (stats(&cgroup), libcgroups::v1::Manager::new(&cgroup.path).unwrap().stats().unwrap());
    let (in_use, (stats, theirs)) = enclosed(|| number("memory", "memory.usage_in_bytes"), ask);
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (2, 50));

    let cpu = stats.cpu.unwrap();
    assert_eq!(cpu.usage.total, number("cpuacct", "cpuacct.usage"));
    assert!(cpu.usage.total > 10_000_000, "nanoseconds: {}", cpu.usage.total);
    assert_eq!(cpu.usage.per_cpu.iter().sum::<u64>(), cpu.usage.total);
    let apart = (cpu.usage.user + cpu.usage.kernel).abs_diff(cpu.usage.total);
    assert!(apart <= 20_000_000, "two clock ticks of rounding at most: {:?}", cpu.usage);
    let kernels = cgroup.read("cpu", "cpu.stat");
    let held = format!("nr_throttled {}\n", cpu.throttling.throttled_periods);
    assert!(kernels.contains(&held), "{kernels}, {cpu:?}");
    assert!(cpu.throttling.throttled_periods > 0 && cpu.throttling.throttled_time > 0);
    assert!(cpu.throttling.periods >= cpu.throttling.throttled_periods);

    let memory = stats.memory.unwrap();
    let usage = memory.usage.unwrap();
    assert_eq!(usage.usage, in_use);
    assert_eq!(usage.max, number("memory", "memory.max_usage_in_bytes"));
    assert_eq!(usage.limit, 512 << 20);
    assert_eq!(memory.swap.unwrap().limit, 600 << 20);
    assert_eq!((memory.hierarchical_memory_limit, memory.hierarchical_swap_limit), (512 << 20, 600 << 20));
    assert!(memory.total_rss >= 3_000_000 && memory.pg_fault > 0, "{memory:?}");
    assert!(memory.kernel.unwrap().usage > 0);

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
    let usage = cgroup.usage().unwrap();
    assert_eq!((usage.pids.current, usage.pids.limit, usage.cpu.total, usage.cpu.quota), (0, 0, 0, None));
    assert_eq!((usage.memory.limit, usage.memory.swap_limit, usage.memory.oom_kills), (None, None, 0));
    if cgroup.is_unified() {
        return;
    }
    let stats = stats(&cgroup);
    assert_eq!(stats.pids.unwrap(), v1::Pids { current: 0, limit: 0 });
    assert_eq!(stats.cpu.unwrap().usage.total, 0);
    assert_eq!(stats.memory.unwrap().usage.unwrap().limit, 9_223_372_036_854_771_712);
    assert_eq!(stats.memory_oom_control.unwrap(), v1::MemoryOomControl::default());
    assert_eq!(stats.hugetlb, []);
}

/// Lets a process of the cgroup write so many mebibytes; answers the disk.
fn write_to_disk(cgroup: &TestCgroup, mebibytes: u32) -> (u64, u64) {
    let file = std::env::current_dir().unwrap().join(format!("loment-test-io-{}-{mebibytes}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let disk = nix::sys::stat::stat(&file).unwrap().st_dev;
    let (major, minor) = (nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    // The kernel (since 6.10) counts for v1 only on disks on which something is throttled; this limit is out of reach.
    cgroup
        .apply(json!({"blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 1_u64 << 40}]}}));
    // v1 counts for a process what it writes itself; what the page cache writes later is nobody's.
    let (target, count) = (format!("of={}", file.display()), format!("count={mebibytes}"));
    let mut process = cgroup.spawn("dd", &["if=/dev/zero", &target, "bs=1M", &count, "oflag=direct", "status=none"]);
    let written = process.0.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(written.success());
    (major, minor)
}

#[test]
fn what_a_process_writes_to_a_disk_is_counted() {
    let cgroup = TestCgroup::new();
    if cgroup.is_unified() {
        // Above: there is one list for all that is shown.
        return;
    }
    let (major, minor) = write_to_disk(&cgroup, 4);
    let entries = stats(&cgroup).blkio.unwrap().io_service_bytes_recursive;
    let sum: u64 =
        entries.iter().filter(|e| e.op == "Write" && (e.major, e.minor) == (major, minor)).map(|e| e.value).sum();
    assert!(sum >= 4 << 20, "{entries:?}");
}

/// Within five per cent.
fn about(value: u64, expected: u64) -> bool {
    value.abs_diff(expected) * 20 <= expected
}

#[test]
fn half_a_cpu_for_five_seconds_is_what_the_load_itself_has_measured() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"cpu": {"quota": 50_000, "period": 100_000}}));
    let burn = "echo ready; read; end=$((SECONDS+5)); while ((SECONDS<end)); do :; done; echo done; read";
    let mut process = cgroup.spawn("bash", &["-c", burn]);
    process.hear("ready");
    // As getrusage has it. What it did before it was in the cgroup is left out.
    let before = (process.ticks(), cgroup.usage().unwrap().cpu.total);
    process.say("");
    process.hear("done");
    let measured = (process.ticks() - before.0) * 10;
    let usage = cgroup.usage().unwrap();
    assert!(about((usage.cpu.total - before.1) / 1_000_000, measured), "{measured}, {before:?}, {:?}", usage.cpu);
    let told = match cgroup.stats().unwrap() {
        Stats::V1(stats) => stats.cpu.unwrap().usage.total,
        Stats::V2(stats) => stats.cpu.unwrap().usage_usec * 1000,
    };
    assert!(about((told - before.1) / 1_000_000, measured), "{told}, {measured}, {before:?}");
    assert_eq!((usage.cpu.quota, usage.cpu.period), (Some(50_000), 100_000));
    // How often it was held back depends on how much time the machine had to spare, and it may just be.
    let unit = if cgroup.is_unified() { ("throttled_usec", 1000) } else { ("throttled_time", 1) };
    until("the kernel's count of throttling is the one that is read", || {
        let cpu = cgroup.usage().unwrap().cpu;
        let held = format!("nr_throttled {}\n{} {}", cpu.throttled_periods, unit.0, cpu.throttled / unit.1);
        cpu.periods > 0 && cgroup.read("cpu", "cpu.stat").contains(&held)
    });
    process.say("");
}

#[test]
fn sixty_four_mebibytes_and_twenty_processes_are_counted() {
    let cgroup = TestCgroup::new();
    // dd has read into its buffer when it begins to write, and nobody reads what it writes.
    let work = "for i in {1..18}; do sleep 100 & done; echo ready; exec dd if=/dev/zero bs=64M count=1 status=none";
    let process = cgroup.spawn("bash", &["-c", &format!("sleep 100 & {work}")]);
    process.hear("ready");
    until("all memory has been touched", || cgroup.usage().unwrap().memory.anonymous >= 64 << 20);
    let usage = cgroup.usage().unwrap();
    assert!(about(usage.memory.anonymous, 64 << 20), "{:?}", usage.memory);
    assert!(usage.memory.peak >= usage.memory.working_set && usage.memory.working_set >= 64 << 20);
    assert_eq!(usage.pids.current, 20);
    let (memory, pids) = match cgroup.stats().unwrap() {
        Stats::V1(stats) => (stats.memory.unwrap().total_rss, stats.pids.unwrap().current),
        Stats::V2(stats) => (stats.memory.unwrap().anon, stats.pids.unwrap().current),
    };
    assert!(about(memory, 64 << 20) && pids == 20, "{memory} {pids}");
    cgroup.kill().unwrap();
}

#[test]
fn a_hundred_mebibytes_written_are_counted() {
    let cgroup = TestCgroup::new();
    let written = write_to_disk(&cgroup, 100);
    let io = cgroup.usage().unwrap().io;
    let entry = io.iter().find(|entry| (entry.major, entry.minor) == written).unwrap();
    assert!(about(entry.wbytes, 100 << 20), "{io:?}");
    assert!(loment_cgroups::stats::device_name(entry.major, entry.minor).unwrap().starts_with("/dev/"));
}

#[test]
fn pressure_is_that_of_the_v2_hierarchy_for_who_is_in_it() {
    let cgroup = TestCgroup::new();
    if cgroup.is_unified() {
        assert!(cgroup.usage().unwrap().pressure.is_some());
        return;
    }
    assert_eq!(cgroup.usage().unwrap().pressure, None);
    let unified = layout().mount_points().find(|mount| mount.ends_with("unified")).unwrap().to_owned();
    std::fs::create_dir(unified.join(cgroup.path.strip_prefix("/").unwrap())).unwrap();
    assert!(cgroup.usage().unwrap().pressure.is_some());
}

#[test]
fn a_pods_own_cgroup_counts_the_living_the_dead_and_what_belongs_to_no_container() {
    let pod_path = unique_path().join("poduid-1");
    let pod = TestCgroup::at(pod_path.clone());
    let [first, second] = ["first", "second"].map(|name| TestCgroup::at(pod_path.join(name)));
    // On v2 who has children has no processes.
    let other = pod.is_unified().then(|| TestCgroup::at(pod_path.join("of-nobody")));
    let sum = Pod::around(&first.cgroup, Some("uid-1")).unwrap();
    assert_eq!(sum.cgroup().unwrap().path(), pod.cgroup.path());
    for cgroup in [&first, &second, other.as_ref().unwrap_or(&pod)] {
        let mut burn = cgroup.spawn("bash", &["-c", "for i in {1..200000}; do :; done"]);
        assert!(burn.0.wait().unwrap().success());
    }
    let parts = [&first, &second].map(|cgroup| cgroup.usage().unwrap().cpu.total);
    first.cgroup.remove().unwrap();
    let whole = sum.usage([].iter()).unwrap();
    assert!(whole.cpu.total > parts.iter().sum(), "{parts:?} and the pod's own make {:?}", whole.cpu);
    drop((first, second, other));
    assert_eq!(sum.usage([].iter()).unwrap().cpu.total, whole.cpu.total);
    drop(pod);
    Cgroup::open(&layout(), pod_path.parent().unwrap()).unwrap().remove().unwrap();
}

#[test]
fn a_pod_without_a_cgroup_of_its_own_is_a_sum_that_remembers_the_dead() {
    let [first, second] = [TestCgroup::new(), TestCgroup::new()];
    let mut sum = Pod::around(&first.cgroup, Some("uid-1")).unwrap();
    assert!(sum.cgroup().is_none());
    for cgroup in [&first, &second] {
        let mut burn = cgroup.spawn("bash", &["-c", "for i in {1..100000}; do :; done"]);
        assert!(burn.0.wait().unwrap().success());
    }
    let usages = [&first, &second].map(|cgroup| cgroup.usage().unwrap());
    let both = sum.usage(usages.iter()).unwrap();
    assert_eq!(both.cpu.total, usages[0].cpu.total + usages[1].cpu.total);
    let last = first.lasting_usage().unwrap();
    assert_eq!((last.cpu.total, last.memory.usage), (usages[0].cpu.total, 0), "what it holds goes with it");
    sum.bury(&last);
    let after = sum.usage(usages[1..].iter()).unwrap();
    assert_eq!((after.cpu.total, after.memory.faults), (both.cpu.total, both.memory.faults));
    assert_eq!(after.memory.usage, usages[1].memory.usage);
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
    assert_eq!(cgroup.own_oom_kills().unwrap(), 0, "it was not in the container's own");
    assert_eq!(nested.own_oom_kills().unwrap(), cgroup.oom_kills().unwrap());
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

/// Its files go one by one, and whoever asks meanwhile must not hear that there were no kills.
#[test]
fn the_count_of_a_cgroup_that_is_being_removed_is_whole_or_gone() {
    for round in 0..60 {
        let cgroup = TestCgroup::new();
        cgroup.apply(json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}}));
        let mut greedy = cgroup.spawn("dd", &["if=/dev/zero", "of=/dev/null", "bs=100M"]);
        assert_eq!(greedy.0.wait().unwrap().signal(), Some(9));
        let kills = cgroup.oom_kills().unwrap();
        assert!(kills > 0);
        // The kernel then finds this name without the directory's lock, also while that is being removed.
        assert_eq!(cgroup.read("memory", "cgroup.procs"), "");
        std::thread::scope(|threads| {
            let removal = threads.spawn(|| cgroup.remove());
            let gone = loop {
                match cgroup.oom_kills() {
                    Ok(count) => assert_eq!(count, kills, "round {round}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(gone.cause.kind(), ErrorKind::NotFound, "{gone}");
            removal.join().unwrap().unwrap();
        });
    }
}
