//! Reading what the v1 controllers account: one pass over the files, each by its kept directory.

use std::io;

use nix::unistd::{SysconfVar, sysconf};

use super::{
    Stats, parse,
    v1::{Blkio, BlkioEntry, Cpu, CpuUsage, Hugetlb, Memory, MemoryEntry, MemoryOomControl, Pids, Rdma, Throttling},
};
use crate::{controller::Controller, dir::Dir};

const NANOSECONDS: u64 = 1_000_000_000;

/// Reads everything of the controllers that `dir_of` has a directory for.
pub(crate) fn read<'a>(dir_of: impl Fn(Controller) -> Option<&'a Dir>) -> io::Result<Stats> {
    let mut text = String::with_capacity(4096);
    let mut stats = super::v1::Stats::default();
    if let Some(dir) = dir_of(Controller::Pids) {
        stats.pids = Some(pids(dir, &mut text)?);
    }
    let (usage, throttling) = (dir_of(Controller::Cpuacct), dir_of(Controller::Cpu));
    if usage.is_some() || throttling.is_some() {
        let usage = usage.map(|dir| cpu_usage(dir, &mut text)).transpose()?.unwrap_or_default();
        let throttling = throttling.map(|dir| throttled(dir, &mut text)).transpose()?.unwrap_or_default();
        stats.cpu = Some(Cpu { usage, throttling });
    }
    if let Some(dir) = dir_of(Controller::Memory) {
        stats.memory = Some(memory(dir, &mut text)?);
        if dir.read("memory.oom_control", &mut text)? {
            stats.memory_oom_control = Some(MemoryOomControl {
                oom_kill_disable: parse::keyed(&text, "oom_kill_disable"),
                under_oom: parse::keyed(&text, "under_oom"),
                oom_kill: parse::keyed(&text, "oom_kill"),
            });
        }
    }
    if let Some(dir) = dir_of(Controller::Blkio) {
        stats.blkio = Some(blkio(dir, &mut text)?);
    }
    if let Some(dir) = dir_of(Controller::Hugetlb) {
        stats.hugetlb = hugetlb(dir, &mut text)?;
    }
    if let Some(dir) = dir_of(Controller::Rdma) {
        stats.rdma = Some(rdma(dir, &mut text)?);
    }
    Ok(Stats::V1(Box::new(stats)))
}

fn number(dir: &Dir, file: &str, text: &mut String) -> io::Result<Option<u64>> {
    Ok(dir.read(file, text)?.then(|| parse::number(text)))
}

pub(super) fn pids(dir: &Dir, text: &mut String) -> io::Result<Pids> {
    let current = number(dir, "pids.current", text)?.unwrap_or(0);
    let limit = number(dir, "pids.max", text)?.unwrap_or(0);
    Ok(Pids { current, limit: if limit == u64::MAX { 0 } else { limit } })
}

fn cpu_usage(dir: &Dir, text: &mut String) -> io::Result<CpuUsage> {
    let mut usage = cpu_time(dir, text)?;
    dir.read("cpuacct.usage_percpu", text)?;
    usage.per_cpu = text.split_whitespace().map(parse::number).collect();
    Ok(usage)
}

/// Without the processors one by one.
pub(super) fn cpu_time(dir: &Dir, text: &mut String) -> io::Result<CpuUsage> {
    let tick = NANOSECONDS / sysconf(SysconfVar::CLK_TCK)?.and_then(|n| u64::try_from(n).ok()).unwrap_or(100).max(1);
    let mut usage = CpuUsage { total: number(dir, "cpuacct.usage", text)?.unwrap_or(0), ..CpuUsage::default() };
    // Not usage_user and usage_sys: those are samples, these are scaled to the total (kernel's cputime_adjust).
    dir.read("cpuacct.stat", text)?;
    usage.kernel = parse::keyed(text, "system").saturating_mul(tick);
    usage.user = parse::keyed(text, "user").saturating_mul(tick);
    Ok(usage)
}

pub(super) fn throttled(dir: &Dir, text: &mut String) -> io::Result<Throttling> {
    dir.read("cpu.stat", text)?;
    Ok(Throttling {
        periods: parse::keyed(text, "nr_periods"),
        throttled_periods: parse::keyed(text, "nr_throttled"),
        throttled_time: parse::keyed(text, "throttled_time"),
    })
}

fn memory(dir: &Dir, text: &mut String) -> io::Result<Memory> {
    dir.read("memory.stat", text)?;
    let mut memory = memory_stat(text);
    memory.usage = entry(dir, "", text)?;
    memory.swap = entry(dir, ".memsw", text)?;
    memory.kernel = entry(dir, ".kmem", text)?;
    memory.kernel_tcp = entry(dir, ".kmem.tcp", text)?;
    Ok(memory)
}

fn entry(dir: &Dir, kind: &str, text: &mut String) -> io::Result<Option<MemoryEntry>> {
    let mut read = |file: &str| number(dir, &format!("memory{kind}.{file}"), text);
    let Some(usage) = read("usage_in_bytes")? else { return Ok(None) };
    let limit = read("limit_in_bytes")?.unwrap_or(0);
    let max = read("max_usage_in_bytes")?.unwrap_or(0);
    let failcnt = read("failcnt")?.unwrap_or(0);
    Ok(Some(MemoryEntry { limit, usage, max, failcnt }))
}

