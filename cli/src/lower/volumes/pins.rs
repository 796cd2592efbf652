//! Parts of volumes that a container mounts alone (`subPath`), and volumes whose submounts must be read-only too.
//!
//! The runtime is given a path, and looks it up again when it mounts. Another container could have put a link there in the
//! meantime. So what was found is bind mounted below the pod's directory first, where no container reaches, and the
//! runtime is given that place.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::super::env::{Scope, resolve};
use super::super::layout::Layout;
use super::super::{Missing, containers};

/// A mount that is made on the machine for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// For errors: which mount of which container.
    pub(crate) what: String,
    /// The volume.
    pub(crate) root: PathBuf,
    /// What of it; empty is all of it. Looked up with the volume as the root, so that no link leads out of it.
    pub(crate) sub_path: String,
    /// Where it is bind mounted.
    pub(crate) at: PathBuf,
    /// Nothing can be written through it, nor through any mount below it.
    pub(crate) read_only: bool,
}

/// The pins of all containers of a pod.
pub(crate) fn pins(scope: Scope<'_>, layout: &Layout) -> Result<Vec<Pin>, Missing> {
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let mut found = Vec::new();
    for container in containers(&spec) {
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            if is_pinned(mount)
                && let Some(volume) = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)
            {
                found.push(Pin {
                    what: format!("container {:?}: volume mount {:?}", container.name, mount.name),
                    root: layout.source(volume),
                    sub_path: sub_path(scope, container, mount)?,
                    at: layout.pin(&container.name, index),
                    read_only: is_recursive(mount),
                });
            }
        }
    }
    Ok(found)
}

pub(super) fn is_pinned(mount: &VolumeMount) -> bool {
    let given = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    given(&mount.sub_path) || given(&mount.sub_path_expr) || is_recursive(mount)
}

fn is_recursive(mount: &VolumeMount) -> bool {
    matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"))
}

/// The part of the volume; an expression's variables must all be there, and none may lead to the volume itself.
fn sub_path(scope: Scope<'_>, container: &Container, mount: &VolumeMount) -> Result<String, Missing> {
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(mount.sub_path.clone().unwrap_or_default());
    };
    let refuse = |why: &str| {
        let name = &container.name;
        Missing(format!("container {name:?}: cannot expand subPathExpr {expression:?}: {why}"))
    };
    let variables = resolve(scope, container)?;
    let missing = std::cell::RefCell::new(None);
    let expanded = super::super::env::expand(expression, |name| {
        let value = variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = value.filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().get_or_insert_with(|| format!("missing value for {name:?}"));
        }
        value
    });
    if let Some(why) = missing.into_inner() {
        return Err(refuse(&why));
    }
    if expanded.starts_with('/') || expanded.split('/').any(|part| part == "..") {
        return Err(refuse(&format!("{expanded:?} must be a relative path without '..'")));
    }
    Ok(expanded)
}
