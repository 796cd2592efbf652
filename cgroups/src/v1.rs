//! The specification's resources as values for v1 files (kernel's `admin-guide/cgroup-v1`).

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice,
};

use crate::{
    Error, Result,
    controller::Controller,
    hugetlb,
    plan::{Absent, Group, Write},
    rdma,
};

/// Which files carry huge page limits: hybrid may have that controller on v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hugetlb {
    V1,
    V2,
}

/// Everything but devices. What v1 cannot do is an error.
pub(crate) fn plan(resources: &LinuxResources, hugetlb: Hugetlb) -> Result<Vec<Group>> {
    if resources.unified().as_ref().is_some_and(|u| !u.is_empty()) {
        return Err(Error::unsupported(
            "apply",
            "unified resources",
            "they are files of cgroup v2, this machine has v1",
        )
        .hint("remove linux.resources.unified from the specification"));
    }
    let mut groups = Vec::new();
    if let Some(memory) = resources.memory() {
        plan_memory(memory, &mut groups)?;
    }
    if let Some(cpu) = resources.cpu() {
        plan_cpu(cpu, &mut groups);
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit).filter(|l| *l != 0) {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        groups.push(vec![Write::new(Controller::Pids, "pids.max", value)]);
    }
    if let Some(block) = resources.block_io() {
        plan_block(block, &mut groups);
    }
    plan_hugetlb(resources.hugepage_limits().as_deref().unwrap_or_default(), hugetlb, &mut groups)?;
    if let Some(network) = resources.network() {
        plan_network(network, &mut groups)?;
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        groups.push(vec![Write::new(Controller::Rdma, "rdma.max", rdma::line(device, limit)?)]);
    }
    Ok(groups)
}

const NO_SWAP_ACCOUNTING: &str = "swap is not accounted: boot with swapaccount=1, or leave the swap limit out";

/// Kernel memory limits are left out as everybody does: the kernel has dropped them (5.16).
fn plan_memory(memory: &LinuxMemory, groups: &mut Vec<Group>) -> Result<()> {
    let given = |value: Option<i64>| value.filter(|v| *v != 0).map(|v| v.max(-1));
    let (limit, swap) = (given(memory.limit()), given(memory.swap()));
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap != -1
        && (limit == -1 || swap < limit)
    {
        let why = format!("memory + swap ({swap}) is below memory ({limit})");
        return Err(Error::invalid("apply", "memory.swap", why).hint("swap counts memory and swap together"));
    }
    let mut group = Vec::new();
    if let Some(limit) = limit {
        group.push(Write::new(Controller::Memory, "memory.limit_in_bytes", limit).hint(
            "it may be below what is in use, or above the memory + swap limit set before: give both, or kill and retry",
        ));
    }
    let memsw = |value| Write::new(Controller::Memory, "memory.memsw.limit_in_bytes", value);
    match (limit, swap) {
        (_, Some(swap)) => group.push(memsw(swap).absent(Absent::Fail(NO_SWAP_ACCOUNTING))),
        // Without a limit on memory there is none on memory + swap; an old one would keep the new one out.
        (Some(-1), None) => group.push(memsw(-1).absent(Absent::Ignore)),
        _ => {}
    }
    groups.push(group);
    if let Some(soft) = given(memory.reservation()) {
        groups.push(vec![Write::new(Controller::Memory, "memory.soft_limit_in_bytes", soft)]);
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            return Err(Error::invalid("apply", "memory.swappiness", format!("{swappiness} is not in 0..=100")));
        }
        groups.push(vec![Write::new(Controller::Memory, "memory.swappiness", swappiness)]);
    }
    if let Some(disable) = memory.disable_oom_killer() {
        groups.push(vec![Write::new(Controller::Memory, "memory.oom_control", u8::from(disable))]);
    }
    Ok(())
}

