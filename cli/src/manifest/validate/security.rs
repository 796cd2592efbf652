//! Rules for the security contexts.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec, SeccompProfile};

use super::errors::{Errors, quoted};

const ID_RANGE: &str = "must be between 0 and 2147483647, inclusive";

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
    const CHANGES: [&str; 2] = ["Always", "OnRootMismatch"];
    if let Some(policy) = context.fs_group_change_policy.as_deref().filter(|policy| !CHANGES.contains(policy)) {
        errors.unsupported(&format!("{path}.fsGroupChangePolicy"), policy, &CHANGES);
    }
    const LABELS: [&str; 2] = ["MountOption", "Recursive"];
    if let Some(policy) = context.se_linux_change_policy.as_deref().filter(|policy| !LABELS.contains(policy)) {
        errors.unsupported(&format!("{path}.seLinuxChangePolicy"), policy, &LABELS);
    }
    errors.refuse(&format!("{path}.windowsOptions"), context.windows_options.is_some(), WINDOWS);
}

/// Why what only Windows has is not taken.
const WINDOWS: &str = "pods run on Linux";

pub(super) fn check_container(errors: &mut Errors, path: &str, container: &Container, own_users: bool) {
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
        Some("Unmasked") if own_users => {}
        Some("Unmasked") => {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(&format!("{path}.procMount"), quoted("Unmasked"), detail);
        }
        Some(other) => errors.unsupported(&format!("{path}.procMount"), other, &["Default", "Unmasked"]),
    }
    errors.refuse(&format!("{path}.windowsOptions"), context.windows_options.is_some(), WINDOWS);
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
    let outside = |file: &str| file.starts_with('/') || file.split('/').any(|part| part == "..");
    if what == "seccomp" && local.is_some_and(outside) {
        errors.invalid(
            &format!("{path}.localhostProfile"),
            quoted(local.unwrap_or_default()),
            "must be a path below the directory for seccomp profiles, without '..'",
        );
    }
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
