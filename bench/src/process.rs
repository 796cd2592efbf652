//! What procfs says of a process. proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps_rollup(5)

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

/// Memory of one process, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Its own pages and its share of those that others have too.
    pub(crate) proportional: u64,
    /// What would be free if it ended.
    pub(crate) private: u64,
}

/// The parent of a process.
pub(crate) fn parent(pid: i32) -> Result<i32> {
    field(&read(pid, "status")?, "PPid:").and_then(|number| i32::try_from(number).ok()).context("a parent's pid")
}

/// How many threads a process has.
pub(crate) fn threads(pid: i32) -> Result<u64> {
    field(&read(pid, "status")?, "Threads:").context("a number of threads")
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: i32) -> Result<u64> {
    let directory = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&directory).with_context(|| format!("read {directory}"))?.count() as u64)
}

/// The memory of a process.
pub(crate) fn memory(pid: i32) -> Result<Memory> {
    parse_memory(&read(pid, "smaps_rollup")?).with_context(|| format!("parse /proc/{pid}/smaps_rollup"))
}

/// How long a process has run on a cpu, in steps of a clock tick (10 ms mostly).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// All of its threads.
    pub(crate) own: Duration,
    /// The children that it has reaped, and those that they had reaped.
    pub(crate) reaped: Duration,
}

/// The times of a process.
pub(crate) fn times(pid: i32) -> Result<Times> {
    let text = read(pid, "stat")?;
    parse_times(&text, tick()).with_context(|| format!("parse /proc/{pid}/stat"))
}

/// The step in which the times of a process go.
pub(crate) fn tick() -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u32::try_from(ticks).ok());
    Duration::from_secs(1) / per_second.filter(|ticks| *ticks > 0).unwrap_or(100)
}

fn read(pid: i32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("read {path}"))
}

/// The number behind a key.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

fn parse_memory(rollup: &str) -> Option<Memory> {
    let private = field(rollup, "Private_Clean:")? + field(rollup, "Private_Dirty:")?;
    Some(Memory { proportional: field(rollup, "Pss:")?, private })
}

fn parse_times(stat: &str, tick: Duration) -> Option<Times> {
    // The name may have blanks and parentheses in it; what follows it has none.
    let (_, rest) = stat.rsplit_once(')')?;
    // utime, stime, cutime and cstime are fields 14 to 17; the state behind the name is field 3.
    let ticks: Vec<u32> = rest.split_whitespace().skip(11).take(4).map_while(|word| word.parse().ok()).collect();
    let [user, system, reaped_user, reaped_system] = ticks.try_into().ok()?;
    let of = |one: u32, other: u32| tick.saturating_mul(one).saturating_add(tick.saturating_mul(other));
    Some(Times { own: of(user, system), reaped: of(reaped_user, reaped_system) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_the_name_whatever_it_is() {
        let stat = "7 (a) 9 (b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 300 100 20 0 1 0 5 6 7";
        let expected = Times { own: Duration::from_secs(2), reaped: Duration::from_secs(4) };
        assert_eq!(parse_times(stat, Duration::from_millis(10)), Some(expected));
        assert_eq!(parse_times("7 (short) S 1", Duration::from_millis(10)), None);
    }

    #[test]
    fn private_memory_is_clean_and_dirty() {
        let rollup = "0-1 ---p 0 00:00 0 [rollup]\nRss: 900 kB\nPss: 410 kB\nPss_Dirty: 9 kB\nPrivate_Clean: 100 kB\nPrivate_Dirty: 60 kB\n";
        assert_eq!(parse_memory(rollup), Some(Memory { proportional: 410, private: 160 }));
        assert_eq!(parse_memory("Pss: 1 kB"), None);
    }

    #[test]
    fn this_process_has_threads_descriptors_and_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(threads(own).unwrap() > 0 && descriptors(own).unwrap() > 2);
        let memory = memory(own).unwrap();
        assert!(memory.private > 0 && memory.private <= memory.proportional);
        assert!(parent(own).unwrap() > 0);
    }
}
