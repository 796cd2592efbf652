//! The conditions of a pod (the kubelet's status/generate.go).

use super::{
    container::ContainerState,
    phase::Phase,
    spec::{Kind, PodSpec},
    time::Time,
};

/// The kinds of conditions, in the order in which they are shown.
pub const KINDS: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Whether a condition holds, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// CamelCase reason, empty when there is nothing to say.
    pub reason: &'static str,
    /// The reason in words.
    pub message: String,
}

impl Verdict {
    fn new(holds: bool, reason: &'static str) -> Self {
        Self { holds, reason, message: String::new() }
    }
}

/// A pod's conditions with the times at which they last became true or false.
#[derive(Debug, Clone)]
pub struct Conditions([(Verdict, Time); KINDS.len()]);

impl Conditions {
    pub(super) fn new(spec: &PodSpec, containers: &[ContainerState], now: Time) -> Self {
        Self(judge(spec, containers, Phase::Pending, false).map(|verdict| (verdict, now)))
    }

    /// Judges anew. A time moves only when its condition changes sides.
    pub(super) fn update(
        &mut self,
        spec: &PodSpec,
        containers: &[ContainerState],
        phase: Phase,
        finished: bool,
        now: Time,
    ) {
        for ((verdict, since), next) in self.0.iter_mut().zip(judge(spec, containers, phase, finished)) {
            if verdict.holds != next.holds {
                *since = now;
            }
            *verdict = next;
        }
    }

    /// Name, verdict and time of the last change of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Verdict, Time)> {
        KINDS.into_iter().zip(&self.0).map(|(kind, (verdict, since))| (kind, verdict, *since))
    }
}

/// Whether a container is ready: an init container when it has succeeded, another when it has started.
pub fn is_ready(container: &ContainerState) -> bool {
    match container.kind() {
        Kind::Init => container.has_succeeded(),
        Kind::Sidecar | Kind::App => container.is_started(),
    }
}

fn judge(spec: &PodSpec, containers: &[ContainerState], phase: Phase, finished: bool) -> [Verdict; KINDS.len()] {
    let containers_ready = containers_ready(containers, phase);
    [
        Verdict::new(!finished, ""),
        initialized(containers, phase),
        ready(spec, &containers_ready),
        containers_ready,
        Verdict::new(true, ""),
    ]
}

fn initialized(containers: &[ContainerState], phase: Phase) -> Verdict {
    let any_app_ran = containers.iter().any(|container| container.kind() == Kind::App && container.run().is_some());
    let incomplete = names(containers, |container| match container.kind() {
        Kind::Init => !container.has_succeeded(),
        Kind::Sidecar => !container.is_started(),
        Kind::App => false,
    });
    match (phase, incomplete) {
        (Phase::Succeeded, _) => Verdict::new(true, "PodCompleted"),
        (_, Some(names)) if !any_app_ran => Verdict {
            holds: false,
            reason: "ContainersNotInitialized",
            message: format!("containers with incomplete status: {names}"),
        },
        _ => Verdict::new(true, ""),
    }
}

fn containers_ready(containers: &[ContainerState], phase: Phase) -> Verdict {
    let unready = names(containers, |container| container.kind() != Kind::Init && !is_ready(container));
    match (phase, unready) {
        (Phase::Succeeded, _) => Verdict::new(false, "PodCompleted"),
        (Phase::Failed, _) => Verdict::new(false, "PodFailed"),
        (_, None) => Verdict::new(true, ""),
        (_, Some(names)) => Verdict {
            holds: false,
            reason: "ContainersNotReady",
            message: format!("containers with unready status: {names}"),
        },
    }
}

/// Ready is ContainersReady and every readiness gate; nobody sets a gate's condition here.
fn ready(spec: &PodSpec, containers_ready: &Verdict) -> Verdict {
    let gates: Vec<_> = spec
        .readiness_gates
        .iter()
        .map(|gate| format!("corresponding condition of pod readiness gate {gate:?} does not exist."))
        .collect();
    if !containers_ready.holds || gates.is_empty() {
        return containers_ready.clone();
    }
    Verdict { holds: false, reason: "ReadinessGatesNotReady", message: gates.join(", ") }
}

/// The names of the containers that `wanted` picks, as Go prints a list; `None` when there is none.
fn names(containers: &[ContainerState], wanted: impl Fn(&ContainerState) -> bool) -> Option<String> {
    let names: Vec<_> = containers.iter().filter(|container| wanted(container)).map(ContainerState::name).collect();
    (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
}
