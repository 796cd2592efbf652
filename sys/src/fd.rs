//! Descriptors as a whole: close_range(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{Errno, Result, check};

/// A copy of standard input, close-on-exec: to be read without the buffer that the standard library would keep for it.
pub fn standard_input() -> Result<OwnedFd> {
    // SAFETY: takes numbers; the answer is a fresh descriptor or an error.
    let copy = check(unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Closes every descriptor from 3 on except `keep`. For a fresh child: what it inherited by copy keeps other
/// containers' pipes, gates and sockets open.
///
/// Owned descriptors of the caller that are not in `keep` are left dangling, so only a process that will never drop
/// them may call this: a child of [`crate::clone::clone3`], which ends without destructors.
pub fn close_all_except(keep: &[BorrowedFd<'_>]) -> Result<()> {
    close_from_except(3, keep)
}

/// [`close_all_except`], which leaves alone what is below `first`.
pub fn close_from_except(first: RawFd, keep: &[BorrowedFd<'_>]) -> Result<()> {
    let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut first = first;
    for fd in keep {
        if first < fd {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

/// Gives this process `fds` as descriptors 3, 4, 5 and so on, which execve(2) keeps, and closes every other one from
/// there on but `keep`: answers with that one, close-on-exec, under a number that is free.
///
/// As with [`close_all_except`], only a process that drops nothing it has inherited may call this.
pub fn pass(fds: &[BorrowedFd<'_>], keep: BorrowedFd<'_>) -> Result<OwnedFd> {
    let free = 3 + fds.len() as RawFd;
    // Out of the way first: a descriptor may have the number that another one is to get.
    let kept = duplicate_above(keep, free)?;
    let copies = fds.iter().map(|fd| duplicate_above(*fd, free)).collect::<Result<Vec<_>>>()?;
    for (number, copy) in (3..).zip(&copies) {
        // SAFETY: takes numbers and touches no memory; that no owner of the descriptor which had the number is dropped
        // is the callers' contract.
        Errno::result(unsafe { libc::dup2(copy.as_raw_fd(), number) })?;
    }
    drop(copies);
    if free < kept.as_raw_fd() {
        close_range(free, kept.as_raw_fd() - 1, 0)?;
    }
    close_range(kept.as_raw_fd() + 1, RawFd::MAX, 0)?;
    Ok(kept)
}

/// A copy, close-on-exec, whose number is at least `lowest`. fcntl(2), `F_DUPFD_CLOEXEC`
fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd> {
    // SAFETY: takes numbers and touches no memory.
    let copy = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Marks every descriptor from `first` on as close-on-exec.
pub fn cloexec_from(first: RawFd) -> Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Whether this process has a descriptor of this number.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of a number that may or may not be a descriptor, and touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// close_range(2): Linux 5.9; `CLOSE_RANGE_CLOEXEC`: Linux 5.11.
fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> Result<()> {
    // SAFETY: touches no memory; that no owner of a closed descriptor is dropped is the callers' contract.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Removes an extended attribute of a file. fremovexattr(2)
pub fn remove_attribute(file: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<()> {
    // SAFETY: the kernel reads a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fremovexattr, file.as_raw_fd(), name.as_ptr()) }).map(drop)
}

/// How many bytes of a pipe or FIFO nobody has read yet (FIONREAD, pipe(7)). `pipe` may be either end.
///
/// Errors: ENOTTY or EINVAL for what has no such count.
pub fn unread(pipe: BorrowedFd<'_>) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int to `count`, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or_default())
}
