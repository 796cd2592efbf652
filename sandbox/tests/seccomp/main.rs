//! Compiled seccomp profiles against libseccomp, against a plain reading of the rules, and in the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod against_libseccomp;
mod kernel;
mod oracle;
