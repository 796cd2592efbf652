//! What the pod uses, as its service says it.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use loment_cgroups::stats::{self, usage, v2};
use protobuf::MessageField;

use super::api::{ContainerUsage, Device, Pressure, StatsResponse, Usage};
use crate::{
    failure::{Failure, Result},
    shim::Shim,
    task::{Task, usage::Measured},
};

/// What there is in a pod, and what it uses.
pub(crate) struct Survey {
    tasks: Vec<Arc<Task>>,
    /// Of each task.
    measured: Vec<Measured>,
    /// Of the pod as a whole.
    pub(crate) pod: Measured,
}

/// Reads the usage of every container, and of the pod.
pub(crate) fn survey(shim: &Shim) -> Result<Survey> {
    let mut all = shim.tasks();
    all.sort_unstable_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
    let has_cgroup = shim.pod_has_cgroup();
    let (mut tasks, mut measured) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for task in all {
        if has_cgroup && task.last_usage().is_some() {
            // It is being deleted: what it has used is the pod's.
            continue;
        }
        match task.measure() {
            Ok(container) => {
                tasks.push(task);
                measured.push(container);
            }
            Err(failure) => log::warn!("measure container {}: {failure}", task.id()),
        }
    }
    let pod = shim.measure_pod(&measured)?;
    Ok(Survey { tasks, measured, pod })
}

/// The same, as the Pod service says it.
pub(super) fn read(shim: &Shim) -> Result<StatsResponse> {
    let Survey { tasks, measured, pod } = survey(shim)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Failure::unknown("the clock is before 1970"))?;
    // A container whose end is kept back, because it may have to run again, uses nothing any more.
    let running = tasks.iter().zip(&measured).filter(|(task, _)| task.has_process());
    let containers = running.map(|(task, container)| ContainerUsage {
        name: if task.is_sandbox() { String::new() } else { task.name().to_owned() },
        id: task.id().to_owned(),
        sandbox: task.is_sandbox(),
        usage: MessageField::some(describe(container)),
        cgroup: container.cgroup.display().to_string(),
        ..ContainerUsage::default()
    });
    Ok(StatsResponse {
        at_unix_nanos: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        pod: MessageField::some(describe(&pod)),
        cgroup: pod.cgroup.display().to_string(),
        containers: containers.collect(),
        ..StatsResponse::default()
    })
}

fn describe(measured: &Measured) -> Usage {
    let stats::Usage { cpu, memory, pids, io, pressure } = &measured.usage;
    Usage {
        cpu_nanos: cpu.total,
        cpu_user_nanos: cpu.user,
        cpu_system_nanos: cpu.system,
        cpu_periods: cpu.periods,
        cpu_throttled_periods: cpu.throttled_periods,
        cpu_throttled_nanos: cpu.throttled,
        cpu_quota_micros: cpu.quota,
        cpu_period_micros: cpu.period,
        cpu_share: cpu.share,
        memory_bytes: memory.usage,
        memory_working_set_bytes: memory.working_set,
        memory_anonymous_bytes: memory.anonymous,
        memory_file_bytes: memory.file,
        memory_mapped_bytes: memory.mapped,
        memory_swap_bytes: memory.swap,
        memory_peak_bytes: memory.peak,
        memory_limit_bytes: memory.limit,
        memory_swap_limit_bytes: memory.swap_limit,
        memory_reservation_bytes: memory.reservation,
        memory_limit_hits: memory.limit_hits,
        memory_faults: memory.faults,
        memory_major_faults: memory.major_faults,
        oom_kills: memory.oom_kills,
        tasks: pids.current,
        tasks_limit: pids.limit,
        processes: measured.processes,
        io: io.iter().map(device).collect(),
        cpu_pressure: under(pressure.as_ref(), |pressure| pressure.cpu),
        memory_pressure: under(pressure.as_ref(), |pressure| pressure.memory),
        io_pressure: under(pressure.as_ref(), |pressure| pressure.io),
        ..Usage::default()
    }
}

fn device(entry: &v2::IoEntry) -> Device {
    Device {
        major: entry.major,
        minor: entry.minor,
        read_bytes: entry.rbytes,
        written_bytes: entry.wbytes,
        reads: entry.rios,
        writes: entry.wios,
        ..Device::default()
    }
}

fn under(all: Option<&usage::Pressure>, one: fn(&usage::Pressure) -> v2::Psi) -> MessageField<Pressure> {
    let describe = |psi: v2::Psi| Pressure {
        some_10s: psi.some.avg10,
        full_10s: psi.full.avg10,
        some_total_micros: psi.some.total,
        full_total_micros: psi.full.total,
        ..Pressure::default()
    };
    all.map(one).map(describe).into()
}
