//! From a `v1.Pod` as it is written to a checked [`PodSpec`].
//!
//! Whoever creates a pod validates its manifest strictly. Here every field may be absent or null, and unknown ones are
//! passed over: a shim must run what a newer command made.

use std::{collections::HashSet, time::Duration};

use super::{
    qos::{self, Amounts},
    spec::{ContainerSpec, Kind, PodSpec, RestartPolicy},
};
use crate::{Error, Result};

mod annotations;
mod container;
mod expand;
mod handlers;
mod resources;
mod written;

pub use annotations::{BACKOFF_INITIAL, BACKOFF_MAX, BACKOFF_RESET, MAX_RESTARTS, RESTART_SIDECARS, check_annotations};
pub use container::signal;

/// `terminationGracePeriodSeconds` when there is none.
const GRACE: i64 = 30;

/// Bytes that a manifest may have. Kubernetes keeps objects of at most 1.5 MiB, and what is told to a shim is 4 MiB at most. The
/// shim has it in memory for as long as the pod lives.
const LONGEST: usize = 4 << 20;
/// The longest name that a file can have. limits.h, `NAME_MAX`
const LONGEST_NAME: usize = 255;

pub(super) fn read(json: &str) -> Result<PodSpec> {
    if json.len() > LONGEST {
        let reason = format!("is longer than the {} MiB that are read", LONGEST >> 20);
        return Err(Error::invalid("pod manifest", format!("of {} bytes", json.len()), reason));
    }
    let pod: written::Pod = serde_json::from_str(json)
        .map_err(|error| Error::invalid("pod manifest", "in JSON", format!("is no v1.Pod: {error}")))?;
    let (metadata, spec) = (pod.metadata.unwrap_or_default(), pod.spec.unwrap_or_default());
    if let Some(kind) = pod.kind.filter(|kind| kind != "Pod") {
        return Err(Error::invalid("kind", quoted(&kind), "only a Pod can be run"));
    }
    let inits = containers("spec.initContainers", spec.init_containers, init_kind)?;
    let apps = containers("spec.containers", spec.containers, |_| Kind::App)?;
    if apps.is_empty() {
        return Err(Error::invalid("spec.containers", "[]", "a pod needs at least one container"));
    }
    let resources = match &spec.resources {
        Some(whole) if !whole.is_empty() => vec![resources::amounts("spec.resources", whole)?],
        _ => inits.iter().chain(&apps).map(|(_, resources)| *resources).collect(),
    };
    let annotations = annotations::read(&metadata.annotations.unwrap_or_default())?;
    let plain = |containers: Vec<(ContainerSpec, _)>| containers.into_iter().map(|(spec, _)| spec).collect::<Vec<_>>();
    let (init_containers, containers) = (plain(inits), plain(apps));
    distinct(&init_containers, &containers)?;
    Ok(PodSpec {
        name: required("metadata.name", metadata.name)?,
        namespace: metadata.namespace.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into()),
        uid: metadata.uid.unwrap_or_default(),
        restart_policy: match spec.restart_policy {
            Some(name) => policy("spec.restartPolicy", &name)?,
            None => RestartPolicy::Always,
        },
        grace: seconds(spec.termination_grace_period_seconds.unwrap_or(GRACE)),
        active_deadline: spec.active_deadline_seconds.map(seconds),
        readiness_gates: spec
            .readiness_gates
            .unwrap_or_default()
            .into_iter()
            .filter_map(|gate| gate.condition_type)
            .collect(),
        init_containers,
        containers,
        backoff: annotations.backoff,
        max_restarts: annotations.max_restarts,
        restart_sidecars_while_stopping: annotations.restart_sidecars_while_stopping,
        generation: metadata.generation.filter(|number| *number > 0).unwrap_or(1),
        qos: qos::class(resources),
    })
}

/// A negative grace period means 1 s (pkg/registry/core/pod/strategy.go).
fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(1))
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn required(path: impl Into<String>, value: Option<String>) -> Result<String> {
    value.filter(|text| !text.is_empty()).ok_or_else(|| Error::invalid(path, "\"\"", "is required"))
}

/// `restartPolicy: Always` is what makes an init container a sidecar.
fn init_kind(policy: Option<RestartPolicy>) -> Kind {
    if policy == Some(RestartPolicy::Always) { Kind::Sidecar } else { Kind::Init }
}

type Lowered = (ContainerSpec, (Amounts, Amounts));

fn containers(
    list: &str,
    written: Option<Vec<written::Container>>,
    kind: fn(Option<RestartPolicy>) -> Kind,
) -> Result<Vec<Lowered>> {
    let written = written.unwrap_or_default().into_iter().enumerate();
    written.map(|(place, container)| container::lower(&format!("{list}[{place}]"), container, kind)).collect()
}

fn policy(path: &str, name: &str) -> Result<RestartPolicy> {
    match name {
        "Always" => Ok(RestartPolicy::Always),
        "OnFailure" => Ok(RestartPolicy::OnFailure),
        "Never" => Ok(RestartPolicy::Never),
        _ => Err(Error::invalid(path, quoted(name), "supported values: \"Always\", \"OnFailure\", \"Never\"")),
    }
}

/// A container's name is a part of the paths of its files.
fn plain(path: String, name: String) -> Result<String> {
    match name.as_str() {
        "." | ".." => Err(Error::invalid(path, quoted(&name), "is a directory in every directory, and no name")),
        _ if name.len() > LONGEST_NAME || name.contains(['/', '\0']) => {
            let begin: String = name.chars().take(64).collect();
            let reason = format!("is no name: at most {LONGEST_NAME} bytes, and none of them a slash or a NUL");
            Err(Error::invalid(path, quoted(&begin), reason))
        }
        _ => Ok(name),
    }
}

fn distinct(inits: &[ContainerSpec], apps: &[ContainerSpec]) -> Result<()> {
    let mut seen = HashSet::new();
    for (list, containers) in [("initContainers", inits), ("containers", apps)] {
        for (place, container) in containers.iter().enumerate() {
            if !seen.insert(container.name.as_str()) {
                let path = format!("spec.{list}[{place}].name");
                return Err(Error::invalid(path, quoted(&container.name), "is already the name of another container"));
            }
        }
    }
    Ok(())
}
