//! Limits and statistics of a machine that has cgroup v2 and nothing else (needs root): in a guest at least, see
//! `scripts/guest`. On others these tests are listed as ignored, and `limits` and `accounting` are theirs.

mod common;

use std::{collections::BTreeMap, io::ErrorKind, process::ExitCode};

use common::{TestCgroup, enclosed, only_allowed_devices_open, opens, until};
use libtest_mimic::{Arguments, Trial};
use loment_cgroups::{Kind, Layout, Stats, stats::v2};
use serde_json::json;

macro_rules! tests {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
}

fn main() -> ExitCode {
    let elsewhere = Layout::detect().expect("a cgroup hierarchy is mounted").kind() != Kind::V2;
    let tests = tests![
        every_limit_is_in_its_file,
        limits_change_while_a_process_runs,
        what_is_not_given_stays,
        quota_period_and_burst_go_up_and_down,
        throttles_of_a_disk_are_in_its_line,
        a_block_weight_is_where_the_scheduler_has_it,
        a_process_cannot_open_a_device_that_is_not_allowed,
        what_v2_cannot_do_is_an_error_that_says_so,
        the_kernels_refusal_names_the_file,
        a_limit_below_what_is_in_use_is_refused_when_that_is_asked_for,
        the_whole_cgroup_is_killed_where_that_is_asked_for,
        statistics_agree_with_the_files,
        what_a_process_writes_to_a_disk_is_counted,
        a_group_without_limits_says_so,
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(elsewhere)
    };
    libtest_mimic::run(&Arguments::from_args(), tests.map(trial).into()).exit_code()
}

fn expect(cgroup: &TestCgroup, files: &[(&str, &str)]) {
    for (file, value) in files {
        assert_eq!(cgroup.read("", file), *value, "{file}");
    }
}

fn stats(cgroup: &TestCgroup) -> v2::Stats {
    match cgroup.stats().unwrap() {
        Stats::V2(stats) => *stats,
        Stats::V1(_) => panic!("v2 reports v2"),
    }
}

/// Numbers by their names, as in `cpu.stat`.
fn keyed(cgroup: &TestCgroup, file: &str) -> BTreeMap<String, u64> {
    let text = cgroup.read("", file);
    let pair = |line: &str| line.split_once(' ').map(|(key, value)| (key.to_owned(), value.parse().unwrap()));
    text.lines().filter_map(pair).collect()
}

fn every_limit_is_in_its_file() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({
        "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "0-1", "mems": "0"},
        "memory": {"limit": 64 << 20, "swap": 80 << 20, "reservation": 32 << 20},
        "pids": {"limit": 77},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "unified": {"memory.high": "60000000", "cgroup.max.depth": "5"},
    }));
    let swap = (16 << 20).to_string();
    expect(
        &cgroup,
        &[
            ("cpu.weight", "174"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "10000"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("memory.max", "67108864"),
            ("memory.swap.max", &swap),
            ("memory.low", "33554432"),
            // In whole pages.
            ("memory.high", "59998208"),
            ("pids.max", "77"),
            ("hugetlb.2MB.max", "4194304"),
            ("cgroup.max.depth", "5"),
        ],
    );
    cgroup.apply(json!({"cpu": {"idle": 1}}));
    expect(&cgroup, &[("cpu.idle", "1")]);
    cgroup.apply(json!({"cpu": {"idle": 0, "shares": 1024}}));
    expect(&cgroup, &[("cpu.idle", "0"), ("cpu.weight", "100")]);
}

fn limits_change_while_a_process_runs() {
    let cgroup = TestCgroup::new();
    let _process = cgroup.spawn("cat", &[]);
    until("the child is in", || !cgroup.pids().unwrap().is_empty());
    for mebibytes in [64, 128, 32] {
        cgroup.apply(json!({"memory": {"limit": mebibytes << 20, "swap": mebibytes << 20}, "pids": {"limit": 9}}));
        expect(&cgroup, &[("memory.max", &(mebibytes << 20).to_string()), ("memory.swap.max", "0"), ("pids.max", "9")]);
    }
    cgroup.apply(json!({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}));
    expect(
        &cgroup,
        &[("memory.max", "max"), ("memory.swap.max", "max"), ("cpu.max", "max 100000"), ("pids.max", "max")],
    );
}

