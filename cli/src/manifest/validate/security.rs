//! Rules for the security contexts.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec, SeccompProfile};

use super::errors::{Errors, quoted};

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";

/// Sysctls that belong to a pod's own namespaces and cannot hurt its neighbours.
const SAFE_SYSCTLS: [&str; 12] = [
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

pub(super) fn check_pod(errors: &mut Errors, spec: &PodSpec) {
    let Some(context) = &spec.security_context else { return };
    let path = "spec.securityContext";
    check_id(errors, &format!("{path}.runAsUser"), context.run_as_user);
    check_id(errors, &format!("{path}.runAsGroup"), context.run_as_group);
    check_id(errors, &format!("{path}.fsGroup"), context.fs_group);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        check_id(errors, &format!("{path}.supplementalGroups[{index}]"), Some(*group));
    }
    if let Some(policy) = context.supplemental_groups_policy.as_deref()
        && !["Merge", "Strict"].contains(&policy)
    {
        errors.unsupported(&format!("{path}.supplementalGroupsPolicy"), policy, &["Merge", "Strict"]);
    }
    check_seccomp(errors, &format!("{path}.seccompProfile"), context.seccomp_profile.as_ref());
    check_app_armor(errors, &format!("{path}.appArmorProfile"), context.app_armor_profile.as_ref());
    errors.not_yet(&format!("{path}.seLinuxOptions"), context.se_linux_options.is_some());
    errors.not_yet(&format!("{path}.windowsOptions"), context.windows_options.is_some());
    check_sysctls(errors, spec);
}

fn check_sysctls(errors: &mut Errors, spec: &PodSpec) {
    let sysctls = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for (index, sysctl) in sysctls.enumerate() {
        let path = format!("spec.securityContext.sysctls[{index}].name");
        let name = sysctl.name.replace('/', ".");
        if name.is_empty() {
            errors.required(&path, "");
        } else if !SAFE_SYSCTLS.contains(&name.as_str()) {
            errors.forbidden(&path, &format!("sysctl {name:?} is not in the safe set"));
        }
        for (host, prefix, field) in
            [(spec.host_network, "net.", "hostNetwork"), (spec.host_ipc, "kernel.shm", "hostIPC")]
        {
            if host == Some(true) && name.starts_with(prefix) {
                errors.invalid(&path, quoted(&sysctl.name), &format!("may not be specified when '{field}' is true"));
            }
        }
    }
}

pub(super) fn check_container(errors: &mut Errors, path: &str, container: &Container) {
    let context = container.security_context.clone().unwrap_or_default();
    check_id(errors, &format!("{path}.runAsUser"), context.run_as_user);
    check_id(errors, &format!("{path}.runAsGroup"), context.run_as_group);
    let privileged = context.privileged == Some(true);
    if context.allow_privilege_escalation == Some(false) {
        if privileged {
            errors.invalid(path, quoted(""), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        if added.clone().any(|name| matches!(name.as_str(), "SYS_ADMIN" | "CAP_SYS_ADMIN")) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, quoted(""), detail);
        }
    }
    check_seccomp(errors, &format!("{path}.seccompProfile"), context.seccomp_profile.as_ref());
    check_app_armor(errors, &format!("{path}.appArmorProfile"), context.app_armor_profile.as_ref());
    match context.proc_mount.as_deref() {
        None | Some("Default") => {}
        Some("Unmasked") => errors.not_yet(&format!("{path}.procMount"), true),
        Some(other) => errors.unsupported(&format!("{path}.procMount"), other, &["Default", "Unmasked"]),
    }
    errors.not_yet(&format!("{path}.seLinuxOptions"), context.se_linux_options.is_some());
    errors.not_yet(&format!("{path}.windowsOptions"), context.windows_options.is_some());
    let container_path = path.trim_end_matches(".securityContext");
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if mount.mount_propagation.as_deref() == Some("Bidirectional") && !privileged {
            let path = format!("{container_path}.volumeMounts[{index}].mountPropagation");
            errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
}

fn check_id(errors: &mut Errors, path: &str, id: Option<i64>) {
    if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
        errors.invalid(path, id, ID_RANGE);
    }
}

fn check_seccomp(errors: &mut Errors, path: &str, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    let file = profile.localhost_profile.as_deref();
    check_profile(errors, path, &profile.type_, file, "seccomp");
}

fn check_app_armor(errors: &mut Errors, path: &str, profile: Option<&AppArmorProfile>) {
    let Some(profile) = profile else { return };
    let name = profile.localhost_profile.as_deref();
    check_profile(errors, path, &profile.type_, name, "AppArmor");
}

fn check_profile(errors: &mut Errors, path: &str, kind: &str, local: Option<&str>, what: &str) {
    match (kind, local) {
        ("Localhost", None | Some("")) => {
            errors.required(&format!("{path}.localhostProfile"), &format!("must be set when {what} type is Localhost"));
        }
        ("Localhost", Some(_)) | ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(local)) => errors.invalid(
            &format!("{path}.localhostProfile"),
            quoted(local),
            &format!("can only be set when {what} type is Localhost"),
        ),
        ("", _) => errors.required(&format!("{path}.type"), "type is required"),
        (other, _) => {
            errors.unsupported(&format!("{path}.type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}
