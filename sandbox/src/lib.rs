//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
mod child;
pub mod container;
pub mod error;
pub mod layer;
pub mod lifecycle;
mod listener;
mod netlink;
mod plan;
pub mod process;
pub mod record;
pub mod seccomp;

pub use error::{Error, Result};
