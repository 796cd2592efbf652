//! Reading what the v2 controllers account: one pass over the files of one directory.

use std::io;

use super::{
    Stats, parse,
    v2::{Cpu, Hugetlb, Io, IoEntry, Memory, MemoryEvents, Pids, Psi, PsiData, Rdma},
};
use crate::dir::Dir;

/// Reads everything that is there.
pub(crate) fn read(dir: &Dir) -> io::Result<Stats> {
    let mut text = String::with_capacity(4096);
    Ok(Stats::V2(Box::new(super::v2::Stats {
        pids: pids(dir, &mut text)?,
        cpu: cpu(dir, &mut text)?,
        memory: memory(dir, &mut text)?,
        rdma: rdma(dir, &mut text)?,
        io: io_usage(dir, &mut text)?,
        hugetlb: hugetlb(dir, &mut text)?,
        memory_events: memory_events(dir, &mut text)?,
    })))
}

fn number(dir: &Dir, file: &str, text: &mut String) -> io::Result<Option<u64>> {
    Ok(dir.read(file, text)?.then(|| parse::number(text)))
}

pub(super) fn pids(dir: &Dir, text: &mut String) -> io::Result<Option<Pids>> {
    let Some(current) = number(dir, "pids.current", text)? else { return Ok(None) };
    let limit = number(dir, "pids.max", text)?.unwrap_or(0);
    Ok(Some(Pids { current, limit: if limit == u64::MAX { 0 } else { limit } }))
}

fn cpu(dir: &Dir, text: &mut String) -> io::Result<Option<Cpu>> {
    let Some(mut cpu) = cpu_time(dir, text)? else { return Ok(None) };
    cpu.psi = psi(dir, "cpu.pressure", text)?;
    Ok(Some(cpu))
}

/// Without the pressure.
pub(super) fn cpu_time(dir: &Dir, text: &mut String) -> io::Result<Option<Cpu>> {
    Ok(dir.read("cpu.stat", text)?.then(|| cpu_stat(text)))
}

pub(crate) fn cpu_stat(text: &str) -> Cpu {
    let mut cpu = Cpu::default();
    for (key, value) in parse::pairs(text) {
        let field = match key {
            "usage_usec" => &mut cpu.usage_usec,
            "user_usec" => &mut cpu.user_usec,
            "system_usec" => &mut cpu.system_usec,
            "nr_periods" => &mut cpu.nr_periods,
            "nr_throttled" => &mut cpu.nr_throttled,
            "throttled_usec" => &mut cpu.throttled_usec,
            "nr_bursts" => &mut cpu.nr_bursts,
            "burst_usec" => &mut cpu.burst_usec,
            _ => continue,
        };
        *field = value;
    }
    cpu
}

fn memory(dir: &Dir, text: &mut String) -> io::Result<Option<Memory>> {
    if !dir.read("memory.stat", text)? {
        return Ok(None);
    }
    let mut memory = memory_stat(text);
    memory.usage = number(dir, "memory.current", text)?.unwrap_or(0);
    memory.usage_limit = number(dir, "memory.max", text)?.unwrap_or(0);
    memory.swap_usage = number(dir, "memory.swap.current", text)?.unwrap_or(0);
    memory.swap_limit = number(dir, "memory.swap.max", text)?.unwrap_or(0);
    memory.max_usage = number(dir, "memory.peak", text)?.unwrap_or(0);
    memory.swap_max_usage = number(dir, "memory.swap.peak", text)?.unwrap_or(0);
    memory.psi = psi(dir, "memory.pressure", text)?;
    Ok(Some(memory))
}

