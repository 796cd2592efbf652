//! The sandbox: what the containers of a pod share.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use loment_cri::v1::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol};

use super::layout::{Layout, text};
use super::{DIRECTORY, HELD_IN, Host, LOGS, MANIFEST, dns, hosts, label, name, namespace, resources, security, uid};

/// The sandbox of a completed pod.
pub(crate) fn config(pod: &Pod, layout: &Layout, host: &Host) -> Result<PodSandboxConfig, serde_json::Error> {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut annotations: HashMap<String, String> =
        pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.insert(MANIFEST.to_owned(), serde_json::to_string(pod)?);
    annotations.insert(DIRECTORY.to_owned(), text(&layout.directory));
    annotations.insert(HELD_IN.to_owned(), text(&layout.directory));
    annotations.insert(LOGS.to_owned(), text(&layout.logs));
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name(pod).to_owned(),
            uid: uid(pod).to_owned(),
            namespace: namespace(pod).to_owned(),
            attempt: 0,
        }),
        hostname: if spec.host_network == Some(true) { String::new() } else { hosts::hostname(pod) },
        log_directory: text(&layout.logs),
        dns_config: Some(dns::config(&spec, &host.resolv_conf)),
        port_mappings: port_mappings(&spec),
        labels: labels(pod),
        annotations,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup(pod),
            security_context: Some(security::of_sandbox(&spec)),
            sysctls: sysctls(&spec),
            overhead: None,
            resources: Some(resources::of_pod(&spec, host)),
        }),
    })
}

/// The cgroup above those of the sandbox and the containers.
pub(crate) fn cgroup(pod: &Pod) -> String {
    format!("/loment/pod{}", uid(pod))
}

/// The pod's labels, and those by which a runtime's clients find it.
pub(crate) fn labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.insert(label::POD_NAME.to_owned(), name(pod).to_owned());
    labels.insert(label::POD_NAMESPACE.to_owned(), namespace(pod).to_owned());
    labels.insert(label::POD_UID.to_owned(), uid(pod).to_owned());
    labels
}

fn port_mappings(spec: &PodSpec) -> Vec<PortMapping> {
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let ports = super::containers(spec).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|number| *number > 0)?;
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            Some(PortMapping {
                protocol: protocol.into(),
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn sysctls(spec: &PodSpec) -> HashMap<String, String> {
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    sysctls.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect()
}
