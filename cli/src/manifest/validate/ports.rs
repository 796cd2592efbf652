//! Rules for ports.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

use super::errors::{Errors, quoted};
use super::names::check_port_name;

pub(super) const RANGE: &str = "must be between 1 and 65535, inclusive";

pub(super) fn is_port(number: i32) -> bool {
    (1..=65535).contains(&number)
}

/// Host ports of a pod must differ; one that is taken is named as protocol, host address and port.
pub(super) fn check(
    errors: &mut Errors,
    path: &str,
    container: &Container,
    spec: &PodSpec,
    host_ports: &mut BTreeSet<String>,
) {
    let mut names = BTreeSet::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            check_port_name(errors, &format!("{path}.name"), name);
            if !names.insert(name) {
                errors.duplicate(&format!("{path}.name"), name);
            }
        }
        check_port(errors, &path, port, spec.host_network == Some(true));
        if let Some(number) = port.host_port.filter(|number| *number != 0) {
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let key = format!("{protocol}/{}/{number}", port.host_ip.as_deref().unwrap_or_default());
            if !host_ports.insert(key.clone()) {
                errors.duplicate(&format!("{path}.hostPort"), &key);
            }
        }
    }
}

fn check_port(errors: &mut Errors, path: &str, port: &ContainerPort, host_network: bool) {
    let valid = is_port;
    if port.container_port == 0 {
        errors.required(&format!("{path}.containerPort"), "");
    } else if !valid(port.container_port) {
        errors.invalid(&format!("{path}.containerPort"), port.container_port, RANGE);
    }
    match port.host_port.filter(|number| *number != 0) {
        Some(number) if !valid(number) => errors.invalid(&format!("{path}.hostPort"), number, RANGE),
        Some(number) if host_network && number != port.container_port => {
            errors.invalid(
                &format!("{path}.hostPort"),
                number,
                "must match `containerPort` when `hostNetwork` is true",
            );
        }
        _ => {}
    }
    let protocol = port.protocol.as_deref().unwrap_or_default();
    const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
    if !PROTOCOLS.contains(&protocol) {
        errors.unsupported(&format!("{path}.protocol"), protocol, &PROTOCOLS);
    }
    if let Some(address) =
        port.host_ip.as_deref().filter(|ip| !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err())
    {
        errors.invalid(
            &format!("{path}.hostIP"),
            quoted(address),
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
}
