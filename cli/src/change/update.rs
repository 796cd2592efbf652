//! A pod that changes while it runs: its record, its shim, and the containers whose images change.
//!
//! A container whose image changes gets a successor: a further container of its name in the pod's sandbox. The shim stops
//! the old one gracefully and lets the new one take over. It is made before the record is changed, so that an image that
//! is not there, or does not work, changes nothing.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use loment_cri::v1;

use crate::commands::{note, warn};
use crate::images;
use crate::kept::{record, sources};
use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources, container, label, sandbox, volumes};
use crate::print::view::View;
use crate::session::{Found, Session};
use crate::{disk, host, make, pod};

/// Tells the pod's shim that the pod's record has changed to `changed`, and writes the files anew that tell containers
/// about the pod. Whatever of it fails, the record holds.
pub(crate) async fn announce(session: &Session, found: &Found, changed: &Pod) {
    if found.is_lost() {
        return;
    }
    if let Err(error) = refresh(session, found, changed).await {
        note(&format!("Warning: the pod is changed, but its volumes do not tell it yet: {error:#}"));
    }
    let told = async {
        let told = make::for_the_shim(session, changed).await?;
        pod::update(session, found, &told).await
    };
    if let Err(error) = told.await {
        note(&format!("Warning: the pod is changed, but its shim has not been told: {error:#}"));
    }
}

async fn refresh(session: &Session, found: &Found, changed: &Pod) -> anyhow::Result<()> {
    let spec = changed.spec.clone().unwrap_or_default();
    let tells = |volume: &Volume| volume.downward_api.is_some() || volume.projected.is_some();
    if !spec.volumes.iter().flatten().any(tells) {
        return Ok(());
    }
    let Some(view) = View::of(session, found).await? else { return Ok(()) };
    let directory = found.directory().ok_or_else(|| anyhow!("the pod has no directory"))?;
    // Of two commands that change the pod at the same time each writes what the record says when its turn is.
    let lock = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    lock.lock().with_context(|| format!("lock {}", directory.display()))?;
    let newest = record::read(directory, found.uid())?;
    let changed = newest.as_ref().unwrap_or(changed);
    let lowered = Lowered::of(session, found, changed, &view)?;
    disk::refresh(&volumes::refresh(lowered.scope(changed), &lowered.layout)?)
}

/// What a pod that is there is lowered with.
struct Lowered {
    layout: Layout,
    addresses: Addresses,
    host: Host,
    sources: Sources,
}

impl Lowered {
    fn of(session: &Session, found: &Found, pod: &Pod, view: &View) -> anyhow::Result<Self> {
        let directory = found.directory().ok_or_else(|| anyhow!("the pod has no directory"))?;
        let mut layout = Layout::kept(pod, &session.global.state_dir, &session.global.log_dir)?;
        layout.logs = found.logs().map_or(layout.logs, Path::to_path_buf);
        let ips = view.status["podIPs"].as_array().into_iter().flatten();
        let addresses = Addresses { pod: ips.filter_map(|ip| ip["ip"].as_str().map(str::to_owned)).collect() };
        Ok(Lowered { layout, addresses, host: host::read(), sources: sources::read(directory)? })
    }

    fn scope<'a>(&'a self, pod: &'a Pod) -> Scope<'a> {
        Scope { pod, sources: &self.sources, addresses: &self.addresses, host: &self.host }
    }
}

/// Changes a pod to `to(pod as it is)`: its record, its shim, its containers. Answers with the pod before and after.
pub(crate) async fn change(
    session: &Session,
    found: &Found,
    to: impl Fn(&Pod) -> anyhow::Result<Pod>,
) -> anyhow::Result<(Pod, Pod)> {
    let wanted = to(&found.pod)?;
    let successors = Successors::make(session, found, &wanted).await?;
    let mut before = found.pod.clone();
    let changed = record::change(found, |pod| {
        before = pod.clone();
        *pod = to(pod)?;
        Ok(())
    });
    let changed = match changed {
        Ok(changed) => changed,
        Err(error) => {
            successors.discard(session).await;
            return Err(error);
        }
    };
    if changed != before {
        announce(session, found, &changed).await;
    }
    successors.start(session).await?;
    Ok((before, changed))
}

/// Containers that are made and not started.
#[derive(Default)]
struct Successors(Vec<(String, String)>);

