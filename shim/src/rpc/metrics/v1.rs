//! `io.containerd.cgroups.v1.Metrics`.

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat, Metrics,
    PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use loment_cgroups::stats::{
    device_name,
    v1::{self, Stats},
};
use protobuf::MessageField;

use super::same;

pub(super) fn metrics(stats: &Stats) -> Metrics {
    Metrics {
        hugetlb: stats
            .hugetlb
            .iter()
            .map(|huge| same!(HugetlbStat { usage, max, failcnt, pagesize } from huge))
            .collect(),
        pids: stats.pids.map(|pids| same!(PidsStat { current, limit } from pids)).into(),
        cpu: stats.cpu.as_ref().map(cpu).into(),
        memory: stats.memory.as_ref().map(memory).into(),
        blkio: stats.blkio.as_ref().map(blkio).into(),
        rdma: stats.rdma.as_ref().map(rdma).into(),
        memory_oom_control: stats
            .memory_oom_control
            .map(|oom| same!(MemoryOomControl { oom_kill_disable, under_oom, oom_kill } from oom))
            .into(),
        ..Metrics::default()
    }
}

fn cpu(cpu: &v1::Cpu) -> CPUStat {
    let throttling = same!(Throttle { periods, throttled_periods, throttled_time } from cpu.throttling);
    CPUStat {
        usage: MessageField::some(same!(CPUUsage { total, kernel, user, per_cpu } from cpu.usage)),
        throttling: MessageField::some(throttling),
        ..CPUStat::default()
    }
}

fn memory(memory: &v1::Memory) -> MemoryStat {
    same!(MemoryStat {
        cache, rss, rss_huge, mapped_file, dirty, writeback, pg_pg_in, pg_pg_out, pg_fault, pg_maj_fault,
        inactive_anon, active_anon, inactive_file, active_file, unevictable,
        hierarchical_memory_limit, hierarchical_swap_limit,
        total_cache, total_rss, total_rss_huge, total_mapped_file, total_dirty, total_writeback,
        total_pg_pg_in, total_pg_pg_out, total_pg_fault, total_pg_maj_fault,
        total_inactive_anon, total_active_anon, total_inactive_file, total_active_file, total_unevictable,
    } from memory,
        usage: entry(memory.usage), swap: entry(memory.swap),
        kernel: entry(memory.kernel), kernel_tcp: entry(memory.kernel_tcp))
}

fn entry(entry: Option<v1::MemoryEntry>) -> MessageField<MemoryEntry> {
    entry.map(|entry| same!(MemoryEntry { limit, usage, max, failcnt } from entry)).into()
}

fn blkio(blkio: &v1::Blkio) -> BlkIOStat {
    let mut known: Vec<(u64, u64, String)> = Vec::new();
    let mut device = |major: u64, minor: u64| {
        if let Some((.., name)) = known.iter().find(|(a, b, _)| (*a, *b) == (major, minor)) {
            return name.clone();
        }
        let name = device_name(major, minor).unwrap_or_default();
        known.push((major, minor, name.clone()));
        name
    };
    let mut entries = |list: &[v1::BlkioEntry]| -> Vec<BlkIOEntry> {
        let describe = |entry: &v1::BlkioEntry| same!(BlkIOEntry { op, major, minor, value } from entry, device: device(entry.major, entry.minor));
        list.iter().map(describe).collect()
    };
    BlkIOStat {
        io_service_bytes_recursive: entries(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: entries(&blkio.io_serviced_recursive),
        io_queued_recursive: entries(&blkio.io_queued_recursive),
        io_service_time_recursive: entries(&blkio.io_service_time_recursive),
        io_wait_time_recursive: entries(&blkio.io_wait_time_recursive),
        io_merged_recursive: entries(&blkio.io_merged_recursive),
        io_time_recursive: entries(&blkio.io_time_recursive),
        sectors_recursive: entries(&blkio.sectors_recursive),
        ..BlkIOStat::default()
    }
}

fn rdma(rdma: &v1::Rdma) -> RdmaStat {
    let entries = |list: &[v1::RdmaEntry]| -> Vec<RdmaEntry> {
        list.iter().map(|entry| same!(RdmaEntry { device, hca_handles, hca_objects } from entry)).collect()
    };
    RdmaStat { current: entries(&rdma.current), limit: entries(&rdma.limit), ..RdmaStat::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_arrives_with_its_name() {
        let dev = std::fs::read_dir("/sys/block").unwrap().next().expect("this machine has a block device").unwrap();
        let numbers = std::fs::read_to_string(dev.path().join("dev")).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        let (major, minor) = (major.parse().unwrap(), minor.parse().unwrap());
        let entry = v1::BlkioEntry { op: "Read".to_owned(), major, minor, value: 3 };
        let io = blkio(&v1::Blkio { io_serviced_recursive: vec![entry], ..v1::Blkio::default() });
        let told = &io.io_serviced_recursive[0];
        let name = format!("/dev/{}", dev.file_name().to_str().unwrap().replace('!', "/"));
        assert_eq!((told.op.as_str(), told.device.as_str(), told.value), ("Read", name.as_str(), 3));
    }

    #[test]
    fn usage_arrives_under_the_names_that_cri_reads() {
        let stats = Stats {
            cpu: Some(v1::Cpu { usage: v1::CpuUsage { total: 7, ..Default::default() }, ..Default::default() }),
            memory: Some(v1::Memory {
                total_inactive_file: 5,
                usage: Some(v1::MemoryEntry { usage: 4096, limit: 8192, ..Default::default() }),
                ..Default::default()
            }),
            ..Stats::default()
        };
        let metrics = metrics(&stats);
        assert_eq!(metrics.cpu.usage.total, 7);
        assert_eq!((metrics.memory.usage.usage, metrics.memory.usage.limit), (4096, 8192));
        assert_eq!(metrics.memory.total_inactive_file, 5);
        assert!(metrics.pids.is_none());
    }
}
