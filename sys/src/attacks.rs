//! What a container could do to those beside it, for the tests that try it: it offers a keyring, it exchanges files, it
//! ends its first thread before the others.

use std::{ffi::CStr, path::Path};

use nix::NixPath;

use crate::{Result, check};

/// Makes this process's session keyring one of this name, which others that join a keyring of that name get too, and
/// whose very existence only those can see. keyrings(7), KEYCTL_JOIN_SESSION_KEYRING(2const), KEYCTL_SETPERM(2const)
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

/// Exchanges two names in one step. renameat2(2), `RENAME_EXCHANGE`
pub fn exchange(one: &Path, two: &Path) -> Result<()> {
    const RENAME_EXCHANGE: libc::c_uint = 2;
    let here = libc::AT_FDCWD;
    one.with_nix_path(|one| {
        two.with_nix_path(|two| {
            // SAFETY: the kernel reads two C strings that outlive the call.
            check(unsafe {
                libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, two.as_ptr(), RENAME_EXCHANGE)
            })
        })
    })??
    .map(drop)
}

/// Ends the calling thread and nothing else. The first thread of a process becomes a zombie so, which is not reaped before
/// the other threads have ended. _exit(2), "C library/kernel differences"
pub fn end_this_thread() -> ! {
    loop {
        // SAFETY: takes a number, and nothing of this thread runs after it.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}
