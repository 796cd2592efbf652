//! A pod made through containerd, and unmade: its files, its cgroup, its sandbox, its containers.
//!
//! Making a pod ends with one message to its shim: until then every process waits at its gate. A command that is killed
//! before that has made nothing that runs, and what it leaves is found by [`crate::kept::remains`].

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use k8s_openapi::api::core::v1::Pod;
use loment_cri::v1;

use crate::commands::warn;
use crate::error::Said;
use crate::features;
use crate::images::{self, volumes as image_volumes};
use crate::kept::{keeper, record, sources};
use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources, container, dns, hosts, label, sandbox, stop_signal, volumes};
use crate::session::Session;
use crate::{cgroup, disk, leaks, pod};

/// A pod that is about to be made: complete and valid.
pub(crate) struct Plan {
    pub(crate) pod: Pod,
    pub(crate) sources: Sources,
    pub(crate) layout: Layout,
    /// Number of the sandbox, counted from 0: a pod that is made again after a reboot has another one.
    pub(crate) attempt: u32,
}

/// A pod whose processes wait at their gates.
pub(crate) struct Made {
    /// Id of the sandbox.
    sandbox: String,
    /// Names of the containers with their ids, in pod order.
    containers: Vec<(String, String)>,
}

impl Plan {
    /// What can be told to be wrong before anything is made: a reference to something that is not there, a field that this
    /// containerd cannot pass on. Says what is left out.
    pub(crate) async fn check(&self, session: &Session, host: &Host) -> anyhow::Result<()> {
        features::check(session, &self.pod).await?;
        self.check_references(host)
    }

    /// The part of it that containerd is not asked for.
    pub(crate) fn check_references(&self, host: &Host) -> anyhow::Result<()> {
        let missing = lower::missing(self.scope(&Addresses::default(), host), &self.layout);
        if !missing.is_empty() {
            let name = lower::name(&self.pod);
            return Err(Said(missing.iter().map(|missing| format!("error: pod {name:?}: {missing}")).collect()).into());
        }
        let spec = self.pod.spec.clone().unwrap_or_default();
        let left_out = dns::left_out(&spec, &host.resolv_conf);
        warn(&left_out);
        Ok(())
    }

    fn scope<'a>(&'a self, addresses: &'a Addresses, host: &'a Host) -> Scope<'a> {
        Scope { pod: &self.pod, sources: &self.sources, addresses, host }
    }

    fn lower(&self, addresses: &Addresses, host: &Host) -> anyhow::Result<Vec<v1::ContainerConfig>> {
        let scope = self.scope(addresses, host);
        let spec = self.pod.spec.as_ref().context("a pod without a spec")?;
        let configs = lower::containers(spec).map(|container| container::config(scope, container, &self.layout));
        configs.collect::<Result<_, _>>().context("CreateContainerConfigError")
    }
}

/// Makes a pod's files, cgroup, sandbox and containers. Nothing of it runs yet.
pub(crate) async fn make(session: &Session, plan: &Plan, host: &Host) -> anyhow::Result<Made> {
    let spec = plan.pod.spec.as_ref().context("a pod without a spec")?;
    let names: Vec<&str> = lower::containers(spec).map(|container| container.name.as_str()).collect();
    disk::begin(&plan.layout, &plan.pod, |directory| {
        keeper::note(directory, &session.address)?;
        record::create(directory, &plan.pod)
    })?;
    disk::make(&plan.layout, &names)?;
    sources::keep(&plan.layout.directory, &plan.sources)?;
    disk::make_volumes(&volumes::make(plan.scope(&Addresses::default(), host), &plan.layout)?)?;
    image_volumes::mount(&session.client, &plan.pod, &plan.layout).await?;
    let told = for_the_shim(session, &plan.pod).await?;
    let mut config = sandbox::config(&told, &plan.layout, host).context("write the manifest as JSON")?;
    if let Some(metadata) = &mut config.metadata {
        metadata.attempt = plan.attempt;
    }
    let linux = config.linux.clone().unwrap_or_default();
    cgroup::make(&linux.cgroup_parent, &linux.resources.unwrap_or_default())?;
    let handler = &session.global.runtime_handler;
    let id = match session.client.run_pod_sandbox(config.clone(), handler).await {
        Ok(id) => id,
        Err(error) => return Err(explain(session, error).await),
    };
    let addresses = addresses(session, &id, spec.host_network == Some(true), host).await?;
    disk::write_hosts(&plan.layout, &hosts::file(&plan.pod, &addresses.pod, &host.hosts))?;
    disk::pin(&volumes::pins(plan.scope(&addresses, host), &plan.layout)?)?;
    // One after the other containerd would do nothing most of the time.
    let mut configs = plan.lower(&addresses, host)?;
    for config in &mut configs {
        images::complete_user(&session.client, config).await?;
    }
    let containers = configs.into_iter().map(|container| {
        let (client, id, config) = (session.client.clone(), id.clone(), config.clone());
        async move { client.create_container(&id, container, config).await }
    });
    let ids = all(containers).await?;
    Ok(Made { sandbox: id, containers: names.into_iter().map(str::to_owned).zip(ids).collect() })
}

/// The pod as its shim is told of it: with the stop signals of its images, which are present.
pub(crate) async fn for_the_shim(session: &Session, pod: &Pod) -> anyhow::Result<Pod> {
    let images: BTreeSet<&str> =
        pod.spec.iter().flat_map(lower::containers).filter_map(|container| container.image.as_deref()).collect();
    let signals = images.into_iter().map(|image| {
        let (client, image) = (session.client.clone(), image.to_owned());
        async move {
            let info = client.image_status_verbose(&image).await?.info;
            Ok::<_, loment_cri::Error>(
                info.get("info").and_then(|info| stop_signal::of_image(info)).map(|signal| (image, signal)),
            )
        }
    });
    let mut pod = pod.clone();
    stop_signal::complete(&mut pod, &all(signals).await?.into_iter().flatten().collect());
    Ok(pod)
}

