//! A pod as it is seen from outside: its record with the status that its shim and the runtime know.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;
use jiff::Timestamp;
use loment_cri::v1;
use loment_sandbox::lifecycle::{PodSpec, column, rfc3339, status::PodStatus};
use loment_shim::pod::names::STATUS;
use serde_json::{Value, json};

use crate::lower::{label, resources};
use crate::print::{show, table};
use crate::session::{Found, Session};
use crate::{host, pod};

/// A pod and how it is.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) found: Found,
    /// `v1.PodStatus`. Its phase is `Unknown` when nobody can tell it.
    pub(crate) status: Value,
    pub(crate) deleting: bool,
}

impl View {
    /// Asks for the status of a pod; nothing when the pod has gone meanwhile.
    pub(crate) async fn of(session: &Session, found: &Found) -> anyhow::Result<Option<Self>> {
        let told = pod::status(session, found).await;
        let mut status = told.unwrap_or_else(|error| unknown(last_known(found), &format!("{error:#}")));
        let deleting = pod::deletion(found).is_some();
        if found.is_lost() {
            status["message"] = json!("containerd knows nothing of the pod any more: `loment resume` makes it anew");
            return Ok(Some(View { found: found.clone(), status, deleting }));
        }
        let sandbox = match session.client.pod_sandbox_status(&found.sandbox.id, false).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) if error.is_not_found() => return Ok(None),
            // The pod's status says that nobody can tell it.
            Err(error) if error.is_of_a_lost_shim() => loment_cri::v1::PodSandboxStatus::default(),
            Err(error) => return Err(error.into()),
        };
        add_addresses(&mut status, found, sandbox.network.unwrap_or_default());
        if let (None, Some(spec)) = (status.get("qosClass"), &found.pod.spec) {
            status["qosClass"] = json!(resources::qos(spec).name());
        }
        add_ids(&mut status, &containers(session, found).await?);
        Ok(Some(View { found: found.clone(), status, deleting }))
    }

    /// Asks for the status of each pod; those that have gone meanwhile are left out.
    pub(crate) async fn of_all(session: &Session, pods: &[Found]) -> anyhow::Result<Vec<Self>> {
        let mut views = Vec::new();
        for found in pods {
            views.extend(View::of(session, found).await?);
        }
        Ok(views)
    }

    /// The pod as an API object.
    pub(crate) fn object(&self) -> anyhow::Result<Value> {
        let mut pod = self.found.pod.clone();
        pod.metadata.deletion_timestamp = pod::deletion(&self.found);
        show::object(&pod, Some(self.status.clone()))
    }

    pub(crate) fn phase(&self) -> &str {
        self.status["phase"].as_str().unwrap_or("Unknown")
    }

    /// The columns READY, STATUS and RESTARTS.
    pub(crate) fn columns(&self) -> anyhow::Result<column::Columns> {
        let manifest = serde_json::to_string(&self.found.pod).context("write the manifest as JSON")?;
        let spec = PodSpec::from_manifest(&manifest).with_context(|| format!("pod {:?}", self.found.name()))?;
        let is_known = self.phase() != "Unknown";
        let mut status = self.status.clone();
        if !is_known {
            status["phase"] = json!("Pending");
        }
        let status: PodStatus = serde_json::from_value(status).context("read the status of the shim")?;
        let now = rfc3339::Timestamp::seconds(std::time::SystemTime::now());
        let mut columns = column::columns(&spec, &status, self.deleting, now);
        if !is_known {
            columns.status = "Unknown".to_owned();
        }
        Ok(columns)
    }

    pub(crate) fn age(&self) -> String {
        match &self.found.pod.metadata.creation_timestamp {
            Some(created) => table::age(Timestamp::now().as_second() - created.0.as_second()),
            None => "<unknown>".to_owned(),
        }
    }

    /// The statuses of init containers and sidecars, then of apps.
    pub(crate) fn container_statuses(&self) -> impl Iterator<Item = &Value> {
        let lists = ["initContainerStatuses", "containerStatuses"].map(|kind| self.status[kind].as_array());
        lists.into_iter().flatten().flatten()
    }
}

