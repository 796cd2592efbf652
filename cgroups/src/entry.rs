//! Ways for a process into its cgroups.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use nix::unistd::write;

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

impl Entry {
    /// The v2 directory that the child is born inside of, if there is one.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tasks(_) => None,
            Self::Into(directory) | Self::Both(directory, _) => Some(directory.as_fd()),
        }
    }

    /// The files of v1 hierarchies that it has to write into.
    pub fn tasks(&self) -> &[TasksFile] {
        match self {
            Self::Tasks(tasks) | Self::Both(_, tasks) => tasks,
            Self::Into(_) => &[],
        }
    }
}

impl TasksFile {
    /// Moves the caller, which has one thread, into the cgroup.
    pub fn enter(&self) -> nix::Result<()> {
        write(&self.fd, b"0").map(drop)
    }
}
