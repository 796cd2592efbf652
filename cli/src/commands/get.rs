//! `loment get`: pods with their status.

use anyhow::Context as _;
use jiff::Timestamp;
use loment_sandbox::lifecycle::{PodSpec, column, rfc3339, status::PodStatus};
use serde_json::{Value, json};

use super::{note, print};
use crate::args::{Get, GetOutput, Global};
use crate::error::{ExitWith, lines_of};
use crate::session::{Found, Session};
use crate::{lower::resources, pod, resource, show, table};

pub(crate) async fn run(global: &Global, args: &Get) -> anyhow::Result<()> {
    let names = resource::names(&args.what)?;
    let session = Session::open(global).await?;
    if names.is_empty() {
        let namespace = if args.all_namespaces { None } else { Some(session.namespace.as_str()) };
        let pods = session.pods(namespace).await?;
        if pods.is_empty() && !matches!(args.output, Some(GetOutput::Json | GetOutput::Yaml)) {
            note(&match namespace {
                Some(namespace) => format!("No resources found in {namespace} namespace."),
                None => "No resources found".to_owned(),
            });
            return Ok(());
        }
        return print(&shown(&session, &pods, args, false).await?);
    }
    // As kubectl does: what exists is shown, what does not is named, and the status tells that something was missing.
    let mut pods = Vec::new();
    let mut missing = Vec::new();
    for name in &names {
        match session.pod(name).await {
            Ok(found) => pods.push(found),
            Err(error) => missing.push(error),
        }
    }
    if !pods.is_empty() {
        print(&shown(&session, &pods, args, names.len() == 1).await?)?;
    }
    match missing.pop() {
        None => Ok(()),
        Some(last) => {
            missing.iter().for_each(|error| note(&lines_of(error)));
            Err(if pods.is_empty() && missing.is_empty() { last } else { said_already(&last) })
        }
    }
}

fn said_already(error: &anyhow::Error) -> anyhow::Error {
    note(&lines_of(error));
    ExitWith(1).into()
}

async fn shown(session: &Session, pods: &[Found], args: &Get, single: bool) -> anyhow::Result<String> {
    match args.output {
        Some(GetOutput::Name) => Ok(pods.iter().map(|found| format!("pod/{}\n", found.name())).collect()),
        Some(output @ (GetOutput::Yaml | GetOutput::Json)) => {
            let mut objects = Vec::new();
            for found in pods {
                objects.push(object(session, found).await?);
            }
            let value = if single { objects.pop().unwrap_or_default() } else { show::list(objects) };
            if output == GetOutput::Yaml { show::yaml(&value) } else { show::json(&value) }
        }
        None | Some(GetOutput::Wide) => rows(session, pods, args).await,
    }
}

/// A pod as an API object: its manifest, and the status that its shim and the runtime know.
async fn object(session: &Session, found: &Found) -> anyhow::Result<Value> {
    let status = status(session, found).await?;
    let mut pod = found.pod.clone();
    pod.metadata.deletion_timestamp = pod::deletion(found);
    show::object(&pod, Some(status))
}

/// The status by the pod's shim; `Unknown` when it cannot be had. Addresses and ids are the runtime's.
async fn status(session: &Session, found: &Found) -> anyhow::Result<Value> {
    let mut status = match pod::status(session, found).await {
        Ok(status) => status,
        Err(error) => json!({ "phase": "Unknown", "reason": "NodeLost", "message": format!("{error:#}") }),
    };
    let sandbox = session.client.pod_sandbox_status(&found.sandbox.id, false).await?.status.unwrap_or_default();
    let network = sandbox.network.unwrap_or_default();
    if !network.ip.is_empty() {
        let all = std::iter::once(network.ip.clone()).chain(network.additional_ips.into_iter().map(|more| more.ip));
        status["podIP"] = json!(network.ip);
        status["podIPs"] = all.map(|ip| json!({ "ip": ip })).collect();
    }
    if let (None, Some(spec)) = (status.get("qosClass"), &found.pod.spec) {
        status["qosClass"] = json!(resources::qos(spec).name());
    }
    for kind in ["initContainerStatuses", "containerStatuses"] {
        let Some(Value::Array(containers)) = status.get_mut(kind) else { continue };
        for entry in containers {
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            if let Some(container) = session.container(found, &name).await? {
                entry["containerID"] = json!(format!("containerd://{}", container.id));
                entry["imageID"] = json!(container.image_ref);
            }
        }
    }
    Ok(status)
}

async fn rows(session: &Session, pods: &[Found], args: &Get) -> anyhow::Result<String> {
    let wide = args.output == Some(GetOutput::Wide);
    let mut rows = Vec::new();
    if !args.no_headers {
        let mut header = vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        if wide {
            header.extend(["IP", "NODE", "NOMINATED NODE", "READINESS GATES"]);
        }
        if args.all_namespaces {
            header.insert(0, "NAMESPACE");
        }
        rows.push(header.into_iter().map(str::to_owned).collect());
    }
    for found in pods {
        let mut row = row(session, found, wide).await?;
        if args.all_namespaces {
            row.insert(0, found.namespace().to_owned());
        }
        rows.push(row);
    }
    Ok(table::render(&rows))
}

async fn row(session: &Session, found: &Found, wide: bool) -> anyhow::Result<Vec<String>> {
    let manifest = serde_json::to_string(&found.pod).context("write the manifest as JSON")?;
    let spec = PodSpec::from_manifest(&manifest).with_context(|| format!("pod {:?}", found.name()))?;
    let columns = match pod::status(session, found).await {
        Ok(status) => {
            let status: PodStatus = serde_json::from_value(status).context("read the status of the shim")?;
            let now = rfc3339::Timestamp::seconds(std::time::SystemTime::now());
            column::columns(&spec, &status, pod::deletion(found).is_some(), now)
        }
        Err(_) => unknown(&spec),
    };
    let mut row = vec![found.name().to_owned(), columns.ready, columns.status, columns.restarts, age(found)];
    if wide {
        let none = || "<none>".to_owned();
        let sandbox = session.client.pod_sandbox_status(&found.sandbox.id, false).await?.status.unwrap_or_default();
        let ip = sandbox.network.map(|network| network.ip).filter(|ip| !ip.is_empty());
        let spec = found.pod.spec.as_ref();
        row.push(ip.unwrap_or_else(none));
        row.push(spec.and_then(|spec| spec.node_name.clone()).unwrap_or_else(none));
        row.extend([none(), none()]);
    }
    Ok(row)
}

/// What is shown of a pod whose shim does not answer.
fn unknown(spec: &PodSpec) -> column::Columns {
    let sidecars =
        spec.init_containers.iter().filter(|container| container.kind == loment_sandbox::lifecycle::Kind::Sidecar);
    column::Columns {
        ready: format!("0/{}", spec.containers.len() + sidecars.count()),
        status: "Unknown".to_owned(),
        restarts: "0".to_owned(),
    }
}

fn age(found: &Found) -> String {
    match &found.pod.metadata.creation_timestamp {
        Some(created) => table::age(Timestamp::now().as_second() - created.0.as_second()),
        None => "<unknown>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_whose_shim_is_gone_is_unknown() {
        let spec = PodSpec::from_manifest(
            r#"{"metadata":{"name":"a"},"spec":{"initContainers":[{"name":"s","image":"b","restartPolicy":"Always"}],
               "containers":[{"name":"a","image":"b"}]}}"#,
        )
        .unwrap();
        let columns = unknown(&spec);
        assert_eq!((columns.ready.as_str(), columns.status.as_str()), ("0/2", "Unknown"));
    }
}
