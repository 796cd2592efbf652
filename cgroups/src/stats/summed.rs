//! A sum of usages in the form in which one cgroup's is told: of a pod that has no cgroup of its own.

use super::{Stats, Usage, v1, v2};
use crate::Layout;

/// The kernel's largest whole page: no limit, on v1.
const NO_LIMIT_V1: u64 = 9_223_372_036_854_771_712;
/// No limit, on v2.
const NO_LIMIT_V2: u64 = u64::MAX;

impl Stats {
    /// As this layout would tell it. What cannot be added up stays 0; the working set comes out as it went in.
    pub fn of_sum(usage: &Usage, layout: &Layout) -> Self {
        match layout.v1().is_empty() {
            true => Self::V2(Box::new(unified(usage))),
            false => Self::V1(Box::new(legacy(usage))),
        }
    }
}

fn unified(usage: &Usage) -> v2::Stats {
    let Usage { cpu, memory, pids, io, .. } = usage;
    let micros = |nanos: u64| nanos / 1000;
    v2::Stats {
        pids: Some(v2::Pids { current: pids.current, limit: pids.limit }),
        cpu: Some(v2::Cpu {
            usage_usec: micros(cpu.total),
            user_usec: micros(cpu.user),
            system_usec: micros(cpu.system),
            nr_periods: cpu.periods,
            nr_throttled: cpu.throttled_periods,
            throttled_usec: micros(cpu.throttled),
            ..v2::Cpu::default()
        }),
        memory: Some(v2::Memory {
            anon: memory.anonymous,
            file: memory.file,
            file_mapped: memory.mapped,
            inactive_file: memory.usage.saturating_sub(memory.working_set),
            pgfault: memory.faults,
            pgmajfault: memory.major_faults,
            usage: memory.usage,
            usage_limit: memory.limit.unwrap_or(NO_LIMIT_V2),
            swap_usage: memory.swap,
            swap_limit: memory.swap_limit.unwrap_or(NO_LIMIT_V2),
            ..v2::Memory::default()
        }),
        memory_events: Some(v2::MemoryEvents { oom_kill: memory.oom_kills, ..v2::MemoryEvents::default() }),
        io: Some(v2::Io { usage: io.clone(), ..v2::Io::default() }),
        ..v2::Stats::default()
    }
}

fn legacy(usage: &Usage) -> v1::Stats {
    let Usage { cpu, memory, pids, .. } = usage;
    let throttling = v1::Throttling {
        periods: cpu.periods,
        throttled_periods: cpu.throttled_periods,
        throttled_time: cpu.throttled,
    };
    let time = v1::CpuUsage { total: cpu.total, kernel: cpu.system, user: cpu.user, per_cpu: Vec::new() };
    let entry = |usage: u64, limit: Option<u64>| v1::MemoryEntry {
        usage,
        limit: limit.unwrap_or(NO_LIMIT_V1),
        ..v1::MemoryEntry::default()
    };
    v1::Stats {
        pids: Some(v1::Pids { current: pids.current, limit: pids.limit }),
        cpu: Some(v1::Cpu { usage: time, throttling }),
        memory: Some(v1::Memory {
            total_rss: memory.anonymous,
            total_cache: memory.file,
            total_mapped_file: memory.mapped,
            total_inactive_file: memory.usage.saturating_sub(memory.working_set),
            total_pg_fault: memory.faults,
            total_pg_maj_fault: memory.major_faults,
            usage: Some(entry(memory.usage, memory.limit)),
            // With memory, as v1 counts it.
            swap: Some(entry(memory.usage.saturating_add(memory.swap), memory.swap_limit)),
            ..v1::Memory::default()
        }),
        memory_oom_control: Some(v1::MemoryOomControl {
            oom_kill: memory.oom_kills,
            ..v1::MemoryOomControl::default()
        }),
        ..v1::Stats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::usage::{Cpu, Memory};

    #[test]
    fn a_sum_keeps_time_usage_and_working_set_on_both_layouts() {
        let usage = Usage {
            cpu: Cpu { total: 7_000_000, ..Cpu::default() },
            memory: Memory { usage: 10 << 20, working_set: 4 << 20, ..Memory::default() },
            ..Usage::default()
        };
        let stats = legacy(&usage);
        let memory = stats.memory.unwrap();
        let told = memory.usage.unwrap();
        assert_eq!((stats.cpu.unwrap().usage.total, told.usage, told.limit), (7_000_000, 10 << 20, NO_LIMIT_V1));
        assert_eq!(told.usage - memory.total_inactive_file, 4 << 20);
        let stats = unified(&usage);
        let memory = stats.memory.unwrap();
        assert_eq!((stats.cpu.unwrap().usage_usec, memory.usage, memory.usage_limit), (7_000, 10 << 20, NO_LIMIT_V2));
        assert_eq!(memory.usage - memory.inactive_file, 4 << 20);
    }
}
