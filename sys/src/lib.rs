//! The system calls that neither the standard library nor nix offers: the one place with unsafe code.
#![allow(unsafe_code)]

pub mod bpf;
pub mod seccomp;
#[cfg(feature = "sysv")]
pub mod sysv;
