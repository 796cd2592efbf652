//! Rules for kernel parameters: which of them belong to the pod alone.

use k8s_openapi::api::core::v1::PodSpec;

use super::errors::{Errors, quoted};

/// Sysctls that belong to a pod's own namespaces and cannot hurt its neighbours.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Beginnings of the names that have a value of their own in each namespace. All others are the machine's, and no list
/// makes them a pod's.
const OF_THE_IPC_NAMESPACE: [&str; 4] = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
const OF_THE_NETWORK: &str = "net.";

pub(super) fn check(errors: &mut Errors, spec: &PodSpec, allowed: &[String]) {
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    let mut seen = Vec::new();
    for (index, sysctl) in sysctls.enumerate() {
        let path = format!("spec.securityContext.sysctls[{index}].name");
        let name = sysctl.name.replace('/', ".");
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if !is_name(&name) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&path, quoted(&sysctl.name), detail);
            continue;
        }
        if seen.contains(&name) {
            errors.duplicate(&path, &sysctl.name);
        }
        check_one(errors, &path, &name, spec, allowed);
        seen.push(name);
    }
}

fn check_one(errors: &mut Errors, path: &str, name: &str, spec: &PodSpec, allowed: &[String]) {
    let of_ipc = OF_THE_IPC_NAMESPACE.iter().any(|prefix| name.starts_with(prefix));
    let of_network = name.starts_with(OF_THE_NETWORK);
    for (host, concerned, field) in [(spec.host_network, of_network, "hostNetwork"), (spec.host_ipc, of_ipc, "hostIPC")]
    {
        if host == Some(true) && concerned {
            errors.invalid(path, quoted(name), &format!("may not be specified when '{field}' is true"));
        }
    }
    if !of_ipc && !of_network {
        errors.forbidden(path, &format!("SysctlForbidden: sysctl {name:?} is not known to be namespaced"));
    } else if !SAFE.contains(&name) && !allowed.iter().any(|pattern| matches(pattern, name)) {
        let detail = format!(
            "SysctlForbidden: forbidden sysctl: {name:?} not allowlisted (--allowed-unsafe-sysctls={name} allows it)"
        );
        errors.forbidden(path, &detail);
    }
}

/// A name, or the beginning of names with a `*` behind it.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.replace('/', ".");
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn is_name(name: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let part = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(part)
}
