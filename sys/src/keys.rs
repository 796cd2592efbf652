//! Keyrings with names, for tests that offer one to whoever joins it. keyrings(7)

use std::ffi::CStr;

use crate::{Result, check};

/// Makes this process's session keyring one of this name, which others that join a keyring of that name get too, and
/// whose very existence only those can see. KEYCTL_JOIN_SESSION_KEYRING(2const), KEYCTL_SETPERM(2const)
pub fn offer_session_keyring(name: &CStr) -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    const KEYCTL_SETPERM: libc::c_long = 5;
    // Everything for who possesses it, "search" for others of the same user: linux/keyctl.h
    const JOINABLE: libc::c_ulong = 0x3f08_0000;
    // SAFETY: the kernel reads a C string that outlives the call.
    let keyring = check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    // SAFETY: takes numbers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, keyring, JOINABLE) }).map(drop)
}
