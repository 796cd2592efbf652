//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
mod child;
pub mod container;
pub mod error;
pub mod helper;
pub mod layer;
pub mod lifecycle;
mod plan;
pub mod process;
pub mod record;
pub mod seccomp;

pub use error::{Error, Result};
