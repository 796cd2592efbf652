//! A pod that the shim runs itself: its host, and what it can be asked.
//!
//! | module | subject |
//! |---|---|
//! | `host`, `acting` | the lifecycle machine is fed with what happens, and what it answers is done |
//! | `member`, `sandbox` | what the tasks of containers and of the sandbox tell |
//! | `asking`, `prober` | probes and hooks |
//! | `place` | the directories that annotations name |
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
mod place;
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

/// The pod that a sandbox's annotations ask for, and a change to it, as the fuzz targets see it.
#[cfg(feature = "fuzzing")]
pub(crate) fn considered(sandbox: &oci_spec::runtime::Spec) {
    let _name = host::name_of(sandbox);
    let Ok(Some(host)) = host::Host::from_annotations(sandbox) else { return };
    let _member = host.member(sandbox);
    assert!(host.status().is_ok(), "a status can be written");
    let manifest = crate::spec::annotation(sandbox, names::MANIFEST).unwrap_or_default();
    assert!(host.update(manifest).is_ok(), "a pod may become what it is");
}

/// What another shim has left of a pod: its status, a NUL, and its timeline.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_back(text: &str) {
    let (status, timeline) = text.split_once('\0').unwrap_or((text, ""));
    let _index = chronicle::entries(timeline);
    let Ok(status) = serde_json::from_str::<loment_sandbox::lifecycle::status::PodStatus>(status) else { return };
    loment_sandbox::fuzzing::resumed(&status);
}