fn what_is_not_given_stays() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"cpu": {"shares": 512, "quota": 50_000}, "memory": {"limit": 64 << 20}, "pids": {"limit": 9}}));
    cgroup.apply(json!({"cpu": {"period": 50_000}, "memory": {"limit": 0}, "pids": {"limit": 0}}));
    cgroup.apply(json!({}));
    let expected = [("cpu.weight", "59"), ("cpu.max", "50000 50000"), ("memory.max", "67108864"), ("pids.max", "9")];
    expect(&cgroup, &expected);
}

fn quota_period_and_burst_go_up_and_down() {
    let cgroup = TestCgroup::new();
    for (quota, period, burst) in
        [(50_000, 100_000, 40_000), (5000, 10_000, 5000), (90_000, 100_000, 0), (2000, 4000, 1000)]
    {
        cgroup.apply(json!({"cpu": {"quota": quota, "period": period, "burst": burst}}));
        expect(&cgroup, &[("cpu.max", &format!("{quota} {period}")), ("cpu.max.burst", &burst.to_string())]);
    }
}

fn any_disk() -> (u32, u32) {
    let numbers = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    std::fs::read_dir("/sys/block").unwrap().find_map(numbers).expect("this machine has no disk to throttle")
}

fn throttles_of_a_disk_are_in_its_line() {
    let (major, minor) = any_disk();
    let cgroup = TestCgroup::new();
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    cgroup.apply(json!({"blockIO": {
        "throttleReadBpsDevice": device(1_048_576), "throttleWriteBpsDevice": device(2_097_152),
        "throttleReadIOPSDevice": device(100), "throttleWriteIOPSDevice": device(200),
    }}));
    expect(&cgroup, &[("io.max", &format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=100 wiops=200"))]);
    cgroup.apply(json!({"blockIO": {"throttleReadBpsDevice": device(0)}}));
    expect(&cgroup, &[("io.max", &format!("{major}:{minor} rbps=max wbps=2097152 riops=100 wiops=200"))]);
    let none = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 0, "rate": 1}]}});
    let error = cgroup.try_apply(none).unwrap_err();
    assert!(error.to_string().contains("the device must exist"), "{error}");
}

fn a_block_weight_is_where_the_scheduler_has_it() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"blockIO": {"weight": 321}}));
    let directory = cgroup.directories().next().unwrap();
    let (file, value) = match directory.join("io.bfq.weight").exists() {
        true => ("io.bfq.weight", "321"),
        // 1 + (321 - 10) * 9999 / 990
        false => ("io.weight", "3142"),
    };
    assert_eq!(cgroup.read("", file).trim_start_matches("default "), value);
}

fn a_process_cannot_open_a_device_that_is_not_allowed() {
    let cgroup = TestCgroup::new();
    only_allowed_devices_open(&cgroup);
    cgroup.apply(json!({"devices": [{"allow": false, "access": "rwm"}]}));
    assert!(!opens(&cgroup, "</dev/kmsg"), "an update replaces the program");
    cgroup.apply(json!({"devices": [{"allow": true, "access": "rwm"}]}));
    assert!(opens(&cgroup, ">/dev/kmsg"));
}

fn what_v2_cannot_do_is_an_error_that_says_so() {
    let cgroup = TestCgroup::new();
    for (resources, part) in [
        (json!({"memory": {"swappiness": 5}}), "swappiness"),
        (json!({"memory": {"disableOOMKiller": true}}), "OOM"),
        (json!({"network": {"classID": 1}}), "network"),
        (json!({"blockIO": {"leafWeight": 100}}), "leaf"),
    ] {
        let error = cgroup.try_apply(resources.clone()).unwrap_err();
        assert_eq!(error.cause.kind(), ErrorKind::Unsupported, "{resources}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

fn the_kernels_refusal_names_the_file() {
    let cgroup = TestCgroup::new();
    for (resources, file) in [
        (json!({"cpu": {"cpus": "0-4000"}}), "cpuset.cpus"),
        (json!({"cpu": {"quota": 10}}), "cpu.max"),
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}), "hugetlb.3MB"),
    ] {
        let error = cgroup.try_apply(resources).unwrap_err();
        assert!(error.to_string().contains(file) && error.hint.is_some(), "{error}");
    }
}

fn a_limit_below_what_is_in_use_is_refused_when_that_is_asked_for() {
    let cgroup = TestCgroup::new();
    let _process = cgroup.spawn("cat", &[]);
    until("some memory is in use", || cgroup.read("", "memory.current") != "0");
    let error = cgroup.try_apply(json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}})).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    expect(&cgroup, &[("memory.max", "max")]);
}

