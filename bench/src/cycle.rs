//! One pod's life, timed phase by phase.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::{
    cpu::{Meter, Readings},
    handlers::Handler,
    memory,
    pod::{Maker, Pod},
    process,
    settings::{Operation, Settings},
    shims::{self, End},
    traces::{self, Step},
};

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
    /// What the shim has noted of the starts; empty from one that notes nothing.
    pub(crate) trace: Vec<Step>,
}

/// One pod from nothing to nothing.
pub(crate) async fn run(maker: &Maker<'_>, handler: &Handler, meter: &mut Option<Meter>) -> Result<Cycle> {
    let read = |meter: &mut Option<Meter>| meter.as_mut().map_or(Ok(Duration::ZERO), Meter::read);
    let begun = read(meter)?;
    let (pod, started) = maker.make(handler).await?;
    let mut phases = vec![(Phase::RunPod, started.run), (Phase::PodAndContainers, started.total())];
    phases.extend(started.creates.iter().map(|took| (Phase::CreateContainer, *took)));
    phases.extend(started.starts.iter().map(|took| (Phase::StartContainer, *took)));
    phases.extend(exec(maker, &pod).await?);

    let before_look = read(meter)?;
    let look = look(maker, &pod, meter).await;
    let after_look = read(meter)?;

    phases.extend(stop(maker, &pod).await?);
    shims::ended(look.end).await;
    let readings = Readings { begun, before_look, after_look, done: read(meter)? };
    let cpu = meter.as_ref().filter(|_| look.is_comparable).map(|meter| meter.spent(readings));
    phases.retain(|(phase, _)| maker.settings.times(phase.operation()));
    Ok(Cycle { phases, cpu, trace: look.trace })
}

/// What is seen of a pod that runs.
struct Look {
    /// Of its shim.
    end: Option<End>,
    /// What the shim has noted of the pod's starts.
    trace: Vec<Step>,
    /// Whether cpu times before and after it can be compared.
    is_comparable: bool,
}

async fn look(maker: &Maker<'_>, pod: &Pod, meter: &mut Option<Meter>) -> Look {
    let shim = memory::processes(maker.client, &pod.sandbox).await.ok().and_then(|found| found.shim);
    let parent = shim.and_then(|shim| process::parent(shim).ok());
    let is_comparable = match (meter, shim, parent) {
        (Some(meter), Some(shim), Some(parent)) => meter.sees(shim, parent),
        _ => true,
    };
    let trace = traces::read(maker.socket, &pod.sandbox).await.unwrap_or_default();
    Look { end: shim.and_then(End::of), trace, is_comparable }
}

async fn exec(maker: &Maker<'_>, pod: &Pod) -> Result<Vec<(Phase, Duration)>> {
    let mut phases = Vec::new();
    if maker.settings.times(Operation::Exec) {
        for container in &pod.containers {
            phases.push((Phase::Exec, maker.exec(container).await?));
        }
    }
    Ok(phases)
}

/// The end of a pod. Where it is not timed, the pod is removed with all that is in it.
async fn stop(maker: &Maker<'_>, pod: &Pod) -> Result<Vec<(Phase, Duration)>> {
    let mut phases = Vec::new();
    if maker.settings.times(Operation::Stop) {
        for container in &pod.containers {
            phases.push((Phase::KillContainer, maker.kill(container).await?));
            maker.client.remove_container(container).await?;
        }
    }
    phases.push((Phase::RemovePod, maker.remove(&pod.sandbox).await?));
    Ok(phases)
}
