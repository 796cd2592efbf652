//! What the API server fills in before it validates a pod.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, Pod, PodSpec, Probe, ResourceRequirements, Volume,
};

use super::amounts::{self, Side};
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
    complete_resources(spec);
}

/// `spec.resources` asks at least for what the containers ask for together; where they say nothing, for its own limits.
fn complete_resources(spec: &mut PodSpec) {
    let Some(mut resources) = spec.resources.clone().filter(|resources| *resources != ResourceRequirements::default())
    else {
        return;
    };
    let mut requests = resources.requests.take().unwrap_or_default();
    for name in ["cpu", "memory"] {
        let together = amounts::together(spec, Side::Requests, name);
        if together.is_positive() {
            requests.entry(name.to_owned()).or_insert_with(|| together.quantity());
        }
    }
    for (name, limit) in resources.limits.iter().flatten() {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    resources.requests = Some(requests);
    spec.resources = Some(resources);
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
    let probes = [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(complete_probe);
    if let Some(lifecycle) = &mut container.lifecycle {
        let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
        hooks.into_iter().flatten().filter_map(|hook| hook.http_get.as_mut()).for_each(complete_http);
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

fn complete_probe(probe: &mut Probe) {
    // A number that is 0 counts as one that is not given, as in the API's own defaulting.
    let default = |field: &mut Option<i32>, value: i32| {
        if field.unwrap_or_default() == 0 {
            *field = Some(value);
        }
    };
    default(&mut probe.timeout_seconds, 1);
    default(&mut probe.period_seconds, 10);
    default(&mut probe.success_threshold, 1);
    default(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        complete_http(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn complete_http(http: &mut HTTPGetAction) {
    if http.path.as_deref().unwrap_or_default().is_empty() {
        http.path = Some("/".to_owned());
    }
    if http.scheme.as_deref().unwrap_or_default().is_empty() {
        http.scheme = Some("HTTP".to_owned());
    }
}

fn complete_volume(volume: &mut Volume) {
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(0o644);
    }
    if let Some(source) = &mut volume.image {
        let policy = default_pull_policy(source.reference.as_deref().unwrap_or_default());
        source.pull_policy.get_or_insert_with(|| policy.to_owned());
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
    fn a12_the_defaults_are_those_of_the_api() {
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
    fn a12_probes_volumes_and_shared_resources_have_defaults() {
        let pod = completed(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  resources: {limits: {cpu: 2, memory: 1Gi}}\n  volumes: \
             [{name: v, projected: {sources: []}}, {name: i, image: {reference: \"x:1\"}}]\n  containers:\n  - {name: c, \
             image: b, livenessProbe: {httpGet: {port: 80}, periodSeconds: 0}, resources: {requests: {cpu: 1}}}\n",
        );
        let spec = pod.spec.unwrap();
        let probe = spec.containers[0].liveness_probe.clone().unwrap();
        let numbers = [probe.timeout_seconds, probe.period_seconds, probe.success_threshold, probe.failure_threshold];
        assert_eq!(numbers, [Some(1), Some(10), Some(1), Some(3)]);
        let http = probe.http_get.unwrap();
        assert_eq!((http.path.as_deref(), http.scheme.as_deref()), (Some("/"), Some("HTTP")));
        let volumes = spec.volumes.unwrap();
        assert_eq!(volumes[0].projected.as_ref().unwrap().default_mode, Some(0o644));
        assert_eq!(volumes[1].image.as_ref().unwrap().pull_policy.as_deref(), Some("IfNotPresent"));
        let requests = spec.resources.unwrap().requests.unwrap();
        assert_eq!((requests["cpu"].0.as_str(), requests["memory"].0.as_str()), ("1", "1Gi"));
    }

    #[test]
    fn a12_ports_of_a_pod_on_the_host_network_are_host_ports() {
        let pod = completed(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  hostNetwork: true\n  containers:\n  - {name: c, \
             image: b, ports: [{containerPort: 80}]}\n",
        );
        assert_eq!(pod.spec.unwrap().containers[0].ports.as_ref().unwrap()[0].host_port, Some(80));
    }
}
