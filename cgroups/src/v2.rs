//! The specification's resources as values for v2 files (kernel's `admin-guide/cgroup-v2`), and enabling controllers.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use crate::{
    Error, Result,
    controller::Controller,
    dir::Dir,
    hugetlb,
    plan::{Absent, Group, Write},
    rdma,
};

/// Enables, from the root down to the parent of `path`, every controller that the root has.
///
/// A controller that a parent refuses (real-time tasks keep `cpu` off; a parent with processes keeps all off) is left:
/// a limit that needs it fails when it is asked for.
pub(crate) fn enable_controllers(root: &Dir, path: &Path) -> Result<()> {
    let read = |file: &Path| {
        let mut text = String::new();
        root.read(file, &mut text).map_err(|e| Error::new("read", root.path().join(file).display(), e))?;
        Ok(text)
    };
    let available = read(Path::new("cgroup.controllers"))?;
    let own = read(&path.join("cgroup.controllers"))?;
    if available.split_whitespace().all(|name| own.split_whitespace().any(|o| o == name)) {
        return Ok(());
    }
    let all: Vec<String> = available.split_whitespace().map(|name| format!("+{name}")).collect();
    for parent in parents_from_root(path) {
        // Also where they are enabled already: somebody else may be about to do it, and the kernel shows it before the
        // files are there. A write waits for that.
        let file = parent.join("cgroup.subtree_control");
        if root.write(&file, &all.join(" ")).is_err() {
            for one in &all {
                let _ = root.write(&file, one);
            }
        }
    }
    Ok(())
}

/// Enables one controller from the root down to the parent of `path`, or says which parent refuses it.
pub(crate) fn enable_controller(root: &Dir, path: &Path, controller: Controller) -> Result<()> {
    let value = format!("+{}", controller.name());
    for parent in parents_from_root(path) {
        let file = parent.join("cgroup.subtree_control");
        root.write(&file, &value).map_err(|e| {
            Error::new(format!("write {value:?} to"), root.path().join(&file).display(), e)
                .hint("a cgroup with processes of its own cannot hand controllers down")
        })?;
    }
    Ok(())
}

fn parents_from_root(path: &Path) -> impl Iterator<Item = &Path> {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    parents.into_iter().rev()
}

/// Everything but devices. `present` is the present content of a file, where a new value builds upon it: a new period
/// keeps the quota, a limit on memory + swap the one on memory. What v2 cannot do is an error.
pub(crate) fn plan(resources: &LinuxResources, present: impl Fn(&str) -> Option<String>) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    if let Some(memory) = resources.memory() {
        plan_memory(memory, &present, &mut groups)?;
    }
    if let Some(cpu) = resources.cpu() {
        plan_cpu(cpu, || present("cpu.max"), &mut groups)?;
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit).filter(|l| *l != 0) {
        groups.push(vec![Write::new(Controller::Pids, "pids.max", number_or_max(limit))]);
    }
    if let Some(block) = resources.block_io() {
        plan_block(block, &mut groups)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        groups.push(hugetlb::writes(limit, "max")?);
    }
    let network = resources.network().as_ref();
    if network.is_some_and(|n| n.class_id().is_some_and(|c| c != 0) || n.priorities().iter().flatten().count() > 0) {
        return Err(Error::unsupported("apply", "network class and priorities", "cgroup v2 has no such controllers")
            .hint("classify by cgroup path (nftables socket cgroupv2), or leave linux.resources.network out"));
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        groups.push(vec![Write::new(Controller::Rdma, "rdma.max", rdma::line(device, limit)?)]);
    }
    plan_unified(resources.unified().iter().flatten().collect(), &mut groups)?;
    Ok(groups)
}

