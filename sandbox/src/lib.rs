//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
pub mod checkpoint;
mod child;
pub mod container;
pub mod errand;
pub mod error;
pub mod gate;
pub mod helper;
pub mod hooks;
pub mod layer;
pub mod lifecycle;
mod listener;
mod netlink;
mod plan;
pub mod process;
pub mod record;
mod rootfs;
pub mod seccomp;
mod user_namespace;

pub use error::{Error, Result};

/// What this runtime can do, as the runtime specification's `features.md` lays it out. Only what is true.
pub const FEATURES: &str = include_str!("features.json");
