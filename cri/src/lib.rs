//! A small client for the Kubernetes Container Runtime Interface (CRI v1): the way in which a kubelet asks containerd
//! for pods. [`Client`] has one method for each request that this project makes; [`v1`] has the messages.

mod client;
mod error;
mod inventory;
mod lost;
pub mod masks;
mod removal;
mod snapshots;

pub use client::Client;
pub use error::{Code, Error, Result};
pub use inventory::Known;
pub use snapshots::Mount as SnapshotMount;

/// The messages of CRI v1, generated from `proto/runtime.proto`. What each field means is written in
/// `k8s.io/cri-api/pkg/apis/runtime/v1/api.proto`.
#[allow(missing_docs, clippy::all, clippy::cast_lossless, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}
