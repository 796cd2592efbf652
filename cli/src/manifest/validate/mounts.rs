//! Rules for where a container mounts its volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::VolumeMount;

use super::container::VolumeNames;
use super::errors::{Errors, quoted};
use super::pod::ALPHA;

pub(super) fn check(errors: &mut Errors, path: &str, mounts: &[VolumeMount], volumes: &VolumeNames<'_>) {
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
        } else if mount.mount_path.contains(':') {
            errors.invalid(&format!("{path}.mountPath"), quoted(&mount.mount_path), "must not contain ':'");
        } else if !targets.insert(mount.mount_path.as_str()) {
            errors.invalid(&format!("{path}.mountPath"), quoted(&mount.mount_path), "must be unique");
        }
        check_sub_path(errors, &path, mount);
        check_recursive_read_only(errors, &path, mount);
        errors.refuse(&format!("{path}.bindMountOptions"), mount.bind_mount_options.is_some(), ALPHA);
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
    }
    if set(&mount.sub_path) && set(&mount.sub_path_expr) {
        let value = mount.sub_path_expr.as_deref().unwrap_or_default();
        errors.invalid(&format!("{path}.subPathExpr"), quoted(value), "subPathExpr and subPath are mutually exclusive");
    }
}

fn check_recursive_read_only(errors: &mut Errors, path: &str, mount: &VolumeMount) {
    let path = format!("{path}.recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_deref().is_some_and(|mode| mode != "None") {
                errors.forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.unsupported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}
