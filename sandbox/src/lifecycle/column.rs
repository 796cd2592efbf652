//! The columns of `kubectl get pods` (pkg/printers/internalversion printPod), from a pod and its status.

use std::{collections::HashSet, time::Duration};

use super::{
    rfc3339::Timestamp,
    spec::{Kind, PodSpec},
    status::{ContainerStatus, PodStatus, Terminated},
};

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// READY: `2/3`.
    pub ready: String,
    /// STATUS: the phase, or what keeps the pod from it.
    pub status: String,
    /// RESTARTS: `4`, or `4 (10s ago)`.
    pub restarts: String,
}

/// The columns of a pod at `now`. `deleting`: it has a deletionTimestamp.
pub fn columns(pod: &PodSpec, status: &PodStatus, deleting: bool, now: Timestamp) -> Columns {
    let sidecars: HashSet<&str> =
        pod.init_containers.iter().filter(|c| c.kind == Kind::Sidecar).map(|c| c.name.as_str()).collect();
    let is_sidecar = |container: &&ContainerStatus| sidecars.contains(container.name.as_str());
    let inits = &status.init_container_statuses;
    let (blocked, mut ready) = walk_inits(inits, |container| is_sidecar(&container), pod.init_containers.len());
    let started_from = status.reason.clone().unwrap_or_else(|| status.phase.to_string());
    let restarts = if blocked.is_none() || holds(status, "Initialized") {
        Restarts::of(inits.iter().filter(is_sidecar).chain(&status.container_statuses))
    } else {
        Restarts::of(inits)
    };
    let mut shown = match blocked {
        Some(reason) if !holds(status, "Initialized") => reason,
        reason => {
            let (reason, ready_apps) = walk_apps(status, reason.unwrap_or(started_from));
            ready += ready_apps;
            reason
        }
    };
    if deleting && !status.phase.is_terminal() {
        shown = "Terminating".into();
    }
    let all = pod.containers.len() + sidecars.len();
    Columns { ready: format!("{ready}/{all}"), status: shown, restarts: restarts.show(now) }
}

fn holds(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().any(|condition| condition.kind == kind && condition.status == "True")
}

/// What the first init container that is not done says, and how many sidecars before it are ready.
fn walk_inits(
    inits: &[ContainerStatus],
    is_sidecar: impl Fn(&ContainerStatus) -> bool,
    number: usize,
) -> (Option<String>, usize) {
    let mut ready = 0;
    for (place, container) in inits.iter().enumerate() {
        let (terminated, waiting) = (&container.state.terminated, &container.state.waiting);
        if terminated.as_ref().is_some_and(|end| end.exit_code == 0 && !is_oom(end)) {
            continue;
        }
        if is_sidecar(container) && container.started == Some(true) {
            ready += usize::from(container.ready);
            continue;
        }
        let reason = waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        let shown = match (terminated, reason.filter(|reason| !["", "PodInitializing"].contains(reason))) {
            (Some(end), _) => format!("Init:{}", ending(end)),
            (None, Some(reason)) => format!("Init:{reason}"),
            (None, None) => format!("Init:{place}/{number}"),
        };
        return (Some(shown), ready);
    }
    (None, ready)
}

/// An init container killed for memory has failed even with exit code 0. Upstream's printer passes over it and shows
/// what comes next; a pod that is stuck on it should say so.
fn is_oom(end: &Terminated) -> bool {
    end.reason.as_deref() == Some("OOMKilled")
}

fn ending(end: &Terminated) -> String {
    match (end.reason.as_deref(), end.signal) {
        (Some(reason), _) if !reason.is_empty() => reason.into(),
        (_, Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", end.exit_code),
    }
}

/// The reason that the app containers give, or `reason`, and how many of them are ready. The last one to speak is the
/// first by name.
fn walk_apps(status: &PodStatus, mut reason: String) -> (String, usize) {
    let (mut ready, mut error) = (0, None);
    for container in status.container_statuses.iter().rev() {
        let state = &container.state;
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        if let Some(waiting) = waiting.filter(|reason| !reason.is_empty()) {
            reason = waiting.into();
        } else if let Some(end) = &state.terminated {
            reason = ending(end);
            if end.exit_code != 0 {
                error = Some(reason.clone());
            }
        } else if container.ready && state.running.is_some() {
            ready += 1;
        }
    }
    if reason == "Completed" {
        reason = match (ready > 0, error) {
            (true, _) if holds(status, "Ready") => "Running".into(),
            (_, Some(error)) => error,
            (true, None) => "NotReady".into(),
            (false, None) => reason,
        };
    }
    (reason, ready)
}

/// How often containers were started again, and when one of them last ended.
struct Restarts {
    number: u32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn of<'a>(containers: impl IntoIterator<Item = &'a ContainerStatus>) -> Self {
        let mut all = Self { number: 0, last: None };
        for container in containers {
            all.number = all.number.saturating_add(container.restart_count);
            all.last = all.last.max(container.last_state.terminated.as_ref().and_then(|end| end.finished_at));
        }
        all
    }

    fn show(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.number > 0 => format!("{} ({} ago)", self.number, age(now.since(last))),
            _ => self.number.to_string(),
        }
    }
}

/// A duration in at most two units, fewer the longer it is (apimachinery's HumanDuration).
pub fn age(length: Duration) -> String {
    let pair = |big: u64, unit: char, small: u64, sub: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => pair(days, 'd', hours % 24, 'h'),
        () if days < 730 => format!("{days}d"),
        () if days < 2920 => pair(days / 365, 'y', days % 365, 'd'),
        () => format!("{}y", days / 365),
    }
}
