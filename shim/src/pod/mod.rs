//! A pod that the shim runs itself: its host, and what it can be asked.

pub mod client;
pub(crate) mod host;
pub(crate) mod service;
mod stats;

/// Made from `proto/pod.proto`, which has the docs.
#[allow(
    missing_docs,
    unused_imports,
    unused_qualifications,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// The messages of the Pod service.
pub mod api {
    pub use super::generated::pod::{
        ContainerUsage, Device, Entry, Member, Pressure, StartRequest, StartResponse, StatsRequest, StatsResponse,
        StatusRequest, StatusResponse, TerminateRequest, TerminateResponse, TimelineRequest, TimelineResponse, Usage,
    };
}

use generated::pod_ttrpc as rpc;