fn number_or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn plan_memory(memory: &LinuxMemory, present: impl Fn(&str) -> Option<String>, groups: &mut Vec<Group>) -> Result<()> {
    let write = |file, value: String| Write::new(Controller::Memory, file, value);
    if memory.swappiness().is_some() {
        return Err(Error::unsupported("apply", "memory.swappiness", "cgroup v2 has no such file"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(Error::unsupported("apply", "memory.disableOOMKiller", "cgroup v2 cannot turn the OOM killer off")
            .hint("memory.high throttles instead: set it in linux.resources.unified"));
    }
    let limit = match (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0)) {
        (0, 1..) => present("memory.max").and_then(|text| text.trim().parse().ok()),
        _ => memory.limit(),
    };
    if let Some(swap) = swap_alone(limit, memory.swap())? {
        // A machine without swap, or without its accounting, has no file; then there is nothing to forbid.
        let nothing_to_limit = matches!(swap.as_str(), "0" | "max");
        let absent = match nothing_to_limit {
            true => Absent::Ignore,
            false => Absent::Fail("swap is not accounted: boot with swapaccount=1, or leave the swap limit out"),
        };
        groups.push(vec![write("memory.swap.max", swap).absent(absent)]);
    }
    if let Some(limit) = memory.limit().filter(|l| *l != 0) {
        groups.push(vec![write("memory.max", number_or_max(limit))]);
    }
    if let Some(low) = memory.reservation().filter(|l| *l != 0) {
        groups.push(vec![write("memory.low", number_or_max(low))]);
    }
    Ok(())
}

/// The specification counts memory and swap together, v2 swap alone. 0 is unset, -1 without limit.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<String>> {
    let refuse = |why: &str| Err(Error::invalid("apply", "memory.swap", why));
    match (limit.unwrap_or(0), swap.unwrap_or(0)) {
        (limit, 0) if limit < 0 => Ok(Some("max".to_owned())),
        (_, 0) => Ok(None),
        (_, swap) if swap < 0 => Ok(Some("max".to_owned())),
        (0, _) => refuse("a limit on memory + swap needs one on memory: cgroup v2 counts swap alone"),
        (limit, swap) if limit < 0 || swap < limit => refuse("memory + swap is below memory"),
        (limit, swap) => Ok(Some((swap - limit).to_string())),
    }
}

fn plan_cpu(cpu: &LinuxCpu, cpu_max: impl FnOnce() -> Option<String>, groups: &mut Vec<Group>) -> Result<()> {
    let write = |file, value: String| Write::new(Controller::Cpu, file, value);
    if cpu.realtime_period().is_some_and(|p| p != 0) || cpu.realtime_runtime().is_some_and(|r| r != 0) {
        return Err(Error::unsupported("apply", "real-time cpu limits", "cgroup v2 has none"));
    }
    let mut weight = Vec::new();
    // An idle cgroup has no weight: the kernel refuses it.
    if let Some(shares) = cpu.shares().filter(|s| *s != 0 && cpu.idle() != Some(1)) {
        weight.push(write("cpu.weight", weight_of_shares(shares).to_string()));
    }
    if let Some(idle) = cpu.idle() {
        weight.push(write("cpu.idle", idle.to_string()).absent(Absent::Fail("cpu.idle needs Linux 5.15")));
    }
    let mut bandwidth = Vec::new();
    let (quota, period) = (cpu.quota().filter(|q| *q != 0), cpu.period().filter(|p| *p != 0));
    let max = match (quota.map(number_or_max), period) {
        (Some(quota), Some(period)) => Some(format!("{quota} {period}")),
        // A value without a period keeps the period.
        (Some(quota), None) => Some(quota),
        (None, Some(period)) => {
            let present = cpu_max().unwrap_or_default();
            Some(format!("{} {period}", present.split_whitespace().next().unwrap_or("max")))
        }
        (None, None) => None,
    };
    const BANDWIDTH: &str = "a quota is at least 1000 us, a period 1000 to 1000000 us";
    bandwidth.extend(max.map(|max| write("cpu.max", max).hint(BANDWIDTH).dear()));
    if let Some(burst) = cpu.burst() {
        let absent = Absent::Fail("cpu.max.burst needs Linux 5.14");
        bandwidth.push(write("cpu.max.burst", burst.to_string()).absent(absent).hint("burst must not be above quota"));
    }
    groups.extend([weight, bandwidth, crate::v1::plan_cpuset(cpu)]);
    Ok(())
}

/// v1 shares (2 to 262144, 1024 by default) as a v2 weight (1 to 10000, 100 by default): the quadratic form that runc
/// has from 1.3.2, crun and youki have too. The older linear form makes of the default 39.
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The defaults must meet at 100 exactly, whatever the last bit of the platform's pow is.
    (10f64.powf(exponent) - 1e-9).ceil() as u64
}

