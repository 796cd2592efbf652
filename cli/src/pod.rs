//! What a pod's own shim is asked: every question to it goes through here.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use loment_shim::client::TaskShim;
use loment_shim::pod::{
    api::{Entry, StatsResponse, TraceResponse},
    client::PodShim,
};
use serde_json::Value;

use crate::kept::record;
use crate::session::{Found, Session};

/// The containerd namespace in which CRI keeps its pods.
const CONTAINERD_NAMESPACE: &str = "k8s.io";

/// The file in a pod's directory that says when it will be gone.
pub(crate) const DELETION: &str = "deletion-timestamp";

/// Something that happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) at: Timestamp,
    /// Since the pod's sandbox was made.
    pub(crate) since_start: Duration,
    /// To which container; `None` for the pod as a whole.
    pub(crate) container: Option<String>,
    /// Which of its attempts, counted from 0.
    pub(crate) attempt: u32,
    /// As an event of Kubernetes names it: `Started`, `BackOff` ...
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Whether something went wrong.
    pub(crate) warning: bool,
}

impl From<Entry> for Happening {
    fn from(entry: Entry) -> Self {
        Happening {
            at: Timestamp::from_nanosecond(entry.at_unix_nanos.into()).unwrap_or_default(),
            since_start: Duration::from_nanos(entry.since_start_nanos),
            container: Some(entry.container).filter(|name| !name.is_empty()),
            attempt: entry.attempt,
            reason: entry.reason,
            message: entry.message,
            warning: entry.warning,
        }
    }
}

/// Connects to the shim of a pod. The name of its socket contains containerd's own as containerd was told it: a user may
/// have come by a link (`/var/run`).
async fn connect(session: &Session, found: &Found) -> anyhow::Result<PodShim> {
    connect_to(session, found.name(), &found.sandbox.id).await
}