/// Starts a pod: every container for containerd's sake, and then, with one message, the pod. Which of its containers runs
/// when is the shim's business.
pub(crate) async fn start(session: &Session, plan: &Plan, made: &Made) -> anyhow::Result<()> {
    let starts = made.containers.iter().cloned().map(|(name, id)| {
        let client = session.client.clone();
        async move { client.start_container(&id).await.with_context(|| format!("start container {name:?}")) }
    });
    all(starts).await?;
    pod::start(session, lower::name(&plan.pod), &made.sandbox).await
}

/// Does all of it at the same time, and to the end, whatever fails: what is still being made while it is unmade would be
/// left over. Answers in the given order, or with the first error.
async fn all<T, E, F>(work: impl Iterator<Item = F>) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    E: Send + Into<anyhow::Error> + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let tasks: Vec<_> = work.map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.context("wait for containerd")?);
    }
    results.into_iter().map(|result| result.map_err(Into::into)).collect()
}

async fn addresses(session: &Session, sandbox: &str, on_host: bool, host: &Host) -> anyhow::Result<Addresses> {
    if on_host {
        return Ok(Addresses { pod: host.addresses.clone() });
    }
    let status = session.client.pod_sandbox_status(sandbox, false).await?.status.unwrap_or_default();
    let network = status.network.unwrap_or_default();
    let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|more| more.ip));
    Ok(Addresses { pod: all.filter(|address| !address.is_empty()).collect() })
}

/// What containerd is just making for a client that has gone it takes back in so much time.
const TAKEN_BACK: Duration = Duration::from_secs(3);

/// Removes whatever containerd has of a pod with this uid, and its cgroup. Its files stay.
pub(crate) async fn remove_sandboxes(session: &Session, pod: &Pod) -> anyhow::Result<()> {
    remove_listed(session, pod).await?;
    let cgroup = sandbox::cgroup(pod);
    if cgroup::remove(&cgroup).is_ok() {
        return Ok(());
    }
    // Something of it lives on. If it is in the making, containerd does not bear to be helped: 1.7 keeps what has gone
    // meanwhile as a sandbox in the state "unknown".
    tokio::time::sleep(TAKEN_BACK).await;
    remove_listed(session, pod).await?;
    let unlisted = session.client.list_unlisted().await?;
    for one in unlisted.iter().filter(|one| one.labels.get(label::POD_UID).is_some_and(|uid| uid == lower::uid(pod))) {
        session.client.clear_unlisted(&one.id).await?;
    }
    if cgroup::remove(&cgroup).is_ok() {
        return Ok(());
    }
    // Then it is something of which containerd knows nothing any more.
    Box::pin(leaks::remove::of_pod(session, lower::uid(pod))).await?;
    cgroup::remove(&cgroup)
}

/// The sandboxes that CRI lists.
async fn remove_listed(session: &Session, pod: &Pod) -> anyhow::Result<()> {
    let label_selector = [(label::POD_UID.to_owned(), lower::uid(pod).to_owned())].into();
    let filter = v1::PodSandboxFilter { label_selector, ..v1::PodSandboxFilter::default() };
    for sandbox in session.client.list_pod_sandboxes(Some(filter)).await? {
        session.client.stop_pod_sandbox(&sandbox.id).await?;
        session.client.clear_pod_sandbox(&sandbox.id).await?;
    }
    Ok(())
}

/// Removes whatever there is of a pod.
pub(crate) async fn unmake(session: &Session, pod: &Pod, layout: &Layout) -> anyhow::Result<()> {
    remove_sandboxes(session, pod).await?;
    image_volumes::release(&session.client, &layout.directory).await?;
    disk::remove(&session.global.state_dir.join("pods"), &layout.directory, &layout.logs)
}

/// A containerd that does not know the runtime is the first thing that a new user meets: say which lines it lacks.
async fn explain(session: &Session, error: loment_cri::Error) -> anyhow::Error {
    let text = error.to_string();
    if !text.contains("no runtime for") {
        return anyhow!(error);
    }
    let version = session.client.version().await.map(|answer| answer.runtime_version).unwrap_or_default();
    unknown_runtime(&text, &session.global.runtime_handler, &version).into()
}

fn unknown_runtime(error: &str, handler: &str, version: &str) -> Said {
    let old = version.trim_start_matches('v').starts_with("1.");
    let plugin = if old { "io.containerd.grpc.v1.cri" } else { "io.containerd.cri.v1.runtime" };
    Said(vec![
        format!("error: {error}"),
        String::new(),
        format!(
            "containerd {version} has no runtime named {handler:?}. Add to /etc/containerd/config.toml and restart containerd:"
        ),
        String::new(),
        format!("    [plugins.\"{plugin}\".containerd.runtimes.{handler}]"),
        "      runtime_type = \"io.containerd.loment.v2\"".to_owned(),
        "      pod_annotations = [\"io.loment.*\"]".to_owned(),
        "      container_annotations = [\"io.loment.*\"]".to_owned(),
        String::new(),
        "and put containerd-shim-loment-v2 into a directory of containerd's PATH.".to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containerd_without_the_runtime_is_told_the_lines_it_lacks() {
        let said = unknown_runtime("RunPodSandbox", "loment", "v1.7.24").to_string();
        assert!(said.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.loment]"), "{said}");
        let said = unknown_runtime("RunPodSandbox", "loment", "v2.1.0").to_string();
        assert!(said.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.loment]"), "{said}");
    }
}
