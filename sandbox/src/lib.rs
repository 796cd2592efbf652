//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
mod child;
pub mod container;
pub mod error;
pub mod layer;
pub mod lifecycle;
mod listener;
mod plan;
pub mod process;
pub mod record;
pub mod seccomp;
mod user_namespace;

pub use error::{Error, Result};
