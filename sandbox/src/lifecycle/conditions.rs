//! The conditions of a pod (the kubelet's status/generate.go).

use super::{
    container::ContainerState,
    phase::Phase,
    rfc3339::Timestamp,
    spec::{Kind, PodSpec},
    time::Time,
};

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

/// What the conditions depend on beside the containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene {
    pub(super) phase: Phase,
    /// Whether the pod's sandbox can be used.
    pub(super) sandbox: bool,
    /// Whether all containers end, to be started again.
    pub(super) restarting_all: bool,
}

/// When a condition last became true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// By the machine's clock.
    Time(Time),
    /// Before the machine began, in a pod that was resumed.
    Before(Timestamp),
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name.
    pub kind: &'static str,
    /// Whether it holds, and why.
    pub verdict: Verdict,
    /// When it last became true or false.
    pub since: Since,
}

/// A pod's conditions, in the order in which they are shown.
#[derive(Debug, Clone)]
pub struct Conditions(Vec<Condition>);

impl Conditions {
    pub(super) fn new(spec: &PodSpec, containers: &[ContainerState], now: Time) -> Self {
        let scene = Scene { phase: Phase::Pending, sandbox: true, restarting_all: false };
        let judged = judge(spec, containers, scene).into_iter();
        Self(judged.map(|(kind, verdict)| Condition { kind, verdict, since: Since::Time(now) }).collect())
    }

    /// Judges anew. A time moves only when its condition changes sides.
    pub(super) fn update(&mut self, spec: &PodSpec, containers: &[ContainerState], scene: Scene, now: Time) {
        for (condition, (_, verdict)) in self.0.iter_mut().zip(judge(spec, containers, scene)) {
            if condition.verdict.holds != verdict.holds {
                condition.since = Since::Time(now);
            }
            condition.verdict = verdict;
        }
    }

    /// Takes over the time of a condition that stood on the same side before the machine began.
    pub(super) fn recall(&mut self, kind: &str, held: bool, since: Timestamp) {
        for condition in &mut self.0 {
            if condition.kind == kind && condition.verdict.holds == held {
                condition.since = Since::Before(since);
            }
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.0.iter()
    }
}

fn judge(spec: &PodSpec, containers: &[ContainerState], scene: Scene) -> Vec<(&'static str, Verdict)> {
    let containers_ready = containers_ready(containers, scene.phase);
    let mut judged = vec![
        ("PodReadyToStartContainers", Verdict::new(scene.sandbox, "")),
        ("Initialized", initialized(containers, scene.phase)),
        ("Ready", ready(spec, &containers_ready)),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::new(true, "")),
    ];
    if spec.may_restart_all() {
        judged.push(("AllContainersRestarting", restarting_all(scene)));
    }
    judged
}

fn restarting_all(scene: Scene) -> Verdict {
    match (scene.phase, scene.restarting_all) {
        (Phase::Succeeded, _) => Verdict::new(false, "PodCompleted"),
        (Phase::Failed, _) => Verdict::new(false, "PodFailed"),
        (_, false) => Verdict::new(false, ""),
        (_, true) => Verdict {
            holds: true,
            reason: "RestartAllContainersStarted",
            message: "container exited with restart policy rule".into(),
        },
    }
}

fn initialized(containers: &[ContainerState], phase: Phase) -> Verdict {
    let any_app_ran = containers.iter().any(|container| container.kind() == Kind::App && container.ran_here);
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
    let unready = names(containers, |container| container.kind() != Kind::Init && !container.is_ready());
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
