//! A process of a container, held by its pidfd.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::SystemTime,
};

use crate::Result;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status as containerd counts it: the code, or 128 + signal.
    pub code: u32,
    /// When it was reaped.
    pub at: SystemTime,
}

/// A child process. Its pidfd becomes readable when it has ended; until [`Process::try_wait`] has reaped it the pid
/// cannot be given to another process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// Its pid in the pid namespace of the caller.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Reaps the process if it has ended. The first answer is kept and repeated.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        todo!()
    }

    /// Sends a signal. `Ok(false)` when the process is gone.
    pub fn signal(&self, _signal: i32) -> Result<bool> {
        todo!()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
