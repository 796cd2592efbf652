//! Volumes: what has to be on the disk, and where a container sees it.

mod files;
mod mounts;
mod pins;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, PodSpec, Volume};

use super::env::Scope;
use super::layout::Layout;
use super::{Host, Missing, resources};
use crate::manifest::quantity::Amount;
pub(crate) use mounts::{absolute, mounts};
pub(crate) use pins::{Pin, pins};

/// Something that must be there before the pod's containers are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// An empty directory with these permission bits.
    Empty { path: PathBuf, mode: u32, group: Option<Group> },
    /// The same in memory, of so many bytes at most (0: as many as the kernel allows).
    Memory { path: PathBuf, mode: u32, bytes: u64, group: Option<Group> },
    /// The same in huge pages of so many bytes.
    HugePages { path: PathBuf, mode: u32, page: u64, group: Option<Group> },
    /// Files that are read only to containers, and that are exchanged for others all at once.
    Files { path: PathBuf, files: Vec<FileOf>, in_memory: bool, group: Option<Group> },
    /// A place for an image's files, which the runtime gives.
    Image { path: PathBuf },
    /// A path of the machine, of the type that the manifest says.
    HostPath { volume: String, path: PathBuf, kind: String },
}

/// Whom a volume belongs to: `fsGroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: u32,
    /// A volume whose root is the group's already is left as it is.
    pub(crate) on_root_mismatch: bool,
}

/// A file of a ConfigMap or Secret, or one that tells about the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileOf {
    /// Relative to the volume.
    pub(crate) path: String,
    pub(crate) content: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// Files of a volume that tell about the pod, as they are to be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refresh {
    /// The volume.
    pub(crate) path: PathBuf,
    /// The files that may have changed; all others of the volume stay.
    pub(crate) files: Vec<FileOf>,
    pub(crate) group: Option<Group>,
}

/// What the volumes of a pod need.
pub(crate) fn make(scope: Scope<'_>, layout: &Layout) -> Result<Vec<Make>, Missing> {
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let group = group(&spec);
    spec.volumes.iter().flatten().map(|volume| one(scope, &spec, volume, layout, group)).collect()
}

/// What the volumes refer to and is not there.
pub(crate) fn missing(scope: Scope<'_>, layout: &Layout) -> Vec<Missing> {
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let group = group(&spec);
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| one(scope, &spec, volume, layout, group).err());
    volumes.chain(pins(scope, layout).err()).collect()
}

/// What has to be written anew after labels or annotations of a pod have changed.
pub(crate) fn refresh(scope: Scope<'_>, layout: &Layout) -> Result<Vec<Refresh>, Missing> {
    let spec = scope.pod.spec.clone().unwrap_or_default();
    let mut found = Vec::new();
    for volume in spec.volumes.iter().flatten() {
        let files = files::about_the_pod(scope, volume)?;
        if !files.is_empty() {
            found.push(Refresh { path: layout.volume(&volume.name), files, group: group(&spec) });
        }
    }
    Ok(found)
}

fn group(spec: &PodSpec) -> Option<Group> {
    let context = spec.security_context.as_ref()?;
    Some(Group {
        id: u32::try_from(context.fs_group?).ok()?,
        on_root_mismatch: context.fs_group_change_policy.as_deref() == Some("OnRootMismatch"),
    })
}

fn one(
    scope: Scope<'_>,
    spec: &PodSpec,
    volume: &Volume,
    layout: &Layout,
    group: Option<Group>,
) -> Result<Make, Missing> {
    let path = layout.volume(&volume.name);
    if let Some(source) = &volume.host_path {
        return Ok(Make::HostPath {
            volume: volume.name.clone(),
            path: PathBuf::from(&source.path),
            kind: source.type_.clone().unwrap_or_default(),
        });
    }
    if volume.image.is_some() {
        return Ok(Make::Image { path });
    }
    if let Some(files) = files::all(scope, volume)? {
        return Ok(Make::Files { path, files, in_memory: volume.config_map.is_none(), group });
    }
    let source = volume.empty_dir.clone().unwrap_or_default();
    empty(spec, volume, &source, path, group, scope.host)
}

/// The permission bits of an empty volume: every user of the pod may write there.
const OPEN: u32 = 0o777;

fn empty(
    spec: &PodSpec,
    volume: &Volume,
    source: &EmptyDirVolumeSource,
    path: PathBuf,
    group: Option<Group>,
    host: &Host,
) -> Result<Make, Missing> {
    match source.medium.as_deref().unwrap_or_default() {
        "" => Ok(Make::Empty { path, mode: OPEN, group }),
        "Memory" => {
            // The smallest of what the volume, the pod and the machine allow.
            let own = source.size_limit.as_ref().map_or(0, |limit| Amount::of(limit).units());
            let pod = resources::of_pod(spec, host).memory_limit_in_bytes;
            let limits = [own, pod, host.memory].into_iter().filter(|bytes| *bytes > 0);
            let bytes = limits.min().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
            Ok(Make::Memory { path, mode: OPEN, bytes, group })
        }
        medium => {
            let page = page(spec, &volume.name, medium.strip_prefix("HugePages-"), host)?;
            Ok(Make::HugePages { path, mode: OPEN, page, group })
        }
    }
}

/// The size of the pages of a volume: the one that the medium names, or the only one that the pod asks for.
fn page(spec: &PodSpec, volume: &str, named: Option<&str>, host: &Host) -> Result<u64, Missing> {
    let refuse = |why: &str| Err(Missing(format!("volume {volume:?}: medium HugePages: {why}")));
    let mut asked: Vec<i64> = super::containers(spec)
        .flat_map(|container| container.resources.iter())
        .flat_map(|resources| resources.limits.iter().flatten())
        .filter_map(|(name, _)| Some(Amount::parse(name.strip_prefix("hugepages-")?)?.units()))
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let size = match (named.and_then(Amount::parse).map(Amount::units), asked.as_slice()) {
        (Some(size), asked) if !asked.contains(&size) => return refuse("no container of the pod asks for such pages"),
        (Some(size), _) => size,
        (None, [only]) => *only,
        (None, []) => return refuse("no container of the pod asks for huge pages"),
        (None, _) => return refuse("the pod asks for several sizes: name one, as in HugePages-2Mi"),
    };
    if !host.huge_pages.contains(&size) {
        let size = resources::binary(size);
        return refuse(&format!("this machine has no huge pages of {size} (see /proc/sys/vm/nr_hugepages)"));
    }
    Ok(u64::try_from(size).unwrap_or_default())
}
