//! Stopping and continuing all processes of a cgroup.

use std::{
    io,
    os::fd::AsFd,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::uio::pread,
};

use crate::dir::Dir;

const STATE: &str = "freezer.state";

/// v1: writes `FROZEN` until the kernel says it is so, or fails with `TimedOut` and lets the processes run again.
///
/// The state stays `FREEZING` while a task cannot reach the freezer, for example in the middle of a vfork. The kernel
/// looks again whenever the state is written or read; letting all run for a moment lets the task get out of the way
/// (the freezer-subsystem document asks for the first, practice has shown the second).
pub(crate) fn freeze_v1(dir: &Dir, patience: Duration) -> io::Result<()> {
    const TRIES_BEFORE_A_THAW: u32 = 50;
    let deadline = Instant::now() + patience;
    let mut state = String::new();
    for attempt in 1u32.. {
        dir.write(STATE, "FROZEN")?;
        dir.read(STATE, &mut state)?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() >= deadline {
            break;
        }
        if attempt % TRIES_BEFORE_A_THAW == 0 {
            dir.write(STATE, "THAWED")?;
        }
        sleep(Duration::from_micros(u64::from(attempt.min(50)) * 20));
    }
    dir.write(STATE, "THAWED")?;
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("still {} after {patience:?}", state.trim())))
}

/// v1: lets them run.
pub(crate) fn thaw_v1(dir: &Dir) -> io::Result<()> {
    dir.write(STATE, "THAWED")
}

/// v2: writes `cgroup.freeze` and waits for `frozen` in `cgroup.events`, or fails with `TimedOut` and lets the
/// processes run again.
pub(crate) fn freeze_v2(dir: &Dir, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    let events = dir.open("cgroup.events", OFlag::O_RDONLY)?;
    dir.write("cgroup.freeze", "1")?;
    loop {
        let mut buffer = [0; 256];
        let n = pread(&events, &mut buffer, 0)?;
        let text = buffer.get(..n).unwrap_or_default();
        if text.split(|b| *b == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            dir.write("cgroup.freeze", "0")?;
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("not frozen after {patience:?}")));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// v2: lets them run.
pub(crate) fn thaw_v2(dir: &Dir) -> io::Result<()> {
    dir.write("cgroup.freeze", "0")
}

/// v1: whether they are stopped, or about to be.
pub(crate) fn is_frozen_v1(dir: &Dir) -> io::Result<bool> {
    let mut state = String::new();
    Ok(dir.read(STATE, &mut state)? && state.trim() != "THAWED")
}

/// v2: whether all are stopped.
pub(crate) fn is_frozen_v2(dir: &Dir) -> io::Result<bool> {
    let mut events = String::new();
    dir.read("cgroup.events", &mut events)?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}