fn plan_block(block: &LinuxBlockIo, groups: &mut Vec<Group>) -> Result<()> {
    if block.leaf_weight().is_some_and(|w| w != 0)
        || block.weight_device().iter().flatten().any(|d| d.leaf_weight().is_some_and(|w| w != 0))
    {
        return Err(Error::unsupported("apply", "blockIO.leafWeight", "cgroup v2 has no leaf weights"));
    }
    if let Some(weight) = block.weight().filter(|w| *w != 0) {
        groups.push(vec![weight_write(String::new(), weight)]);
    }
    for device in block.weight_device().iter().flatten() {
        let prefix = format!("{}:{} ", device.major(), device.minor());
        groups.extend(device.weight().map(|w| vec![weight_write(prefix, w)]));
    }
    let throttles = [
        ("rbps", block.throttle_read_bps_device()),
        ("wbps", block.throttle_write_bps_device()),
        ("riops", block.throttle_read_iops_device()),
        ("wiops", block.throttle_write_iops_device()),
    ];
    for (key, devices) in throttles {
        for device in devices.iter().flatten() {
            // 0 takes a limit away on v1, `max` does on v2.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            groups
                .push(vec![Write::new(Controller::Blkio, "io.max", line).hint("the device must exist and be a disk")]);
        }
    }
    Ok(())
}

/// bfq takes the specification's 10 to 1000 as it is, io.weight has 1 to 10000.
fn weight_write(prefix: String, weight: u16) -> Write {
    const NO_WEIGHT: &str = "weights need the bfq scheduler or the iocost controller";
    let converted = 1 + (u64::from(weight.max(10)) - 10) * 9999 / 990;
    let io = Write::new(Controller::Blkio, "io.weight", format!("{prefix}{converted}")).absent(Absent::Fail(NO_WEIGHT));
    Write::new(Controller::Blkio, "io.bfq.weight", format!("{prefix}{weight}")).absent(Absent::Use(Box::new(io)))
}

