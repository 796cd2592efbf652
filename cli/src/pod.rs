//! What a pod's own shim is asked: every question to it goes through here.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use loment_sandbox::lifecycle::timeline::Record;
use serde_json::Value;

use crate::session::{Found, Session};

/// `status` of the pod, in the API's field names.
pub(crate) async fn status(_session: &Session, found: &Found) -> anyhow::Result<Value> {
    bail!("pod {:?}: its shim does not answer", found.name())
}

/// Stops the pod's containers in the order and with the grace that the pod's lifecycle prescribes.
pub(crate) async fn terminate(_session: &Session, found: &Found, _grace: Option<Duration>) -> anyhow::Result<()> {
    bail!("pod {:?}: its shim does not answer", found.name())
}

/// What has happened to the pod until now.
pub(crate) async fn timeline(session: &Session, found: &Found) -> anyhow::Result<Vec<Record>> {
    Ok(watch(session, found).await?.next(Duration::ZERO).await?.unwrap_or_default())
}

/// The pod's timeline, read as it grows.
pub(crate) struct Watch {}

impl Watch {
    /// What is new; waits up to `wait` for something. Nothing once the pod is gone.
    pub(crate) async fn next(&mut self, _wait: Duration) -> anyhow::Result<Option<Vec<Record>>> {
        Ok(None)
    }
}

/// Starts to read the pod's timeline from its beginning.
pub(crate) async fn watch(_session: &Session, found: &Found) -> anyhow::Result<Watch> {
    bail!("pod {:?}: its shim does not answer", found.name())
}

/// When the pod will be gone, if somebody has asked for it.
pub(crate) fn deletion(found: &Found) -> Option<Time> {
    fs::read_to_string(mark(found)?).ok()?.trim().parse().ok().map(Time)
}

/// Writes down that the pod is being deleted, for whoever looks at it meanwhile.
pub(crate) fn mark_deletion(found: &Found, grace: Duration) -> anyhow::Result<()> {
    let Some(path) = mark(found).filter(|path| path.parent().is_some_and(|directory| directory.is_dir())) else {
        return Ok(());
    };
    let grace = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    let end = Timestamp::from_second(Timestamp::now().as_second().saturating_add(grace)).unwrap_or(Timestamp::MAX);
    fs::write(&path, end.to_string()).with_context(|| format!("write {}", path.display()))
}

fn mark(found: &Found) -> Option<PathBuf> {
    Some(found.directory()?.join("deletion-timestamp"))
}
