//! The Pod service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use ttrpc::r#async::{Service, TtrpcContext};

use super::{
    api::{
        StartRequest, StartResponse, StatsRequest, StatsResponse, StatusRequest, StatusResponse, TerminateRequest,
        TerminateResponse, TimelineRequest, TimelineResponse, TraceRequest, TraceResponse, UpdateRequest,
        UpdateResponse,
    },
    host::Host,
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
        self.shim.quiet.disturb();
        self.shim.host.get().cloned().ok_or_else(|| {
            Failure::not_found("this shim runs no pod by itself (its sandbox has no io.loment.pod.manifest annotation)")
        })
    }
}

impl PodService {
    /// The host of a pod that has a sandbox and no container yet: it can be looked at.
    fn host_to_be(&self) -> Option<Arc<Host>> {
        self.shim.pod_sandbox()?.host().filter(|_| self.shim.host.get().is_none()).cloned()
    }
}

#[async_trait]
impl Pod for PodService {
    async fn status(&self, _: &TtrpcContext, _: StatusRequest) -> ttrpc::Result<StatusResponse> {
        let host = self.host_to_be().map_or_else(|| self.host(), Ok)?;
        let (network_keeper, network) = host.network_at().unwrap_or_default();
        Ok(StatusResponse {
            status: host.status()?,
            network,
            network_keeper,
            members: host.members(),
            sandbox_pid: host.sandbox_pid(),
            address: host.address().map_or_else(|_| String::new(), |address| address.to_string()),
            ..StatusResponse::default()
        })
    }

    async fn timeline(&self, _: &TtrpcContext, request: TimelineRequest) -> ttrpc::Result<TimelineResponse> {
        let host = self.host()?;
        let wait = Duration::from_millis(request.wait_ms).min(LONGEST_WAIT);
        let (entries, next) = host.news(request.since, wait).await;
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

    async fn update(&self, _: &TtrpcContext, request: UpdateRequest) -> ttrpc::Result<UpdateResponse> {
        self.host()?.update(&request.manifest)?;
        Ok(UpdateResponse::default())
    }

    async fn stats(&self, _: &TtrpcContext, _: StatsRequest) -> ttrpc::Result<StatsResponse> {
        self.shim.quiet.disturb();
        Ok(stats::read(&self.shim)?)
    }

    async fn trace(&self, _: &TtrpcContext, _: TraceRequest) -> ttrpc::Result<TraceResponse> {
        self.shim.quiet.disturb();
        Ok(self.shim.traces.read())
    }
}
