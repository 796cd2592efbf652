//! Waiting for descriptors, for those who may. poll(2)

use std::os::fd::BorrowedFd;

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Waits until one of `awaited` is readable, its other end is closed, or the time is over. Answers for each whether it
/// is; a signal that comes meanwhile begins the time anew.
pub(crate) fn wait<const N: usize>(
    awaited: [BorrowedFd<'_>; N],
    timeout: impl Into<PollTimeout> + Copy,
) -> nix::Result<[bool; N]> {
    let mut awaited = awaited.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        match poll(&mut awaited, timeout) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(|_| awaited.map(|one| one.any().unwrap_or(true))),
        }
    }
}

/// Whether it is readable, or its other end closed, now.
pub(crate) fn is_ready(fd: BorrowedFd<'_>) -> bool {
    wait([fd], PollTimeout::ZERO).is_ok_and(|[ready]| ready)
}
