//! A process of a container, held by its pidfd.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, OnceLock, Weak},
    time::SystemTime,
};

use loment_sys::pidfd;
use nix::errno::Errno;

use crate::{Error, Result, error::Context, ready};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status as containerd counts it: the code, or 128 + signal.
    pub code: u32,
    /// When it was reaped.
    pub at: SystemTime,
}

impl Exit {
    fn now(ending: pidfd::Ending) -> Self {
        let code = match ending {
            pidfd::Ending::Exited(status) => status as u32,
            pidfd::Ending::Signaled(signal) => 128 + signal as u32,
        };
        Self { code, at: SystemTime::now() }
    }
}

/// A child process. Its pidfd becomes readable when it has ended; until it has been reaped the pid cannot be given to
/// another process.
///
/// It is reaped by [`Process::try_wait`], or by the deletion of its container, which has to: the first process of a
/// pid namespace is not gone before all others in it have been reaped. Its exit is kept either way.
#[derive(Debug)]
pub struct Process(Arc<Shared>);

/// What a process and its container both know.
#[derive(Debug)]
struct Shared {
    pid: i32,
    pidfd: OwnedFd,
    exit: OnceLock<Exit>,
}

/// The end of a process, to be waited for: readable when it has come.
#[derive(Debug)]
pub struct Ending(Arc<Shared>);

impl AsFd for Ending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

/// A process that is somebody else's to wait for.
#[derive(Debug)]
pub(crate) struct Other(Weak<Shared>);

impl Process {
    pub(crate) fn new((pid, pidfd): (i32, OwnedFd)) -> Self {
        Self(Arc::new(Shared { pid, pidfd, exit: OnceLock::new() }))
    }

    /// Its pid in the pid namespace of the caller.
    pub fn pid(&self) -> i32 {
        self.0.pid
    }

    /// Reaps the process if it has ended. The first answer is kept and repeated.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        self.0.try_wait()
    }

    /// Whether it has ended, reaped or not.
    pub fn has_ended(&self) -> bool {
        self.0.exit.get().is_some() || ready::is_ready(self.0.pidfd.as_fd())
    }

    /// Sends a signal. `Ok(false)` when the process is gone.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        self.0.signal(signal)
    }

    /// Kills and reaps the process, within a bounded time.
    pub(crate) fn end(&self) -> Result<Exit> {
        self.0.end()
    }

    /// Sends SIGKILL, and reaps the process if it has ended. Whether it has.
    pub(crate) fn try_end(&self) -> Result<bool> {
        self.0.try_end()
    }

    /// What becomes readable when the process has ended: the same descriptor, without a copy of it.
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.0))
    }

    /// When the process started, in clock ticks since boot. With the pid it names a process for ever.
    pub fn start_time(&self) -> Result<u64> {
        start_time(self.pid())
    }

    /// Its pidfd once more.
    pub(crate) fn try_clone_pidfd(&self) -> Result<OwnedFd> {
        self.0.pidfd.try_clone().at("copy the pidfd of process", self.pid())
    }

    /// For who must be able to end it, and does not own it.
    pub(crate) fn other(&self) -> Other {
        Other(Arc::downgrade(&self.0))
    }
}

impl Other {
    /// Whether anybody can still ask for its exit.
    pub(crate) fn is_owned(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Kills and reaps it; the owner finds its exit.
    pub(crate) fn end(&self) -> Result<()> {
        self.0.upgrade().map_or(Ok(()), |process| process.end().map(drop))
    }

    /// [`Other::end`] without waiting: whether it has ended.
    pub(crate) fn try_end(&self) -> Result<bool> {
        self.0.upgrade().map_or(Ok(true), |process| process.try_end())
    }
}

impl Shared {
    fn try_wait(&self) -> Result<Option<Exit>> {
        if self.exit.get().is_none()
            && let Some(ending) = pidfd::try_wait(self.pidfd.as_fd(), true).at("wait for process", self.pid)?
        {
            return Ok(Some(*self.exit.get_or_init(|| Exit::now(ending))));
        }
        Ok(self.exit.get().copied())
    }

    fn signal(&self, signal: i32) -> Result<bool> {
        match pidfd::send_signal(self.pidfd.as_fd(), signal) {
            Ok(()) => Ok(self.exit.get().is_none()),
            Err(Errno::ESRCH) => Ok(false),
            Err(errno) => Err(Error::os(format!("send signal {signal} to process"), self.pid, errno)),
        }
    }

    fn try_end(&self) -> Result<bool> {
        self.signal(nix::libc::SIGKILL)?;
        Ok(self.try_wait()?.is_some())
    }

    fn end(&self) -> Result<Exit> {
        self.signal(nix::libc::SIGKILL)?;
        wait_for_end(self.pidfd.as_fd()).at("wait for process", self.pid)?;
        self.try_wait()?.ok_or(Errno::ETIMEDOUT).map_err(|errno| {
            Error::os("wait for the end of process", self.pid, errno)
                .hint("it waits in the kernel, or for others in its pid namespace to be reaped; try again")
        })
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

/// How long a killed process may take to be gone. It may be writing back what it had written.
const DYING: u16 = 3_000;

/// Waits, within that time, until a process has ended.
pub(crate) fn wait_for_end(process: BorrowedFd<'_>) -> nix::Result<()> {
    ready::wait([process], DYING).map(drop)
}

/// Start time of any process: field 22 of `/proc/PID/stat`. proc_pid_stat(5)
///
/// The file tells it by the clock of whoever reads it; this is by that of the machine, so that who comes later, in another
/// time namespace, finds the same.
pub(crate) fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    // With room for all of it: the file has no size, and would be read bit by bit.
    let mut stat = Vec::with_capacity(1024);
    File::open(&path).and_then(|mut file| file.read_to_end(&mut stat)).at("read", &path)?;
    let by_own_clock = parse_start_time(&stat).ok_or_else(|| Error::invalid(path, "", "does not have a start time"))?;
    Ok(by_own_clock.wrapping_sub(clock_offset().cast_unsigned()))
}

/// By how many clock ticks this process's boot time is ahead of the machine's. time_namespaces(7)
fn clock_offset() -> i64 {
    /// The machine's own (`PROC_TIME_INIT_INO` of linux/proc_ns.h).
    const MACHINES: &str = "time:[4026531834]";
    static OFFSET: OnceLock<i64> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        let is_machines = std::fs::read_link("/proc/self/ns/time").is_ok_and(|own| own.as_os_str() == MACHINES);
        // A kernel without time namespaces has neither file.
        let offsets = if is_machines { String::new() } else { std::fs::read_to_string(OFFSETS).unwrap_or_default() };
        parse_clock_offset(&offsets).unwrap_or_default()
    })
}

/// Seconds and nanoseconds of each clock.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// `USER_HZ` of every architecture that is served.
const TICKS: i64 = 100;

fn parse_clock_offset(offsets: &str) -> Option<i64> {
    let mut fields = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_ascii_whitespace();
    let (seconds, nanoseconds): (i64, i64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(seconds * TICKS + nanoseconds / (1_000_000_000 / TICKS))
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
    fn the_offset_of_a_clock_is_found_in_ticks() {
        let offsets = |boot: &str| format!("monotonic           7         0\nboottime   {boot}\n");
        assert_eq!(parse_clock_offset(&offsets("   86400         0")), Some(8_640_000));
        assert_eq!(parse_clock_offset(&offsets("     -10 500000000")), Some(-950));
        assert_eq!(parse_clock_offset(""), None);
    }

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
