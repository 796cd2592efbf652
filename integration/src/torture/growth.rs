//! What a shim has, before and after much was asked of it.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::patience;

/// For how long the least is looked for: a shim gives back memory when it has had nothing to do for a second.
const REST: Duration = Duration::from_secs(3);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// What a process has when it is at rest: the least that is seen within some seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Open files.
    pub(super) descriptors: usize,
    /// KiB that come from no file. proc_pid_smaps(5)
    pub(super) memory: u64,
}

impl Size {
    /// Of a process that is left alone from now on.
    pub(super) async fn of(pid: i32) -> Result<Self> {
        let until = Instant::now() + patience(REST);
        let mut least = Self::now(pid)?;
        while Instant::now() < until {
            tokio::time::sleep(PAUSE).await;
            least = least.least(Self::now(pid)?);
        }
        Ok(least)
    }

    /// The least of two looks.
    pub(super) fn least(self, other: Self) -> Self {
        Self { descriptors: self.descriptors.min(other.descriptors), memory: self.memory.min(other.memory) }
    }

    fn now(pid: i32) -> Result<Self> {
        let descriptors = descriptors(pid)?;
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
        let memory = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        Ok(Self { descriptors, memory: memory.with_context(|| format!("find Pss_Anon in {path}"))? })
    }

    /// What has grown from `self`, when it was warm, to `later`. Memory may be a quarter more, by where in a page things
    /// come to lie, and in any case by `scattered` KiB.
    pub(super) fn growth(self, later: Self, scattered: u64) -> Option<String> {
        let Self { descriptors, memory } = self;
        let grown = later.descriptors > descriptors || later.memory > memory + scattered.max(memory / 4);
        grown.then(|| format!("the shim has grown from {self} to {later}"))
    }
}

/// How many files a process has open.
pub(super) fn descriptors(pid: i32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("read {path}"))?.count())
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} descriptors and {} KiB", self.descriptors, self.memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_descriptor_more_is_growth_and_a_little_memory_is_not() {
        let size = |descriptors, memory| Size { descriptors, memory };
        assert_eq!(size(20, 200).growth(size(20, 250), 0), None);
        assert_eq!(size(20, 200).growth(size(18, 100), 0), None);
        assert!(size(20, 200).growth(size(21, 200), 100).is_some());
        assert!(size(20, 200).growth(size(20, 251), 0).is_some());
        assert_eq!(size(20, 200).growth(size(20, 300), 100), None);
        assert!(size(20, 200).growth(size(20, 301), 100).is_some());
    }

    #[tokio::test]
    async fn the_size_of_a_process_is_read() {
        let own = Size::of(std::process::id().cast_signed()).await.unwrap();
        assert!(own.descriptors > 2 && own.memory > 0, "{own}");
    }
}
