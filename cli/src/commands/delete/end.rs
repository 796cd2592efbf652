//! One pod stopped, and everything of it removed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use loment_cri::v1;

use super::grace::Grace;
use crate::commands::note;
use crate::images::volumes as image_volumes;
use crate::kept::history;
use crate::lower::{self, layout::Layout};
use crate::manifest::amounts::is_sidecar;
use crate::session::{Found, Session};
use crate::{cgroup, disk, make, pod};

/// What may pass beyond the grace before the sandbox is taken down with whatever is in it.
const MARGIN: Duration = Duration::from_secs(10);

/// Stops a pod and removes everything of it but its history.
pub(crate) async fn delete(session: &Session, found: &Found, grace: Grace) -> anyhow::Result<()> {
    pod::mark_deletion(found, grace.duration(found))?;
    if !found.is_lost() {
        if grace != Grace::Force {
            stop(session, found, grace).await;
        }
        if let Err(error) = history::keep(session, found).await {
            note(&format!("Warning: what has happened to pod {:?} is not kept: {error:#}", found.name()));
        }
        session.client.stop_pod_sandbox(&found.sandbox.id).await?;
        session.client.clear_pod_sandbox(&found.sandbox.id).await?;
        cgroup::remove(&lower::sandbox::cgroup(&found.pod))?;
    } else {
        // containerd may have forgotten what still runs of it.
        make::remove_sandboxes(session, &found.pod).await?;
    }
    remove_files(session, found).await?;
    // A command that was killed when it had made the pod has left its lock: taken and let go it is removed.
    disk::NameLock::take(&session.global.state_dir, found.namespace(), found.name()).map(drop)
}

/// Lets the pod's shim end its containers in their order. Without a shim they are ended from here.
async fn stop(session: &Session, found: &Found, grace: Grace) {
    let seconds = grace.duration(found);
    let asked = if grace == Grace::Pod { None } else { Some(seconds) };
    let by_hand = match tokio::time::timeout(seconds + MARGIN, pod::terminate(session, found, asked)).await {
        Ok(Err(_)) => stop_by_hand(session, found, seconds).await,
        Ok(Ok(())) | Err(_) => Ok(()),
    };
    // The sandbox is taken down next, with whatever is still in it.
    if let Err(error) = by_hand {
        note(&format!("Warning: {error:#}"));
    }
}

async fn containers(session: &Session, found: &Found) -> anyhow::Result<Vec<v1::Container>> {
    let filter = v1::ContainerFilter { pod_sandbox_id: found.sandbox.id.clone(), ..v1::ContainerFilter::default() };
    Ok(session.client.list_containers(Some(filter)).await?)
}

/// The apps and whatever init container runs beside each other, then the sidecars from the last to the first.
async fn stop_by_hand(session: &Session, found: &Found, grace: Duration) -> anyhow::Result<()> {
    let containers = containers(session, found).await?;
    let spec = found.pod.spec.clone().unwrap_or_default();
    let sidecars = spec.init_containers.iter().flatten().filter(|init| is_sidecar(init));
    let sidecars: Vec<&str> = sidecars.map(|sidecar| sidecar.name.as_str()).collect();
    let name = |container: &v1::Container| container.metadata.clone().unwrap_or_default().name;
    let (last, first): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| sidecars.contains(&name(container).as_str()));
    let stops: Vec<_> = first
        .into_iter()
        .map(|container| {
            let client = session.client.clone();
            tokio::task::spawn_local(async move { client.stop_container(&container.id, grace).await })
        })
        .collect();
    for stop in stops {
        stop.await.context("wait for a container's end")??;
    }
    for sidecar in sidecars.iter().rev() {
        for container in last.iter().filter(|container| name(container) == *sidecar) {
            session.client.stop_container(&container.id, grace).await?;
        }
    }
    Ok(())
}

/// Removes the pod's files: only directories that are named after this very pod, whatever its annotations say.
async fn remove_files(session: &Session, found: &Found) -> anyhow::Result<()> {
    let ours = Layout::of(&found.pod, &session.global.state_dir, &session.global.log_dir);
    let directory = found.directory().unwrap_or(&ours.directory);
    let logs = found.logs().unwrap_or(&ours.logs);
    for (path, named) in [(directory, &ours.directory), (logs, &ours.logs)] {
        if !is_of_pod(path, named, lower::uid(&found.pod)) {
            bail!("{} does not look like a directory of this pod: remove it by hand", path.display());
        }
    }
    image_volumes::release(&session.client, directory).await?;
    disk::remove(directory, logs)
}

fn is_of_pod(path: &Path, named: &Path, uid: &str) -> bool {
    let plain = !uid.is_empty() && !uid.contains('/') && !uid.starts_with('.');
    plain && path.is_absolute() && path.file_name() == named.file_name() && path.components().count() > 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_that_is_named_after_the_pod_is_removed() {
        let uid = "5b8a";
        let named = Path::new("/var/lib/loment/pods/5b8a");
        assert!(is_of_pod(Path::new("/srv/state/pods/5b8a"), named, uid));
        assert!(!is_of_pod(Path::new("/etc"), named, uid));
        assert!(!is_of_pod(Path::new("pods/5b8a"), named, uid));
        assert!(!is_of_pod(Path::new("/"), Path::new("/var/lib/loment/pods"), ""));
        assert!(!is_of_pod(Path::new("/var/lib"), Path::new("/var/lib/loment/pods/../lib"), "../lib"));
    }
}
