//! Rules for the pod as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::errors::{Errors, quoted};
use super::names::{
    check_label, check_subdomain, label_problem, label_value_problem, qualified_name_problem, subdomain_problem,
};
use super::{container, security, volumes};

/// Keys and values of all annotations together.
const ANNOTATION_BYTES: usize = 256 * 1024;

pub(super) fn check(errors: &mut Errors, pod: &Pod, runtime_handler: &str) {
    check_metadata(errors, &pod.metadata);
    let Some(spec) = &pod.spec else { return errors.required("spec.containers", "") };
    let volumes = volumes::check(errors, spec);
    container::check_all(errors, spec, &volumes);
    check_policies(errors, spec);
    check_namespaces(errors, spec);
    check_hostname(errors, spec);
    check_dns(errors, spec);
    security::check_pod(errors, spec);
    refuse_unsupported(errors, spec);
    check_runtime_class(errors, spec, runtime_handler);
    if spec.image_pull_secrets.iter().flatten().next().is_some() {
        errors
            .warn("spec.imagePullSecrets: images are pulled with the credentials of containerd's configuration".into());
    }
}

fn check_metadata(errors: &mut Errors, meta: &ObjectMeta) {
    match meta.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            check_subdomain(errors, "metadata.name", name);
            let as_hostname = label_problem(name);
            if subdomain_problem(name).is_empty() && !as_hostname.is_empty() {
                errors.warn(format!(
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS \
                     label is recommended: {as_hostname:?}"
                ));
            }
        }
        None if meta.generate_name.as_deref().unwrap_or_default().is_empty() => {
            errors.required("metadata.name", "name or generateName is required");
        }
        None => {}
    }
    check_label(errors, "metadata.namespace", meta.namespace.as_deref().unwrap_or("default"));
    for (key, value) in meta.labels.iter().flatten() {
        if let Some(problem) = qualified_name_problem(key) {
            errors.invalid("metadata.labels", quoted(key), problem);
        }
        if let Some(problem) = label_value_problem(value) {
            errors.invalid("metadata.labels", quoted(value), problem);
        }
    }
    check_annotations(errors, meta.annotations.as_ref());
    errors.not_yet("metadata.finalizers", meta.finalizers.iter().flatten().next().is_some());
}

fn check_annotations(errors: &mut Errors, annotations: Option<&BTreeMap<String, String>>) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        if let Some(problem) = qualified_name_problem(&key.to_lowercase()) {
            errors.invalid("metadata.annotations", quoted(key), problem);
        }
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATION_BYTES {
        errors.too_long("metadata.annotations", ANNOTATION_BYTES);
    }
}

fn check_policies(errors: &mut Errors, spec: &PodSpec) {
    let restart = spec.restart_policy.as_deref().unwrap_or_default();
    const RESTART: [&str; 3] = ["Always", "OnFailure", "Never"];
    if !RESTART.contains(&restart) {
        errors.unsupported("spec.restartPolicy", restart, &RESTART);
    }
    if let Some(grace) = spec.termination_grace_period_seconds.filter(|grace| *grace < 0) {
        errors.invalid("spec.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0");
    }
    if let Some(deadline) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        errors.invalid("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive");
    }
}

fn check_namespaces(errors: &mut Errors, spec: &PodSpec) {
    let yes = |field: Option<bool>| field == Some(true);
    if yes(spec.share_process_namespace) && yes(spec.host_pid) {
        errors.invalid("spec.shareProcessNamespace", true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    let own_users = spec.host_users == Some(false);
    for (path, set) in [("spec.hostPID", spec.host_pid), ("spec.hostIPC", spec.host_ipc)] {
        if own_users && yes(set) {
            errors.forbidden(path, &format!("when `hostUsers` is false, `{}` must be false", &path[5..]));
        }
    }
    errors.not_yet("spec.hostUsers", own_users);
}

fn check_hostname(errors: &mut Errors, spec: &PodSpec) {
    for (path, name) in [("spec.hostname", &spec.hostname), ("spec.subdomain", &spec.subdomain)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            check_label(errors, path, name);
        }
    }
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        if name.len() > 64 {
            errors.invalid("spec.hostnameOverride", quoted(name), "must be no more than 64 characters");
        }
        check_subdomain(errors, "spec.hostnameOverride", name);
        if spec.host_network == Some(true) {
            errors.forbidden("spec.hostnameOverride", "may not be set when hostNetwork is true");
        }
        if spec.set_hostname_as_fqdn == Some(true) {
            errors.forbidden("spec.hostnameOverride", "may not be set when setHostnameAsFQDN is true");
        }
    }
}

fn check_dns(errors: &mut Errors, spec: &PodSpec) {
    const POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    let policy = spec.dns_policy.as_deref().unwrap_or_default();
    if !POLICIES.contains(&policy) {
        errors.unsupported("spec.dnsPolicy", policy, &POLICIES);
    }
    let servers: Vec<&String> = spec.dns_config.iter().flat_map(|config| config.nameservers.iter().flatten()).collect();
    if policy == "None" && servers.is_empty() {
        let (path, detail) = match spec.dns_config {
            None => ("spec.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None"),
            Some(_) => {
                ("spec.dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            }
        };
        errors.required(path, detail);
    }
    if servers.len() > 3 {
        errors.invalid("spec.dnsConfig.nameservers", servers.len(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        check_address(errors, &format!("spec.dnsConfig.nameservers[{index}]"), server);
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        check_address(errors, &format!("spec.hostAliases[{index}].ip"), &alias.ip);
        for (number, name) in alias.hostnames.iter().flatten().enumerate() {
            check_subdomain(errors, &format!("spec.hostAliases[{index}].hostnames[{number}]"), name);
        }
    }
}

fn check_address(errors: &mut Errors, path: &str, address: &str) {
    if address.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(path, quoted(address), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

fn refuse_unsupported(errors: &mut Errors, spec: &PodSpec) {
    if spec.ephemeral_containers.iter().flatten().next().is_some() {
        errors.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    let resources = spec.resources.as_ref().is_some_and(|resources| *resources != Default::default());
    errors.not_yet("spec.resources", resources);
    errors.not_yet("spec.resourceClaims", spec.resource_claims.iter().flatten().next().is_some());
    errors.not_yet("spec.schedulingGates", spec.scheduling_gates.iter().flatten().next().is_some());
    if let Some(os) = spec.os.as_ref().filter(|os| os.name != "linux") {
        errors.unsupported("spec.os.name", &os.name, &["linux"]);
    }
}

/// The manifest's runtime class must not be another runtime than the one that the pod is about to get.
fn check_runtime_class(errors: &mut Errors, spec: &PodSpec, runtime_handler: &str) {
    if let Some(class) = spec.runtime_class_name.as_deref().filter(|class| *class != runtime_handler) {
        let detail = format!(
            "there are no runtime classes on a single machine and this pod would run with {runtime_handler:?}; remove the \
             field or pass --runtime-handler={class}"
        );
        errors.invalid("spec.runtimeClassName", quoted(class), &detail);
    }
}