/// The status that the shim last wrote down.
pub(crate) fn last_known(found: &Found) -> Option<Value> {
    let text = fs::read(found.directory()?.join(STATUS)).ok()?;
    serde_json::from_slice(&text).ok().filter(Value::is_object)
}

/// The status of a pod whose shim does not answer: what was last known, under a phase that says that it may be otherwise.
fn unknown(last: Option<Value>, why: &str) -> Value {
    let mut status = last.unwrap_or_else(|| json!({}));
    status["phase"] = json!("Unknown");
    status["reason"] = json!("NodeLost");
    status["message"] = json!(why);
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if ["Ready", "ContainersReady"].contains(&condition["type"].as_str().unwrap_or_default()) {
            condition["status"] = json!("Unknown");
        }
    }
    status
}

fn add_addresses(status: &mut Value, found: &Found, network: v1::PodSandboxNetworkStatus) {
    let machine = host::read().addresses;
    let as_list = |all: &[String]| all.iter().map(|ip| json!({ "ip": ip })).collect::<Value>();
    if let (None, Some(first)) = (status.get("hostIP"), machine.first()) {
        status["hostIP"] = json!(first);
        status["hostIPs"] = as_list(&machine);
    }
    let on_host = found.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let all: Vec<String> = match on_host {
        true => machine,
        false => std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|more| more.ip)).collect(),
    };
    let all: Vec<String> = all.into_iter().filter(|ip| !ip.is_empty()).collect();
    if let Some(first) = all.first() {
        status["podIP"] = json!(first);
        status["podIPs"] = as_list(&all);
    }
}

/// The containers of a pod by name; of several with one name, the latest.
async fn containers(session: &Session, found: &Found) -> anyhow::Result<HashMap<String, v1::Container>> {
    let filter = v1::ContainerFilter { pod_sandbox_id: found.sandbox.id.clone(), ..v1::ContainerFilter::default() };
    let mut all = session.client.list_containers(Some(filter)).await?;
    all.sort_by_key(|container| container.created_at);
    let name = |container: &v1::Container| container.labels.get(label::CONTAINER_NAME).cloned();
    Ok(all.into_iter().filter_map(|container| Some((name(&container)?, container))).collect())
}

fn add_ids(status: &mut Value, containers: &HashMap<String, v1::Container>) {
    for kind in ["initContainerStatuses", "containerStatuses"] {
        let Some(Value::Array(entries)) = status.get_mut(kind) else { continue };
        for entry in entries {
            let name = entry["name"].as_str().unwrap_or_default();
            if let Some(container) = containers.get(name) {
                entry["containerID"] = json!(format!("containerd://{}", container.id));
                entry["imageID"] = json!(container.image_ref);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_whose_shim_is_gone_is_unknown_and_the_rest_is_what_was_last_known() {
        let pod = serde_json::from_value(json!({ "metadata": { "name": "a" }, "spec": {
            "initContainers": [{ "name": "s", "image": "b", "restartPolicy": "Always" }],
            "containers": [{ "name": "a", "image": "b" }] } }))
        .unwrap();
        let found = Found { pod, sandbox: v1::PodSandbox::default() };
        let view = |last| View { found: found.clone(), status: unknown(last, "gone"), deleting: false };
        let columns = view(None).columns().unwrap();
        assert_eq!((columns.ready.as_str(), columns.status.as_str()), ("0/2", "Unknown"));
        let last = json!({ "phase": "Running", "conditions": [
                { "type": "Initialized", "status": "True" }, { "type": "Ready", "status": "True" }],
            "initContainerStatuses": [{ "name": "s", "ready": true, "started": true, "state": { "running": {} } }],
            "containerStatuses": [{ "name": "a", "ready": true, "restartCount": 3, "state": { "running": {} } }] });
        let view = view(Some(last));
        let columns = view.columns().unwrap();
        assert_eq!(
            (columns.ready.as_str(), columns.status.as_str(), columns.restarts.as_str()),
            ("2/2", "Unknown", "3")
        );
        assert_eq!(view.status["conditions"][1]["status"], "Unknown");
        assert_eq!(view.status["message"], "gone");
    }
}