fn plan_cpu(cpu: &LinuxCpu, groups: &mut Vec<Group>) {
    const BANDWIDTH: &str = "a quota is at least 1000 us, a period 1000 to 1000000 us, and the parent's share of both \
                             must not be smaller";
    let write = |file: &'static str, value: String| Write::new(Controller::Cpu, file, value);
    let mut weight = Vec::new();
    // An idle cgroup has no shares: the kernel refuses them (5.15).
    if let Some(shares) = cpu.shares().filter(|s| *s != 0 && cpu.idle() != Some(1)) {
        weight.push(write("cpu.shares", shares.to_string()));
    }
    if let Some(idle) = cpu.idle() {
        weight.push(write("cpu.idle", idle.to_string()).absent(Absent::Fail("cpu.idle needs Linux 5.15")));
    }
    let mut bandwidth = Vec::new();
    if let Some(period) = cpu.period().filter(|p| *p != 0) {
        bandwidth.push(write("cpu.cfs_period_us", period.to_string()).hint(BANDWIDTH).dear());
    }
    if let Some(quota) = cpu.quota().filter(|q| *q != 0) {
        bandwidth.push(write("cpu.cfs_quota_us", quota.max(-1).to_string()).hint(BANDWIDTH).dear());
    }
    if let Some(burst) = cpu.burst() {
        bandwidth.push(
            write("cpu.cfs_burst_us", burst.to_string())
                .absent(Absent::Fail("cpu.cfs_burst_us needs Linux 5.14"))
                .hint("burst must not be above quota"),
        );
    }
    const REALTIME: &str = "the parent cgroup must have as much real-time runtime to give";
    let mut realtime = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|p| *p != 0) {
        realtime.push(write("cpu.rt_period_us", period.to_string()).hint(REALTIME));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|r| *r != 0) {
        realtime.push(write("cpu.rt_runtime_us", runtime.to_string()).hint(REALTIME));
    }
    groups.extend([weight, bandwidth, realtime]);
    groups.push(plan_cpuset(cpu));
}

/// The same files on v1 and v2.
pub(crate) fn plan_cpuset(cpu: &LinuxCpu) -> Group {
    const WITHIN_PARENT: &str = "they must be online and within the parent cgroup's";
    let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
    let files = [("cpuset.cpus", given(cpu.cpus())), ("cpuset.mems", given(cpu.mems()))];
    let write = |(file, value)| Some(Write::new(Controller::Cpuset, file, value?).hint(WITHIN_PARENT));
    files.into_iter().filter_map(write).collect()
}

fn plan_block(block: &LinuxBlockIo, groups: &mut Vec<Group>) {
    const NO_WEIGHT: &str = "weights need the bfq scheduler (CONFIG_BFQ_GROUP_IOSCHED)";
    let weight = |suffix: &str, value: String| {
        let bfq = Write::new(Controller::Blkio, format!("blkio.bfq.weight{suffix}"), value.clone());
        let cfq = Write::new(Controller::Blkio, format!("blkio.weight{suffix}"), value);
        vec![cfq.absent(Absent::Use(Box::new(bfq.absent(Absent::Fail(NO_WEIGHT)))))]
    };
    let leaf = |suffix: &str, value: String| {
        vec![
            Write::new(Controller::Blkio, format!("blkio.leaf_weight{suffix}"), value)
                .absent(Absent::Fail("leaf weights went away with the cfq scheduler (Linux 5.0)")),
        ]
    };
    groups.extend(block.weight().filter(|w| *w != 0).map(|w| weight("", w.to_string())));
    groups.extend(block.leaf_weight().filter(|w| *w != 0).map(|w| leaf("", w.to_string())));
    for device in block.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        groups.extend(device.weight().map(|w| weight("_device", line(w))));
        groups.extend(device.leaf_weight().map(|w| leaf("_device", line(w))));
    }
    let mut throttle = |file: &'static str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            groups.push(vec![Write::new(Controller::Blkio, file, line).hint("the device must exist and be a disk")]);
        }
    };
    throttle("blkio.throttle.read_bps_device", block.throttle_read_bps_device());
    throttle("blkio.throttle.write_bps_device", block.throttle_write_bps_device());
    throttle("blkio.throttle.read_iops_device", block.throttle_read_iops_device());
    throttle("blkio.throttle.write_iops_device", block.throttle_write_iops_device());
}

fn plan_hugetlb(limits: &[LinuxHugepageLimit], at: Hugetlb, groups: &mut Vec<Group>) -> Result<()> {
    let file = match at {
        Hugetlb::V1 => "limit_in_bytes",
        Hugetlb::V2 => "max",
    };
    for limit in limits {
        groups.push(hugetlb::writes(limit, file)?);
    }
    Ok(())
}

fn plan_network(network: &LinuxNetwork, groups: &mut Vec<Group>) -> Result<()> {
    if let Some(class) = network.class_id().filter(|c| *c != 0) {
        groups.push(vec![Write::new(Controller::NetCls, "net_cls.classid", class)]);
    }
    for priority in network.priorities().iter().flatten() {
        let name = priority.name();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::invalid("apply", format!("network priority of {name:?}"), "not an interface name"));
        }
        let line = format!("{name} {}", priority.priority());
        groups.push(vec![Write::new(Controller::NetPrio, "net_prio.ifpriomap", line)]);
    }
    Ok(())
}