impl Successors {
    async fn make(session: &Session, found: &Found, wanted: &Pod) -> anyhow::Result<Self> {
        let mut made = Successors::default();
        let status = match View::of(session, found).await? {
            // A pod that has ended, or that nobody runs, takes up its images when it is made again.
            Some(view) if !["Succeeded", "Failed", "Unknown"].contains(&view.phase()) => view,
            _ => return Ok(made),
        };
        let changed = changed(&found.pod, wanted);
        let due: Vec<&Container> = changed.into_iter().filter(|container| !is_done(&status, container)).collect();
        if due.is_empty() || status.deleting {
            return Ok(made);
        }
        warn(&images::ensure(&session.client, &[wanted], None).await?);
        for container in due {
            match one(session, found, wanted, container, &status).await {
                Ok(id) => made.0.push((container.name.clone(), id)),
                Err(error) => {
                    made.discard(session).await;
                    return Err(error.context(format!("make container {:?} anew", container.name)));
                }
            }
        }
        Ok(made)
    }

    async fn start(&self, session: &Session) -> anyhow::Result<()> {
        for (name, id) in &self.0 {
            session.client.start_container(id).await.with_context(|| format!("start container {name:?}"))?;
        }
        Ok(())
    }

    /// Nobody has started them: they are gone with their processes, which wait at their gates.
    async fn discard(&self, session: &Session) {
        for (_, id) in &self.0 {
            let removed = async {
                session.client.stop_container(id, Duration::ZERO).await?;
                session.client.remove_container(id).await
            };
            if let Err(error) = removed.await {
                note(&format!("Warning: a container that is not needed could not be removed: {error}"));
            }
        }
    }
}

/// The containers of the new pod that have another image than before.
fn changed<'p>(old: &Pod, new: &'p Pod) -> Vec<&'p Container> {
    let before: Vec<&Container> = old.spec.iter().flat_map(lower::containers).collect();
    let image = |name: &str| before.iter().find(|one| one.name == name).and_then(|one| one.image.as_ref());
    let all = new.spec.iter().flat_map(lower::containers);
    all.filter(|container| image(&container.name) != container.image.as_ref()).collect()
}

/// Whether it is an init container that has done its work: it is not run again for another image.
fn is_done(view: &View, container: &Container) -> bool {
    let inits = view.status["initContainerStatuses"].as_array().into_iter().flatten();
    let mut own = inits.filter(|status| status["name"] == *container.name);
    container.restart_policy.as_deref() != Some("Always")
        && own.next().is_some_and(|status| status["state"]["terminated"]["exitCode"] == 0)
}

/// Makes a further container of the name that this one has.
async fn one(
    session: &Session,
    found: &Found,
    wanted: &Pod,
    container: &Container,
    view: &View,
) -> anyhow::Result<String> {
    let attempt = 1 + latest_attempt(session, found, &container.name).await?;
    let lowered = Lowered::of(session, found, wanted, view)?;
    let mut config =
        container::config(lowered.scope(wanted), container, &lowered.layout).context("CreateContainerConfigError")?;
    images::complete_user(&session.client, &mut config).await?;
    if let Some(metadata) = &mut config.metadata {
        metadata.attempt = attempt;
    }
    config.log_path = format!("{}/{attempt}.log", container.name);
    let sandbox = sandbox::config(wanted, &lowered.layout, &lowered.host).context("write the manifest as JSON")?;
    Ok(session.client.create_container(&found.sandbox.id, config, sandbox).await?)
}

async fn latest_attempt(session: &Session, found: &Found, name: &str) -> anyhow::Result<u32> {
    let filter = v1::ContainerFilter {
        pod_sandbox_id: found.sandbox.id.clone(),
        label_selector: [(label::CONTAINER_NAME.to_owned(), name.to_owned())].into(),
        ..v1::ContainerFilter::default()
    };
    let all = session.client.list_containers(Some(filter)).await?;
    Ok(all.into_iter().filter_map(|one| one.metadata).map(|metadata| metadata.attempt).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_containers_with_another_image_are_made_anew() {
        let pod = |a: &str, b: &str| -> Pod {
            serde_json::from_value(json!({ "metadata": {}, "spec": {
                "initContainers": [{ "name": "i", "image": a }], "containers": [{ "name": "a", "image": b }] } }))
            .unwrap()
        };
        let (old, new) = (pod("x", "y"), pod("x", "z"));
        let names = |old, new| changed(old, new).iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&old, &new), ["a"]);
        assert!(names(&old, &old).is_empty());
        assert_eq!(names(&old, &pod("n", "n")), ["i", "a"]);
    }
}
