//! Namespaces by descriptor. ioctl_ns(2)

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result};

/// The user namespace that a namespace belongs to: whose root may change it. `NS_GET_USERNS`, Linux 4.9
///
/// Errors: `EPERM` when it is outside of the caller's own user namespace.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: takes no argument and touches no memory.
    let fd = Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS as _) })?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
