//! Rules for volumes that are made of files: configMap, secret, downwardAPI, and what projected has of them.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume, VolumeProjection};

use super::env::{check_resource, subscript};
use super::errors::{Errors, quoted};
use super::pod::ALPHA;

/// Fields of a pod that may be a file; the maps are whole here.
const FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

pub(super) fn check(errors: &mut Errors, path: &str, volume: &Volume) {
    if let Some(source) = &volume.config_map {
        let path = format!("{path}.configMap");
        require(errors, &format!("{path}.name"), &source.name);
        errors.refuse(&format!("{path}.defaultUser"), source.default_user.is_some(), ALPHA);
        check_mode(errors, &format!("{path}.defaultMode"), source.default_mode);
        check_keys(errors, &path, source.items.as_deref());
    }
    if let Some(source) = &volume.secret {
        let path = format!("{path}.secret");
        require(errors, &format!("{path}.secretName"), source.secret_name.as_deref().unwrap_or_default());
        errors.refuse(&format!("{path}.defaultUser"), source.default_user.is_some(), ALPHA);
        check_mode(errors, &format!("{path}.defaultMode"), source.default_mode);
        check_keys(errors, &path, source.items.as_deref());
    }
    if let Some(source) = &volume.downward_api {
        let path = format!("{path}.downwardAPI");
        errors.refuse(&format!("{path}.defaultUser"), source.default_user.is_some(), ALPHA);
        check_mode(errors, &format!("{path}.defaultMode"), source.default_mode);
        check_fields(errors, &path, source.items.as_deref());
    }
    if let Some(source) = &volume.projected {
        check_projected(errors, &format!("{path}.projected"), source);
    }
}

fn check_projected(errors: &mut Errors, path: &str, source: &ProjectedVolumeSource) {
    check_mode(errors, &format!("{path}.defaultMode"), source.default_mode);
    errors.refuse(&format!("{path}.defaultUser"), source.default_user.is_some(), ALPHA);
    let sources = source.sources.as_deref().unwrap_or_default();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (index, source) in sources.iter().enumerate() {
        let path = format!("{path}.sources[{index}]");
        check_projection(errors, &path, source);
        for target in targets(source) {
            if !taken.insert(target) {
                errors.invalid(&path, quoted(target), "conflicting duplicate paths");
            }
        }
    }
}

/// The paths that a source names; what it takes as a whole is not known before its object is looked at.
fn targets(source: &VolumeProjection) -> Vec<&str> {
    let keys = source.config_map.iter().flat_map(|source| source.items.iter().flatten());
    let keys = keys.chain(source.secret.iter().flat_map(|source| source.items.iter().flatten()));
    let fields = source.downward_api.iter().flat_map(|source| source.items.iter().flatten());
    keys.map(|item| item.path.as_str()).chain(fields.map(|item| item.path.as_str())).collect()
}

fn check_projection(errors: &mut Errors, path: &str, source: &VolumeProjection) {
    let given = [
        ("configMap", source.config_map.is_some()),
        ("secret", source.secret.is_some()),
        ("downwardAPI", source.downward_api.is_some()),
        ("serviceAccountToken", source.service_account_token.is_some()),
        ("clusterTrustBundle", source.cluster_trust_bundle.is_some()),
        ("podCertificate", source.pod_certificate.is_some()),
    ];
    let given: Vec<&str> = given.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    if given.is_empty() {
        return errors.required(path, "must specify a source");
    }
    for name in given.iter().skip(1) {
        errors.forbidden(&format!("{path}.{name}"), "may not specify more than 1 volume type per source");
    }
    for name in given.iter().filter(|name| !["configMap", "secret", "downwardAPI"].contains(name)) {
        errors.refuse(&format!("{path}.{name}"), true, "it is issued by an API server, and there is none");
    }
    if let Some(source) = &source.config_map {
        require(errors, &format!("{path}.configMap.name"), &source.name);
        check_keys(errors, &format!("{path}.configMap"), source.items.as_deref());
    }
    if let Some(source) = &source.secret {
        require(errors, &format!("{path}.secret.name"), &source.name);
        check_keys(errors, &format!("{path}.secret"), source.items.as_deref());
    }
    if let Some(source) = &source.downward_api {
        check_fields(errors, &format!("{path}.downwardAPI"), source.items.as_deref());
    }
}

fn require(errors: &mut Errors, path: &str, text: &str) {
    if text.is_empty() {
        errors.required(path, "");
    }
}

fn check_keys(errors: &mut Errors, path: &str, items: Option<&[KeyToPath]>) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        require(errors, &format!("{path}.key"), &item.key);
        check_target(errors, &format!("{path}.path"), &item.path);
        check_mode(errors, &format!("{path}.mode"), item.mode);
        errors.refuse(&format!("{path}.user"), item.user.is_some(), ALPHA);
    }
}

fn check_fields(errors: &mut Errors, path: &str, items: Option<&[DownwardAPIVolumeFile]>) {
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        check_target(errors, &format!("{path}.path"), &item.path);
        check_mode(errors, &format!("{path}.mode"), item.mode);
        errors.refuse(&format!("{path}.user"), item.user.is_some(), ALPHA);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(_), Some(_)) => {
                errors.invalid(
                    &path,
                    quoted("resource"),
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
            (Some(field), None) => {
                let known = FIELDS.contains(&field.field_path.as_str()) || subscript(&field.field_path).is_some();
                if !known {
                    errors.unsupported(&format!("{path}.fieldRef.fieldPath"), &field.field_path, &FIELDS);
                }
            }
            (None, Some(field)) => {
                let path = format!("{path}.resourceFieldRef");
                if field.container_name.as_deref().unwrap_or_default().is_empty() {
                    errors.required(&format!("{path}.containerName"), "");
                }
                check_resource(errors, &path, field);
            }
        }
    }
}

/// Where a file goes: below the volume, and not among the names that hold the volume together (`..data`).
fn check_target(errors: &mut Errors, path: &str, target: &str) {
    if target.is_empty() {
        errors.required(path, "");
    } else if target.starts_with('/') {
        errors.invalid(path, quoted(target), "must be a relative path");
    } else if target.split('/').any(|part| part == "..") {
        errors.invalid(path, quoted(target), "must not contain '..'");
    } else if target.starts_with("..") {
        errors.invalid(path, quoted(target), "must not start with '..'");
    }
}

fn check_mode(errors: &mut Errors, path: &str, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}
