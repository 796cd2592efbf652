//! Namespaces by descriptor. ioctl_ns(2)

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Errno, Result};

/// The user namespace that a namespace belongs to: whose root may change it. `NS_GET_USERNS`, Linux 4.9
///
/// Errors: `EPERM` when it is outside of the caller's own user namespace.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    related(namespace, NS_GET_USERNS)
}

/// The namespace that a pid or user namespace was made in. `NS_GET_PARENT`, Linux 4.9
///
/// Errors: `EINVAL` for other kinds, which have none; `EPERM` when it is outside of the caller's own.
pub fn parent(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_PARENT: libc::c_ulong = 0xb702;
    related(namespace, NS_GET_PARENT)
}

/// Which kind a namespace is of, by its flag of clone(2). `NS_GET_NSTYPE`, Linux 4.11
///
/// Errors: `ENOTTY` for what is no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<i32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: takes no argument and touches no memory.
    Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) })
}

/// The user who has made a user namespace, as the caller's user namespace numbers users. `NS_GET_OWNER_UID`, Linux 4.11
///
/// Errors: `EINVAL` for other kinds.
pub fn maker(namespace: BorrowedFd<'_>) -> Result<u32> {
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel writes one uid_t to `uid`, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID as _, &raw mut uid) })?;
    Ok(uid)
}

/// The network namespace that a socket belongs to, which it keeps. `SIOCGSKNS`, Linux 4.10
///
/// Errors: `ENOTTY` for what is no socket; `EPERM` without `CAP_NET_ADMIN` in the owner of that namespace.
pub fn of_socket(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    const SIOCGSKNS: libc::c_ulong = 0x894c;
    related(socket, SIOCGSKNS)
}

/// What an ioctl(2) without an argument answers: a descriptor.
fn related(of: BorrowedFd<'_>, request: libc::c_ulong) -> Result<OwnedFd> {
    // SAFETY: takes no argument and touches no memory.
    let fd = Errno::result(unsafe { libc::ioctl(of.as_raw_fd(), request as _) })?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
