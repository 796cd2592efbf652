//! The connection to containerd, and the pods that are found through it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use k8s_openapi::api::core::v1::Pod;
use loment_cri::{Client, v1};

use crate::args::Global;
use crate::error::Said;
use crate::kept::{own, remains};
use crate::lower::{DIRECTORY, LOGS, label};
use crate::setup::unreached;

const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// What a verb works with.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Socket of containerd.
    pub(crate) address: PathBuf,
    /// Namespace whose pods are meant when nothing else is said.
    pub(crate) namespace: String,
    pub(crate) global: Global,
}

/// A pod that exists.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As it is now: completed, without a status.
    pub(crate) pod: Pod,
    pub(crate) sandbox: v1::PodSandbox,
}

impl Session {
    /// Connects to containerd.
    pub(crate) async fn open(global: &Global) -> anyhow::Result<Self> {
        let address = address(global);
        let client =
            Client::connect(&address).await.map_err(|error| anyhow!("{error}: {}", unreached::remedy(&address)))?;
        let namespace = global.namespace.clone().unwrap_or_else(|| "default".to_owned());
        Ok(Session { client, address, namespace, global: global.clone() })
    }

    /// Pods of a namespace, of one name or of all: those that have begun, and those that have not.
    pub(crate) async fn all(&self, namespace: &str, name: Option<&str>) -> anyhow::Result<(Vec<Found>, Vec<Found>)> {
        let name = name.map(|name| (label::POD_NAME, name));
        let selector = name.into_iter().chain([(label::POD_NAMESPACE, namespace)]);
        self.select(selector.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()).await
    }

    /// Pods of all namespaces: those that have begun, with those that have lost their sandbox, and those that have not begun.
    pub(crate) async fn everything(&self) -> anyhow::Result<(Vec<Found>, Vec<Found>)> {
        self.select(HashMap::new()).await
    }

    /// The pods of a namespace, or of all, by name.
    pub(crate) async fn pods(&self, namespace: Option<&str>) -> anyhow::Result<Vec<Found>> {
        let selector = namespace.map(|name| (label::POD_NAMESPACE.to_owned(), name.to_owned()));
        let (mut pods, _) = self.select(selector.into_iter().collect()).await?;
        pods.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(pods)
    }

    /// The pod with this name in the session's namespace.
    pub(crate) async fn pod(&self, name: &str) -> anyhow::Result<Found> {
        self.find(&self.namespace, name).await?.ok_or_else(|| Said::pod_not_found(name).into())
    }

    /// The pod with this name, if there is one.
    pub(crate) async fn find(&self, namespace: &str, name: &str) -> anyhow::Result<Option<Found>> {
        Ok(self.all(namespace, Some(name)).await?.0.into_iter().next())
    }

    /// A pod that was found before, as it is now; nothing when it is gone, or another one has its name.
    pub(crate) async fn again(&self, found: &Found) -> anyhow::Result<Option<Found>> {
        Ok(self.find(found.namespace(), found.name()).await?.filter(|now| now.uid() == found.uid()))
    }

    /// Pods that have begun, with those that have lost their sandbox; and pods that have not begun: see
    /// [`crate::kept::remains`].
    async fn select(&self, label_selector: HashMap<String, String>) -> anyhow::Result<(Vec<Found>, Vec<Found>)> {
        let lost = remains::lost(&self.global, |pod| {
            let labels = crate::lower::sandbox::labels(pod);
            label_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        })?;
        let sandboxes = self.sandboxes(label_selector).await?;
        let (mut pods, unbegun): (Vec<_>, Vec<_>) = sandboxes.into_iter().partition(remains::has_begun);
        for found in lost {
            if !pods.iter().any(|other| other.uid() == found.uid()) {
                pods.push(found);
            }
        }
        Ok((pods, unbegun))
    }

    /// Pods that `loment create` has made; of several sandboxes of one pod, the latest.
    async fn sandboxes(&self, label_selector: HashMap<String, String>) -> anyhow::Result<Vec<Found>> {
        let filter = v1::PodSandboxFilter { label_selector, ..v1::PodSandboxFilter::default() };
        let mut sandboxes = self.client.list_pod_sandboxes(Some(filter)).await?;
        sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
        let mut found: Vec<Found> = Vec::new();
        for sandbox in sandboxes {
            let Some(one) = own::pod_of(sandbox, &self.global.state_dir, &self.global.log_dir) else { continue };
            if !found.iter().any(|other| other.uid() == one.uid()) {
                found.push(one);
            }
        }
        Ok(found)
    }

    /// A container of a pod, the latest one if it was made more than once.
    pub(crate) async fn container(&self, found: &Found, name: &str) -> anyhow::Result<Option<v1::Container>> {
        if found.is_lost() {
            return Ok(None);
        }
        let filter = v1::ContainerFilter {
            pod_sandbox_id: found.sandbox.id.clone(),
            label_selector: HashMap::from([(label::CONTAINER_NAME.to_owned(), name.to_owned())]),
            ..v1::ContainerFilter::default()
        };
        let containers = self.client.list_containers(Some(filter)).await?;
        Ok(containers.into_iter().max_by_key(|container| container.created_at))
    }
}

impl Found {
    pub(crate) fn uid(&self) -> &str {
        crate::lower::uid(&self.pod)
    }

    /// Whether containerd knows nothing of it any more. There is no id of a sandbox then, and to ask for those of an empty
    /// one is to ask for all.
    pub(crate) fn is_lost(&self) -> bool {
        self.sandbox.id.is_empty()
    }

    /// The same pod as one of which containerd knows nothing any more.
    pub(crate) fn lost(&self) -> Self {
        let mut lost = self.clone();
        lost.sandbox.id.clear();
        lost
    }

    pub(crate) fn name(&self) -> &str {
        crate::lower::name(&self.pod)
    }

    pub(crate) fn namespace(&self) -> &str {
        crate::lower::namespace(&self.pod)
    }

    /// The directory that holds the pod's files.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.sandbox.annotations.get(DIRECTORY).map(Path::new)
    }

    /// The directory that holds the logs of the pod's containers.
    pub(crate) fn logs(&self) -> Option<&Path> {
        self.sandbox.annotations.get(LOGS).map(Path::new)
    }
}

fn key(found: &Found) -> (&str, &str) {
    (found.namespace(), found.name())
}

/// Where containerd is asked.
pub(crate) fn address(global: &Global) -> PathBuf {
    socket(global.address.as_deref(), std::env::var("CONTAINER_RUNTIME_ENDPOINT").ok().as_deref())
}

/// The socket that the user named, in a flag or in the environment; CRI clients write it as a URL.
fn socket(address: Option<&str>, endpoint: Option<&str>) -> PathBuf {
    let named = [address, endpoint].into_iter().flatten().find(|name| !name.is_empty()).unwrap_or(DEFAULT_SOCKET);
    PathBuf::from(named.strip_prefix("unix://").unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_goes_before_the_environment_before_the_default() {
        assert_eq!(socket(Some("/a"), Some("unix:///b")), Path::new("/a"));
        assert_eq!(socket(None, Some("unix:///b")), Path::new("/b"));
        assert_eq!(socket(Some(""), None), Path::new(DEFAULT_SOCKET));
    }
}
