//! Making a child process: clone3(2).

use std::{
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Errno, Result, check};

// From linux/sched.h; the C libraries know only some of them.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The child becomes a child of the caller's parent, who is told of its end as of the caller's.
pub const PARENT: u64 = 0x8000;
/// A new time namespace, for clone3(2), unshare(2) and setns(2). Linux 5.6
pub const NEWTIME: u64 = 0x80;

/// Exit status of a child whose code panicked.
pub const PANICKED: i32 = 101;

/// Makes a child in the new namespaces of `flags` (`CLONE_NEW*`; [`PARENT`] may be added) and, on cgroup v2, inside
/// `cgroup`. The child runs `child` in a copy of this process's memory and exits with what it returns; nothing else of
/// the copy runs, neither destructors nor exit handlers.
///
/// Answers with the child's pid, in the pid namespace of the caller, and its pidfd, which is close-on-exec.
///
/// A process with more than one thread gets `EDEADLK`: another thread may hold a lock (of the allocator, say) whose
/// copy nobody would ever release in the child.
///
/// clone3(2): Linux 5.3; `CLONE_INTO_CGROUP`: Linux 5.7.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> Result<(i32, OwnedFd)> {
    alone()?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | CLONE_PIDFD;
    args.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the kernel takes the caller's own.
    args.exit_signal = if flags & PARENT == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of this memory and goes on with the same stack, as after
    // fork(2); the process has one thread, so no lock is held by anyone else. `args` outlives the call.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        // An unwinding panic must not run on into the parent's frames.
        let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
        // SAFETY: ends the child without touching the copied state.
        unsafe { libc::_exit(status) }
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Asks the kernel whether this process has one thread: it unshares nothing for a process that has no other, and
/// refuses for one that has. Unlike a look at procfs this works in a process that sees none. unshare(2)
pub(crate) fn alone() -> Result<()> {
    // SAFETY: takes a number; where it succeeds there was nothing to be changed.
    Errno::result(unsafe { libc::unshare(libc::CLONE_THREAD) }).map(drop).map_err(|_| Errno::EDEADLK)
}

/// Ends this process at once: no destructors, no exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}
