//! A pod lowered to what the Container Runtime Interface understands. Everything here is a pure function of the manifest
//! and of what was read from the machine before; the disk is touched by `crate::disk`, the runtime by the commands.

pub(crate) mod container;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod hosts;
pub(crate) mod layout;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod stop_signal;
pub(crate) mod view;
pub(crate) mod volumes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret};
pub(crate) use loment_shim::pod::names::{CONTAINER_NAME, DIRECTORY, HELD_IN, LOGS, MANIFEST};
use serde::{Deserialize, Serialize};

/// Where an object that is missing should be.
const WHERE: &str = "put it in the same file or give it with --configmap";

/// Labels by which a kubelet, crictl and this program find a pod and its containers.
pub(crate) mod label {
    pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
    pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
    pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// What a pod takes from the machine that it runs on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Name of the machine.
    pub(crate) name: String,
    /// Its addresses, the one that others see first.
    pub(crate) addresses: Vec<String>,
    /// Text of its resolver configuration.
    pub(crate) resolv_conf: String,
    /// Text of its `/etc/hosts`.
    pub(crate) hosts: String,
    /// Number of processors.
    pub(crate) processors: i64,
    /// Bytes of memory.
    pub(crate) memory: i64,
    /// Bytes of disk below the directories of pods.
    pub(crate) storage: i64,
    /// Whether cgroup v2 carries all controllers.
    pub(crate) unified: bool,
    /// Whether memory may be swapped out.
    pub(crate) swap: bool,
    /// Sizes in bytes of the huge pages that there are any of.
    pub(crate) huge_pages: Vec<i64>,
}

/// The ConfigMaps and Secrets that a pod may refer to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sources {
    config_maps: BTreeMap<String, ConfigMap>,
    secrets: BTreeMap<String, Secret>,
}

impl Sources {
    /// Those of `namespace`; an object that names no namespace belongs to it.
    pub(crate) fn of(namespace: &str, config_maps: &[ConfigMap], secrets: &[Secret]) -> Self {
        let here = |other: &Option<String>| other.as_deref().is_none_or(|other| other == namespace);
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        Sources {
            config_maps: config_maps
                .iter()
                .filter(|object| here(&object.metadata.namespace))
                .map(|object| (name(&object.metadata.name), object.clone()))
                .collect(),
            secrets: secrets
                .iter()
                .filter(|object| here(&object.metadata.namespace))
                .map(|object| (name(&object.metadata.name), object.clone()))
                .collect(),
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }

    /// The same with the names of keys in the place of what secrets hold.
    pub(crate) fn masked(&self) -> Self {
        let mask = |(name, secret): (&String, &Secret)| {
            let keys = self.secret(name).unwrap_or_default().into_keys();
            let text = keys.map(|key| (key.clone(), format!("<{key} of secret {name}>"))).collect();
            (name.clone(), Secret { data: None, string_data: Some(text), ..secret.clone() })
        };
        Sources { config_maps: self.config_maps.clone(), secrets: self.secrets.iter().map(mask).collect() }
    }

    /// All keys of a ConfigMap with their contents.
    pub(crate) fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let object = self.config_maps.get(name)?;
        let text = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let binary = object.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
        Some(text.chain(binary).collect())
    }

    /// All keys of a Secret with their contents; `stringData` goes over `data`.
    pub(crate) fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let object = self.secrets.get(name)?;
        let data = object.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
        let text = object.string_data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        Some(data.chain(text).collect())
    }
}

/// Everything that a pod refers to and is not there, each as the event of a kubelet calls the failure.
pub(crate) fn missing(scope: env::Scope<'_>, layout: &layout::Layout) -> Vec<String> {
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let of_containers = containers(&spec).flat_map(|container| env::resolve_all(scope, container).1);
    let of_containers = of_containers.map(|missing| format!("CreateContainerConfigError: {missing}"));
    let of_volumes = volumes::missing(scope, layout).into_iter().map(|missing| format!("FailedMount: {missing}"));
    let mut all: Vec<String> = of_containers.chain(of_volumes).collect();
    all.dedup();
    all
}

/// The containers of a pod in the order in which they start: init containers and sidecars, then the apps.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

pub(crate) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Why a pod that is valid cannot be lowered: it refers to something that is not there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}
