//! `v1.PodStatus`: what the machine knows, in the words of the Kubernetes API.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{
    conditions,
    container::ContainerState,
    duration::Shown,
    machine::Machine,
    phase::Phase,
    qos::QosClass,
    restart,
    rfc3339::Timestamp,
    run::Run,
    spec::{Kind, PodSpec},
    stage::Stage,
    stop::Cause,
    time::Time,
};

/// A pod's status. What only the host knows (addresses, ids) it fills in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// The newest generation of the pod that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The phase.
    pub phase: Phase,
    /// Conditions, in the kubelet's order.
    pub conditions: Vec<Condition>,
    /// Why the pod is as it is, when not its containers say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Address of the host.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// First address of the pod.
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// All addresses of the pod.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// When the pod began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Init containers and sidecars, in the order of the pod.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// App containers, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Quality of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_class: Option<QosClass>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodIp {
    /// In its usual form.
    pub ip: String,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When that last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Why, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A container's status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// What it does now.
    pub state: State,
    /// How the run before ended.
    pub last_state: State,
    /// Whether it counts as ready.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// The image.
    pub image: String,
    /// The image's digest.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// `containerd://` and the id.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Whether it has passed its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
}

/// One of three, or none (`{}`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// It has not run, or will be started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// It runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// It has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

/// Why a container does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// In one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// Since when.
    pub started_at: Option<Timestamp>,
}

/// The end of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code, or 128 + signal.
    pub exit_code: u32,
    /// The signal, where only that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<u32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `ContainerStatusUnknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// Exit code of a container that did not run although it should have.
const LOST: u32 = 137;

pub(super) fn of(machine: &Machine, wall: &dyn Fn(Time) -> SystemTime) -> PodStatus {
    let view = View { pod: machine.spec(), initialized: machine.is_initialized(), wall };
    let (inits, mut apps): (Vec<_>, Vec<_>) = machine
        .containers()
        .iter()
        .map(|container| (container.kind(), view.container(container)))
        .partition(|(kind, _)| *kind != Kind::App);
    apps.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    let plain = |statuses: Vec<(Kind, ContainerStatus)>| statuses.into_iter().map(|(_, status)| status).collect();
    let expired = machine.stopping() == Some(Cause::DeadlineExceeded) && machine.phase().is_terminal();
    PodStatus {
        observed_generation: Some(machine.spec().generation),
        phase: machine.phase(),
        conditions: view.conditions(machine),
        reason: expired.then(|| "DeadlineExceeded".into()),
        message: expired.then(|| "Pod was active on the node longer than the specified deadline".into()),
        start_time: Some(view.time(machine.born())),
        init_container_statuses: plain(inits),
        container_statuses: plain(apps),
        qos_class: Some(machine.spec().qos),
        ..PodStatus::default()
    }
}

/// What a container's status depends on beside the container.
struct View<'a> {
    pod: &'a PodSpec,
    initialized: bool,
    wall: &'a dyn Fn(Time) -> SystemTime,
}

impl View<'_> {
    fn time(&self, at: Time) -> Timestamp {
        Timestamp::seconds((self.wall)(at))
    }

    fn conditions(&self, machine: &Machine) -> Vec<Condition> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let condition = |(kind, verdict, since): (&str, &conditions::Verdict, Time)| Condition {
            kind: kind.into(),
            status: if verdict.holds { "True" } else { "False" }.into(),
            last_transition_time: Some(self.time(since)),
            reason: filled(verdict.reason),
            message: filled(&verdict.message),
        };
        machine.conditions().iter().map(condition).collect()
    }

    fn container(&self, container: &ContainerState) -> ContainerStatus {
        let spec = self.pod.container(container.id());
        let (state, last) = self.states(container);
        ContainerStatus {
            name: container.name().into(),
            state,
            last_state: last.map(|run| self.ended(container, run)).unwrap_or_default(),
            ready: conditions::is_ready(container),
            restart_count: container.restart_count(),
            image: spec.map(|spec| spec.image.clone()).unwrap_or_default(),
            started: Some(container.is_started()),
            ..ContainerStatus::default()
        }
    }

    /// The state, and the run that is the last one beside it. A container that is to be started again without a delay
    /// still shows how it ended; in a back-off it waits.
    fn states<'c>(&self, container: &'c ContainerState) -> (State, Option<&'c Run>) {
        let run = container.run();
        if container.stage() == Stage::Running {
            let running = Running { started_at: run.map(|run| self.time(run.started)) };
            (State { running: Some(running), ..State::default() }, container.previous())
        } else if let Some(message) = container.stall() {
            (waiting("CreateContainerError", Some(message.into())), run)
        } else if let Some((delay, _)) = container.backing_off() {
            let (pod, name, delay) = (self.pod, container.name(), Shown(delay));
            let message = format!(
                "back-off {delay} restarting failed container={name} pod={}_{}({})",
                pod.name, pod.namespace, pod.uid
            );
            (waiting("CrashLoopBackOff", Some(message)), run)
        } else if let Some(run) = run {
            (self.ended(container, run), container.previous())
        } else {
            (self.never_run(container), None)
        }
    }

    fn never_run(&self, container: &ContainerState) -> State {
        if let Some(code) = container.killed_before_run() {
            return terminated(code, "Error", Some("the container was stopped before it was started".into()));
        }
        if container.stage() == Stage::Ended && self.initialized {
            let message = "The container could not be located when the pod was terminated";
            return terminated(LOST, "ContainerStatusUnknown", Some(message.into()));
        }
        waiting(if self.pod.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" }, None)
    }

    fn ended(&self, container: &ContainerState, run: &Run) -> State {
        let Some(exit) = &run.exit else { return State::default() };
        let reason = match (&exit.start_error, exit.oom) {
            (Some(_), _) => "StartError",
            (None, true) => "OOMKilled",
            (None, false) if restart::failed(container.kind(), exit.code, false) => "Error",
            (None, false) => "Completed",
        };
        let ended = Terminated {
            started_at: Some(self.time(run.started)),
            finished_at: Some(self.time(exit.at)),
            ..end(exit.code, reason, exit.start_error.clone())
        };
        State { terminated: Some(ended), ..State::default() }
    }
}

fn waiting(reason: &str, message: Option<String>) -> State {
    State { waiting: Some(Waiting { reason: Some(reason.into()), message }), ..State::default() }
}

fn end(exit_code: u32, reason: &str, message: Option<String>) -> Terminated {
    Terminated { exit_code, reason: Some(reason.into()), message, ..Terminated::default() }
}

fn terminated(exit_code: u32, reason: &str, message: Option<String>) -> State {
    State { terminated: Some(end(exit_code, reason, message)), ..State::default() }
}
