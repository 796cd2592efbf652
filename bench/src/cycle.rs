//! One pod's life, timed phase by phase.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    cpu::Meter,
    handlers::Handler,
    memory,
    pod::{Maker, Pod},
    settings::{Operation, Settings},
};

/// How long a shim may take to end when its pod is gone, before the next cycle begins all the same: one that serves
/// several pods stays.
const SHIM_LEAVES: Duration = Duration::from_secs(2);

/// What is timed. Each is one CRI request, or the sum of those named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Phase {
    /// `RunPodSandbox`.
    RunPod,
    /// `CreateContainer`.
    CreateContainer,
    /// `StartContainer`.
    StartContainer,
    /// The pod and all of its containers.
    PodAndContainers,
    /// `ExecSync` of `true`.
    Exec,
    /// `StopContainer` without grace: SIGKILL.
    KillContainer,
    /// `StopPodSandbox` and `RemovePodSandbox`, when its containers have been removed.
    RemovePod,
}

impl Phase {
    /// In the order in which they are shown.
    pub(crate) const ALL: [Self; 7] = [
        Self::RunPod,
        Self::CreateContainer,
        Self::StartContainer,
        Self::PodAndContainers,
        Self::Exec,
        Self::KillContainer,
        Self::RemovePod,
    ];

    /// As it is shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RunPod => "RunPodSandbox",
            Self::CreateContainer => "CreateContainer",
            Self::StartContainer => "StartContainer",
            Self::PodAndContainers => "pod + container",
            Self::Exec => "ExecSync true",
            Self::KillContainer => "StopContainer by kill",
            Self::RemovePod => "Stop + RemovePodSandbox",
        }
    }

    /// What has to be asked for to see it.
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::RunPod | Self::CreateContainer | Self::StartContainer | Self::PodAndContainers => Operation::Start,
            Self::Exec => Operation::Exec,
            Self::KillContainer | Self::RemovePod => Operation::Stop,
        }
    }

    /// Those that a run times.
    pub(crate) fn timed(settings: &Settings) -> impl Iterator<Item = Self> + '_ {
        Self::ALL.into_iter().filter(|phase| settings.times(phase.operation()))
    }
}

/// A pod's life in figures.
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    pub(crate) phases: Vec<(Phase, Duration)>,
    /// What containerd and the shim have used of the cpus; absent where it cannot be seen.
    pub(crate) cpu: Option<Duration>,
}

/// One pod from nothing to nothing.
pub(crate) async fn run(maker: &Maker<'_>, handler: &Handler, meter: &mut Option<Meter>) -> Result<Cycle> {
    let read = |meter: &Option<Meter>| meter.as_ref().map(Meter::read).transpose();
    let begun = read(meter)?;
    let (pod, started) = maker.make(handler).await?;
    let mut phases = vec![(Phase::RunPod, started.run), (Phase::PodAndContainers, started.total())];
    phases.extend(started.creates.iter().map(|took| (Phase::CreateContainer, *took)));
    phases.extend(started.starts.iter().map(|took| (Phase::StartContainer, *took)));

    // To ask for the shim costs cpu time that is no part of a pod's life.
    let asked = read(meter)?;
    let shim = memory::processes(maker.client, &pod.sandbox).await.ok().and_then(|found| found.shim);
    let end = shim.and_then(End::of);
    if let (Some(shim), Some(meter)) = (shim, meter.as_mut()) {
        // Who reaps it is a part of what is read: the first reading of it is now.
        if let Ok(parent) = crate::process::parent(shim) {
            meter.reaped_by(parent);
        }
    }
    let answered = read(meter)?;

    phases.extend(live(maker, &pod).await?);
    if let Some(end) = end {
        // An error only means that its end is not seen.
        let _ = tokio::time::timeout(SHIM_LEAVES, end.wait()).await;
    }
    let done = read(meter)?;
    let cpu = || Some((asked?.saturating_sub(begun?)) + done?.saturating_sub(answered?));
    phases.retain(|(phase, _)| maker.settings.times(phase.operation()));
    Ok(Cycle { phases, cpu: cpu() })
}

/// The life of a pod that has started.
async fn live(maker: &Maker<'_>, pod: &Pod) -> Result<Vec<(Phase, Duration)>> {
    let mut phases = Vec::new();
    if maker.settings.times(Operation::Exec) {
        for container in &pod.containers {
            phases.push((Phase::Exec, maker.exec(container).await?));
        }
    }
    if maker.settings.times(Operation::Stop) {
        for container in &pod.containers {
            phases.push((Phase::KillContainer, maker.kill(container).await?));
            maker.client.remove_container(container).await?;
        }
    }
    phases.push((Phase::RemovePod, maker.remove(&pod.sandbox).await?));
    Ok(phases)
}

/// The end of a process that is not a child.
struct End(AsyncFd<std::os::fd::OwnedFd>);

impl End {
    #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd is registered for as long as it is open")]
    fn of(pid: i32) -> Option<Self> {
        let process = loment_sys::pidfd::open(pid).ok()?;
        AsyncFd::with_interest(process, Interest::READABLE).ok().map(Self)
    }

    /// A pidfd is readable when its process has ended. pidfd_open(2)
    async fn wait(&self) -> std::io::Result<()> {
        self.0.readable().await.map(drop)
    }
}
