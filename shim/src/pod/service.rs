//! The Pod service.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use ttrpc::r#async::{Service, TtrpcContext};

use super::{
    api::{
        Entry, Member, StartRequest, StartResponse, StatsRequest, StatsResponse, StatusRequest, StatusResponse,
        TerminateRequest, TerminateResponse, TimelineRequest, TimelineResponse,
    },
    host::{Host, START},
    rpc::{Pod, create_pod},
    stats,
};
use crate::{
    failure::{Failure, Result},
    shim::Shim,
};

/// Longest wait for news; a client that wants to wait longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The service, ready to be registered.
pub(crate) fn create(shim: Arc<Shim>) -> HashMap<String, Service> {
    create_pod(Arc::new(PodService { shim }))
}

struct PodService {
    shim: Arc<Shim>,
}

impl PodService {
    fn host(&self) -> Result<Arc<Host>> {
        self.shim.host.get().cloned().ok_or_else(|| {
            Failure::not_found("this shim runs no pod by itself (its sandbox has no io.loment.pod.manifest annotation)")
        })
    }
}

#[async_trait]
impl Pod for PodService {
    async fn status(&self, _: &TtrpcContext, _: StatusRequest) -> ttrpc::Result<StatusResponse> {
        let host = self.host()?;
        let members = host.members().into_iter();
        Ok(StatusResponse {
            status: host.status()?,
            members: members.map(|(name, container_id)| Member { name, container_id, ..Member::default() }).collect(),
            ..StatusResponse::default()
        })
    }

    async fn timeline(&self, _: &TtrpcContext, request: TimelineRequest) -> ttrpc::Result<TimelineResponse> {
        let host = self.host()?;
        let wait = Duration::from_millis(request.wait_ms).min(LONGEST_WAIT);
        let (first, found) = host.timeline(request.since, wait).await;
        let entries: Vec<_> = (first..).zip(&found).map(|(index, entry)| describe(&host, index, entry)).collect();
        let next = entries.last().map_or(first, |last| last.index + 1);
        Ok(TimelineResponse { entries, next, ..TimelineResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, _: StartRequest) -> ttrpc::Result<StartResponse> {
        self.host()?.release()?;
        Ok(StartResponse::default())
    }

    async fn terminate(&self, _: &TtrpcContext, request: TerminateRequest) -> ttrpc::Result<TerminateResponse> {
        self.host()?.terminate(request.grace_seconds.map(Duration::from_secs)).await;
        Ok(TerminateResponse::default())
    }

    async fn stats(&self, _: &TtrpcContext, _: StatsRequest) -> ttrpc::Result<StatsResponse> {
        Ok(stats::read(&self.shim)?)
    }
}

fn describe(host: &Host, index: u64, entry: &loment_sandbox::lifecycle::Entry) -> Entry {
    let since_epoch = host.wall(entry.at).duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Entry {
        index,
        at_unix_nanos: i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX),
        since_start_nanos: nanos(entry.at.since(START)),
        container: entry.container.map_or_else(String::new, |container| host.name(container)),
        attempt: entry.attempt,
        reason: entry.what.reason().to_owned(),
        message: entry.what.to_string(),
        ..Entry::default()
    }
}
