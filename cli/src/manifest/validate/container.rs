//! Rules for containers of every kind.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, VolumeMount};

use super::errors::{Errors, quoted};
use super::names::{check_label, check_port_name};
use super::{env, resources, security};

/// Names of the pod's volumes.
pub(super) type VolumeNames<'a> = BTreeSet<&'a str>;

pub(super) fn check_all<'a>(errors: &mut Errors, spec: &'a PodSpec, volumes: &VolumeNames<'a>) {
    if spec.containers.is_empty() {
        errors.required("spec.containers", "");
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        check(errors, &path, container, volumes, &mut names);
        check_app(errors, &path, container, spec.os.is_some());
        check_ports(errors, &format!("{path}.ports"), container, spec, &mut host_ports);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = format!("spec.initContainers[{index}]");
        check(errors, &path, container, volumes, &mut names);
        check_init(errors, &path, container, spec.os.is_some());
        // Init containers are gone before the others run, therefore each has the host's ports to itself.
        let mut own = host_ports.clone();
        let sidecar = container.restart_policy.is_some();
        check_ports(
            errors,
            &format!("{path}.ports"),
            container,
            spec,
            if sidecar { &mut host_ports } else { &mut own },
        );
    }
}

fn check<'a>(
    errors: &mut Errors,
    path: &str,
    container: &'a Container,
    volumes: &VolumeNames<'_>,
    names: &mut BTreeSet<&'a str>,
) {
    check_name(errors, &format!("{path}.name"), &container.name, names);
    check_image(errors, path, container);
    check_mounts(errors, path, container.volume_mounts.as_deref().unwrap_or_default(), volumes);
    resources::check(errors, &format!("{path}.resources"), container);
    env::check(errors, path, container);
    security::check_container(errors, &format!("{path}.securityContext"), container);
    let policy = container.termination_message_policy.as_deref().unwrap_or_default();
    const POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
    if !POLICIES.contains(&policy) {
        errors.unsupported(&format!("{path}.terminationMessagePolicy"), policy, &POLICIES);
    }
    errors.not_yet(&format!("{path}.restartPolicyRules"), container.restart_policy_rules.iter().flatten().count() > 0);
    errors.not_yet(&format!("{path}.volumeDevices"), container.volume_devices.iter().flatten().count() > 0);
}

fn check_name<'a>(errors: &mut Errors, path: &str, name: &'a str, names: &mut BTreeSet<&'a str>) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    check_label(errors, path, name);
    if !names.insert(name) {
        errors.duplicate(path, name);
    }
}

fn check_image(errors: &mut Errors, path: &str, container: &Container) {
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&format!("{path}.image"), "");
    } else if image.trim() != image {
        errors.invalid(&format!("{path}.image"), quoted(image), "must not have leading or trailing whitespace");
    }
    let policy = container.image_pull_policy.as_deref().unwrap_or_default();
    const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
    if !POLICIES.contains(&policy) {
        errors.unsupported(&format!("{path}.imagePullPolicy"), policy, &POLICIES);
    }
}

fn check_app(errors: &mut Errors, path: &str, container: &Container, has_os: bool) {
    const POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
    if let Some(policy) = container.restart_policy.as_deref().filter(|policy| !POLICIES.contains(policy)) {
        errors.unsupported(&format!("{path}.restartPolicy"), policy, &POLICIES);
    }
    refuse_probes_and_hooks(errors, path, container, has_os);
}

fn check_init(errors: &mut Errors, path: &str, container: &Container, has_os: bool) {
    if let Some(policy) = container.restart_policy.as_deref() {
        if policy != "Always" {
            errors.unsupported(&format!("{path}.restartPolicy"), policy, &["Always"]);
        }
        return refuse_probes_and_hooks(errors, path, container, has_os);
    }
    let fields = [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    for (field, _) in fields.iter().filter(|(_, set)| *set) {
        errors.forbidden(&format!("{path}.{field}"), "may not be set for init containers without restartPolicy=Always");
    }
}

fn refuse_probes_and_hooks(errors: &mut Errors, path: &str, container: &Container, has_os: bool) {
    errors.not_yet(&format!("{path}.livenessProbe"), container.liveness_probe.is_some());
    errors.not_yet(&format!("{path}.readinessProbe"), container.readiness_probe.is_some());
    errors.not_yet(&format!("{path}.startupProbe"), container.startup_probe.is_some());
    if let Some(lifecycle) = &container.lifecycle {
        errors.not_yet(&format!("{path}.lifecycle.postStart"), lifecycle.post_start.is_some());
        errors.not_yet(&format!("{path}.lifecycle.preStop"), lifecycle.pre_stop.is_some());
        if let Some(signal) = lifecycle.stop_signal.as_deref() {
            check_stop_signal(errors, &format!("{path}.lifecycle.stopSignal"), signal, has_os);
        }
    }
}

fn check_stop_signal(errors: &mut Errors, path: &str, signal: &str, has_os: bool) {
    if !has_os {
        errors.forbidden(path, "may not be set for containers with empty `spec.os.name`");
    }
    if signal.parse::<nix::sys::signal::Signal>().is_err() {
        errors.invalid(path, quoted(signal), "must be the name of a signal, as in SIGTERM");
    }
}

/// Host ports of a pod must differ; one that is taken is named as protocol, host address and port.
fn check_ports(
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
    const RANGE: &str = "must be between 1 and 65535, inclusive";
    let valid = |number: i32| (1..=65535).contains(&number);
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

fn check_mounts(errors: &mut Errors, path: &str, mounts: &[VolumeMount], volumes: &VolumeNames<'_>) {
    let mut targets = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        if mount.name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        } else if !volumes.contains(mount.name.as_str()) {
            errors.not_found(&format!("{path}.name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&format!("{path}.mountPath"), "");
        } else if !targets.insert(mount.mount_path.as_str()) {
            errors.invalid(&format!("{path}.mountPath"), quoted(&mount.mount_path), "must be unique");
        }
        check_sub_path(errors, &path, mount);
        check_recursive_read_only(errors, &path, mount);
        errors.not_yet(&format!("{path}.bindMountOptions"), mount.bind_mount_options.is_some());
        const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
        if let Some(mode) = mount.mount_propagation.as_deref().filter(|mode| !MODES.contains(mode)) {
            errors.unsupported(&format!("{path}.mountPropagation"), mode, &MODES);
        }
    }
}

fn check_sub_path(errors: &mut Errors, path: &str, mount: &VolumeMount) {
    let set = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    for (name, field) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
        let text = field.as_deref().unwrap_or_default();
        if text.starts_with('/') {
            errors.invalid(&format!("{path}.{name}"), quoted(text), "must be a relative path");
        }
        if text.split('/').any(|part| part == "..") {
            errors.invalid(&format!("{path}.{name}"), quoted(text), "must not contain '..'");
        }
        errors.not_yet(&format!("{path}.{name}"), set(field));
    }
    if set(&mount.sub_path) && set(&mount.sub_path_expr) {
        let value = mount.sub_path_expr.as_deref().unwrap_or_default();
        errors.invalid(&format!("{path}.subPathExpr"), quoted(value), "subPathExpr and subPath are mutually exclusive");
    }
}

fn check_recursive_read_only(errors: &mut Errors, path: &str, mount: &VolumeMount) {
    let path = format!("{path}.recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("" | "Disabled") => {}
        Some(mode @ ("Enabled" | "IfPossible")) => {
            if mount.read_only != Some(true) {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            errors.not_yet(&path, mode == "Enabled");
        }
        Some(other) => errors.unsupported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}
