//! `loment create`: all pods of the files, or nothing.

use std::collections::BTreeSet;
use std::io::Read as _;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use loment_cri::v1;
use tokio::signal::unix::{SignalKind, signal};

use super::{features, image_volumes, images, note, print};
use crate::args::{Create, CreateOutput, Filenames, Global};
use crate::error::Said;
use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources, container, hosts, label, sandbox, volumes};
use crate::manifest::{files, validate::Rules};
use crate::session::Session;
use crate::{cgroup, disk, host, pod, show};

/// A pod that is about to be made.
struct Planned {
    pod: Pod,
    sources: Sources,
    layout: Layout,
    /// The file that it comes from.
    file: String,
}

pub(crate) async fn run(global: &Global, args: &Create) -> anyhow::Result<()> {
    let host = host::read();
    let planned = plan(global, &args.filenames, &host)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let session = Session::open(global).await?;
    let _names = take_names(global, &planned)?;
    for plan in &planned {
        check(&session, plan, &host).await?;
    }
    let made = tokio::select! {
        made = make_all(&session, &planned, &host) => made,
        _ = interrupt.recv() => Err(anyhow!("interrupted; what had been made is removed")),
        _ = terminate.recv() => Err(anyhow!("terminated; what had been made is removed")),
    };
    if let Err(error) = made {
        for plan in &planned {
            if let Err(left) = undo(&session, plan).await {
                note(&format!("Warning: pod {:?} could not be removed again: {left:#}", lower::name(&plan.pod)));
            }
        }
        return Err(error);
    }
    planned.iter().try_for_each(|plan| print(&shown(&plan.pod, args.output)?))
}

fn shown(pod: &Pod, output: Option<CreateOutput>) -> anyhow::Result<String> {
    Ok(match output {
        None => format!("pod/{} created\n", lower::name(pod)),
        Some(CreateOutput::Name) => format!("pod/{}\n", lower::name(pod)),
        Some(CreateOutput::Yaml) => show::yaml(&show::object(pod, None)?)?,
        Some(CreateOutput::Json) => show::json(&show::object(pod, None)?)?,
    })
}

/// Reads, completes and validates the pods of all files. What is wrong in any of them is reported at once.
fn plan(global: &Global, given: &Filenames, host: &Host) -> anyhow::Result<Vec<Planned>> {
    let mut objects = files::read_all(given)?;
    let rules = Rules { runtime_handler: &global.runtime_handler, unsafe_sysctls: &given.allowed_unsafe_sysctls };
    let warnings = files::complete_and_check(&mut objects, global.namespace.as_deref(), rules)?;
    warnings.iter().for_each(|warning| note(&format!("Warning: {warning}")));
    let file = given.files.join(", ");
    let mut planned: Vec<Planned> = Vec::new();
    for mut pod in objects.pods {
        stamp(&mut pod, &host.name)?;
        if planned.iter().any(|other| same_name(&other.pod, &pod)) {
            return Err(Said::one(already_exists(&file, &pod)).into());
        }
        let sources = Sources::of(lower::namespace(&pod), &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, &global.state_dir, &global.log_dir);
        planned.push(Planned { pod, sources, layout, file: file.clone() });
    }
    if planned.is_empty() {
        return Err(Said::one(format!("error: {file} holds no pod")).into());
    }
    Ok(planned)
}

fn same_name(a: &Pod, b: &Pod) -> bool {
    (lower::namespace(a), lower::name(a)) == (lower::namespace(b), lower::name(b))
}

fn already_exists(file: &str, pod: &Pod) -> String {
    let name = lower::name(pod);
    format!("Error from server (AlreadyExists): error when creating {file:?}: pods {name:?} already exists")
}

