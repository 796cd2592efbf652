//! Rules for containers of every kind.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, PodSpec};

use super::super::amounts::is_sidecar;
use super::errors::{Errors, quoted};
use super::names::check_label;
use super::{env, hooks, mounts, ports, probes, resources, security};

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
        check(errors, &path, container, volumes, &mut names, spec.host_users == Some(false));
        hooks::check(errors, &path, container, spec);
        probes::check(errors, &path, container, spec);
        ports::check(errors, &format!("{path}.ports"), container, spec, &mut host_ports);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = format!("spec.initContainers[{index}]");
        check(errors, &path, container, volumes, &mut names, spec.host_users == Some(false));
        // Init containers are gone before the others run, therefore each has the host's ports to itself.
        let mut own = host_ports.clone();
        if is_sidecar(container) {
            hooks::check(errors, &path, container, spec);
            probes::check(errors, &path, container, spec);
            ports::check(errors, &format!("{path}.ports"), container, spec, &mut host_ports);
        } else {
            refuse_probes_and_hooks(errors, &path, container);
            ports::check(errors, &format!("{path}.ports"), container, spec, &mut own);
        }
    }
}

/// What an init container cannot have, because nobody waits for it to be ready and it is not stopped by anyone.
fn refuse_probes_and_hooks(errors: &mut Errors, path: &str, container: &Container) {
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

fn check<'a>(
    errors: &mut Errors,
    path: &str,
    container: &'a Container,
    volumes: &VolumeNames<'_>,
    names: &mut BTreeSet<&'a str>,
    own_users: bool,
) {
    check_name(errors, &format!("{path}.name"), &container.name, names);
    check_image(errors, path, container);
    check_restart(errors, path, container);
    mounts::check(errors, path, container.volume_mounts.as_deref().unwrap_or_default(), volumes);
    resources::check(errors, &format!("{path}.resources"), container);
    env::check(errors, path, container);
    security::check_container(errors, &format!("{path}.securityContext"), container, own_users);
    let policy = container.termination_message_policy.as_deref().unwrap_or_default();
    const POLICIES: [&str; 2] = ["File", "FallbackToLogsOnError"];
    if !POLICIES.contains(&policy) {
        errors.unsupported(&format!("{path}.terminationMessagePolicy"), policy, &POLICIES);
    }
    let devices = container.volume_devices.iter().flatten().count() > 0;
    errors.refuse(&format!("{path}.volumeDevices"), devices, "block devices come from claims, and there are none here");
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

/// Rules need a policy beside them, which says what happens when none of them matches.
fn check_restart(errors: &mut Errors, path: &str, container: &Container) {
    const POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
    const MOST: usize = 20;
    let policy = container.restart_policy.as_deref();
    if let Some(policy) = policy.filter(|policy| !POLICIES.contains(policy)) {
        errors.unsupported(&format!("{path}.restartPolicy"), policy, &POLICIES);
    }
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    if !rules.is_empty() && policy.is_none() {
        errors.required(&format!("{path}.restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > MOST {
        errors.too_many(&format!("{path}.restartPolicyRules"), rules.len(), MOST);
    }
    for (index, rule) in rules.iter().enumerate() {
        check_rule(errors, &format!("{path}.restartPolicyRules[{index}]"), rule);
    }
}

fn check_rule(errors: &mut Errors, path: &str, rule: &ContainerRestartRule) {
    const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    const MOST: usize = 255;
    if !ACTIONS.contains(&rule.action.as_str()) {
        errors.unsupported(&format!("{path}.action"), &rule.action, &ACTIONS);
    }
    let Some(codes) = &rule.exit_codes else { return errors.required(&format!("{path}.exitCodes"), "") };
    if !OPERATORS.contains(&codes.operator.as_str()) {
        errors.unsupported(&format!("{path}.exitCodes.operator"), &codes.operator, &OPERATORS);
    }
    let values = codes.values.as_deref().unwrap_or_default();
    if values.len() > MOST {
        errors.too_many(&format!("{path}.exitCodes.values"), values.len(), MOST);
    }
    for (index, code) in values.iter().enumerate().filter(|(_, code)| !(0..=255).contains(*code)) {
        errors.invalid(&format!("{path}.exitCodes.values[{index}]"), code, "must be between 0 and 255, inclusive");
    }
}
