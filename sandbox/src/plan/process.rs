//! What a process is: program, identity, capabilities, limits; checked.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::PathBuf};

use loment_sys::{credentials::CapabilitySets, sched};
use nix::sys::resource::Resource;
use oci_spec::runtime::{
    IOPriorityClass, LinuxCapabilities, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit,
    PosixRlimitType, Process, Scheduler,
};

use super::{
    capability::mask,
    memory::MemoryPolicy,
    mounts::{below_root, c_string},
};
use crate::{Error, Result};

/// A process to be.
#[derive(Debug, Clone)]
pub(crate) struct ProcessPlan {
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// Below the root and without `..`.
    pub(crate) cwd: PathBuf,
    /// Width and height in characters.
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: CapabilityPlan,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) apparmor: Option<String>,
    pub(crate) selinux: Option<String>,
    /// Class and level.
    pub(crate) io_priority: Option<(u16, u16)>,
    pub(crate) scheduler: Option<sched::Attributes>,
    /// Processors that an exec runs on.
    pub(crate) affinity: Affinity,
    /// From where it gets its memory: its container's.
    pub(crate) memory_policy: Option<MemoryPolicy>,
}

/// The processors of an exec; `None` is all that its cgroup allows. A container's init has no say here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Before it enters its cgroup.
    pub(crate) initial: Option<Vec<usize>>,
    /// When the program runs.
    pub(crate) last: Option<Vec<usize>>,
}

/// The five capability sets; bit n is capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CapabilityPlan {
    pub(crate) sets: CapabilitySets,
    pub(crate) bounding: u64,
    pub(crate) ambient: u64,
}

impl CapabilityPlan {
    /// What is in any of the sets.
    pub(crate) fn all(&self) -> u64 {
        let CapabilitySets { effective, permitted, inheritable } = self.sets;
        effective | permitted | inheritable | self.bounding | self.ambient
    }

    /// Leaves out of every set what is not in `grantable`; answers with what that is.
    pub(crate) fn limit(&mut self, grantable: u64) -> u64 {
        let CapabilitySets { effective, permitted, inheritable } = &mut self.sets;
        let mut left_out = 0;
        for set in [effective, permitted, inheritable, &mut self.bounding, &mut self.ambient] {
            left_out |= *set & !grantable;
            *set &= grantable;
        }
        left_out
    }
}

/// Names of the capabilities of a set, in the kernel's order.
pub(crate) fn names(set: u64) -> Vec<String> {
    let mut all: Vec<_> = caps::all().into_iter().filter(|capability| set & capability.bitmask() != 0).collect();
    all.sort_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

/// A limit with its name in the spec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rlimit {
    pub(crate) name: PosixRlimitType,
    pub(crate) resource: Resource,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Checks a process of a spec.
pub(crate) fn process(process: &Process) -> Result<ProcessPlan> {
    let user = process.user();
    for (field, id) in [("process.user.uid", user.uid()), ("process.user.gid", user.gid())] {
        if id == u32::MAX {
            return Err(Error::invalid(field, id, "is not an id (it means \"unchanged\" to the kernel)"));
        }
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid("process.cwd", format!("{:?}", process.cwd()), "is not an absolute path"));
    }
    Ok(ProcessPlan {
        args: arguments(process)?,
        env: strings("process.env", process.env().as_deref().unwrap_or_default())?,
        cwd: below_root(&"process.cwd", process.cwd())?,
        console_size: process.console_size().map(|size| (cells(size.width()), cells(size.height()))),
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022) & 0o777,
        capabilities: process.capabilities().as_ref().map(capabilities).unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
        oom_score_adj: process.oom_score_adj().map(oom_score).transpose()?,
        apparmor: label(process.apparmor_profile()).filter(|profile| profile != "unconfined"),
        selinux: label(process.selinux_label()),
        io_priority: process.io_priority().as_ref().map(io_priority).transpose()?,
        scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
        affinity: affinity(process)?,
        memory_policy: None,
    })
}

