//! Volumes: what has to be on the disk, and where a container sees it.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};
use loment_cri::v1::{Mount, MountPropagation};

use super::layout::{Layout, text};
use super::{Missing, Sources, WHERE};

/// Something that must be there before the pod's containers are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// An empty directory with these permission bits; with a group, files made in it belong to that group.
    Empty { path: PathBuf, mode: u32, group: Option<u32> },
    /// Files that are read only to containers, and that could be exchanged for others all at once.
    Files { path: PathBuf, files: Vec<FileOf>, group: Option<u32> },
    /// A path of the machine, of the type that the manifest says.
    HostPath { volume: String, path: PathBuf, kind: String },
}

/// A file of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileOf {
    /// Relative to the volume.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// What the volumes of a pod need.
pub(crate) fn make(pod: &Pod, layout: &Layout, sources: &Sources) -> Result<Vec<Make>, Missing> {
    let spec = pod.spec.clone().unwrap_or_default();
    let group = spec.security_context.as_ref().and_then(|context| u32::try_from(context.fs_group?).ok());
    spec.volumes.iter().flatten().map(|volume| one(volume, layout, sources, group)).collect()
}

fn one(volume: &Volume, layout: &Layout, sources: &Sources, group: Option<u32>) -> Result<Make, Missing> {
    let path = layout.volume(&volume.name);
    if let Some(source) = &volume.host_path {
        return Ok(Make::HostPath {
            volume: volume.name.clone(),
            path: PathBuf::from(&source.path),
            kind: source.type_.clone().unwrap_or_default(),
        });
    }
    let (kind, name, keys, items, mode, optional) = if let Some(source) = &volume.config_map {
        let keys = sources.config_map(&source.name);
        ("configmap", source.name.as_str(), keys, &source.items, source.default_mode, source.optional)
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        ("secret", name, sources.secret(name), &source.items, source.default_mode, source.optional)
    } else {
        let mode = volume.empty_dir.as_ref().and_then(|source| u32::try_from(source.mode?).ok()).unwrap_or(0o777);
        return Ok(Make::Empty { path, mode, group });
    };
    let optional = optional == Some(true);
    let keys = match keys {
        Some(keys) => keys,
        None if optional => Default::default(),
        None => {
            let volume = &volume.name;
            return Err(Missing(format!("volume {volume:?}: {kind} {name:?} not found ({WHERE})")));
        }
    };
    let default_mode = permission(mode).unwrap_or(0o644);
    let every = keys.keys().map(|key| KeyToPath { key: key.clone(), path: key.clone(), ..KeyToPath::default() });
    let items = items.clone().unwrap_or_else(|| every.collect());
    let mut files = Vec::new();
    for item in items {
        match keys.get(&item.key) {
            Some(content) => files.push(FileOf {
                path: item.path,
                content: content.clone(),
                mode: permission(item.mode).unwrap_or(default_mode),
            }),
            None if optional => {}
            None => {
                let volume = &volume.name;
                return Err(Missing(format!("volume {volume:?}: {kind} {name:?} has no key {:?}", item.key)));
            }
        }
    }
    Ok(Make::Files { path, files, group })
}

fn permission(mode: Option<i32>) -> Option<u32> {
    u32::try_from(mode?).ok().map(|mode| mode & 0o777)
}

/// The mounts of a container: its volumes, the pod's `/etc/hosts` and the file for its last words, unless a volume is
/// mounted in their place.
pub(crate) fn mounts(pod: &Pod, container: &Container, layout: &Layout) -> Vec<Mount> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let volumes: Vec<&Volume> = volumes.collect();
    let mut mounts: Vec<Mount> = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let Some(volume) = volumes.iter().find(|volume| volume.name == wanted.name) else { continue };
        let files = volume.config_map.is_some() || volume.secret.is_some();
        let host_path = match &volume.host_path {
            Some(source) => source.path.clone(),
            None => text(&layout.volume(&volume.name)),
        };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            _ => MountPropagation::PropagationPrivate,
        };
        mounts.push(Mount {
            container_path: absolute(&wanted.mount_path),
            host_path,
            readonly: wanted.read_only == Some(true) || files,
            propagation: propagation.into(),
            ..Mount::default()
        });
    }
    let own = [
        ("/etc/hosts".to_owned(), layout.hosts()),
        (
            absolute(container.termination_message_path.as_deref().unwrap_or("/dev/termination-log")),
            layout.termination_log(&container.name),
        ),
    ];
    for (container_path, host_path) in own {
        if !mounts.iter().any(|mount| mount.container_path == container_path) {
            mounts.push(Mount { container_path, host_path: text(&host_path), ..Mount::default() });
        }
    }
    mounts
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}
