//! A pod that the shim runs itself: its host, and what it can be asked.
//!
//! | module | subject |
//! |---|---|
//! | `host`, `acting` | the lifecycle machine is fed with what happens, and what it answers is done |
//! | `member`, `sandbox` | what the tasks of containers and of the sandbox tell |
//! | `asking`, `prober` | probes and hooks |
//! | `words` | termination messages |
//! | `storage`, `eviction` | local storage that is limited |
//! | `timeline`, `chronicle` | what happened, in memory and on disk |
//! | `service`, `stats`, [`client`] | the Pod service, and who asks it |
//! | [`names`] | annotations and files that both sides know |

mod acting;
mod asking;
mod chronicle;
pub mod client;
mod eviction;
pub(crate) mod host;
pub(crate) mod member;
pub mod names;
mod prober;
mod sandbox;
pub(crate) mod service;
pub(crate) mod stats;
mod storage;
mod timeline;
mod words;

/// The messages of the Pod service.
pub mod api {
    pub use crate::generated::pod::{
        ContainerUsage, Device, Entry, Member, Pressure, StartRequest, StartResponse, StatsRequest, StatsResponse,
        StatusRequest, StatusResponse, TerminateRequest, TerminateResponse, TimelineRequest, TimelineResponse,
        TraceRequest, TraceResponse, TracedSpan, TracedStart, UpdateRequest, UpdateResponse, Usage, traced_start,
    };
}

use crate::generated::pod_ttrpc as rpc;