pub(crate) fn memory_stat(text: &str) -> Memory {
    let mut memory = Memory::default();
    for (key, value) in parse::pairs(text) {
        let field = match key {
            "anon" => &mut memory.anon,
            "file" => &mut memory.file,
            "kernel_stack" => &mut memory.kernel_stack,
            "slab" => &mut memory.slab,
            "sock" => &mut memory.sock,
            "shmem" => &mut memory.shmem,
            "file_mapped" => &mut memory.file_mapped,
            "file_dirty" => &mut memory.file_dirty,
            "file_writeback" => &mut memory.file_writeback,
            "anon_thp" => &mut memory.anon_thp,
            "inactive_anon" => &mut memory.inactive_anon,
            "active_anon" => &mut memory.active_anon,
            "inactive_file" => &mut memory.inactive_file,
            "active_file" => &mut memory.active_file,
            "unevictable" => &mut memory.unevictable,
            "slab_reclaimable" => &mut memory.slab_reclaimable,
            "slab_unreclaimable" => &mut memory.slab_unreclaimable,
            "pgfault" => &mut memory.pgfault,
            "pgmajfault" => &mut memory.pgmajfault,
            "workingset_refault" | "workingset_refault_anon" | "workingset_refault_file" => {
                &mut memory.workingset_refault
            }
            "workingset_activate" | "workingset_activate_anon" | "workingset_activate_file" => {
                &mut memory.workingset_activate
            }
            "workingset_nodereclaim" => &mut memory.workingset_nodereclaim,
            "pgrefill" => &mut memory.pgrefill,
            "pgscan" => &mut memory.pgscan,
            "pgsteal" => &mut memory.pgsteal,
            "pgactivate" => &mut memory.pgactivate,
            "pgdeactivate" => &mut memory.pgdeactivate,
            "pglazyfree" => &mut memory.pglazyfree,
            "pglazyfreed" => &mut memory.pglazyfreed,
            "thp_fault_alloc" => &mut memory.thp_fault_alloc,
            "thp_collapse_alloc" => &mut memory.thp_collapse_alloc,
            _ => continue,
        };
        *field = field.saturating_add(value);
    }
    memory
}

pub(super) fn memory_events(dir: &Dir, text: &mut String) -> io::Result<Option<MemoryEvents>> {
    if !dir.read("memory.events", text)? {
        return Ok(None);
    }
    Ok(Some(MemoryEvents {
        low: parse::keyed(text, "low"),
        high: parse::keyed(text, "high"),
        max: parse::keyed(text, "max"),
        oom: parse::keyed(text, "oom"),
        oom_kill: parse::keyed(text, "oom_kill"),
        oom_group_kill: parse::keyed(text, "oom_group_kill"),
    }))
}

fn io_usage(dir: &Dir, text: &mut String) -> io::Result<Option<Io>> {
    let Some(usage) = transfers(dir, text)? else { return Ok(None) };
    Ok(Some(Io { usage, psi: psi(dir, "io.pressure", text)? }))
}

pub(super) fn transfers(dir: &Dir, text: &mut String) -> io::Result<Option<Vec<IoEntry>>> {
    Ok(dir.read("io.stat", text)?.then(|| text.lines().filter_map(io_entry).collect()))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
pub(crate) fn io_entry(line: &str) -> Option<IoEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    let mut entry = IoEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, ..IoEntry::default() };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        let field = match key {
            "rbytes" => &mut entry.rbytes,
            "wbytes" => &mut entry.wbytes,
            "rios" => &mut entry.rios,
            "wios" => &mut entry.wios,
            _ => continue,
        };
        *field = parse::number(value);
    }
    Some(entry)
}

pub(super) fn psi(dir: &Dir, file: &str, text: &mut String) -> io::Result<Option<Psi>> {
    match dir.read(file, text) {
        // The file is there, but pressure was turned off (boot option, cgroup.pressure).
        Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EOPNOTSUPP as i32) => Ok(None),
        Err(e) => Err(e),
        Ok(found) => Ok(found.then(|| parse_psi(text))),
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same with `full`.
pub(crate) fn parse_psi(text: &str) -> Psi {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let data = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *data = words.filter_map(|word| word.split_once('=')).fold(PsiData::default(), |mut data, (key, value)| {
            let average = || value.parse().unwrap_or(0.0);
            match key {
                "avg10" => data.avg10 = average(),
                "avg60" => data.avg60 = average(),
                "avg300" => data.avg300 = average(),
                "total" => data.total = parse::number(value),
                _ => {}
            }
            data
        });
    }
    psi
}

fn hugetlb(dir: &Dir, text: &mut String) -> io::Result<Vec<Hugetlb>> {
    let mut all = Vec::new();
    for pagesize in super::page_sizes()? {
        let Some(current) = number(dir, &format!("hugetlb.{pagesize}.current"), text)? else { continue };
        let max = number(dir, &format!("hugetlb.{pagesize}.max"), text)?.unwrap_or(0);
        dir.read(format!("hugetlb.{pagesize}.events").as_str(), text)?;
        all.push(Hugetlb { current, max, failcnt: parse::keyed(text, "max"), pagesize: pagesize.clone() });
    }
    Ok(all)
}

