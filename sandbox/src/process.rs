//! A process of a container, held by its pidfd.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::SystemTime,
};

use loment_sys::pidfd::{self, Ending};
use nix::errno::Errno;

use crate::{Error, Result, error::Context};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status as containerd counts it: the code, or 128 + signal.
    pub code: u32,
    /// When it was reaped.
    pub at: SystemTime,
}

impl Exit {
    fn now(ending: Ending) -> Self {
        let code = match ending {
            Ending::Exited(status) => status as u32,
            Ending::Signaled(signal) => 128 + signal as u32,
        };
        Self { code, at: SystemTime::now() }
    }
}

/// A child process. Its pidfd becomes readable when it has ended; until [`Process::try_wait`] has reaped it the pid
/// cannot be given to another process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    exit: Option<Exit>,
}

impl Process {
    pub(crate) fn new((pid, pidfd): (i32, OwnedFd)) -> Self {
        Self { pid, pidfd, exit: None }
    }

    /// Its pid in the pid namespace of the caller.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Reaps the process if it has ended. The first answer is kept and repeated.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        if self.exit.is_none() {
            let ending = pidfd::try_wait(self.pidfd.as_fd(), true).at("wait for process", self.pid)?;
            self.exit = ending.map(Exit::now);
        }
        Ok(self.exit)
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let exit = Exit::now(pidfd::reap(self.pidfd.as_fd()).at("wait for process", self.pid)?);
        self.exit = Some(exit);
        Ok(exit)
    }

    /// Sends a signal. `Ok(false)` when the process is gone.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        match pidfd::send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) => Ok(self.exit.is_none()),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(Error::os(format!("send signal {signal} to process"), self.pid, errno)),
        }
    }

    /// Kills and reaps the process.
    pub(crate) fn end(&mut self) -> Result<Exit> {
        self.signal(nix::libc::SIGKILL)?;
        self.wait()
    }

    /// Its pidfd once more.
    pub(crate) fn try_clone_pidfd(&self) -> Result<OwnedFd> {
        self.pidfd.try_clone().at("copy the pidfd of process", self.pid)
    }

    /// When the process started, in clock ticks since boot. With the pid it names a process for ever.
    pub fn start_time(&self) -> Result<u64> {
        start_time(self.pid)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Start time of any process: field 22 of `/proc/PID/stat`. proc_pid_stat(5)
pub(crate) fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read(&path).at("read", &path)?;
    parse_start_time(&stat).ok_or_else(|| Error::invalid(path, "", "does not have a start time"))
}

/// The name of a process may contain spaces and parentheses, so fields are counted from the last parenthesis.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_found_behind_any_name() {
        let stat = |name: &str| format!("7 ({name}) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 1");
        for name in ["sh", "a b", "a) S 1 2 (b", "\u{7f}"] {
            assert_eq!(parse_start_time(stat(name).as_bytes()), Some(4711));
        }
        assert_eq!(parse_start_time(b"7 (sh) S 1"), None);
        assert_eq!(parse_start_time(b""), None);
    }
}
