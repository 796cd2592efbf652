//! What people are shown of a cgroup: a part of the statistics, in one set of units on every layout.

use std::io;

use super::{
    parse, read_v1, read_v2,
    v1::BlkioEntry,
    v2::{IoEntry, Pids, Psi},
};
use crate::{controller::Controller, dir::Dir, oom};

/// Usage of a cgroup and of those below it. What the layout does not account is 0, empty or `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Tasks (processes and threads).
    pub pids: Pids,
    /// Block devices, in ascending order.
    pub io: Vec<IoEntry>,
    /// Pressure, where it is accounted: v2, and hybrid's v2 hierarchy for who is in it.
    pub pressure: Option<Pressure>,
}

/// Processor time in nanoseconds, and what limits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In user mode. User and system are scaled to the total by the kernel; on v1 in clock ticks (10 ms).
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Enforcement periods of its own quota that have passed.
    pub periods: u64,
    /// Those in which the quota ran out.
    pub throttled_periods: u64,
    /// Time that its tasks were held back, added up over processors.
    pub throttled: u64,
    /// Microseconds of a period that may be used; `None` without a limit.
    pub quota: Option<u64>,
    /// Length of a period in microseconds; 0 without the controller.
    pub period: u64,
    /// v1's shares (2 to 262144), or v2's weight (1 to 10000); 0 without the controller.
    pub share: u64,
}

/// Memory in bytes, and counts of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Everything charged.
    pub usage: u64,
    /// Usage without the file cache that can be had back at once, as a kubelet counts it.
    pub working_set: u64,
    /// Anonymous memory.
    pub anonymous: u64,
    /// File cache, and on v2 shared memory.
    pub file: u64,
    /// Files that are mapped.
    pub mapped: u64,
    /// Swap.
    pub swap: u64,
    /// The most that was in use at once; 0 where the kernel does not keep it.
    pub peak: u64,
    /// What may be used; `None` without a limit of its own.
    pub limit: Option<u64>,
    /// What may be swapped; `None` without a limit of its own.
    pub swap_limit: Option<u64>,
    /// What is left alone as long as others have more to give; 0 when there is none.
    pub reservation: u64,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// Page faults.
    pub faults: u64,
    /// Page faults that read from a disk.
    pub major_faults: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// Pressure stall information (kernel's `accounting/psi`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Waiting for a processor.
    pub cpu: Psi,
    /// Waiting for memory.
    pub memory: Psi,
    /// Waiting for a disk.
    pub io: Psi,
}

impl Usage {
    /// Adds what a cgroup has used in its life: what counts up. What it holds at a moment goes with it.
    pub fn add_lasting(&mut self, other: &Self) {
        let (cpu, memory) = (&mut self.cpu, &mut self.memory);
        for (sum, more) in [
            (&mut cpu.total, other.cpu.total),
            (&mut cpu.user, other.cpu.user),
            (&mut cpu.system, other.cpu.system),
            (&mut cpu.periods, other.cpu.periods),
            (&mut cpu.throttled_periods, other.cpu.throttled_periods),
            (&mut cpu.throttled, other.cpu.throttled),
            (&mut memory.limit_hits, other.memory.limit_hits),
            (&mut memory.faults, other.memory.faults),
            (&mut memory.major_faults, other.memory.major_faults),
            (&mut memory.oom_kills, other.memory.oom_kills),
        ] {
            *sum = sum.saturating_add(more);
        }
        for entry in &other.io {
            add_device(&mut self.io, entry);
        }
    }

