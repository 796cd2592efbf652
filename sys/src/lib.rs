//! The system calls that neither the standard library nor nix offers: the one place with unsafe code.
//!
//! One small safe function per system call. Each says which manual page or kernel version it follows; what is done
//! with them, and why, is the business of the crates above.
#![allow(unsafe_code, reason = "this crate exists to hold the project's unsafe code")]

#[cfg(feature = "agent")]
pub mod agent;
pub mod ambient;
#[cfg(feature = "attacks")]
pub mod attacks;
pub mod bpf;
pub mod clone;
pub mod credentials;
pub mod fd;
pub mod fork;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod pidfd;
pub mod sched;
pub mod seccomp;
pub mod shared;
pub mod signal;
pub mod socket;
#[cfg(feature = "sysv")]
pub mod sysv;
pub mod terminal;

pub use nix::{Result, errno::Errno};

/// Turns the answer of a raw system call into a result.
fn check(answer: libc::c_long) -> Result<libc::c_long> {
    Errno::result(answer)
}
