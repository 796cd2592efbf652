//! Rules for volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, ImageVolumeSource, PodSpec, Volume};

use super::super::quantity::Amount;
use super::container::VolumeNames;
use super::errors::{Errors, quoted};
use super::names::check_label;
use super::pod::ALPHA;
use super::{resources, sources};

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
    const SUPPORTED: [&str; 7] = ["configMap", "downwardAPI", "emptyDir", "hostPath", "image", "projected", "secret"];
    for source in sources.iter().filter(|source| !SUPPORTED.contains(&source.as_str())) {
        let reason = match source.as_str() {
            "persistentVolumeClaim" | "ephemeral" => {
                "claims are bound by a cluster; a hostPath volume keeps data on this machine"
            }
            _ => "volumes of this kind are attached by a cluster; mount it on this machine and use hostPath",
        };
        errors.refuse(&format!("{path}.{source}"), true, reason);
    }
    if let Some(source) = &volume.empty_dir {
        check_empty_dir(errors, &format!("{path}.emptyDir"), source);
    }
    if let Some(source) = &volume.host_path {
        check_host_path(errors, &format!("{path}.hostPath"), source);
    }
    if let Some(source) = &volume.image {
        check_image(errors, &format!("{path}.image"), source);
    }
    sources::check(errors, path, volume);
}

fn check_image(errors: &mut Errors, path: &str, source: &ImageVolumeSource) {
    if source.reference.as_deref().unwrap_or_default().is_empty() {
        errors.required(&format!("{path}.reference"), "");
    }
    let policy = source.pull_policy.as_deref().unwrap_or_default();
    const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
    if !POLICIES.contains(&policy) {
        errors.unsupported(&format!("{path}.pullPolicy"), policy, &POLICIES);
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
        "" | "Memory" | "HugePages" => {}
        medium if medium.strip_prefix("HugePages-").is_some_and(|size| Amount::parse(size).is_some()) => {}
        other => errors.unsupported(&format!("{path}.medium"), other, &["", "HugePages", "HugePages-<size>", "Memory"]),
    }
    let size = format!("{path}.sizeLimit");
    match source.size_limit.as_ref().map(|limit| (Amount::parse(&limit.0), limit)) {
        Some((None, limit)) => errors.invalid(&size, quoted(&limit.0), resources::NO_QUANTITY),
        Some((Some(amount), limit)) if amount.is_negative() => {
            errors.invalid(&size, quoted(&limit.0), "SizeLimit field must be a valid resource quantity");
        }
        _ => {}
    }
    errors.refuse(&format!("{path}.mode"), source.mode.is_some(), ALPHA);
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

/// A subPath is looked for when the pod is made. An init container that would put a file there comes too late, and finds a
/// directory in its place: the author should know.
pub(super) fn sub_paths_that_are_made_early(spec: &PodSpec) -> Vec<String> {
    let written = |name: &str| {
        let mut inits = spec.init_containers.iter().flatten();
        inits.any(|init| {
            init.volume_mounts.iter().flatten().any(|mount| mount.name == name && mount.read_only != Some(true))
        })
    };
    let empty =
        |name: &str| spec.volumes.iter().flatten().any(|volume| volume.name == name && volume.empty_dir.is_some());
    let mut found = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (number, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let sub_path = mount.sub_path.as_deref().filter(|path| !path.is_empty());
            if let Some(sub_path) = sub_path.filter(|_| empty(&mount.name) && written(&mount.name)) {
                found.push(format!(
                    "spec.containers[{index}].volumeMounts[{number}].subPath: {sub_path:?} is made as a directory before \
                     init containers run; a file that one of them writes there needs the whole volume mounted"
                ));
            }
        }
    }
    found
}
