//! Asking a pod's shim.

use std::{path::Path, time::Duration};

use ttrpc::{r#async::Client, context};

use super::{
    api::{
        StartRequest, StatsRequest, StatsResponse, StatusRequest, StatusResponse, TerminateRequest, TimelineRequest,
        TimelineResponse, TraceRequest, TraceResponse, UpdateRequest, traced_start::Kind,
    },
    rpc::PodClient,
};
use crate::address;

/// Added to what a call may take by itself.
const SLACK: Duration = Duration::from_secs(10);

/// What a traced start is called.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::SHIM => "shim",
        Kind::SANDBOX => "sandbox",
        Kind::CONTAINER => "container",
        Kind::EXEC => "exec",
    }
}

/// A connection to the shim of one pod.
pub struct PodShim {
    client: PodClient,
}

impl PodShim {
    /// Connects to the shim of the sandbox `sandbox` in containerd's `namespace`. `containerd` is the socket that
    /// containerd itself was told to listen on: it is part of the name of the shim's socket.
    ///
    /// Errors: nobody listens there (the shim has ended, or the pod belongs to another containerd).
    pub async fn connect(containerd: &Path, namespace: &str, sandbox: &str) -> ttrpc::Result<Self> {
        let containerd = containerd.display().to_string();
        let address = address::in_the_usual_place(&containerd, namespace, sandbox);
        let client = Client::connect(&address).await?;
        Ok(Self { client: PodClient::new(client) })
    }

    /// The pod's status: `v1.PodStatus` in JSON, the ids of its containers, and the processes by
    /// which its namespaces are entered.
    ///
    /// Errors: NOT_FOUND from a shim that does not run its pod by itself.
    pub async fn status(&self) -> ttrpc::Result<StatusResponse> {
        self.client.status(context::with_duration(SLACK), &StatusRequest::default()).await
    }

    /// What happened from entry `since` on. Waits up to `wait` (at most a minute) for something to happen.
    pub async fn timeline(&self, since: u64, wait: Duration) -> ttrpc::Result<TimelineResponse> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let request = TimelineRequest { since, wait_ms, ..TimelineRequest::default() };
        self.client.timeline(context::with_duration(wait.saturating_add(SLACK)), &request).await
    }

    /// Lets a held pod begin.
    pub async fn start(&self) -> ttrpc::Result<()> {
        self.client.start(context::with_duration(SLACK), &StartRequest::default()).await.map(drop)
    }

    /// Tells the shim what the pod's manifest says now: `v1.Pod` in JSON. It takes over what may change in a pod that runs
    /// (a sooner active deadline, the images' names, annotations, the generation) and nothing else.
    ///
    /// Errors: INVALID_ARGUMENT for what is no pod, or another one.
    pub async fn update(&self, manifest: &str) -> ttrpc::Result<()> {
        let request = UpdateRequest { manifest: manifest.to_owned(), ..UpdateRequest::default() };
        self.client.update(context::with_duration(SLACK), &request).await.map(drop)
    }

    /// What the pod and its containers use. Answered by every shim of this project, whoever runs its pod.
    pub async fn stats(&self) -> ttrpc::Result<StatsResponse> {
        self.client.stats(context::with_duration(SLACK), &StatsRequest::default()).await
    }

    /// When each phase of the last starts came. Answered by every shim of this project, whoever runs its pod.
    pub async fn trace(&self) -> ttrpc::Result<TraceResponse> {
        self.client.trace(context::with_duration(SLACK), &TraceRequest::default()).await
    }

    /// Stops the pod within `grace` (what the pod says, if `None`) and returns when every container has ended.
    pub async fn terminate(&self, grace: Option<Duration>) -> ttrpc::Result<()> {
        let request = TerminateRequest { grace_seconds: grace.map(|grace| grace.as_secs()), ..Default::default() };
        self.client.terminate(context::Context::default(), &request).await.map(drop)
    }
}
