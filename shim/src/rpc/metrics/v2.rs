//! `io.containerd.cgroups.v2.Metrics`.

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat, RdmaEntry,
    RdmaStat,
};
use loment_cgroups::stats::v2::{self, Stats};
use protobuf::MessageField;

use super::same;

pub(super) fn metrics(stats: &Stats) -> Metrics {
    Metrics {
        pids: stats.pids.map(|pids| same!(PidsStat { current, limit } from pids)).into(),
        cpu: stats.cpu.as_ref().map(cpu).into(),
        memory: stats.memory.as_ref().map(memory).into(),
        rdma: stats.rdma.as_ref().map(rdma).into(),
        io: stats.io.as_ref().map(io).into(),
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|huge| same!(HugeTlbStat { current, max, pagesize, failcnt } from huge))
            .collect(),
        memory_events: stats
            .memory_events
            .map(|events| same!(MemoryEvents { low, high, max, oom, oom_kill, oom_group_kill } from events))
            .into(),
        ..Metrics::default()
    }
}

fn cpu(cpu: &v2::Cpu) -> CPUStat {
    same!(CPUStat {
        usage_usec, user_usec, system_usec, nr_periods, nr_throttled, throttled_usec, nr_bursts, burst_usec,
    } from cpu, psi: pressure(cpu.psi))
}

fn memory(memory: &v2::Memory) -> MemoryStat {
    same!(MemoryStat {
        anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty, file_writeback, anon_thp,
        inactive_anon, active_anon, inactive_file, active_file, unevictable, slab_reclaimable, slab_unreclaimable,
        pgfault, pgmajfault, workingset_refault, workingset_activate, workingset_nodereclaim, pgrefill, pgscan,
        pgsteal, pgactivate, pgdeactivate, pglazyfree, pglazyfreed, thp_fault_alloc, thp_collapse_alloc,
        usage, usage_limit, swap_usage, swap_limit, max_usage, swap_max_usage,
    } from memory, psi: pressure(memory.psi))
}

fn io(io: &v2::Io) -> IOStat {
    let usage = io.usage.iter().map(|entry| same!(IOEntry { major, minor, rbytes, wbytes, rios, wios } from entry));
    IOStat { usage: usage.collect(), psi: pressure(io.psi), ..IOStat::default() }
}

fn rdma(rdma: &v2::Rdma) -> RdmaStat {
    let entries = |list: &[v2::RdmaEntry]| -> Vec<RdmaEntry> {
        list.iter().map(|entry| same!(RdmaEntry { device, hca_handles, hca_objects } from entry)).collect()
    };
    RdmaStat { current: entries(&rdma.current), limit: entries(&rdma.limit), ..RdmaStat::default() }
}

fn pressure(psi: Option<v2::Psi>) -> MessageField<PSIStats> {
    let data = |data: v2::PsiData| MessageField::some(same!(PSIData { avg10, avg60, avg300, total } from data));
    psi.map(|psi| PSIStats { some: data(psi.some), full: data(psi.full), ..PSIStats::default() }).into()
}
