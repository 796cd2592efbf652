//! Rules for the environment of a container.

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use super::errors::{Errors, quoted};
use super::names::check_subdomain;

const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// Fields of a pod that a variable may take its value from, apart from single labels and annotations.
pub(crate) const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Resources of a container that a variable may take its value from.
pub(crate) const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn check(errors: &mut Errors, path: &str, container: &Container) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        check_variable(errors, &format!("{path}.env[{index}]"), variable);
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if !prefix.is_empty() && !is_env_name(prefix) {
            errors.invalid(&format!("{path}.prefix"), quoted(prefix), ENV_NAME);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (Some(_), Some(_)) => {
                errors.invalid(&path, quoted(""), "may not have more than one field specified at a time");
            }
            (None, None) => errors.invalid(&path, quoted(""), "must specify one of: `configMapRef` or `secretRef`"),
            (Some(config), None) => require_name(errors, &format!("{path}.configMapRef.name"), &config.name),
            (None, Some(secret)) => require_name(errors, &format!("{path}.secretRef.name"), &secret.name),
        }
    }
}

fn is_env_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=')
}

fn require_name(errors: &mut Errors, path: &str, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
    } else {
        check_subdomain(errors, path, name);
    }
}

fn check_variable(errors: &mut Errors, path: &str, variable: &EnvVar) {
    if variable.name.is_empty() {
        errors.required(&format!("{path}.name"), "");
    } else if !is_env_name(&variable.name) {
        errors.invalid(&format!("{path}.name"), quoted(&variable.name), ENV_NAME);
    }
    let Some(source) = &variable.value_from else { return };
    let path = format!("{path}.valueFrom");
    if variable.value.as_deref().is_some_and(|value| !value.is_empty()) {
        errors.invalid(&path, quoted(""), "may not be specified when `value` is not empty");
    }
    check_source(errors, &path, source);
}

fn check_source(errors: &mut Errors, path: &str, source: &EnvVarSource) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        check_field(errors, &format!("{path}.fieldRef.fieldPath"), &field.field_path);
    }
    if let Some(field) = &source.resource_field_ref {
        sources += 1;
        if field.resource.is_empty() {
            errors.required(&format!("{path}.resourceFieldRef.resource"), "");
        } else if !RESOURCES.contains(&field.resource.as_str()) {
            errors.unsupported(&format!("{path}.resourceFieldRef.resource"), &field.resource, &RESOURCES);
        }
    }
    if let Some(key) = &source.config_map_key_ref {
        sources += 1;
        check_key(errors, &format!("{path}.configMapKeyRef"), &key.name, &key.key);
    }
    if let Some(key) = &source.secret_key_ref {
        sources += 1;
        check_key(errors, &format!("{path}.secretKeyRef"), &key.name, &key.key);
    }
    if source.file_key_ref.is_some() {
        sources += 1;
        errors.not_yet(&format!("{path}.fileKeyRef"), true);
    }
    match sources {
        0 => errors.invalid(
            path,
            quoted(""),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        1 => {}
        _ => errors.invalid(path, quoted(""), "may not have more than one field specified at a time"),
    }
}

fn check_key(errors: &mut Errors, path: &str, name: &str, key: &str) {
    require_name(errors, &format!("{path}.name"), name);
    if key.is_empty() {
        errors.required(&format!("{path}.key"), "");
    }
}

fn check_field(errors: &mut Errors, path: &str, field: &str) {
    if field.is_empty() {
        errors.required(path, "");
    } else if subscript(field).is_none() && !FIELDS.contains(&field) {
        errors.unsupported(path, field, &FIELDS);
    }
}

/// `metadata.labels['key']` as ("labels", "key").
pub(crate) fn subscript(field: &str) -> Option<(&str, &str)> {
    let (map, rest) = field.strip_prefix("metadata.")?.split_once("['")?;
    let key = rest.strip_suffix("']")?;
    (matches!(map, "labels" | "annotations") && !key.is_empty()).then_some((map, key))
}
