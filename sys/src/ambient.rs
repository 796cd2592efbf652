//! What the kernel hands down from a process to those that it makes, through execve(2) too, and that has no other
//! place here.

use crate::{Errno, Result, check};

/// The flags that say what user 0 means to capabilities. PR_GET_SECUREBITS(2const)
pub fn secure_bits() -> Result<i32> {
    // SAFETY: touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })
}

/// Sets them. Needs CAP_SETPCAP; what has been locked stays. PR_SET_SECUREBITS(2const)
pub fn set_secure_bits(bits: i32) -> Result<()> {
    // SAFETY: takes a number and touches no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, libc::c_long::from(bits), 0, 0, 0) }).map(drop)
}

/// Lets the kernel choose from which nodes memory comes, as a machine begins. set_mempolicy(2), `MPOL_DEFAULT`
pub fn default_memory_policy() -> Result<()> {
    let no_nodes: *const libc::c_ulong = std::ptr::null();
    // SAFETY: the default policy has no set of nodes; the kernel reads none.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, 0, no_nodes, 0) }).map(drop)
}
