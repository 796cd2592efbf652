//! Limits land in the files of this machine (v1 and hybrid; needs root). libcgroups is the oracle where it works.

mod common;

use std::{collections::BTreeSet, io::ErrorKind, path::Path};

use common::{
    TestCgroup, directory, layout, only_allowed_devices_open, opens, resources_of, standing, unique_path, until,
};
use libcgroups::common::{CgroupManager, ControllerOpt};
use loment_cgroups::{Cgroup, Entry};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Applies the same resources through libcgroups.
fn apply_with_libcgroups(cgroup: &TestCgroup, resources: &Value) {
    let manager = libcgroups::v1::Manager::new(&cgroup.path).unwrap();
    let resources = resources_of(resources.clone());
    let options =
        ControllerOpt { resources: &resources, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
    manager.apply(&options).unwrap();
}

const FILES: [(&str, &str); 13] = [
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpu", "cpu.cfs_burst_us"),
    ("cpu", "cpu.idle"),
    ("cpuset", "cpuset.cpus"),
    ("cpuset", "cpuset.mems"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.soft_limit_in_bytes"),
    ("memory", "memory.swappiness"),
    ("memory", "memory.oom_control"),
    ("pids", "pids.max"),
];

fn contents(cgroup: &TestCgroup) -> Vec<(&'static str, String)> {
    FILES.iter().map(|(controller, file)| (*file, cgroup.read(controller, file))).collect()
}

fn pages(range: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    range.prop_map(|pages| pages * 4096)
}

prop_compose! {
    fn any_resources()(
        shares in prop::option::of(2..300_000u64),
        quota in prop::option::of(prop_oneof![Just(-1i64), 1_000..500_000i64]),
        period in prop::option::of(1_000..1_000_000u64),
        limit in prop::option::of(prop_oneof![Just(-1), pages(256..100_000)]),
        swap in prop::option::of(prop_oneof![Just(-1), pages(0..1000)]),
        reservation in prop::option::of(pages(1..1000)),
        swappiness in prop::option::of(0..=100u64),
        pids in prop::option::of(prop_oneof![Just(-1i64), 1..30_000i64]),
        cpus in prop::option::of(prop::sample::select(vec!["0", "0-1", "1"])),
    ) -> Value {
        // memory + swap is given with a limit on memory, and is at least as much.
        let memsw = match (limit, swap) {
            (Some(-1), Some(_)) => Some(-1),
            (Some(limit), Some(more)) => Some(if more == -1 { -1 } else { limit + more }),
            _ => None,
        };
        json!({
            "cpu": {"shares": shares, "quota": quota, "period": period, "cpus": cpus, "mems": "0"},
            "memory": {"limit": limit, "swap": memsw, "reservation": reservation, "swappiness": swappiness},
            "pids": pids.map(|limit| json!({"limit": limit})),
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_files_hold_what_libcgroups_would_write(resources in any_resources()) {
        let (ours, theirs) = (TestCgroup::new(), TestCgroup::new());
        ours.apply(resources.clone());
        apply_with_libcgroups(&theirs, &resources);
        prop_assert_eq!(contents(&ours), contents(&theirs));
    }

    #[test]
    fn memory_and_swap_go_up_and_down_in_any_order(
        steps in prop::collection::vec((pages(256..100_000), prop_oneof![Just(-1), pages(0..100_000)]), 1..8),
    ) {
        let cgroup = TestCgroup::new();
        for (limit, more) in steps {
            let swap = if more == -1 { -1 } else { limit + more };
            cgroup.apply(json!({"memory": {"limit": limit, "swap": swap}}));
            prop_assert_eq!(cgroup.read("memory", "memory.limit_in_bytes"), limit.to_string());
            let expected = if swap == -1 { "9223372036854771712".to_owned() } else { swap.to_string() };
            prop_assert_eq!(cgroup.read("memory", "memory.memsw.limit_in_bytes"), expected);
        }
        cgroup.apply(json!({"memory": {"limit": -1}}));
        prop_assert_eq!(cgroup.read("memory", "memory.memsw.limit_in_bytes"), "9223372036854771712");
    }

    #[test]
    fn quota_period_and_burst_go_up_and_down_in_any_order(
        steps in prop::collection::vec((2_000..200_000i64, 1_000..1_000_000u64, 0..100u64), 1..8),
    ) {
        let cgroup = TestCgroup::new();
        for (quota, period, percent) in steps {
            let burst = quota.cast_unsigned() * percent / 100;
            cgroup.apply(json!({"cpu": {"quota": quota, "period": period, "burst": burst}}));
            for (file, expected) in [("quota", quota.to_string()), ("period", period.to_string()), ("burst", burst.to_string())] {
                prop_assert_eq!(cgroup.read("cpu", &format!("cpu.cfs_{file}_us")), expected);
            }
        }
    }
}

#[test]
fn what_is_not_given_stays() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"cpu": {"shares": 512, "quota": 50000}, "memory": {"limit": 64 << 20}, "pids": {"limit": 9}}));
    let before = contents(&cgroup);
    cgroup.apply(json!({"cpu": {}, "memory": {"limit": 0}, "pids": {"limit": 0}}));
    cgroup.apply(json!({}));
    assert_eq!(contents(&cgroup), before);
}

#[test]
fn an_idle_cgroup_comes_and_goes_with_its_shares() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"cpu": {"shares": 512, "idle": 1}}));
    assert_eq!(cgroup.read("cpu", "cpu.idle"), "1");
    cgroup.apply(json!({"cpu": {"shares": 2048, "idle": 0}}));
    assert_eq!((cgroup.read("cpu", "cpu.idle"), cgroup.read("cpu", "cpu.shares")), ("0".to_owned(), "2048".to_owned()));
}