fn rdma(dir: &Dir, text: &mut String) -> io::Result<Option<Rdma>> {
    if !dir.read("rdma.current", text)? {
        return Ok(None);
    }
    let current = super::rdma_entries(text);
    dir.read("rdma.max", text)?;
    Ok(Some(Rdma { current, limit: super::rdma_entries(text) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files like those of a v2 cgroup (Linux 6.1, shortened).
    struct Fake(std::path::PathBuf);

    impl Fake {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("loment-test-v2-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            for (file, content) in files {
                std::fs::write(path.join(file), content).unwrap();
            }
            Self(path)
        }

        fn stats(&self) -> super::super::v2::Stats {
            match read(&Dir::open_root(&self.0).unwrap()).unwrap() {
                Stats::V2(stats) => *stats,
                Stats::V1(_) => unreachable!("v2 is read"),
            }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_file_of_a_container_is_read() {
        let cgroup = Fake::new(
            "full",
            &[
                ("pids.current", "3\n"),
                ("pids.max", "max\n"),
                (
                    "cpu.stat",
                    "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 5\nnr_throttled 2\nthrottled_usec 99\nnr_bursts 1\nburst_usec 4\n",
                ),
                (
                    "cpu.pressure",
                    "some avg10=1.50 avg60=0.25 avg300=0.01 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
                ),
                (
                    "memory.stat",
                    "anon 100\nfile 200\nkernel_stack 16\nslab 30\nworkingset_refault_anon 1\nworkingset_refault_file 2\npgfault 77\nunheard_of 1\n",
                ),
                ("memory.current", "4096\n"),
                ("memory.max", "8192\n"),
                ("memory.swap.current", "1\n"),
                ("memory.swap.max", "max\n"),
                ("memory.peak", "5000\n"),
                ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
                ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:16 rbytes=9\n7:0 \n"),
                ("rdma.current", "mlx4_0 hca_handle=2 hca_object=20\n"),
                ("rdma.max", "mlx4_0 hca_handle=max hca_object=2000\n"),
            ],
        );
        let stats = cgroup.stats();
        assert_eq!(stats.pids, Some(Pids { current: 3, limit: 0 }));
        let cpu = stats.cpu.unwrap();
        assert_eq!((cpu.usage_usec, cpu.user_usec, cpu.system_usec, cpu.burst_usec), (10, 7, 3, 4));
        assert_eq!((cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec, cpu.nr_bursts), (5, 2, 99, 1));
        let some = PsiData { avg10: 1.5, avg60: 0.25, avg300: 0.01, total: 1234 };
        assert_eq!(cpu.psi, Some(Psi { some, full: PsiData { total: 5, ..PsiData::default() } }));
        let memory = stats.memory.unwrap();
        assert_eq!(
            (memory.anon, memory.file, memory.kernel_stack, memory.slab, memory.pgfault),
            (100, 200, 16, 30, 77)
        );
        assert_eq!(memory.workingset_refault, 3);
        assert_eq!((memory.usage, memory.usage_limit, memory.max_usage), (4096, 8192, 5000));
        assert_eq!((memory.swap_usage, memory.swap_limit, memory.psi), (1, u64::MAX, None));
        let events = MemoryEvents { low: 1, high: 2, max: 3, oom: 4, oom_kill: 5, oom_group_kill: 6 };
        assert_eq!(stats.memory_events, Some(events));
        let io = stats.io.unwrap().usage;
        assert_eq!(io[0], IoEntry { major: 8, minor: 0, rbytes: 1, wbytes: 2, rios: 3, wios: 4 });
        assert_eq!((io.len(), io[1].rbytes, io[2].rbytes), (3, 9, 0));
        let rdma = stats.rdma.unwrap();
        assert_eq!((rdma.current[0].hca_handles, rdma.limit[0].hca_handles), (2, u32::MAX));
    }

    #[test]
    fn controllers_that_are_not_enabled_are_left_out() {
        let cgroup = Fake::new("bare", &[("cpu.stat", "usage_usec 1\nuser_usec 1\nsystem_usec 0\n")]);
        let stats = cgroup.stats();
        assert_eq!(stats.cpu.unwrap().usage_usec, 1);
        assert!(stats.pids.is_none() && stats.memory.is_none() && stats.io.is_none() && stats.memory_events.is_none());
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let cgroup = Fake::new(
            "odd",
            &[("io.stat", "nonsense\n8:x rbytes=1\n\n8:1 rbytes=y =\n"), ("cpu.stat", "usage_usec\n\nuser_usec -1\n")],
        );
        let stats = cgroup.stats();
        assert_eq!(stats.cpu, Some(Cpu::default()));
        assert_eq!(stats.io.unwrap().usage, [IoEntry { major: 8, minor: 1, ..IoEntry::default() }]);
    }
}
