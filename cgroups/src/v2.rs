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
    for parent in parents_from_root(path) {
        let file = parent.join("cgroup.subtree_control");
        let enabled = read(&file)?;
        let missing: Vec<String> = available
            .split_whitespace()
            .filter(|name| !enabled.split_whitespace().any(|e| e == *name))
            .map(|name| format!("+{name}"))
            .collect();
        if !missing.is_empty() && root.write_below(&file, &missing.join(" ")).is_err() {
            for one in &missing {
                let _ = root.write_below(&file, one);
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
        root.write_below(&file, &value).map_err(|e| {
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

/// Everything but devices. `cpu_max` is the present content of that file: a new period keeps the quota.
/// What v2 cannot do is an error.
pub(crate) fn plan(resources: &LinuxResources, cpu_max: impl FnOnce() -> Option<String>) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    if let Some(memory) = resources.memory() {
        plan_memory(memory, &mut groups)?;
    }
    if let Some(cpu) = resources.cpu() {
        plan_cpu(cpu, cpu_max, &mut groups)?;
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

fn plan_memory(memory: &LinuxMemory, groups: &mut Vec<Group>) -> Result<()> {
    let write = |file, value: String| Write::new(Controller::Memory, file, value);
    if memory.swappiness().is_some() {
        return Err(Error::unsupported("apply", "memory.swappiness", "cgroup v2 has no such file"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(Error::unsupported("apply", "memory.disableOOMKiller", "cgroup v2 cannot turn the OOM killer off")
            .hint("memory.high throttles instead: set it in linux.resources.unified"));
    }
    if let Some(swap) = swap_alone(memory.limit(), memory.swap())? {
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
    bandwidth.extend(max.map(|max| write("cpu.max", max).hint(BANDWIDTH)));
    if let Some(burst) = cpu.burst() {
        let absent = Absent::Fail("cpu.max.burst needs Linux 5.14");
        bandwidth.push(write("cpu.max.burst", burst.to_string()).absent(absent).hint("burst must not be above quota"));
    }
    groups.extend([weight, bandwidth, crate::v1::plan_cpuset(cpu)]);
    Ok(())
}

/// v1 shares (2 to 262144, 1024 by default) as a v2 weight (1 to 10000, 100 by default): the quadratic form that runc
/// has from 1.3.2, crun and youki have too. The older linear form makes of the default 39.
fn weight_of_shares(shares: u64) -> u64 {
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
            let write = Write::new(controller.unwrap_or(Controller::Misc), key.clone(), line);
            vec![write.absent(Absent::Fail("the controller is not enabled for this cgroup, or the kernel is too old"))]
        }));
    }
    Ok(())
}