fn arguments(process: &Process) -> Result<Vec<CString>> {
    let args = strings("process.args", process.args().as_deref().unwrap_or_default())?;
    match args.first() {
        Some(program) if !program.is_empty() => Ok(args),
        _ => Err(Error::invalid("process.args", "", "names no program")),
    }
}

fn strings(field: &'static str, strings: &[String]) -> Result<Vec<CString>> {
    strings.iter().map(|string| c_string(&field, std::ffi::OsStr::new(string).as_bytes())).collect()
}

fn cells(count: u64) -> u16 {
    count.try_into().unwrap_or(u16::MAX)
}

fn label(label: &Option<String>) -> Option<String> {
    label.clone().filter(|label| !label.is_empty())
}

fn oom_score(score: i32) -> Result<i32> {
    match score {
        -1000..=1000 => Ok(score),
        _ => Err(Error::invalid("process.oomScoreAdj", score, "is not between -1000 and 1000")),
    }
}

/// The kernel keeps a capability ambient only as long as it is permitted and inheritable (capabilities(7)), so that
/// naming others has no effect: the default specification of runc does, because it makes none inheritable any more.
fn capabilities(sets: &LinuxCapabilities) -> CapabilityPlan {
    let (permitted, inheritable) = (mask(sets.permitted()), mask(sets.inheritable()));
    CapabilityPlan {
        sets: CapabilitySets { effective: mask(sets.effective()), permitted, inheritable },
        bounding: mask(sets.bounding()),
        ambient: mask(sets.ambient()) & permitted & inheritable,
    }
}

fn rlimits(limits: &[PosixRlimit]) -> Result<Vec<Rlimit>> {
    let mut lowered: Vec<Rlimit> = Vec::with_capacity(limits.len());
    for limit in limits {
        let name = limit.typ();
        let resource = resource(name);
        if lowered.iter().any(|other| other.resource == resource) {
            return Err(Error::invalid("process.rlimits", name, "is given twice"));
        }
        if limit.soft() > limit.hard() {
            return Err(Error::invalid("process.rlimits", name, "has a soft limit above its hard limit"));
        }
        lowered.push(Rlimit { name, resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(lowered)
}

fn resource(name: PosixRlimitType) -> Resource {
    match name {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}

fn io_priority(priority: &LinuxIOPriority) -> Result<(u16, u16)> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(Error::invalid("process.ioPriority.priority", priority.priority(), "is not between 0 and 7")),
    }
}

fn scheduler(scheduler: &Scheduler) -> Result<sched::Attributes> {
    // linux/sched.h
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let flag = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    let priority = scheduler.priority().unwrap_or(0);
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        // The kernel would take the nearest that it has.
        return Err(Error::invalid("process.scheduler.nice", nice, "is not between -20 and 19"));
    }
    Ok(sched::Attributes {
        policy,
        flags: scheduler.flags().iter().flatten().map(flag).fold(0, |all, flag| all | flag),
        nice,
        priority: u32::try_from(priority)
            .map_err(|_| Error::invalid("process.scheduler.priority", priority, "is negative"))?,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}

fn affinity(process: &Process) -> Result<Affinity> {
    let Some(affinity) = process.exec_cpu_affinity() else { return Ok(Affinity::default()) };
    let cpus = |field: &str, list: &Option<String>| match list.as_deref() {
        None | Some("") => Ok(None),
        Some(list) => numbers(&format!("process.execCPUAffinity.{field}"), list, MOST_PROCESSORS).map(Some),
    };
    Ok(Affinity { initial: cpus("initial", affinity.initial())?, last: cpus("final", affinity.cpu_affinity_final())? })
}

/// More processors than any kernel is built for.
const MOST_PROCESSORS: usize = 8192;

/// A list like `0-3,7`, of numbers below `limit`. cpuset(7), "List format"
pub(crate) fn numbers(field: &str, list: &str, limit: usize) -> Result<Vec<usize>> {
    let refuse = || Error::invalid(field, format!("{list:?}"), "is not a list of numbers and ranges like 0-3,7");
    let mut numbers = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < limit).ok_or_else(refuse);
        let (first, last) = (number(first)?, number(last)?);
        if first > last || numbers.len() > limit {
            return Err(refuse());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}