#[test]
fn devices_are_those_of_libcgroups_without_console_and_tun() {
    let resources = json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": true, "type": "b", "major": 8, "access": "r"},
    ]});
    let (ours, theirs) = (TestCgroup::new(), TestCgroup::new());
    ours.apply(resources.clone());
    apply_with_libcgroups(&theirs, &resources);
    let list = |cgroup: &TestCgroup| -> BTreeSet<String> {
        cgroup.read("devices", "devices.list").lines().map(str::to_owned).collect()
    };
    // A narrow exception holds the accesses of the wider ones around it, because the kernel does not add them up.
    let mut expected = list(&theirs);
    for (without, with) in [("c 10:229 rw", "c 10:229 rwm"), ("b 8:* r", "b 8:* rm")] {
        assert!(expected.remove(without), "{expected:?}");
        expected.insert(with.to_owned());
    }
    // The console of a container is a terminal of its own; tun is asked for by those who need it.
    for gone in ["c 5:1 rwm", "c 10:200 rwm"] {
        assert!(expected.remove(gone), "{expected:?}");
    }
    assert_eq!(list(&ours), expected);
}

#[test]
fn a_process_cannot_open_a_device_that_is_not_allowed() {
    let cgroup = TestCgroup::new();
    only_allowed_devices_open(&cgroup);
    cgroup.apply(json!({"devices": [{"allow": true, "access": "rwm"}]}));
    assert_eq!(cgroup.read("devices", "devices.list"), "a *:* rwm");
    assert!(opens(&cgroup, ">/dev/kmsg"));
}

#[test]
fn throttles_of_a_disk_land_in_its_line() {
    let Some((major, minor)) = any_disk() else { panic!("this machine has no disk to throttle") };
    let cgroup = TestCgroup::new();
    let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    cgroup.apply(json!({"blockIO": {
        "throttleReadBpsDevice": device(1_048_576), "throttleWriteBpsDevice": device(2_097_152),
        "throttleReadIOPSDevice": device(100), "throttleWriteIOPSDevice": device(200),
    }}));
    for (file, rate) in [("read_bps", 1_048_576), ("write_bps", 2_097_152), ("read_iops", 100), ("write_iops", 200)] {
        let line = cgroup.read("blkio", &format!("blkio.throttle.{file}_device"));
        assert_eq!(line, format!("{major}:{minor} {rate}"));
    }
    cgroup.apply(json!({"blockIO": {"throttleReadBpsDevice": device(0)}}));
    assert_eq!(cgroup.read("blkio", "blkio.throttle.read_bps_device"), "");
    let error = cgroup
        .try_apply(json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 0, "rate": 1}]}}))
        .unwrap_err();
    assert!(error.to_string().contains("the device must exist"), "{error}");
}

fn any_disk() -> Option<(u32, u32)> {
    let numbers = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    std::fs::read_dir("/sys/block").ok()?.find_map(numbers)
}

#[test]
fn a_block_weight_lands_where_the_scheduler_has_it() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"blockIO": {"weight": 321}}));
    let blkio = directory(&cgroup.layout, "blkio", &cgroup.path);
    let file = ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|f| blkio.join(f).exists()).unwrap();
    assert_eq!(cgroup.read("blkio", file), "321");
}

