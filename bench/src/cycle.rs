//! One pod's life, timed phase by phase.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use loment_cri::{Client, v1};

use crate::{report::Report, sample::Samples};

/// What is timed. Each is one CRI request, or the sum of those named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// `RunPodSandbox`.
    RunPod,
    /// `CreateContainer`.
    CreateContainer,
    /// `StartContainer`.
    StartContainer,
    /// The three above.
    PodAndContainer,
    /// `ExecSync` of `true`.
    Exec,
    /// `StopContainer` without grace: SIGKILL.
    KillContainer,
    /// `StopPodSandbox` and `RemovePodSandbox`, when its container has been removed.
    RemovePod,
}

impl Phase {
    /// In the order in which they are shown.
    pub const ALL: [Self; 7] = [
        Self::RunPod,
        Self::CreateContainer,
        Self::StartContainer,
        Self::PodAndContainer,
        Self::Exec,
        Self::KillContainer,
        Self::RemovePod,
    ];

    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunPod => "RunPodSandbox",
            Self::CreateContainer => "CreateContainer",
            Self::StartContainer => "StartContainer",
            Self::PodAndContainer => "pod + container",
            Self::Exec => "ExecSync true",
            Self::KillContainer => "StopContainer by kill",
            Self::RemovePod => "Stop + RemovePodSandbox",
        }
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Runtime handlers, the last one being what the others are compared to.
    pub handlers: Vec<String>,
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before them.
    pub warmup: u32,
    /// Image with `sleep` and `true`, present on the machine.
    pub image: Image,
    /// Whether pods share the host's network (no CNI in the figures).
    pub host_network: bool,
    /// Whether the container has the runtime's default seccomp profile.
    pub seccomp: bool,
}

/// Name of an image.
pub type Image = String;

/// Durations by handler and phase.
pub(crate) type Table = BTreeMap<(usize, Phase), Samples>;

/// Runs all rounds.
///
/// Errors: containerd or one of its handlers refuses a request; the pod of that round is removed.
pub async fn run(client: &Client, settings: &Settings) -> Result<Report> {
    let containerd = client.version().await?.runtime_version;
    anyhow::ensure!(
        client.image_status(&settings.image).await?.is_some(),
        "image {} is not on this machine: pull or import it first",
        settings.image
    );
    let mut table = Table::new();
    for round in 0..settings.warmup + settings.rounds {
        for turn in 0..settings.handlers.len() {
            // Each round begins with another handler, so that none always profits from what its predecessor warmed.
            let handler = (turn + round as usize) % settings.handlers.len();
            let timed = pod(client, settings, handler, round).await?;
            if round >= settings.warmup {
                timed.into_iter().for_each(|(phase, took)| table.entry((handler, phase)).or_default().push(took));
            }
        }
    }
    Ok(Report::new(settings, containerd, table))
}

/// One pod from nothing to nothing.
async fn pod(client: &Client, settings: &Settings, handler: usize, round: u32) -> Result<Vec<(Phase, Duration)>> {
    let handler = settings.handlers.get(handler).map_or("", String::as_str);
    let config = sandbox(settings, handler, round);
    let begun = Instant::now();
    let sandbox = client.run_pod_sandbox(config.clone(), handler).await?;
    let ran = begun.elapsed();
    let lived = live(client, settings, &sandbox, config).await;
    let removing = Instant::now();
    let removed = async {
        client.stop_pod_sandbox(&sandbox).await?;
        client.remove_pod_sandbox(&sandbox).await
    };
    let removed = removed.await.with_context(|| format!("remove the pod of round {round} under handler {handler}"));
    let mut timed = lived.with_context(|| format!("round {round} under handler {handler}"))?;
    removed?;
    timed.push((Phase::RunPod, ran));
    let sum = |phases: &[Phase]| timed.iter().filter(|(phase, _)| phases.contains(phase)).map(|(_, took)| *took).sum();
    let started = sum(&[Phase::RunPod, Phase::CreateContainer, Phase::StartContainer]);
    timed.push((Phase::PodAndContainer, started));
    timed.push((Phase::RemovePod, removing.elapsed()));
    Ok(timed)
}

/// The life of the pod's container.
async fn live(
    client: &Client,
    settings: &Settings,
    sandbox: &str,
    config: v1::PodSandboxConfig,
) -> Result<Vec<(Phase, Duration)>> {
    let mut timed = Vec::new();
    let mut clock = Instant::now();
    let mut lap = |phase, clock: &mut Instant| {
        timed.push((phase, clock.elapsed()));
        *clock = Instant::now();
    };
    let container = client.create_container(sandbox, container(settings), config).await?;
    lap(Phase::CreateContainer, &mut clock);
    client.start_container(&container).await?;
    lap(Phase::StartContainer, &mut clock);
    let done = client.exec_sync(&container, &["true"], Duration::from_secs(10)).await?;
    anyhow::ensure!(done.exit_code == 0, "exec of true ended with {}", done.exit_code);
    lap(Phase::Exec, &mut clock);
    client.stop_container(&container, Duration::ZERO).await?;
    lap(Phase::KillContainer, &mut clock);
    client.remove_container(&container).await?;
    Ok(timed)
}

fn sandbox(settings: &Settings, handler: &str, round: u32) -> v1::PodSandboxConfig {
    let network = if settings.host_network { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let namespaces = v1::NamespaceOption {
        network: network.into(),
        pid: v1::NamespaceMode::Container.into(),
        ..v1::NamespaceOption::default()
    };
    let name = format!("bench-{handler}-{round}-{}", std::process::id());
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            uid: name.clone(),
            name,
            namespace: "loment-bench".to_owned(),
            attempt: 0,
        }),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: "/loment-bench".to_owned(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
                ..v1::LinuxSandboxSecurityContext::default()
            }),
            ..v1::LinuxPodSandboxConfig::default()
        }),
        ..v1::PodSandboxConfig::default()
    }
}

fn container(settings: &Settings) -> v1::ContainerConfig {
    let network = if settings.host_network { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let profile = if settings.seccomp {
        v1::security_profile::ProfileType::RuntimeDefault
    } else {
        v1::security_profile::ProfileType::Unconfined
    };
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "main".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: settings.image.clone(), ..v1::ImageSpec::default() }),
        command: vec!["sleep".to_owned(), "3600".to_owned()],
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    network: network.into(),
                    pid: v1::NamespaceMode::Container.into(),
                    ..v1::NamespaceOption::default()
                }),
                seccomp: Some(v1::SecurityProfile { profile_type: profile.into(), localhost_ref: String::new() }),
                ..v1::LinuxContainerSecurityContext::default()
            }),
            ..v1::LinuxContainerConfig::default()
        }),
        ..v1::ContainerConfig::default()
    }
}