pub(crate) fn memory_stat(text: &str) -> Memory {
    let mut memory = Memory::default();
    for (key, value) in parse::pairs(text) {
        let field = match key {
            "cache" => &mut memory.cache,
            "rss" => &mut memory.rss,
            "rss_huge" => &mut memory.rss_huge,
            "mapped_file" => &mut memory.mapped_file,
            "dirty" => &mut memory.dirty,
            "writeback" => &mut memory.writeback,
            "pgpgin" => &mut memory.pg_pg_in,
            "pgpgout" => &mut memory.pg_pg_out,
            "pgfault" => &mut memory.pg_fault,
            "pgmajfault" => &mut memory.pg_maj_fault,
            "inactive_anon" => &mut memory.inactive_anon,
            "active_anon" => &mut memory.active_anon,
            "inactive_file" => &mut memory.inactive_file,
            "active_file" => &mut memory.active_file,
            "unevictable" => &mut memory.unevictable,
            "hierarchical_memory_limit" => &mut memory.hierarchical_memory_limit,
            "hierarchical_memsw_limit" => &mut memory.hierarchical_swap_limit,
            "total_cache" => &mut memory.total_cache,
            "total_rss" => &mut memory.total_rss,
            "total_rss_huge" => &mut memory.total_rss_huge,
            "total_mapped_file" => &mut memory.total_mapped_file,
            "total_dirty" => &mut memory.total_dirty,
            "total_writeback" => &mut memory.total_writeback,
            "total_pgpgin" => &mut memory.total_pg_pg_in,
            "total_pgpgout" => &mut memory.total_pg_pg_out,
            "total_pgfault" => &mut memory.total_pg_fault,
            "total_pgmajfault" => &mut memory.total_pg_maj_fault,
            "total_inactive_anon" => &mut memory.total_inactive_anon,
            "total_active_anon" => &mut memory.total_active_anon,
            "total_inactive_file" => &mut memory.total_inactive_file,
            "total_active_file" => &mut memory.total_active_file,
            "total_unevictable" => &mut memory.total_unevictable,
            _ => continue,
        };
        *field = value;
    }
    memory
}

fn blkio(dir: &Dir, text: &mut String) -> io::Result<Blkio> {
    let (io_service_bytes_recursive, io_serviced_recursive) = transfers(dir, text)?;
    let mut blkio = Blkio { io_service_bytes_recursive, io_serviced_recursive, ..Blkio::default() };
    // A kernel has all of these or none (CONFIG_BFQ_CGROUP_DEBUG).
    let Some(queued) = list(dir, "blkio.bfq.io_queued_recursive", text)? else { return Ok(blkio) };
    blkio.io_queued_recursive = queued;
    for (file, entries) in [
        ("blkio.bfq.io_service_time_recursive", &mut blkio.io_service_time_recursive),
        ("blkio.bfq.io_wait_time_recursive", &mut blkio.io_wait_time_recursive),
        ("blkio.bfq.io_merged_recursive", &mut blkio.io_merged_recursive),
        ("blkio.bfq.time_recursive", &mut blkio.io_time_recursive),
        ("blkio.bfq.sectors_recursive", &mut blkio.sectors_recursive),
    ] {
        *entries = list(dir, file, text)?.unwrap_or_default();
    }
    Ok(blkio)
}

/// Bytes and operations: from the scheduler's files where one keeps them (bfq), else from the throttling layer's, which
/// count every request.
pub(super) fn transfers(dir: &Dir, text: &mut String) -> io::Result<(Vec<BlkioEntry>, Vec<BlkioEntry>)> {
    let mut of = |files: [&str; 3]| {
        let [scheduler, throttle, own_only] = files;
        if let Some(entries) = list(dir, scheduler, text)?.filter(|entries| !entries.is_empty()) {
            return Ok(entries);
        }
        match list(dir, throttle, text)? {
            Some(entries) => Ok(entries),
            None => Ok::<_, io::Error>(list(dir, own_only, text)?.unwrap_or_default()),
        }
    };
    let bytes = of([
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes",
    ])?;
    let operations =
        of(["blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"])?;
    Ok((bytes, operations))
}

/// The entries of a file; `None` when it is not there.
fn list(dir: &Dir, file: &str, text: &mut String) -> io::Result<Option<Vec<BlkioEntry>>> {
    Ok(dir.read(file, text)?.then(|| blkio_entries(text)))
}

/// Lines of `major:minor operation value` or `major:minor value`; the grand total, which has no device, is left out.
pub(crate) fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (first, second) = (words.next()?, words.next());
        let (op, value) = second.map_or(("", first), |value| (first, value));
        Some(BlkioEntry {
            op: op.to_owned(),
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(parse).collect()
}

fn hugetlb(dir: &Dir, text: &mut String) -> io::Result<Vec<Hugetlb>> {
    let mut all = Vec::new();
    for pagesize in super::page_sizes()? {
        let mut read = |file: &str| number(dir, &format!("hugetlb.{pagesize}.{file}"), text);
        let Some(usage) = read("usage_in_bytes")? else { continue };
        let (max, failcnt) = (read("max_usage_in_bytes")?.unwrap_or(0), read("failcnt")?.unwrap_or(0));
        all.push(Hugetlb { usage, max, failcnt, pagesize: pagesize.clone() });
    }
    Ok(all)
}

fn rdma(dir: &Dir, text: &mut String) -> io::Result<Rdma> {
    dir.read("rdma.current", text)?;
    let current = super::rdma_entries(text);
    dir.read("rdma.max", text)?;
    Ok(Rdma { current, limit: super::rdma_entries(text) })
}
