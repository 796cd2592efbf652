//! The container that a verb opens a stream to.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::commands::{choose_container, note_default};
use crate::lower;
use crate::pod;
use crate::session::{Found, Session};

/// How long one question for news may wait for an answer.
const NEWS: Duration = Duration::from_secs(30);

/// A container of a pod.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) found: Found,
    /// Its name in the pod.
    pub(crate) container: String,
    /// containerd's.
    pub(crate) id: String,
}

/// What a container must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Running,
    /// It may wait, for its turn or for its next attempt.
    NotEnded,
}

/// The container `named` of a pod, or the default one. `doing` is what is refused otherwise: `exec into`.
pub(crate) async fn find(
    session: &Session,
    found: Found,
    named: Option<&str>,
    quiet: bool,
    doing: &str,
    demand: Demand,
) -> anyhow::Result<Target> {
    let status = pod::status(session, &found).await.ok();
    if let Some(phase) = status.as_ref().and_then(completed) {
        bail!("cannot {doing} a container in a completed pod; current phase is {phase}");
    }
    let container = choose(&found.pod, named, quiet)?;
    let why = match &status {
        Some(status) => not_running(status, &container),
        None => None,
    };
    let why = why.filter(|why| demand == Demand::Running || why.ended);
    let made = session.container(&found, &container).await?;
    match (made, why) {
        (Some(made), None) => Ok(Target { found, container, id: made.id }),
        (_, why) => {
            let why = why.map_or_else(String::new, |why| format!(": it is {}", why.text));
            bail!("unable to upgrade connection: container not found (\"{container}\"){why}")
        }
    }
}

/// Waits until the pod has come to a phase behind Pending, for a time, and returns the phase that it then has.
pub(crate) async fn until_running(session: &Session, found: &Found, limit: Duration) -> anyhow::Result<String> {
    let deadline = Instant::now() + limit;
    let mut news = pod::watch(session, found).await?;
    loop {
        let status = pod::status(session, found).await?;
        let phase = status["phase"].as_str().unwrap_or("Unknown").to_owned();
        let left = deadline.saturating_duration_since(Instant::now());
        if phase != "Pending" || left.is_zero() {
            return Ok(phase);
        }
        news.next(left.min(NEWS)).await?;
    }
}

/// The container that is meant, in the words that kubectl has where it opens a stream.
fn choose(pod: &Pod, named: Option<&str>, quiet: bool) -> anyhow::Result<String> {
    if let Some(name) = named
        && !pod.spec.iter().flat_map(lower::containers).any(|container| container.name == name)
    {
        bail!("container {name} not found in pod {}", lower::name(pod));
    }
    let (name, others) = choose_container(pod, named)?;
    if !quiet {
        note_default(&name, &others);
    }
    Ok(name)
}

/// The phase of a pod that has ended.
pub(crate) fn completed(status: &Value) -> Option<&str> {
    status["phase"].as_str().filter(|phase| ["Succeeded", "Failed"].contains(phase))
}

/// What a container is doing instead of running.
#[derive(Debug, PartialEq, Eq)]
struct NotRunning {
    text: String,
    /// Whether it will not run any more.
    ended: bool,
}

/// One that the status does not tell of may run.
fn not_running(status: &Value, container: &str) -> Option<NotRunning> {
    let state = &state_of(status, container)?["state"];
    if let Some(reason) = state["waiting"]["reason"].as_str() {
        return Some(NotRunning { text: format!("waiting ({reason})"), ended: false });
    }
    let terminated = &state["terminated"];
    let text = match terminated["reason"].as_str() {
        Some(reason) => format!("terminated ({reason})"),
        None => "terminated".to_owned(),
    };
    terminated.is_object().then_some(NotRunning { text, ended: true })
}

/// Whether a container has run, or runs.
pub(crate) fn has_begun(status: &Value, container: &str) -> bool {
    let state = state_of(status, container);
    state.is_some_and(|one| !one["state"]["waiting"].is_object() || one["lastState"]["terminated"].is_object())
}

/// The part of a pod's status that tells of a container.
pub(crate) fn state_of<'a>(status: &'a Value, container: &str) -> Option<&'a Value> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|kind| status[kind].as_array());
    lists.into_iter().flatten().flatten().find(|entry| entry["name"] == container)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_does_not_run_says_what_it_does_instead() {
        let status = json!({
            "phase": "Running",
            "initContainerStatuses": [{ "name": "i", "state": { "terminated": { "reason": "Completed" } } }],
            "containerStatuses": [
                { "name": "a", "state": { "running": {} } },
                { "name": "b", "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
            ],
        });
        let instead = |name: &str| not_running(&status, name).map(|why| (why.text, why.ended));
        assert_eq!(instead("a"), None);
        assert_eq!(instead("b"), Some(("waiting (CrashLoopBackOff)".to_owned(), false)));
        assert_eq!(instead("i"), Some(("terminated (Completed)".to_owned(), true)));
        assert_eq!(instead("unknown"), None);
        let begun = ["i", "a", "b", "unknown"].map(|name| has_begun(&status, name));
        assert_eq!(begun, [true, true, false, false]);
        assert_eq!(completed(&status), None);
        assert_eq!(completed(&json!({ "phase": "Failed" })), Some("Failed"));
    }
}