/// The specification's `unified`: file names and what to write into them; last, so that they win. The kernel takes
/// one line of a keyed file at a time.
fn plan_unified(mut unified: Vec<(&String, &String)>, groups: &mut Vec<Group>) -> Result<()> {
    unified.sort();
    for (key, value) in unified {
        let controller = key.split_once('.').and_then(|(prefix, _)| Controller::from_name(prefix));
        if key.contains('/') || key.contains("..") || !key.contains('.') {
            return Err(Error::invalid("apply unified resource", format!("{key:?}"), "not the name of a cgroup file")
                .hint("names look like memory.high"));
        }
        let lines = value.lines().filter(|line| !line.is_empty());
        groups.extend(lines.map(|line| {
            // Files of the cgroup core and of controllers that are newer than this program are written all the same.
            vec![Write::new(controller.unwrap_or(Controller::Misc), key.clone(), line)]
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn planned(resources: Value) -> Result<Vec<String>> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let present = |file: &str| (file == "cpu.max").then(|| "50000 100000\n".to_owned());
        let groups = plan(&resources, present)?;
        Ok(groups.concat().into_iter().map(|w| format!("{}={}", w.file, w.value)).collect())
    }

    #[test]
    fn shares_become_the_weights_that_other_runtimes_give() {
        let table = [
            (2, 1),
            (10, 4),
            (102, 17),
            (256, 35),
            (512, 59),
            (1024, 100),
            (2000, 170),
            (2048, 174),
            (4096, 303),
            (22_000, 1204),
        ];
        for (shares, weight) in table.into_iter().chain([(0, 1), (1, 1), (262_144, 10_000), (u64::MAX, 10_000)]) {
            assert_eq!(weight_of_shares(shares), weight, "{shares} shares");
        }
    }

    #[test]
    fn swap_is_counted_without_memory() {
        assert_eq!(
            planned(json!({"memory": {"limit": 100, "swap": 130, "reservation": 50}})).unwrap(),
            ["memory.swap.max=30", "memory.max=100", "memory.low=50"]
        );
        assert_eq!(planned(json!({"memory": {"limit": 100, "swap": 100}})).unwrap()[0], "memory.swap.max=0");
        assert_eq!(planned(json!({"memory": {"limit": 100, "swap": -1}})).unwrap()[0], "memory.swap.max=max");
        assert_eq!(planned(json!({"memory": {"limit": -1}})).unwrap(), ["memory.swap.max=max", "memory.max=max"]);
        assert_eq!(planned(json!({"memory": {"limit": 100}})).unwrap(), ["memory.max=100"]);
        for wrong in [json!({"swap": 10}), json!({"limit": 20, "swap": 10}), json!({"limit": -1, "swap": 10})] {
            let error = planned(json!({"memory": wrong})).unwrap_err();
            assert_eq!(error.cause.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_new_limit_on_memory_and_swap_keeps_the_one_on_memory() {
        let plan_swap = |max: &'static str| {
            let resources: LinuxResources = serde_json::from_value(json!({"memory": {"swap": 130}})).unwrap();
            plan(&resources, |file| (file == "memory.max").then(|| max.to_owned()))
        };
        let groups = plan_swap("100\n").unwrap().concat();
        assert_eq!((groups[0].file.as_ref(), groups[0].value.as_str(), groups.len()), ("memory.swap.max", "30", 1));
        assert_eq!(plan_swap("max\n").unwrap_err().cause.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_new_quota_keeps_the_period_and_a_new_period_the_quota() {
        assert_eq!(planned(json!({"cpu": {"quota": 7000, "period": 9000}})).unwrap(), ["cpu.max=7000 9000"]);
        assert_eq!(planned(json!({"cpu": {"quota": 7000}})).unwrap(), ["cpu.max=7000"]);
        assert_eq!(planned(json!({"cpu": {"quota": -1}})).unwrap(), ["cpu.max=max"]);
        assert_eq!(planned(json!({"cpu": {"period": 9000}})).unwrap(), ["cpu.max=50000 9000"]);
    }

    #[test]
    fn an_idle_cgroup_gets_no_weight() {
        assert_eq!(planned(json!({"cpu": {"shares": 1024, "idle": 1}})).unwrap(), ["cpu.idle=1"]);
        assert_eq!(planned(json!({"cpu": {"shares": 1024, "idle": 0}})).unwrap(), ["cpu.weight=100", "cpu.idle=0"]);
    }

    #[test]
    fn throttles_become_lines_of_io_max() {
        let device = |rate: u64| json!([{"major": 8, "minor": 16, "rate": rate}]);
        assert_eq!(
            planned(json!({"blockIO": {
                "throttleReadBpsDevice": device(1), "throttleWriteBpsDevice": device(2),
                "throttleReadIOPSDevice": device(3), "throttleWriteIOPSDevice": device(0),
            }}))
            .unwrap(),
            ["io.max=8:16 rbps=1", "io.max=8:16 wbps=2", "io.max=8:16 riops=3", "io.max=8:16 wiops=max"]
        );
    }

    #[test]
    fn weights_are_converted_where_the_scheduler_is_not_bfq() {
        let resources: LinuxResources = serde_json::from_value(json!({"blockIO": {"weight": 1000,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}))
        .unwrap();
        let mut both = Vec::new();
        for write in plan(&resources, |_| None).unwrap().concat() {
            both.push(write.value);
            if let Absent::Use(other) = write.absent {
                both.push(format!("{} {}", other.file, other.value));
            }
        }
        assert_eq!(both, ["1000", "io.weight 10000", "8:0 10", "io.weight 8:0 1"]);
    }

    #[test]
    fn unified_comes_last_and_line_by_line() {
        let lines = planned(json!({
            "unified": {"memory.high": "5", "io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cpu.weight": "7"},
            "pids": {"limit": -5},
        }))
        .unwrap();
        assert_eq!(lines, ["pids.max=max", "cpu.weight=7", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.high=5"]);
    }

    #[test]
    fn a_unified_key_is_a_file_of_this_cgroup() {
        for key in ["../memory.max", "a/memory.max", "memory", "", "memory..max", "/memory.max"] {
            let error = planned(json!({"unified": {key: "1"}})).unwrap_err();
            assert_eq!(error.cause.kind(), ErrorKind::InvalidInput, "{key}");
        }
    }

    #[test]
    fn what_only_v1_can_do_is_an_error_that_says_so() {
        for resources in [
            json!({"memory": {"swappiness": 1}}),
            json!({"memory": {"disableOOMKiller": true}}),
            json!({"cpu": {"realtimeRuntime": 1}}),
            json!({"cpu": {"realtimePeriod": 1}}),
            json!({"blockIO": {"leafWeight": 10}}),
            json!({"network": {"classID": 1}}),
            json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}),
        ] {
            assert_eq!(planned(resources.clone()).unwrap_err().cause.kind(), ErrorKind::Unsupported, "{resources}");
        }
        let harmless = json!({"memory": {"disableOOMKiller": false, "kernel": 5, "kernelTCP": 5}, "network": {}});
        assert_eq!(planned(harmless).unwrap(), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn more_shares_never_weigh_less(a in 0..300_000u64, b in 0..300_000u64) {
            prop_assert!((weight_of_shares(a.min(b))..=10_000).contains(&weight_of_shares(a.max(b))));
        }
    }
}
