//! What the API server fills in before it validates a pod.

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, PodSpec, Volume};

use super::image::default_pull_policy;

/// Completes a pod as the API would: a namespace, and every field of the spec that has a default.
pub(crate) fn complete(pod: &mut Pod, namespace: &str) {
    pod.metadata.namespace.get_or_insert_with(|| namespace.to_owned());
    pod.status = None;
    let spec = pod.spec.get_or_insert_with(PodSpec::default);
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_with(Default::default);
    spec.enable_service_links.get_or_insert(true);
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".to_owned());
    spec.volumes.iter_mut().flatten().for_each(complete_volume);
    let host_network = spec.host_network == Some(true);
    let init = spec.init_containers.iter_mut().flatten();
    init.chain(&mut spec.containers).for_each(|container| complete_container(container, host_network));
}

fn complete_container(container: &mut Container, host_network: bool) {
    let image = container.image.as_deref().unwrap_or_default();
    let policy = default_pull_policy(image);
    container.image_pull_policy.get_or_insert_with(|| policy.to_owned());
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".to_owned());
    container.termination_message_policy.get_or_insert_with(|| "File".to_owned());
    for port in container.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".to_owned());
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    for field in container.env.iter_mut().flatten().filter_map(|env| env.value_from.as_mut()?.field_ref.as_mut()) {
        field.api_version.get_or_insert_with(|| "v1".to_owned());
    }
    if let Some(resources) = &mut container.resources
        && let Some(limits) = &resources.limits
        && !limits.is_empty()
    {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
}

fn complete_volume(volume: &mut Volume) {
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    let bare = Volume { name: volume.name.clone(), ..Volume::default() };
    if *volume == bare {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> Pod {
        let mut pod = super::super::load("f", text).unwrap().pods.remove(0);
        complete(&mut pod, "default");
        pod
    }

    #[test]
    fn the_defaults_are_those_of_the_api() {
        let pod = completed(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  volumes: [{name: v}]\n  containers:\n  - name: c\n    \
             image: busybox\n    ports: [{containerPort: 80}]\n    resources: {limits: {cpu: 1, memory: 1Mi}, requests: \
             {cpu: 500m}}\n",
        );
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        let spec = pod.spec.unwrap();
        assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
        assert_eq!(spec.dns_policy.as_deref(), Some("ClusterFirst"));
        assert_eq!(spec.termination_grace_period_seconds, Some(30));
        assert!(spec.volumes.unwrap()[0].empty_dir.is_some());
        let container = &spec.containers[0];
        assert_eq!(container.image_pull_policy.as_deref(), Some("Always"));
        let port = &container.ports.as_ref().unwrap()[0];
        assert_eq!((port.protocol.as_deref(), port.host_port), (Some("TCP"), None));
        let requests = container.resources.as_ref().unwrap().requests.as_ref().unwrap();
        assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("500m", "1Mi"));
    }

    #[test]
    fn ports_of_a_pod_on_the_host_network_are_host_ports() {
        let pod = completed(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: true\n  containers:\n  - {name: c, \
             image: b, ports: [{containerPort: 80}]}\n",
        );
        assert_eq!(pod.spec.unwrap().containers[0].ports.as_ref().unwrap()[0].host_port, Some(80));
    }
}