    /// Adds all that another cgroup uses. A limit, a peak and a pressure of two together there is none.
    pub fn add(&mut self, other: &Self) {
        self.add_lasting(other);
        let memory = &mut self.memory;
        for (sum, more) in [
            (&mut memory.usage, other.memory.usage),
            (&mut memory.working_set, other.memory.working_set),
            (&mut memory.anonymous, other.memory.anonymous),
            (&mut memory.file, other.memory.file),
            (&mut memory.mapped, other.memory.mapped),
            (&mut memory.swap, other.memory.swap),
            (&mut self.pids.current, other.pids.current),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

fn add_device(list: &mut Vec<IoEntry>, more: &IoEntry) {
    let key = |entry: &IoEntry| (entry.major, entry.minor);
    match list.binary_search_by_key(&key(more), key) {
        Err(place) => list.insert(place, *more),
        Ok(place) => {
            if let Some(sum) = list.get_mut(place) {
                sum.rbytes = sum.rbytes.saturating_add(more.rbytes);
                sum.wbytes = sum.wbytes.saturating_add(more.wbytes);
                sum.rios = sum.rios.saturating_add(more.rios);
                sum.wios = sum.wios.saturating_add(more.wios);
            }
        }
    }
}

/// v1 says "no limit" with the largest whole page, 2^63 less a page.
const UNLIMITED: u64 = i64::MAX as u64 - 0xffff;

fn limit_v1(bytes: u64) -> Option<u64> {
    Some(bytes).filter(|bytes| *bytes < UNLIMITED)
}

fn limit_v2(bytes: u64) -> Option<u64> {
    Some(bytes).filter(|bytes| *bytes != u64::MAX)
}

/// How much is read: each value is a file to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    Whole,
    /// What [`Usage::add_lasting`] takes.
    Lasting,
}

/// Reads what the v1 controllers account. `pressure` is the cgroup in hybrid's v2 hierarchy, if it is in there.
pub(crate) fn read_v1<'a>(
    dir_of: impl Fn(Controller) -> Option<&'a Dir>,
    pressure: Option<&Dir>,
    part: Part,
) -> io::Result<Usage> {
    let mut text = String::with_capacity(4096);
    let mut usage = Usage::default();
    let whole = part == Part::Whole;
    if let Some(dir) = dir_of(Controller::Pids).filter(|_| whole) {
        let pids = read_v1::pids(dir, &mut text)?;
        usage.pids = Pids { current: pids.current, limit: pids.limit };
    }
    if let Some(dir) = dir_of(Controller::Cpuacct) {
        let time = read_v1::cpu_time(dir, &mut text)?;
        (usage.cpu.total, usage.cpu.user, usage.cpu.system) = (time.total, time.user, time.kernel);
    }
    if let Some(dir) = dir_of(Controller::Cpu) {
        let held = read_v1::throttled(dir, &mut text)?;
        let cpu = &mut usage.cpu;
        (cpu.periods, cpu.throttled_periods, cpu.throttled) =
            (held.periods, held.throttled_periods, held.throttled_time);
    }
    if let Some(dir) = dir_of(Controller::Cpu).filter(|_| whole) {
        let cpu = &mut usage.cpu;
        cpu.share = number(dir, "cpu.shares", &mut text)?;
        cpu.period = number(dir, "cpu.cfs_period_us", &mut text)?;
        // -1 without a limit.
        cpu.quota = Some(number(dir, "cpu.cfs_quota_us", &mut text)?).filter(|quota| *quota != 0);
    }
    if let Some(dir) = dir_of(Controller::Memory) {
        usage.memory = memory_v1(dir, &mut text, part)?;
    }
    if let Some(dir) = dir_of(Controller::Blkio) {
        let (bytes, operations) = read_v1::transfers(dir, &mut text)?;
        usage.io = devices(&bytes, &operations);
    }
    if let Some(dir) = pressure {
        usage.pressure = read_pressure(dir, &mut text)?;
    }
    Ok(usage)
}

fn number(dir: &Dir, file: &str, text: &mut String) -> io::Result<u64> {
    Ok(if dir.read(file, text)? { parse::number(text) } else { 0 })
}

fn memory_v1(dir: &Dir, text: &mut String, part: Part) -> io::Result<Memory> {
    dir.read("memory.stat", text)?;
    let swap = parse::keyed(text, "total_swap");
    let stat = read_v1::memory_stat(text);
    let lasting = Memory {
        limit_hits: number(dir, "memory.failcnt", text)?,
        faults: stat.total_pg_fault,
        major_faults: stat.total_pg_maj_fault,
        oom_kills: oom::kills_v1(dir)?.unwrap_or(0),
        ..Memory::default()
    };
    if part == Part::Lasting {
        return Ok(lasting);
    }
    let usage = number(dir, "memory.usage_in_bytes", text)?;
    let limit = limit_v1(number(dir, "memory.limit_in_bytes", text)?);
    // Counts both.
    let with_swap = if dir.read("memory.memsw.limit_in_bytes", text)? { limit_v1(parse::number(text)) } else { None };
    Ok(Memory {
        usage,
        working_set: usage.saturating_sub(stat.total_inactive_file),
        anonymous: stat.total_rss,
        file: stat.total_cache,
        mapped: stat.total_mapped_file,
        swap,
        peak: number(dir, "memory.max_usage_in_bytes", text)?,
        limit,
        swap_limit: with_swap.map(|both| both.saturating_sub(limit.unwrap_or(0))),
        reservation: limit_v1(number(dir, "memory.soft_limit_in_bytes", text)?).unwrap_or(0),
        ..lasting
    })
}

fn devices(bytes: &[BlkioEntry], operations: &[BlkioEntry]) -> Vec<IoEntry> {
    let mut list = Vec::new();
    for (entries, counts_bytes) in [(bytes, true), (operations, false)] {
        for entry in entries {
            let mut more = IoEntry { major: entry.major, minor: entry.minor, ..IoEntry::default() };
            let field = match (entry.op.as_str(), counts_bytes) {
                ("Read", true) => &mut more.rbytes,
                ("Write", true) => &mut more.wbytes,
                ("Read", false) => &mut more.rios,
                ("Write", false) => &mut more.wios,
                _ => continue,
            };
            *field = entry.value;
            add_device(&mut list, &more);
        }
    }
    list
}

/// Reads what the v2 controllers account.
pub(crate) fn read_v2(dir: &Dir, part: Part) -> io::Result<Usage> {
    const MICROSECOND: u64 = 1000;
    let mut text = String::with_capacity(4096);
    let mut usage = Usage::default();
    if let Some(time) = read_v2::cpu_time(dir, &mut text)? {
        usage.cpu = Cpu {
            total: time.usage_usec.saturating_mul(MICROSECOND),
            user: time.user_usec.saturating_mul(MICROSECOND),
            system: time.system_usec.saturating_mul(MICROSECOND),
            periods: time.nr_periods,
            throttled_periods: time.nr_throttled,
            throttled: time.throttled_usec.saturating_mul(MICROSECOND),
            ..Cpu::default()
        };
    }
    if let Some(memory) = memory_v2(dir, &mut text, part)? {
        usage.memory = memory;
    }
    usage.io = read_v2::transfers(dir, &mut text)?.unwrap_or_default();
    usage.io.sort_unstable_by_key(|entry| (entry.major, entry.minor));
    if part == Part::Lasting {
        return Ok(usage);
    }
    usage.pids = read_v2::pids(dir, &mut text)?.unwrap_or_default();
    if dir.read("cpu.max", &mut text)? {
        let mut words = text.split_whitespace();
        usage.cpu.quota = words.next().and_then(|quota| quota.parse().ok());
        usage.cpu.period = words.next().map_or(0, parse::number);
    }
    usage.cpu.share = number(dir, "cpu.weight", &mut text)?;
    usage.pressure = read_pressure(dir, &mut text)?;
    Ok(usage)
}

fn memory_v2(dir: &Dir, text: &mut String, part: Part) -> io::Result<Option<Memory>> {
    if !dir.read("memory.stat", text)? {
        return Ok(None);
    }
    let stat = read_v2::memory_stat(text);
    let events = read_v2::memory_events(dir, text)?.unwrap_or_default();
    let lasting = Memory {
        limit_hits: events.max,
        faults: stat.pgfault,
        major_faults: stat.pgmajfault,
        oom_kills: events.oom_kill,
        ..Memory::default()
    };
    if part == Part::Lasting {
        return Ok(Some(lasting));
    }
    let usage = number(dir, "memory.current", text)?;
    let swap_limit = if dir.read("memory.swap.max", text)? { limit_v2(parse::number(text)) } else { None };
    Ok(Some(Memory {
        usage,
        working_set: usage.saturating_sub(stat.inactive_file),
        anonymous: stat.anon,
        file: stat.file,
        mapped: stat.file_mapped,
        swap: number(dir, "memory.swap.current", text)?,
        peak: number(dir, "memory.peak", text)?,
        limit: limit_v2(if dir.read("memory.max", text)? { parse::number(text) } else { u64::MAX }),
        swap_limit,
        reservation: number(dir, "memory.low", text)?,
        ..lasting
    }))
}

fn read_pressure(dir: &Dir, text: &mut String) -> io::Result<Option<Pressure>> {
    let Some(cpu) = read_v2::psi(dir, "cpu.pressure", text)? else { return Ok(None) };
    let memory = read_v2::psi(dir, "memory.pressure", text)?.unwrap_or_default();
    let io = read_v2::psi(dir, "io.pressure", text)?.unwrap_or_default();
    Ok(Some(Pressure { cpu, memory, io }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(op: &str, minor: u64, value: u64) -> BlkioEntry {
        BlkioEntry { op: op.to_owned(), major: 8, minor, value }
    }

    #[test]
    fn devices_of_v1_become_lines_of_v2() {
        let bytes = [entry("Read", 16, 10), entry("Write", 0, 20), entry("Sync", 0, 20), entry("Total", 0, 20)];
        let list = devices(&bytes, &[entry("Write", 0, 2), entry("Discard", 0, 9)]);
        let expected = [
            IoEntry { major: 8, minor: 0, wbytes: 20, wios: 2, ..IoEntry::default() },
            IoEntry { major: 8, minor: 16, rbytes: 10, ..IoEntry::default() },
        ];
        assert_eq!(list, expected);
    }

    #[test]
    fn of_the_dead_only_what_counts_up_is_kept() {
        let one = Usage {
            cpu: Cpu { total: 5, quota: Some(7), period: 9, ..Cpu::default() },
            memory: Memory { usage: 4096, faults: 3, limit: Some(1), peak: 8192, ..Memory::default() },
            pids: Pids { current: 4, limit: 5 },
            io: vec![IoEntry { major: 8, wbytes: 6, ..IoEntry::default() }],
            pressure: Some(Pressure::default()),
        };
        let mut sum = Usage::default();
        sum.add_lasting(&one);
        sum.add_lasting(&one);
        assert_eq!((sum.cpu.total, sum.memory.faults, sum.io[0].wbytes), (10, 6, 12));
        assert_eq!((sum.memory.usage, sum.pids, sum.memory.limit, sum.cpu.quota), (0, Pids::default(), None, None));
        sum.add(&one);
        assert_eq!((sum.cpu.total, sum.memory.usage, sum.pids.current), (15, 4096, 4));
        assert_eq!((sum.memory.limit, sum.memory.peak, sum.pressure), (None, 0, None));
    }

    #[test]
    fn no_limit_is_none_on_each_layout() {
        assert_eq!(limit_v1(9_223_372_036_854_771_712), None);
        // Pages of 64 KiB.
        assert_eq!(limit_v1(9_223_372_036_854_710_272), None);
        assert_eq!(limit_v1(4096), Some(4096));
        assert_eq!((limit_v2(u64::MAX), limit_v2(0)), (None, Some(0)));
    }
}
