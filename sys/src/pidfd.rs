//! Processes by descriptor: a pid may be given to another process, a pidfd never is. pidfd_open(2)

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result, check};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it. A number, because nix has no name for real-time signals.
    Signaled(i32),
}

/// A descriptor of the process `pid`, close-on-exec. Linux 5.3
pub fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: takes numbers and touches no memory.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The pid of the process in the caller's pid namespace, as the descriptor's page in procfs says; `ESRCH` when it has
/// ended. proc_pid_fdinfo(5)
pub fn pid(process: BorrowedFd<'_>) -> Result<i32> {
    let page = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
    let page = page.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let pid = page.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or(Errno::ESRCH)
}

/// Sends a signal; 0 only asks whether the process exists. pidfd_send_signal(2), Linux 5.1
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: without a siginfo nothing is read.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) }).map(drop)
}

/// A copy of the descriptor that has the number `fd` in another process, close-on-exec. The caller must be allowed to
/// trace that process. pidfd_getfd(2), Linux 5.6
pub fn get_fd(process: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    // SAFETY: takes numbers and touches no memory.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// How a child ended; `None` while it has not. `reap` false leaves it to be asked again. waitid(2), `P_PIDFD`: 5.4
pub fn try_wait(child: BorrowedFd<'_>, reap: bool) -> Result<Option<Ending>> {
    let leave = if reap { 0 } else { libc::WNOWAIT };
    wait(child, libc::WEXITED | libc::WNOHANG | leave)
}

/// Waits until a child has ended, and reaps it.
pub fn reap(child: BorrowedFd<'_>) -> Result<Ending> {
    loop {
        match wait(child, libc::WEXITED) {
            Ok(Some(ending)) => return Ok(ending),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn wait(child: BorrowedFd<'_>, options: libc::c_int) -> Result<Option<Ending>> {
    // SAFETY: siginfo_t is plain data for which all zeroes is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo_t, which outlives the call.
    let answer = unsafe { libc::waitid(libc::P_PIDFD, child.as_raw_fd() as libc::id_t, &raw mut info, options) };
    Errno::result(answer)?;
    // SAFETY: waitid fills in these fields; with WNOHANG and nothing to report they stay zero.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(match info.si_code {
        libc::CLD_EXITED => Ending::Exited(status),
        _ => Ending::Signaled(status),
    }))
}