#[test]
fn a_huge_page_limit_uses_the_v2_hierarchy_of_a_hybrid_machine() {
    let cgroup = TestCgroup::new();
    let unified = directory(&cgroup.layout, "unified", &cgroup.path);
    let root = unified.parent().unwrap();
    let before = std::fs::read_to_string(root.join("cgroup.subtree_control")).unwrap();
    assert!(!unified.exists(), "left alone until it is needed");
    assert!(matches!(cgroup.entry().unwrap(), Entry::Tasks(_)));

    cgroup.apply(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
    assert_eq!(std::fs::read_to_string(unified.join("hugetlb.2MB.max")).unwrap().trim(), (4 << 20).to_string());
    assert_eq!(std::fs::read_to_string(unified.join("hugetlb.2MB.rsvd.max")).unwrap().trim(), (4 << 20).to_string());
    let Entry::Both(_, tasks) = cgroup.entry().unwrap() else { panic!("born inside v2, then into v1") };
    assert_eq!(tasks.len() + 1, cgroup.directories().count());

    cgroup.remove().unwrap();
    assert!(!unified.exists());
    if !before.contains("hugetlb") {
        std::fs::write(root.join("cgroup.subtree_control"), "-hugetlb").unwrap();
    }
}

#[test]
fn a_huge_page_limit_comes_too_late_for_a_running_container() {
    let cgroup = TestCgroup::new();
    let _process = cgroup.spawn("cat", &[]);
    until("the child is in", || !cgroup.pids().unwrap().is_empty());
    let error = cgroup.try_apply(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})).unwrap_err();
    assert_eq!(error.cause.kind(), ErrorKind::Unsupported, "{error}");
    assert!(!directory(&cgroup.layout, "unified", &cgroup.path).exists());
}

#[test]
fn what_this_layout_cannot_do_is_an_error_that_says_so() {
    let cgroup = TestCgroup::new();
    for (resources, part) in [
        (json!({"unified": {"memory.high": "1"}}), "cgroup v2"),
        (json!({"network": {"classID": 1}}), "net_cls"),
        (json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}), "net_prio"),
        (json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "rdma"),
    ] {
        let error = cgroup.try_apply(resources.clone()).unwrap_err();
        assert_eq!(error.cause.kind(), ErrorKind::Unsupported, "{resources}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn bad_limits_are_refused_before_anything_is_written() {
    let cgroup = TestCgroup::new();
    let before = contents(&cgroup);
    for resources in [
        json!({"memory": {"limit": 1 << 20, "swap": 1 << 19}, "pids": {"limit": 5}}),
        json!({"memory": {"limit": -1, "swap": 1 << 19}, "cpu": {"shares": 5}}),
        json!({"memory": {"swappiness": 101}, "cpu": {"shares": 5}}),
        json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}], "cpu": {"shares": 5}}),
    ] {
        assert_eq!(cgroup.try_apply(resources).unwrap_err().cause.kind(), ErrorKind::InvalidInput);
        assert_eq!(contents(&cgroup), before);
    }
}

#[test]
fn an_update_that_the_kernel_refuses_leaves_every_limit_as_it_was() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({
        "memory": {"limit": 64 << 20, "swap": 96 << 20}, "cpu": {"shares": 512, "quota": 20_000, "burst": 5_000},
        "pids": {"limit": 9},
    }));
    let before = contents(&cgroup);
    let update = json!({
        "memory": {"limit": 128 << 20, "swap": 256 << 20, "disableOOMKiller": true},
        "cpu": {"shares": 2048, "quota": 2_000, "burst": 1_000, "cpus": "0-4000"}, "pids": {"limit": 5},
    });
    let error = cgroup.cgroup.update(&resources_of(update)).unwrap_err();
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    assert_eq!(contents(&cgroup), before);
    // What can be had is had.
    cgroup.cgroup.update(&resources_of(json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}}))).unwrap();
    assert_eq!(cgroup.read("memory", "memory.memsw.limit_in_bytes"), (32 << 20).to_string());
}

#[test]
fn a_container_about_whose_devices_nothing_is_said_gets_only_the_promised_ones() {
    let (unsaid, denied) = (TestCgroup::new(), TestCgroup::new());
    unsaid.cgroup.confine(&resources_of(json!({}))).unwrap();
    denied.cgroup.confine(&resources_of(json!({"devices": [{"allow": false, "access": "rwm"}]}))).unwrap();
    assert_eq!(unsaid.read("devices", "devices.list"), denied.read("devices", "devices.list"));
    // An update says nothing about devices, and changes nothing about them.
    unsaid.cgroup.update(&resources_of(json!({"pids": {"limit": 7}}))).unwrap();
    assert_eq!(unsaid.read("devices", "devices.list"), denied.read("devices", "devices.list"));
}

/// What CRI's Update sends is the whole of the resources, devices included.
fn usual_devices() -> Value {
    json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}])
}

