//! Which system calls may fail for want of something, and how the kernel says so.

use std::{fs, path::Path};

use nix::{errno::Errno, libc, unistd::Pid};
use syscalls::Sysno;

/// The name of a call as in its manual page.
pub fn name(number: u64) -> String {
    usize::try_from(number).ok().and_then(Sysno::new).map_or_else(|| format!("call {number}"), |call| call.to_string())
}

/// What the kernel answers when it cannot do this for want of memory, of descriptors, of processes, or of space.
/// `first` and `second` are the call's arguments. `None` for what does not fail for such a reason, or what nothing is lost by.
pub fn want(pid: Pid, number: u64, [first, second]: [u64; 2]) -> Option<Errno> {
    let call = usize::try_from(number).ok().and_then(Sysno::new)?;
    Some(match call {
        Sysno::open | Sysno::openat | Sysno::openat2 | Sysno::pidfd_open | Sysno::open_tree => Errno::EMFILE,
        Sysno::socket | Sysno::socketpair | Sysno::pipe2 | Sysno::eventfd2 | Sysno::epoll_create1 => Errno::EMFILE,
        Sysno::memfd_create | Sysno::timerfd_create | Sysno::accept4 | Sysno::dup => Errno::EMFILE,
        Sysno::fcntl if duplicates(second) => Errno::EMFILE,
        Sysno::mkdir | Sysno::mkdirat | Sysno::mknodat | Sysno::symlinkat | Sysno::symlink => Errno::ENOSPC,
        Sysno::rename | Sysno::renameat | Sysno::renameat2 | Sysno::linkat | Sysno::link => Errno::ENOSPC,
        Sysno::bind | Sysno::ftruncate | Sysno::setxattr => Errno::ENOSPC,
        Sysno::write | Sysno::pwrite64 | Sysno::writev if is_file(pid, first) => Errno::ENOSPC,
        Sysno::read | Sysno::pread64 | Sysno::getdents64 if is_file(pid, first) => Errno::EIO,
        Sysno::mount | Sysno::umount2 | Sysno::fsopen | Sysno::fsconfig | Sysno::fsmount => Errno::ENOMEM,
        Sysno::move_mount | Sysno::mount_setattr | Sysno::pivot_root | Sysno::chroot => Errno::ENOMEM,
        Sysno::setns | Sysno::unshare | Sysno::execve | Sysno::execveat | Sysno::seccomp => Errno::ENOMEM,
        Sysno::setgroups | Sysno::capset | Sysno::sethostname | Sysno::keyctl => Errno::ENOMEM,
        Sysno::mmap | Sysno::brk | Sysno::mremap => Errno::ENOMEM,
        Sysno::clone | Sysno::clone3 | Sysno::fork | Sysno::vfork | Sysno::setuid | Sysno::setresuid => Errno::EAGAIN,
        _ => return None,
    })
}

/// Whether a command of fcntl(2) makes a descriptor.
fn duplicates(command: u64) -> bool {
    [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].into_iter().any(|one| u64::try_from(one) == Ok(command))
}

/// Whether a descriptor of a process is a file with a name.
fn is_file(pid: Pid, descriptor: u64) -> bool {
    let target = fs::read_link(format!("/proc/{pid}/fd/{descriptor}"));
    target.is_ok_and(|target| target.starts_with("/") && !target.starts_with("/dev") && target != Path::new("/"))
}
