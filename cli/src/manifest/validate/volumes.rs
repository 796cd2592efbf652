//! Rules for volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, PodSpec, Volume};

use super::container::VolumeNames;
use super::errors::{Errors, quoted};
use super::names::check_label;

/// What `hostPath.type` may be.
pub(crate) const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Checks the pod's volumes and answers with their names.
pub(super) fn check<'a>(errors: &mut Errors, spec: &'a PodSpec) -> VolumeNames<'a> {
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = format!("spec.volumes[{index}]");
        if volume.name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        } else {
            check_label(errors, &format!("{path}.name"), &volume.name);
            if !names.insert(volume.name.as_str()) {
                errors.duplicate(&format!("{path}.name"), &volume.name);
            }
        }
        check_source(errors, &path, volume);
    }
    names
}

fn check_source(errors: &mut Errors, path: &str, volume: &Volume) {
    let sources = sources_of(volume);
    for source in sources.iter().skip(1) {
        errors.forbidden(&format!("{path}.{source}"), "may not specify more than 1 volume type");
    }
    const SUPPORTED: [&str; 4] = ["configMap", "emptyDir", "hostPath", "secret"];
    for source in sources.iter().filter(|source| !SUPPORTED.contains(&source.as_str())) {
        errors.not_yet(&format!("{path}.{source}"), true);
    }
    if let Some(source) = &volume.empty_dir {
        check_empty_dir(errors, &format!("{path}.emptyDir"), source);
    }
    if let Some(source) = &volume.host_path {
        check_host_path(errors, &format!("{path}.hostPath"), source);
    }
    if let Some(source) = &volume.config_map {
        let path = format!("{path}.configMap");
        if source.name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        }
        errors.not_yet(&format!("{path}.defaultUser"), source.default_user.is_some());
        check_files(errors, &path, source.default_mode, source.items.as_deref());
    }
    if let Some(source) = &volume.secret {
        let path = format!("{path}.secret");
        if source.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&format!("{path}.secretName"), "");
        }
        errors.not_yet(&format!("{path}.defaultUser"), source.default_user.is_some());
        check_files(errors, &path, source.default_mode, source.items.as_deref());
    }
}

/// The sources that a volume names, as the manifest spells them.
fn sources_of(volume: &Volume) -> Vec<String> {
    // The object itself knows its fields best: there are thirty kinds of volume, and new ones come with each version.
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(volume) else { return Vec::new() };
    let mut sources: Vec<String> = fields.into_iter().map(|(name, _)| name).filter(|name| name != "name").collect();
    // The API server looks at hostPath last among the supported kinds, which decides which one it blames.
    sources.sort_by_key(|name| name == "hostPath");
    sources
}

fn check_empty_dir(errors: &mut Errors, path: &str, source: &EmptyDirVolumeSource) {
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => errors.not_yet(&format!("{path}.medium"), true),
        medium if medium.starts_with("HugePages") => errors.not_yet(&format!("{path}.medium"), true),
        other => errors.unsupported(&format!("{path}.medium"), other, &["", "HugePages", "Memory"]),
    }
    errors.not_yet(&format!("{path}.sizeLimit"), source.size_limit.is_some());
    if let Some(mode) = source.mode.filter(|mode| !(0..=0o1777).contains(mode)) {
        errors.invalid(&format!("{path}.mode"), mode, "must be a number between 0 and 01777 (octal), both inclusive");
    }
}

fn check_host_path(errors: &mut Errors, path: &str, source: &HostPathVolumeSource) {
    if source.path.is_empty() {
        errors.required(&format!("{path}.path"), "");
    } else if source.path.split('/').any(|part| part == "..") {
        errors.invalid(&format!("{path}.path"), quoted(&source.path), "must not contain '..'");
    } else if !source.path.starts_with('/') {
        errors.invalid(&format!("{path}.path"), quoted(&source.path), "must be an absolute path");
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.unsupported(&format!("{path}.type"), kind, &HOST_PATH_TYPES);
    }
}

fn check_files(errors: &mut Errors, path: &str, default_mode: Option<i32>, items: Option<&[KeyToPath]>) {
    check_mode(errors, &format!("{path}.defaultMode"), default_mode);
    for (index, item) in items.into_iter().flatten().enumerate() {
        let path = format!("{path}.items[{index}]");
        if item.key.is_empty() {
            errors.required(&format!("{path}.key"), "");
        }
        let relative = format!("{path}.path");
        if item.path.is_empty() {
            errors.required(&relative, "");
        } else if item.path.starts_with('/') {
            errors.invalid(&relative, quoted(&item.path), "must be a relative path");
        } else if item.path.split('/').any(|part| part == "..") {
            errors.invalid(&relative, quoted(&item.path), "must not contain '..'");
        } else if item.path.starts_with("..") {
            errors.invalid(&relative, quoted(&item.path), "must not start with '..'");
        }
        check_mode(errors, &format!("{path}.mode"), item.mode);
        errors.not_yet(&format!("{path}.user"), item.user.is_some());
    }
}

fn check_mode(errors: &mut Errors, path: &str, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}
