//! What a seccomp agent does with a listener: seccomp_unotify(2). Linux 5.0; to continue a call 5.5.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::Result;

/// A system call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Cookie of the call.
    pub id: u64,
    /// Who makes it, in the pid namespace of the listener's reader.
    pub pid: u32,
    /// Its number.
    pub call: i32,
    /// Its arguments.
    pub args: [u64; 6],
}

/// An answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel shall do it.
    Continue,
    /// It has this value.
    Value(i64),
    /// It fails with this errno.
    Error(i32),
}

/// The next call that waits; waits for one. `ENOENT`: it was interrupted or killed meanwhile.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // SAFETY: plain data for which all zeroes is valid, and which the kernel wants zeroed.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let request = nix::request_code_readwrite!(b'!', 0, size_of::<libc::seccomp_notif>());
    // SAFETY: the kernel writes one seccomp_notif, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut notification) })?;
    let libc::seccomp_notif { id, pid, data, .. } = notification;
    Ok(Notification { id, pid, call: data.nr, args: data.args })
}

/// Answers a call. `ENOENT`: it is not there any more.
pub fn answer(listener: BorrowedFd<'_>, notification: &Notification, answer: Answer) -> Result<()> {
    const CONTINUE: u32 = 1;
    let (val, error, flags) = match answer {
        Answer::Continue => (0, 0, CONTINUE),
        Answer::Value(value) => (value, 0, 0),
        Answer::Error(errno) => (0, -errno, 0),
    };
    let mut response = libc::seccomp_notif_resp { id: notification.id, val, error, flags };
    let request = nix::request_code_readwrite!(b'!', 1, size_of::<libc::seccomp_notif_resp>());
    // SAFETY: the kernel reads one seccomp_notif_resp, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), request, &raw mut response) }).map(drop)
}
