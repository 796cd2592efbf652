//! Rules for the environment of a container.

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ResourceFieldSelector};

use super::super::quantity::Amount;
use super::errors::{Errors, quoted};
use super::names::check_subdomain;

const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

/// Fields of a pod that a variable may take its value from, apart from single labels and annotations.
const FIELDS: [&str; 9] = [
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
pub(super) const RESOURCES: [&str; 6] = [
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
        check_resource(errors, &format!("{path}.resourceFieldRef"), field);
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
        let reason = "a container's environment is fixed when the pod is made, before a file of a volume is written";
        errors.refuse(&format!("{path}.fileKeyRef"), true, reason);
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

/// A container's request or limit, divided by one of the divisors that yield a sensible number.
pub(super) fn check_resource(errors: &mut Errors, path: &str, field: &ResourceFieldSelector) {
    let name = field.resource.as_str();
    let pages = name.split_once('.').is_some_and(|(_, name)| name.starts_with("hugepages-"));
    if name.is_empty() {
        errors.required(&format!("{path}.resource"), "");
    } else if !RESOURCES.contains(&name) && !pages {
        errors.unsupported(&format!("{path}.resource"), name, &RESOURCES);
    }
    let divisor = field.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
    const OF_CPU: [&str; 2] = ["1m", "1"];
    const OF_BYTES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (divisors, kind): (&[&str], &str) = match name.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&OF_CPU, "cpu"),
        Some("memory") => (&OF_BYTES, "memory"),
        Some("ephemeral-storage") => (&OF_BYTES, "local ephemeral storage"),
        _ => (&OF_BYTES, "hugepages"),
    };
    let given = Amount::parse(divisor).unwrap_or_default();
    if !matches!(divisor, "" | "0") && !divisors.iter().any(|known| Amount::parse(known) == Some(given)) {
        let detail = format!("only divisor's values {} are supported with the {kind} resource", divisors.join(", "));
        errors.invalid(&format!("{path}.divisor"), quoted(divisor), &detail);
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