/// Gives a pod what a server gives it: a uid, the time, its node, and a name if it only has the beginning of one.
fn stamp(pod: &mut Pod, node: &str) -> anyhow::Result<()> {
    if pod.metadata.name.as_deref().unwrap_or_default().is_empty()
        && let Some(prefix) = pod.metadata.generate_name.as_deref().filter(|prefix| !prefix.is_empty())
    {
        // The server's alphabet: no vowels, so that no words appear.
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let random = random_bytes::<5>()?;
        let letter =
            |byte: u8| LETTERS.get(usize::from(byte) % LETTERS.len()).map_or('x', |letter| char::from(*letter));
        pod.metadata.name = Some(format!("{prefix}{}", random.map(letter).iter().collect::<String>()));
    }
    if let Some(spec) = &mut pod.spec {
        spec.node_name.get_or_insert_with(|| node.to_owned());
    }
    pod.metadata.uid = Some(new_uid(random_bytes()?));
    pod.metadata.creation_timestamp = Some(Time(now()));
    Ok(())
}

/// The time, in the whole seconds that the API knows.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut source = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    source.read_exact(&mut bytes).context("read /dev/urandom")?;
    Ok(bytes)
}

/// A version 4 UUID (RFC 9562, 5.4) of random bytes.
fn new_uid(random: [u8; 16]) -> String {
    let number = u128::from_be_bytes(random) & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
    let hex = format!("{number:032x}");
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| hex.get(from..to).unwrap_or_default());
    parts.join("-")
}

/// Keeps everybody else from making pods of these names until they are made.
fn take_names(global: &Global, planned: &[Planned]) -> anyhow::Result<Vec<disk::NameLock>> {
    let take = |plan: &Planned| {
        let lock = disk::NameLock::take(&global.state_dir, lower::namespace(&plan.pod), lower::name(&plan.pod))?;
        lock.ok_or_else(|| Said::one(already_exists(&plan.file, &plan.pod)).into())
    };
    planned.iter().map(take).collect()
}

/// Makes sure that a pod can be made as far as can be told without making anything.
async fn check(session: &Session, plan: &Planned, host: &Host) -> anyhow::Result<()> {
    if session.find(lower::namespace(&plan.pod), lower::name(&plan.pod)).await?.is_some() {
        return Err(Said::one(already_exists(&plan.file, &plan.pod)).into());
    }
    features::check(session, &plan.pod).await?;
    let addresses = Addresses::default();
    lower_all(plan, &addresses, host)?;
    volumes::make(scope(plan, &addresses, host), &plan.layout)?;
    volumes::pins(scope(plan, &addresses, host), &plan.layout)?;
    Ok(())
}

fn scope<'a>(plan: &'a Planned, addresses: &'a Addresses, host: &'a Host) -> Scope<'a> {
    Scope { pod: &plan.pod, sources: &plan.sources, addresses, host }
}

fn lower_all(plan: &Planned, addresses: &Addresses, host: &Host) -> anyhow::Result<Vec<v1::ContainerConfig>> {
    let scope = scope(plan, addresses, host);
    let spec = plan.pod.spec.as_ref().context("a pod without a spec")?;
    let configs = lower::containers(spec).map(|container| container::config(scope, container, &plan.layout));
    configs.collect::<Result<_, _>>().context("CreateContainerConfigError")
}

async fn make_all(session: &Session, planned: &[Planned], host: &Host) -> anyhow::Result<()> {
    let mut warnings = BTreeSet::new();
    for plan in planned {
        warnings.extend(images::ensure(&session.client, &plan.pod).await?);
    }
    warnings.iter().for_each(|warning| note(&format!("Warning: {warning}")));
    for plan in planned {
        make(session, plan, host).await?;
    }
    Ok(())
}