fn the_whole_cgroup_is_killed_where_that_is_asked_for() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}, "unified": {"memory.oom.group": "1"}}));
    let mut bystander = cgroup.spawn("cat", &[]);
    until("the bystander is in", || !cgroup.pids().unwrap().is_empty());
    let watch = cgroup.watch_oom().unwrap();
    let mut eater = cgroup.spawn("bash", &["-c", "x=$(head -c 67108864 /dev/zero | tr '\\0' a)"]);
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(eater.0.wait().unwrap().signal(), Some(9));
    assert_eq!(bystander.0.wait().unwrap().signal(), Some(9));
    watch.acknowledge();
    let events = stats(&cgroup).memory_events.unwrap();
    assert!(events.oom_kill >= 2 && events.oom_group_kill == 1 && events.max > 0, "{events:?}");
    assert_eq!(cgroup.oom_kills().unwrap(), events.oom_kill);
}

fn statistics_agree_with_the_files() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"limit": 512 << 20, "swap": 600 << 20}, "pids": {"limit": 50}}));
    cgroup.apply(json!({"cpu": {"quota": 20_000, "period": 100_000}}));
    let work = "x=$(head -c 3000000 /dev/zero | tr '\\0' a); for i in {1..100000}; do :; done; \
                sleep 100 & echo ready; wait";
    let process = cgroup.spawn("bash", &["-c", work]);
    process.hear("ready");
    cgroup.freeze().unwrap();
    let files = |file| keyed(&cgroup, file);
    let look = || (files("cpu.stat"), files("memory.stat"), files("memory.events"), cgroup.read("", "memory.current"));
    let ((cpu_stat, memory_stat, memory_events, current), told) = enclosed(look, || stats(&cgroup));
    let (cpu, memory) = (told.cpu.unwrap(), told.memory.unwrap());
    assert_eq!((told.pids.unwrap().current, told.pids.unwrap().limit), (2, 50));
    let of_cpu = [
        (cpu.usage_usec, "usage_usec"),
        (cpu.user_usec, "user_usec"),
        (cpu.system_usec, "system_usec"),
        (cpu.nr_periods, "nr_periods"),
        (cpu.nr_throttled, "nr_throttled"),
        (cpu.throttled_usec, "throttled_usec"),
    ];
    for (value, key) in of_cpu {
        assert_eq!(value, cpu_stat[key], "{key}");
    }
    assert!(cpu.usage_usec > 10_000 && cpu.nr_throttled > 0 && cpu.throttled_usec > 0, "{cpu:?}");
    let of_memory = [
        (memory.anon, "anon"),
        (memory.file, "file"),
        (memory.inactive_file, "inactive_file"),
        (memory.active_anon, "active_anon"),
        (memory.pgfault, "pgfault"),
        (memory.pgmajfault, "pgmajfault"),
        (memory.slab, "slab"),
    ];
    for (value, key) in of_memory {
        assert_eq!(value, memory_stat[key], "{key}");
    }
    assert!(memory.anon >= 3_000_000, "{memory:?}");
    assert_eq!(memory.usage.to_string(), current);
    assert_eq!((memory.usage_limit, memory.swap_limit), (512 << 20, 88 << 20));
    assert_eq!(told.memory_events.unwrap().max, memory_events["max"]);
    assert!(told.io.is_some());
    cgroup.thaw().unwrap();
}

fn what_a_process_writes_to_a_disk_is_counted() {
    let cgroup = TestCgroup::new();
    let file = std::env::current_dir().unwrap().join(format!("loment-test-io-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let disk = nix::sys::stat::stat(&file).unwrap().st_dev;
    let (major, minor) = (nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    let target = format!("of={}", file.display());
    let mut process = cgroup.spawn("dd", &["if=/dev/zero", &target, "bs=1M", "count=4", "oflag=direct", "status=none"]);
    let written = process.0.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(written.success());
    let io = stats(&cgroup).io.unwrap().usage;
    let entry = io.iter().find(|entry| (entry.major, entry.minor) == (major, minor)).expect("the disk's line");
    assert!(entry.wbytes >= 4 << 20 && entry.wios > 0, "{entry:?}");
}

fn a_group_without_limits_says_so() {
    let cgroup = TestCgroup::new();
    let stats = stats(&cgroup);
    assert_eq!(stats.pids.unwrap(), v2::Pids { current: 0, limit: 0 });
    let memory = stats.memory.unwrap();
    assert_eq!((memory.usage_limit, memory.swap_limit), (u64::MAX, u64::MAX));
    assert_eq!(stats.memory_events.unwrap(), v2::MemoryEvents::default());
}
