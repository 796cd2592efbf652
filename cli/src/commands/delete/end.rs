//! One pod stopped, and everything of it removed.

use std::time::Duration;

use anyhow::Context as _;
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

/// Stops a pod and removes everything of it but its history. Nobody else makes, resumes or deletes a pod of its name
/// meanwhile; who does so already is waited for, and told by the mark that it is to go.
pub(crate) async fn delete(session: &Session, found: &Found, grace: Grace) -> anyhow::Result<()> {
    pod::mark_deletion(found, grace.duration(found))?;
    let (state, namespace, name) = (&session.global.state_dir, found.namespace(), found.name());
    let _name = match disk::NameLock::take(state, namespace, name)? {
        Some(lock) => lock,
        None => {
            // It may be deleted with a longer grace.
            hasten(session, found, grace).await;
            disk::NameLock::wait(state, namespace, name).await?
        }
    };
    // It was found before: another command may have made it anew, or have deleted it.
    let now = session.again(found).await?;
    remove(session, &now.unwrap_or_else(|| found.lost()), grace).await
}

/// Ends what runs of a pod within its grace, whoever is deleting it.
async fn hasten(session: &Session, found: &Found, grace: Grace) {
    if found.is_lost() {
        return;
    }
    if grace != Grace::Force {
        return stop(session, found, grace).await;
    }
    if let Err(error) = session.client.stop_pod_sandbox(&found.sandbox.id).await {
        note(&format!("Warning: {error:#}"));
    }
}

/// The rest of a deletion, by whoever has the name.
async fn remove(session: &Session, found: &Found, grace: Grace) -> anyhow::Result<()> {
    if found.is_lost() {
        // containerd may have forgotten what still runs of it.
        make::remove_sandboxes(session, &found.pod).await?;
        return remove_files(session, found).await;
    }
    if grace != Grace::Force {
        stop(session, found, grace).await;
    }
    if let Err(error) = history::keep(session, found).await {
        note(&format!("Warning: what has happened to pod {:?} is not kept: {error:#}", found.name()));
    }
    session.client.stop_pod_sandbox(&found.sandbox.id).await?;
    session.client.clear_pod_sandbox(&found.sandbox.id).await?;
    cgroup::remove(&lower::sandbox::cgroup(&found.pod))?;
    remove_files(session, found).await
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

/// Removes the pod's files, and its logs where they are: another directory for those may have been given since.
async fn remove_files(session: &Session, found: &Found) -> anyhow::Result<()> {
    let (state, logs) = (&session.global.state_dir, &session.global.log_dir);
    let layout = Layout::kept(&found.pod, state, logs)?;
    let logs = found.logs().unwrap_or(&layout.logs);
    image_volumes::release(&session.client, &layout.directory).await?;
    disk::remove(&state.join("pods"), &layout.directory, logs)
}
