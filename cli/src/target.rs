//! The container that a verb opens a stream to.

use anyhow::bail;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::commands::{choose_container, note_default};
use crate::lower;
use crate::pod;
use crate::session::{Found, Session};

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) found: Found,
    /// Its name in the pod.
    pub(crate) container: String,
    /// containerd's.
    pub(crate) id: String,
}

/// The container `named` of a pod, or the default one, which must run. `doing` is what is refused otherwise: `exec into`.
pub(crate) async fn running(
    session: &Session,
    found: Found,
    named: Option<&str>,
    quiet: bool,
    doing: &str,
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
    let made = session.container(&found, &container).await?;
    match (made, why) {
        (Some(made), None) => Ok(Target { found, container, id: made.id }),
        (_, why) => {
            let why = why.map_or_else(String::new, |why| format!(": it is {why}"));
            bail!("unable to upgrade connection: container not found (\"{container}\"){why}")
        }
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
fn completed(status: &Value) -> Option<&str> {
    status["phase"].as_str().filter(|phase| ["Succeeded", "Failed"].contains(phase))
}

/// What a container is doing instead of running. One that the status does not tell of may run.
fn not_running(status: &Value, container: &str) -> Option<String> {
    let state = &state_of(status, container)?["state"];
    if let Some(reason) = state["waiting"]["reason"].as_str() {
        return Some(format!("waiting ({reason})"));
    }
    let terminated = &state["terminated"];
    terminated.is_object().then(|| match terminated["reason"].as_str() {
        Some(reason) => format!("terminated ({reason})"),
        None => "terminated".to_owned(),
    })
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
        assert_eq!(not_running(&status, "a"), None);
        assert_eq!(not_running(&status, "b").as_deref(), Some("waiting (CrashLoopBackOff)"));
        assert_eq!(not_running(&status, "i").as_deref(), Some("terminated (Completed)"));
        assert_eq!(not_running(&status, "unknown"), None);
        assert_eq!(completed(&status), None);
        assert_eq!(completed(&json!({ "phase": "Failed" })), Some("Failed"));
    }
}
