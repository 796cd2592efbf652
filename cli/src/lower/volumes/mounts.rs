//! What a container mounts, and where.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use loment_cri::v1::{Mount, MountPropagation};

use super::super::layout::{Layout, text};
use super::pins::is_pinned;

/// The mounts of a container: its volumes, the pod's `/etc/hosts` and the file for its last words, unless a volume is
/// mounted in their place. A mount comes before those below it.
pub(crate) fn mounts(pod: &Pod, container: &Container, layout: &Layout) -> Vec<Mount> {
    let volumes: Vec<&Volume> = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).collect();
    let mut mounts: Vec<Mount> = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let Some(volume) = volumes.iter().find(|volume| volume.name == wanted.name) else { continue };
        let host_path = match is_pinned(wanted) {
            true => layout.pin(&container.name, index),
            false => layout.source(volume),
        };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            _ => MountPropagation::PropagationPrivate,
        };
        mounts.push(Mount {
            container_path: absolute(&wanted.mount_path),
            host_path: text(&host_path),
            readonly: wanted.read_only == Some(true) || is_read_only(volume),
            selinux_relabel: volume.host_path.is_none(),
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
            let host_path = text(&host_path);
            mounts.push(Mount { container_path, host_path, selinux_relabel: true, ..Mount::default() });
        }
    }
    mounts.sort_by_key(|mount| mount.container_path.matches('/').count());
    mounts
}

/// Volumes whose content is given and not the container's to change.
fn is_read_only(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.image.is_some()
}

/// A path from the root, without anything superfluous, so that equal places are equal texts.
pub(crate) fn absolute(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    format!("/{}", parts.join("/"))
}