#[test]
fn runc_2204_an_update_with_the_same_devices_closes_none_for_a_moment() {
    let cgroup = TestCgroup::new();
    let resources = resources_of(json!({"devices": usual_devices(), "pids": {"limit": 99}}));
    cgroup.confine(&resources).unwrap();
    let watch =
        "while [[ -z $done ]]; do : </dev/null || { echo closed; exit; }; read -t 0 && read done; done; echo open";
    let mut process = cgroup.spawn("bash", &["-c", &format!("echo in; {watch}")]);
    process.hear("in");
    for _ in 0..300 {
        cgroup.update(&resources).unwrap();
    }
    process.say("done");
    process.hear("open");
}

#[test]
fn an_update_works_where_the_container_has_device_cgroups_of_its_own() {
    for devices in [usual_devices(), json!([{"allow": true, "access": "rwm"}])] {
        let cgroup = TestCgroup::new();
        cgroup.confine(&resources_of(json!({"devices": devices}))).unwrap();
        std::fs::create_dir(directory(&cgroup.layout, "devices", &cgroup.path).join("docker")).unwrap();
        let before = cgroup.read("devices", "devices.list");
        cgroup.update(&resources_of(json!({"devices": devices, "pids": {"limit": 7}}))).unwrap();
        assert_eq!((cgroup.read("devices", "devices.list"), cgroup.read("pids", "pids.max")), (before, "7".into()));
    }
}

#[test]
fn an_update_changes_the_devices_that_differ() {
    let cgroup = TestCgroup::new();
    cgroup.confine(&resources_of(json!({"devices": usual_devices()}))).unwrap();
    std::fs::create_dir(directory(&cgroup.layout, "devices", &cgroup.path).join("docker")).unwrap();
    let tun = json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"});
    let update = |devices| cgroup.update(&resources_of(json!({"devices": devices}))).unwrap();
    update(json!([{"allow": false, "access": "rwm"}, tun]));
    let fresh = TestCgroup::new();
    fresh.confine(&resources_of(json!({"devices": [{"allow": false, "access": "rwm"}, tun]}))).unwrap();
    let list = |cgroup: &TestCgroup| -> BTreeSet<String> {
        cgroup.read("devices", "devices.list").lines().map(str::to_owned).collect()
    };
    assert_eq!(list(&cgroup), list(&fresh));
}

#[test]
fn an_update_whose_devices_are_refused_leaves_every_limit_as_it_was() {
    let cgroup = TestCgroup::new();
    cgroup.confine(&resources_of(json!({"devices": usual_devices(), "pids": {"limit": 9}}))).unwrap();
    let below = directory(&cgroup.layout, "devices", &cgroup.path).join("docker");
    std::fs::create_dir(below).unwrap();
    let before = (contents(&cgroup), cgroup.read("devices", "devices.list"));
    // A new default, with a cgroup below.
    let update = json!({"devices": [{"allow": true, "access": "rwm"}], "pids": {"limit": 7}, "cpu": {"shares": 77}});
    let error = cgroup.update(&resources_of(update)).unwrap_err();
    assert!(error.to_string().contains("devices.allow"), "{error}");
    assert_eq!((contents(&cgroup), cgroup.read("devices", "devices.list")), before);
}

#[test]
fn the_kernels_refusal_names_the_file_and_what_to_do() {
    let cgroup = TestCgroup::new();
    let error = cgroup.try_apply(json!({"cpu": {"cpus": "0-4000"}})).unwrap_err();
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    assert!(error.hint.is_some());
    let error = cgroup.try_apply(json!({"cpu": {"quota": 10}})).unwrap_err();
    assert!(error.to_string().contains("cpu.cfs_quota_us") && error.hint.is_some(), "{error}");
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_when_that_is_asked_for() {
    let cgroup = TestCgroup::new();
    let _process = cgroup.spawn("cat", &[]);
    until("some memory is in use", || cgroup.read("memory", "memory.usage_in_bytes") != "0");
    let update = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    let error = cgroup.try_apply(update).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    assert_eq!(cgroup.read("memory", "memory.limit_in_bytes"), "9223372036854771712");
}

#[test]
fn the_oom_killer_can_be_turned_off_and_on() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"memory": {"disableOOMKiller": true}}));
    assert!(cgroup.read("memory", "memory.oom_control").contains("oom_kill_disable 1"));
    cgroup.apply(json!({"memory": {"disableOOMKiller": false}}));
    assert!(cgroup.read("memory", "memory.oom_control").contains("oom_kill_disable 0"));
}

#[test]
fn a_path_that_is_not_one_makes_nothing() {
    let layout = layout();
    for path in ["/a/../b", "", "/", "kubepods.slice:cri-containerd:abc"] {
        assert!(Cgroup::create(&layout, Path::new(path)).is_err(), "{path}");
    }
    assert_eq!(standing(&layout, &unique_path()).len(), 0);
}
