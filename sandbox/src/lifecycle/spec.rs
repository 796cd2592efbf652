//! What the machine has to know of a pod.

use std::time::Duration;

use super::{
    handler::{Hook, HookKind, Probe, ProbeKind},
    manifest,
    qos::QosClass,
    restart::{RestartRule, RuleAction},
};
use crate::Result;

/// A pod, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSpec {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`, `default` when there is none.
    pub namespace: String,
    /// `metadata.uid`, empty when there is none.
    pub uid: String,
    /// `spec.restartPolicy`.
    pub restart_policy: RestartPolicy,
    /// `spec.terminationGracePeriodSeconds`: the budget that all containers share when the pod is stopped.
    pub grace: Duration,
    /// `spec.activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
    /// `spec.readinessGates[*].conditionType`.
    pub readiness_gates: Vec<String>,
    /// Init containers and sidecars, in the order in which they start.
    pub init_containers: Vec<ContainerSpec>,
    /// App containers, in the order in which they start.
    pub containers: Vec<ContainerSpec>,
    /// When a container that has ended is started again.
    pub backoff: Backoff,
    /// How often a container is started again at most.
    pub max_restarts: Option<u32>,
    /// Whether a sidecar that ends while app containers are still stopping is started again.
    pub restart_sidecars_while_stopping: bool,
    /// `metadata.generation`, counted from 1.
    pub generation: i64,
    /// `status.qosClass`, which follows from the containers' resources.
    pub qos: QosClass,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Name, unique in the pod.
    pub name: String,
    /// Image as the manifest names it.
    pub image: String,
    /// What part it has in the pod.
    pub kind: Kind,
    /// Its own `restartPolicy` (KEP-5307); `None` follows the pod's.
    pub restart_policy: Option<RestartPolicy>,
    /// `restartPolicyRules`: the first that applies decides whatever the policy says.
    pub restart_rules: Vec<RestartRule>,
    /// What it is asked to end with: `lifecycle.stopSignal`, SIGTERM when there is none.
    pub stop_signal: i32,
    /// `lifecycle.postStart`.
    pub post_start: Option<Hook>,
    /// `lifecycle.preStop`.
    pub pre_stop: Option<Hook>,
    /// `startupProbe`.
    pub startup: Option<Probe>,
    /// `livenessProbe`.
    pub liveness: Option<Probe>,
    /// `readinessProbe`.
    pub readiness: Option<Probe>,
    /// Where it says what it ended of.
    pub termination_message: TerminationMessage,
}

/// `terminationMessagePath` and `terminationMessagePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationMessage {
    /// The file in the container.
    pub path: String,
    /// `FallbackToLogsOnError`: the end of the log stands in for a failed container's empty file.
    pub fall_back_to_logs: bool,
}

impl Default for TerminationMessage {
    fn default() -> Self {
        Self { path: "/dev/termination-log".into(), fall_back_to_logs: false }
    }
}

impl ContainerSpec {
    /// One of its probes.
    pub const fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// One of its hooks.
    pub const fn hook(&self, kind: HookKind) -> Option<&Hook> {
        match kind {
            HookKind::PostStart => self.post_start.as_ref(),
            HookKind::PreStop => self.pre_stop.as_ref(),
        }
    }
}

impl Default for ContainerSpec {
    /// An app container without a name that is asked to end with SIGTERM.
    fn default() -> Self {
        Self {
            name: String::new(),
            image: String::new(),
            kind: Kind::App,
            restart_policy: None,
            restart_rules: Vec::new(),
            stop_signal: nix::libc::SIGTERM,
            post_start: None,
            pre_stop: None,
            startup: None,
            liveness: None,
            readiness: None,
            termination_message: TerminationMessage::default(),
        }
    }
}

/// The part a container has in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: the next one starts when it runs; it lives as long as the apps.
    Sidecar,
    /// What the pod is for.
    App,
}

/// `restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// When the exit code is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// How long a container that has ended waits for its next start: not at all, then `initial`, doubling up to `max`; from
/// the beginning again after a run longer than `reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Second delay (the first is none).
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// A run longer than this is forgiven.
    pub reset: Duration,
}

impl Default for Backoff {
    /// The kubelet's: 10 s, 300 s, 600 s.
    fn default() -> Self {
        Self { initial: Duration::from_secs(10), max: Duration::from_secs(300), reset: Duration::from_secs(600) }
    }
}

/// A container of the pod by its place: init containers first, then the app containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub(super) usize);

impl PodSpec {
    /// Reads a `v1.Pod` in JSON. Fields that the machine has no use for are passed over, whatever is in them.
    ///
    /// Errors: not JSON or not of a Pod's shape; a name that is missing or used twice; no container; an unknown
    /// `restartPolicy` or stop signal; a back-off annotation that is no duration or out of range.
    pub fn from_manifest(json: &str) -> Result<Self> {
        manifest::read(json)
    }

    /// All containers with their places, in the order in which they start.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (ContainerId, &ContainerSpec)> {
        let all: Vec<_> = self.init_containers.iter().chain(&self.containers).collect();
        all.into_iter().enumerate().map(|(place, container)| (ContainerId(place), container))
    }

    /// Whether there is a rule that starts all containers again.
    pub fn may_restart_all(&self) -> bool {
        let all = |rule: &RestartRule| rule.action == RuleAction::RestartAllContainers;
        self.all().any(|(_, container)| container.restart_rules.iter().any(all))
    }

    /// The container named `name`.
    pub fn id(&self, name: &str) -> Option<ContainerId> {
        self.all().find(|(_, container)| container.name == name).map(|(id, _)| id)
    }

    /// The container at `id`.
    pub fn container(&self, id: ContainerId) -> Option<&ContainerSpec> {
        let inits = self.init_containers.len();
        self.init_containers.get(id.0).or_else(|| self.containers.get(id.0.checked_sub(inits)?))
    }
}
