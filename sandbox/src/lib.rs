//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
mod child;
pub mod container;
pub mod error;
pub mod gate;
pub mod layer;
pub mod lifecycle;
mod plan;
pub mod process;
pub mod record;
pub mod seccomp;

pub use error::{Error, Result};

/// What this runtime can do, as the runtime specification's `features.md` lays it out. Only what is true.
pub const FEATURES: &str = include_str!("features.json");
