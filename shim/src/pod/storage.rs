//! Local storage that is limited: disk volumes of the pod with a `sizeLimit`, and `ephemeral-storage` of its containers.
//! What is over its limit evicts the pod. Only a pod that has such limits is measured, by a child.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use loment_sandbox::{
    disk::Usage,
    errand::Errand,
    lifecycle::{duration, qos},
};
use serde::Deserialize;

use super::names::STORAGE_INTERVAL;
use crate::{failure::Result, task::ready::readable};

/// The same without it.
const USUAL: Duration = Duration::from_secs(10);
/// Looking more often would be a busy loop.
const SHORTEST: Duration = Duration::from_millis(50);
/// The resource.
const STORAGE: &str = "ephemeral-storage";
/// A quantity is read in billionths.
const NANO: u128 = 1_000_000_000;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    metadata: Option<Metadata>,
    spec: Option<Spec>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    annotations: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    volumes: Option<Vec<Volume>>,
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    empty_dir: Option<EmptyDir>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct EmptyDir {
    medium: Option<String>,
    size_limit: Option<Quantity>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Option<Resources>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    limits: Option<BTreeMap<String, Quantity>>,
}

/// JSON allows a bare number where a quantity is meant.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Quantity {
    Text(String),
    Number(serde_json::Number),
    Other(serde::de::IgnoredAny),
}

/// A limit: in bytes, and as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    written: String,
}

impl Quantity {
    fn limit(&self) -> Option<Limit> {
        let written = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Other(_) => return None,
        };
        let bytes = u64::try_from(qos::quantity(&written)? / NANO).unwrap_or(u64::MAX);
        Some(Limit { bytes, written })
    }
}

/// What a pod's storage may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Disk volumes that live as long as the pod, by name.
    volumes: Vec<(String, Option<Limit>)>,
    /// Containers by name.
    containers: Vec<(String, Option<Limit>)>,
    /// All of it together.
    pod: Option<Limit>,
    /// Time between two looks.
    pub(super) interval: Duration,
}

/// Where a pod's storage is.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Volumes by name.
    pub(super) volumes: Vec<PathBuf>,
    /// Of each container its writable layer and its logs.
    pub(super) containers: Vec<Vec<PathBuf>>,
}

impl Limits {
    /// Those of a manifest; `None` when it has none, or cannot be read.
    pub(super) fn of(manifest: &str) -> Option<Self> {
        let written: Pod = serde_json::from_str(manifest).ok()?;
        let spec = written.spec.unwrap_or_default();
        let on_disk = |volume: Volume| {
            let dir = volume.empty_dir?;
            let limit = dir.size_limit.and_then(|size| size.limit()).filter(|limit| limit.bytes > 0);
            dir.medium.is_none_or(|medium| medium.is_empty()).then_some((volume.name, limit))
        };
        let volumes: Vec<_> = spec.volumes.unwrap_or_default().into_iter().filter_map(on_disk).collect();
        let is_sidecar = |init: &Container| init.restart_policy.as_deref() == Some("Always");
        let (sidecars, inits): (Vec<_>, Vec<_>) =
            spec.init_containers.unwrap_or_default().into_iter().partition(is_sidecar);
        let limit = |container: &Container| container.resources.as_ref()?.limits.as_ref()?.get(STORAGE)?.limit();
        // Init containers end before the others begin, and are not measured.
        let all = sidecars.into_iter().chain(spec.containers.unwrap_or_default());
        let containers: Vec<_> = all.map(|container| (container.name.clone(), limit(&container))).collect();
        let largest_init = inits.iter().filter_map(limit).max_by_key(|limit| limit.bytes);
        let pod = together(containers.iter().filter_map(|(_, limit)| limit.clone()), largest_init);
        if pod.is_none() && volumes.iter().all(|(_, limit)| limit.is_none()) {
            return None;
        }
        let annotations = written.metadata.unwrap_or_default().annotations.unwrap_or_default();
        let interval = annotations.get(STORAGE_INTERVAL).and_then(Option::as_deref).and_then(duration::parse);
        Some(Self { volumes, containers, pod, interval: interval.unwrap_or(USUAL).max(SHORTEST) })
    }

    /// Names of the volumes, in the order in which they are measured.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.volumes.iter().map(|(name, _)| name.as_str())
    }

    /// Names of the containers, in the order in which they are measured.
    pub(super) fn containers(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|(name, _)| name.as_str())
    }

    /// Why the pod is to be evicted, if it is: the kubelet's words. `used`: bytes of each volume, then of each container.
    pub(super) fn exceeded(&self, used: &[u64]) -> Option<String> {
        let (volumes, containers) = used.split_at_checked(self.volumes.len())?;
        let over = |limit: &Option<Limit>, used: u64| limit.as_ref().is_some_and(|limit| used > limit.bytes);
        let written = |limit: &Option<Limit>| limit.as_ref().map(|limit| limit.written.clone()).unwrap_or_default();
        if let Some(((name, limit), _)) =
            self.volumes.iter().zip(volumes).find(|((_, limit), used)| over(limit, **used))
        {
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", written(limit)));
        }
        let total = used.iter().copied().fold(0, u64::saturating_add);
        if over(&self.pod, total) {
            let limit = written(&self.pod);
            return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
        }
        let found = self.containers.iter().zip(containers).find(|((_, limit), used)| over(limit, **used));
        found.map(|((name, limit), _)| {
            format!("Container {name} exceeded its local ephemeral storage limit {:?}. ", written(limit))
        })
    }
}