async fn connect_to(session: &Session, pod: &str, sandbox: &str) -> anyhow::Result<PodShim> {
    let mut refused = String::new();
    for name in names_of_containerd(session) {
        match PodShim::connect(&name, CONTAINERD_NAMESPACE, sandbox).await {
            Ok(shim) => return Ok(shim),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(not_connected(pod, sandbox, &refused))
}

/// Whether anybody listens where a pod's shim would.
///
/// Errors: that cannot be told.
pub(crate) async fn is_listened_for(session: &Session, found: &Found) -> anyhow::Result<bool> {
    for name in names_of_containerd(session) {
        let path = loment_shim::socket_of(&name.display().to_string(), CONTAINERD_NAMESPACE, &found.sandbox.id);
        if listens(&path).await.with_context(|| format!("connect to {}", path.display()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether somebody listens on a socket. Only that nobody does is no error: there may be no descriptor left to ask with.
async fn listens(path: &Path) -> io::Result<bool> {
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Connects to the shim of a pod, to ask it for the processes of its containers.
pub(crate) async fn tasks(session: &Session, found: &Found) -> anyhow::Result<TaskShim> {
    let sandbox = &found.sandbox.id;
    let mut refused = String::new();
    for name in names_of_containerd(session) {
        match TaskShim::connect(&name, CONTAINERD_NAMESPACE, sandbox).await {
            Ok(shim) => return Ok(shim),
            Err(error) => refused = error.to_string(),
        }
    }
    Err(not_connected(found.name(), sandbox, &refused))
}

fn names_of_containerd(session: &Session) -> Vec<PathBuf> {
    let resolved = fs::canonicalize(&session.address).ok().filter(|path| *path != session.address);
    [session.address.clone()].into_iter().chain(resolved).collect()
}

fn not_connected(pod: &str, sandbox: &str, cause: &str) -> anyhow::Error {
    anyhow!("connect to the shim of pod {pod:?} (sandbox {sandbox}): {cause}")
}

/// What the pod with this sandbox and its containers use; the pod may be any client's.
pub(crate) async fn stats(session: &Session, pod: &str, sandbox: &str) -> anyhow::Result<StatsResponse> {
    let answer = connect_to(session, pod, sandbox).await?.stats().await;
    answer.with_context(|| format!("ask the shim of pod {pod:?} what it uses"))
}

/// When each phase of the last starts in the pod with this sandbox came; the pod may be any client's.
pub(crate) async fn trace(session: &Session, pod: &str, sandbox: &str) -> anyhow::Result<TraceResponse> {
    let answer = connect_to(session, pod, sandbox).await?.trace().await;
    answer.with_context(|| format!("ask the shim of pod {pod:?} for its starts"))
}

/// `status` of the pod, in the API's field names.
pub(crate) async fn status(session: &Session, found: &Found) -> anyhow::Result<Value> {
    let answer = connect(session, found).await?.status().await;
    let answer = answer.with_context(|| format!("ask the shim of pod {:?} for its status", found.name()))?;
    serde_json::from_str(&answer.status).context("read the status that the shim tells")
}

/// By which process the pod's network is found, and where in procfs.
pub(crate) async fn network(session: &Session, found: &Found) -> anyhow::Result<(i32, String)> {
    let answer = connect(session, found).await?.status().await;
    let answer = answer.with_context(|| format!("ask the shim of pod {:?} for its network", found.name()))?;
    if answer.network.is_empty() {
        return Err(anyhow!("the sandbox of pod {:?} has ended", found.name()));
    }
    Ok((answer.network_keeper, answer.network))
}

/// Tells the shim of a pod that the pod has been made: it begins.
pub(crate) async fn start(session: &Session, pod: &str, sandbox: &str) -> anyhow::Result<()> {
    let answer = connect_to(session, pod, sandbox).await?.start().await;
    answer.with_context(|| format!("tell the shim of pod {pod:?} to start it"))
}

/// Tells the pod's shim what the pod is now.
pub(crate) async fn update(session: &Session, found: &Found, pod: &Pod) -> anyhow::Result<()> {
    let manifest = serde_json::to_string(pod).context("write the pod as JSON")?;
    let answer = connect(session, found).await?.update(&manifest).await;
    answer.with_context(|| format!("tell the shim of pod {:?} what has changed", found.name()))
}

/// Stops the pod's containers in the order that the pod's lifecycle prescribes, within the grace (`None`: what the pod
/// says). Returns when all have ended.
pub(crate) async fn terminate(session: &Session, found: &Found, grace: Option<Duration>) -> anyhow::Result<()> {
    let answer = connect(session, found).await?.terminate(grace).await;
    answer.with_context(|| format!("ask the shim of pod {:?} to stop it", found.name()))
}

/// What has happened to the pod until now.
pub(crate) async fn timeline(session: &Session, found: &Found) -> anyhow::Result<Vec<Happening>> {
    watch(session, found).await?.next(Duration::ZERO).await
}

/// The pod's timeline, read as it grows.
pub(crate) struct Watch {
    shim: PodShim,
    pod: String,
    next: u64,
}

impl Watch {
    /// What is new; waits up to `wait` for something.
    pub(crate) async fn next(&mut self, wait: Duration) -> anyhow::Result<Vec<Happening>> {
        let answer = self.shim.timeline(self.next, wait).await;
        let answer = answer.with_context(|| format!("ask the shim of pod {:?} for its timeline", self.pod))?;
        self.next = answer.next;
        Ok(answer.entries.into_iter().map(Happening::from).collect())
    }
}

/// Starts to read the pod's timeline from its beginning.
pub(crate) async fn watch(session: &Session, found: &Found) -> anyhow::Result<Watch> {
    Ok(Watch { shim: connect(session, found).await?, pod: found.name().to_owned(), next: 0 })
}

/// When the pod will be gone, if somebody has asked for it.
pub(crate) fn deletion(found: &Found) -> Option<Time> {
    fs::read_to_string(mark(found)?).ok()?.trim().parse().ok().map(Time)
}

/// Writes down that the pod is being deleted, for whoever looks at it meanwhile.
pub(crate) fn mark_deletion(found: &Found, grace: Duration) -> anyhow::Result<()> {
    let Some(path) = mark(found).filter(|path| path.parent().is_some_and(Path::is_dir)) else {
        return Ok(());
    };
    if !path.exists() {
        // That a pod is to end is wanted anew, as a changed spec is. One whose record cannot be written ends all the same.
        let _ = record::change(found, |pod| {
            pod.metadata.generation = Some(pod.metadata.generation.unwrap_or(1).saturating_add(1));
            Ok(())
        });
    }
    let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    let end = Timestamp::from_second(Timestamp::now().as_second().saturating_add(grace)).unwrap_or(Timestamp::MAX);
    fs::write(&path, end.to_string()).with_context(|| format!("write {}", path.display()))
}

fn mark(found: &Found) -> Option<PathBuf> {
    Some(found.directory()?.join(DELETION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::Scratch;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_a_dead_shims() {
        let scratch = Scratch::new("listens");
        let path = scratch.0.join("s");
        assert!(!listens(&path).await.unwrap(), "there is none");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(listens(&path).await.unwrap());
        drop(listener);
        assert!(!listens(&path).await.unwrap(), "who listened has ended");
        // As for want of a descriptor: what is wrong is not the shim's death.
        assert!(listens(&path.join("below")).await.is_err());
        assert!(listens(&scratch.0.join("x".repeat(200))).await.is_err());
    }
}
