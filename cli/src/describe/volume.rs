//! The volumes of a pod.

use k8s_openapi::api::core::v1::{Volume, VolumeProjection};

use super::Lines;
use crate::print::view::View;

pub(super) fn all(lines: &mut Lines, view: &View) {
    let volumes = view.found.pod.spec.clone().unwrap_or_default().volumes.unwrap_or_default();
    if volumes.is_empty() {
        lines.field(0, "Volumes", "<none>");
        return;
    }
    lines.add(0, "Volumes:");
    for volume in &volumes {
        lines.add(1, format!("{}:", volume.name));
        one(lines, volume);
    }
}

fn one(lines: &mut Lines, volume: &Volume) {
    let mut field = |name: &str, value: &str| lines.field(2, name, value);
    if let Some(source) = &volume.empty_dir {
        field("Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        field("Medium", source.medium.as_deref().unwrap_or_default());
        field("SizeLimit", source.size_limit.as_ref().map_or("<unset>", |limit| &limit.0));
    } else if let Some(source) = &volume.host_path {
        field("Type", "HostPath (bare host directory volume)");
        field("Path", &source.path);
        field("HostPathType", source.type_.as_deref().unwrap_or_default());
    } else if let Some(source) = &volume.config_map {
        field("Type", "ConfigMap (a volume populated by a ConfigMap)");
        field("Name", &source.name);
        field("Optional", flag(source.optional));
    } else if let Some(source) = &volume.secret {
        field("Type", "Secret (a volume populated by a Secret)");
        field("SecretName", source.secret_name.as_deref().unwrap_or_default());
        field("Optional", flag(source.optional));
    } else if let Some(source) = &volume.image {
        field("Type", "Image (a container image or OCI artifact)");
        field("Reference", source.reference.as_deref().unwrap_or_default());
        field("PullPolicy", source.pull_policy.as_deref().unwrap_or_default());
    } else if let Some(source) = &volume.downward_api {
        field("Type", "DownwardAPI (a volume populated by information about the pod)");
        lines.add(2, "Items:");
        for item in source.items.iter().flatten() {
            let field = item.field_ref.as_ref().map(|field| field.field_path.clone());
            let resource = item.resource_field_ref.as_ref().map(|field| field.resource.clone());
            lines.add(3, format!("{} -> {}", field.or(resource).unwrap_or_default(), item.path));
        }
    } else if let Some(source) = &volume.projected {
        field("Type", "Projected (a volume that contains injected data from multiple sources)");
        source.sources.iter().flatten().for_each(|source| projection(lines, source));
    } else {
        field("Type", "<unknown>");
    }
}

fn projection(lines: &mut Lines, source: &VolumeProjection) {
    if let Some(map) = &source.config_map {
        lines.field(2, "ConfigMapName", &map.name);
        lines.field(2, "Optional", flag(map.optional));
    } else if let Some(secret) = &source.secret {
        lines.field(2, "SecretName", &secret.name);
        lines.field(2, "Optional", flag(secret.optional));
    } else if source.downward_api.is_some() {
        lines.field(2, "DownwardAPI", "true");
    }
}

fn flag(value: Option<bool>) -> &'static str {
    if value == Some(true) { "true" } else { "false" }
}