/// The limit of a pod: what those of its containers that have one may use together, or one init container alone.
fn together(limits: impl Iterator<Item = Limit>, init: Option<Limit>) -> Option<Limit> {
    let sum = limits.reduce(|one, other| {
        let bytes = one.bytes.saturating_add(other.bytes);
        Limit { bytes, written: bytes.to_string() }
    });
    [sum, init].into_iter().flatten().max_by_key(|limit| limit.bytes)
}

/// Measures: bytes of each volume, then of each container.
pub(super) async fn measure(places: Places) -> Result<Vec<u64>> {
    let mut errand = Errand::fetch("measure storage", move || {
        let mut usage = Usage::default();
        let volumes = places.volumes.into_iter().map(|volume| vec![volume]);
        let mut bytes = Vec::new();
        for trees in volumes.chain(places.containers) {
            let mut sum = 0;
            for tree in trees {
                sum += usage.of(&tree)?;
            }
            bytes.extend(sum.to_le_bytes());
        }
        Ok(bytes)
    })?;
    loop {
        readable(&errand).await?;
        if errand.advance()? {
            break;
        }
    }
    let answer = errand.answer()?;
    Ok(answer.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(volumes: serde_json::Value, containers: serde_json::Value) -> Option<Limits> {
        Limits::of(&json!({"spec": {"volumes": volumes, "containers": containers}}).to_string())
    }

    fn container(name: &str, limit: Option<&str>) -> serde_json::Value {
        let limits = limit.map_or(json!({}), |limit| json!({"ephemeral-storage": limit}));
        json!({"name": name, "resources": {"limits": limits}})
    }

    #[test]
    fn v1_a_pod_without_limits_is_not_measured() {
        let none = json!([]);
        assert_eq!(limits(json!([{"name": "v", "emptyDir": {}}]), json!([container("a", None)])), None);
        assert_eq!(limits(json!([{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]), none), None);
        assert_eq!(limits(json!([{"name": "v", "emptyDir": {"sizeLimit": "0"}}]), json!([])), None);
        assert_eq!(limits(json!([{"name": "v", "hostPath": {"path": "/"}}]), json!([])), None);
        assert_eq!(Limits::of("no JSON"), None);
    }

    #[test]
    fn v1_a_volume_over_its_limit_is_named_with_the_limit() {
        let limits = limits(
            json!([{"name": "free", "emptyDir": {}}, {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]),
            json!([{"name": "a"}]),
        );
        let limits = limits.unwrap();
        assert_eq!(limits.exceeded(&[5 << 20, 1 << 20, 9 << 20]), None);
        let message = limits.exceeded(&[0, (1 << 20) + 1, 0]).unwrap();
        assert_eq!(message, "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
    }

    #[test]
    fn c11_a_container_and_the_pod_have_limits() {
        let both = limits(
            json!([{"name": "v", "emptyDir": {}}]),
            json!([container("a", Some("1Ki")), container("b", Some("2Ki"))]),
        );
        let both = both.unwrap();
        assert_eq!(both.exceeded(&[1024, 1024, 1024]), None);
        assert_eq!(
            both.exceeded(&[0, 1025, 0]).as_deref(),
            Some("Container a exceeded its local ephemeral storage limit \"1Ki\". ")
        );
        let message = both.exceeded(&[3000, 73, 0]).unwrap();
        assert_eq!(message, "Pod ephemeral local storage usage exceeds the total limit of containers 3072. ");
        let one =
            limits(json!([{"name": "v", "emptyDir": {}}]), json!([container("a", Some("1Ki")), container("b", None)]));
        let message = one.unwrap().exceeded(&[0, 1000, 1000]).unwrap();
        assert_eq!(message, "Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. ");
    }

    #[test]
    fn the_interval_is_what_the_annotation_says() {
        let with = |interval: &str| {
            let pod = json!({
                "metadata": {"annotations": {STORAGE_INTERVAL: interval}},
                "spec": {"containers": [container("a", Some("1"))]},
            });
            Limits::of(&pod.to_string()).unwrap().interval
        };
        assert_eq!(with("300ms"), Duration::from_millis(300));
        assert_eq!(with("1us"), SHORTEST);
        assert_eq!(with("soon"), USUAL);
    }
}
