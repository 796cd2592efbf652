//! A pod without any RPC: sandbox, containers, lifecycle.
#![allow(clippy::todo)]

pub mod container;
pub mod error;
pub mod lifecycle;
pub mod process;
pub mod seccomp;

pub use error::{Error, Result};