/// Makes a pod: its files, the sandbox, every container; then starts them in pod order. The shim lets each run when its
/// turn comes.
async fn make(session: &Session, plan: &Planned, host: &Host) -> anyhow::Result<()> {
    let spec = plan.pod.spec.as_ref().context("a pod without a spec")?;
    let names: Vec<&str> = lower::containers(spec).map(|container| container.name.as_str()).collect();
    let made = volumes::make(scope(plan, &Addresses::default(), host), &plan.layout)?;
    disk::make(&plan.layout, &names, &made)?;
    image_volumes::mount(&session.client, &plan.pod, &plan.layout).await?;
    let config = sandbox::config(&plan.pod, &plan.layout, host).context("write the manifest as JSON")?;
    let linux = config.linux.clone().unwrap_or_default();
    cgroup::make(&linux.cgroup_parent, &linux.resources.unwrap_or_default())?;
    let handler = &session.global.runtime_handler;
    let id = match session.client.run_pod_sandbox(config.clone(), handler).await {
        Ok(id) => id,
        Err(error) => return Err(explain(session, error).await),
    };
    let addresses = addresses(session, &id, spec.host_network == Some(true), host).await?;
    disk::write_hosts(&plan.layout, &hosts::file(&plan.pod, &addresses.pod, &host.hosts))?;
    disk::pin(&volumes::pins(scope(plan, &addresses, host), &plan.layout)?)?;
    let mut created = Vec::new();
    for container in lower_all(plan, &addresses, host)? {
        created.push(session.client.create_container(&id, container, config.clone()).await?);
    }
    for (name, container) in names.iter().zip(&created) {
        if let Err(error) = session.client.start_container(container).await {
            // The first containers of a pod may have decided its fate before the last one is asked to start: the pod
            // was made, and that it has failed is told by its status.
            if has_ended(session, plan).await {
                return Ok(());
            }
            return Err(error).with_context(|| format!("start container {name:?}"));
        }
    }
    Ok(())
}

async fn has_ended(session: &Session, plan: &Planned) -> bool {
    let Ok(Some(found)) = session.find(lower::namespace(&plan.pod), lower::name(&plan.pod)).await else { return false };
    let status = pod::status(session, &found).await.unwrap_or_default();
    matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"))
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

/// Removes whatever there is of a pod.
async fn undo(session: &Session, plan: &Planned) -> anyhow::Result<()> {
    let uid = lower::uid(&plan.pod).to_owned();
    let label_selector = [(label::POD_UID.to_owned(), uid)].into();
    let filter = v1::PodSandboxFilter { label_selector, ..v1::PodSandboxFilter::default() };
    for sandbox in session.client.list_pod_sandboxes(Some(filter)).await? {
        session.client.stop_pod_sandbox(&sandbox.id).await?;
        session.client.remove_pod_sandbox(&sandbox.id).await?;
    }
    cgroup::remove(&sandbox::cgroup(&plan.pod))?;
    image_volumes::release(&session.client, &plan.layout.directory).await?;
    disk::remove(&plan.layout.directory, &plan.layout.logs)
}

/// A containerd that does not know the runtime is the first thing that a new user meets: say which lines it lacks.
async fn explain(session: &Session, error: loment_cri::Error) -> anyhow::Error {
    let text = error.to_string();
    if !text.contains("no runtime for") {
        return error.into();
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
    fn a_uid_is_a_random_uuid() {
        assert_eq!(new_uid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(new_uid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_ne!(random_bytes::<16>().unwrap(), random_bytes::<16>().unwrap());
    }

    #[test]
    fn a_generated_name_starts_as_the_manifest_says() {
        let mut pod = Pod::default();
        pod.metadata.generate_name = Some("web-".into());
        stamp(&mut pod, "node").unwrap();
        let name = pod.metadata.name.unwrap();
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    }

    #[test]
    fn a_containerd_without_the_runtime_is_told_the_lines_it_lacks() {
        let said = unknown_runtime("RunPodSandbox", "loment", "v1.7.24").to_string();
        assert!(said.contains("[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.loment]"), "{said}");
        let said = unknown_runtime("RunPodSandbox", "loment", "v2.1.0").to_string();
        assert!(said.contains("[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.loment]"), "{said}");
    }
}
