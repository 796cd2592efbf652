//! A container's and a pod's cgroup: make, limit, account, freeze, kill, remove.
#![allow(clippy::todo)]

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;

pub use crate::stats::Stats;

pub mod stats;

/// What went wrong with a cgroup: operation, object, cause, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}: {cause}{}", hint.map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct Error {
    /// What was being done, as a verb phrase: `write memory limit to`.
    pub operation: String,
    /// What it was done to: a path, a key.
    pub object: String,
    /// Why it failed.
    pub cause: std::io::Error,
    /// What the reader can do about it.
    pub hint: Option<&'static str>,
}

/// Result of a cgroup operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The cgroup hierarchies of this machine: v1, hybrid or v2.
#[derive(Debug, Clone)]
pub struct Layout {}

impl Layout {
    /// Reads what is mounted now.
    pub fn detect() -> Result<Self> {
        todo!()
    }
}

/// One cgroup: a directory per v1 hierarchy, or one directory on v2.
#[derive(Debug)]
pub struct Cgroup {}

impl Cgroup {
    /// Makes the cgroup (and its parents) in every hierarchy. One that exists is taken over: a restarted container
    /// keeps its cgroup. On error nothing new is left behind.
    pub fn create(_layout: &Layout, _path: &Path) -> Result<Self> {
        todo!()
    }

    /// The cgroup at `path`, which may be gone already in some or all hierarchies.
    pub fn open(_layout: &Layout, _path: &Path) -> Result<Self> {
        todo!()
    }

    /// Path below each hierarchy's mount point, as the specification's `cgroupsPath` gives it.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// Sets limits before the first process enters (`create`) or while processes run (`update`).
    pub fn apply(&self, _resources: &LinuxResources) -> Result<()> {
        todo!()
    }

    /// What a new process needs to be born in, or to put itself into, this cgroup.
    pub fn entry(&self) -> Result<Entry> {
        todo!()
    }

    /// All processes in this cgroup and below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        todo!()
    }

    /// Stops every process and returns when the kernel says that all are stopped.
    pub fn freeze(&self) -> Result<()> {
        todo!()
    }

    /// Lets frozen processes run again.
    pub fn thaw(&self) -> Result<()> {
        todo!()
    }

    /// Kills every process in this cgroup and below with SIGKILL, frozen ones too, and forks that race it.
    pub fn kill(&self) -> Result<()> {
        todo!()
    }

    /// Usage and limits, as the kernel accounts them now.
    pub fn stats(&self) -> Result<Stats> {
        todo!()
    }

    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kills(&self) -> Result<u64> {
        todo!()
    }

    /// A descriptor that becomes readable when the count of [`Cgroup::oom_kills`] may have changed.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        todo!()
    }

    /// Removes the cgroup; one that is gone is removed. Waits, for a bounded time, for processes that are dying.
    pub fn remove(&self) -> Result<()> {
        todo!()
    }
}

/// How a process gets into a cgroup. Writing a pid into `cgroup.procs` waits for an RCU grace period (10 ms on a
/// default kernel); both ways here do not.
#[derive(Debug)]
pub enum Entry {
    /// v1: the single-threaded child writes `0` into each of these `tasks` files.
    Tasks(Vec<TasksFile>),
    /// v2: the child is born inside with `CLONE_INTO_CGROUP` on this directory.
    Into(OwnedFd),
    /// Hybrid: born inside this v2 directory, then `tasks` of the v1 hierarchies.
    Both(OwnedFd, Vec<TasksFile>),
}

/// An open `tasks` file with its path for error messages.
#[derive(Debug)]
pub struct TasksFile {
    /// Opened for writing.
    pub fd: OwnedFd,
    /// Where it is.
    pub path: PathBuf,
}

/// Readable when something ran out of memory: an eventfd on v1, an inotify descriptor on v2.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// Takes the notification, so that the descriptor is quiet again. Never blocks.
    pub fn acknowledge(&self) {
        todo!()
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
