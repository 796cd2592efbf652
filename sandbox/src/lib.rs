//! A pod without any RPC: sandbox, containers, lifecycle.

mod channel;
pub mod checkpoint;
mod child;
pub mod container;
pub mod disk;
pub mod errand;
pub mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
pub mod helper;
pub mod hooks;
pub mod layer;
pub mod lifecycle;
mod listener;
mod namespace;
mod netlink;
pub mod network;
mod plan;
pub mod process;
mod ready;
pub mod record;
mod rootfs;
pub mod seccomp;
mod state;
pub mod sysctl;
pub mod trace;
mod user_namespace;

pub use error::{Error, Result};

/// The version of the runtime specification that is followed, and in which others are told of a container.
pub const OCI_VERSION: &str = "1.2.0";

/// What this runtime can do, as the runtime specification's `features.md` lays it out. Only what is true.
pub const FEATURES: &str = include_str!("features.json");

#[cfg(test)]
mod tests {
    #[test]
    fn the_features_tell_the_version_that_is_followed() {
        let features: serde_json::Value = serde_json::from_str(super::FEATURES).unwrap();
        assert_eq!(features["ociVersionMax"], super::OCI_VERSION);
    }
}
