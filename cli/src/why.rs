//! The one cause that keeps a pod from going on, and when it is tried next.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;
use loment_sandbox::lifecycle::duration;
use serde_json::{Value, json};

use crate::pod::Happening;
use crate::print::table;
use crate::print::view::View;

/// What blocks a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// Nothing does, if this is false.
    pub(crate) blocked: bool,
    /// The container that it is about.
    pub(crate) container: Option<String>,
    /// In one word.
    pub(crate) reason: String,
    /// In a sentence.
    pub(crate) message: String,
    /// When something is done about it next.
    pub(crate) next: Option<Timestamp>,
}

impl Cause {
    fn new(container: Option<&Container>, reason: &str, message: String) -> Self {
        let container = container.map(|container| container.name.clone());
        Cause { blocked: true, container, reason: reason.to_owned(), message, next: None }
    }

    /// The cause in one or two sentences.
    pub(crate) fn sentences(&self, now: Timestamp) -> String {
        let Some(next) = self.next else { return format!("{}.", self.message) };
        let left = next.duration_since(now);
        let when = match left.is_positive() {
            // Rounded up: what is tried in less than a second is not tried now.
            true => {
                format!("in {}", table::age((left.as_millis() + 999).try_into().map_or(i64::MAX, |ms: i64| ms / 1000)))
            }
            false => "now".to_owned(),
        };
        format!("{}. It is tried again {when}.", self.message)
    }

    /// The cause for programs.
    pub(crate) fn object(&self, view: &View, now: Timestamp) -> Value {
        json!({
            "namespace": view.found.namespace(),
            "pod": view.found.name(),
            "phase": view.phase(),
            "blocked": self.blocked,
            "container": self.container,
            "reason": self.reason,
            "message": self.message,
            "nextAttempt": self.next.map(|next| next.to_string()),
            "secondsUntil": self.next.map(|next| next.duration_since(now).as_secs_f64().max(0.0)),
        })
    }
}

/// What blocks a pod, from its status and its timeline.
pub(crate) fn cause(view: &View, timeline: &[Happening], now: Timestamp) -> Cause {
    let look = Look { view, timeline, now };
    let whole = [look.unknown(), look.deletion(), look.end()].into_iter().flatten().next();
    let spec = view.found.pod.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.iter().flatten();
    whole
        .or_else(|| inits.clone().find_map(|init| look.init(init)))
        // One that does not run goes before one that runs and is not ready.
        .or_else(|| spec.containers.iter().filter(|app| !look.runs(app)).find_map(|app| look.app(app)))
        .or_else(|| spec.containers.iter().find_map(|app| look.app(app)))
        .or_else(|| inits.filter(|init| is_sidecar(init)).find_map(|sidecar| look.app(sidecar)))
        .or_else(|| look.gates())
        .unwrap_or_else(|| {
            let message = format!("Nothing blocks pod {:?}: it is {}", view.found.name(), view.phase());
            Cause { blocked: false, ..Cause::new(None, view.phase(), message) }
        })
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

struct Look<'a> {
    view: &'a View,
    timeline: &'a [Happening],
    now: Timestamp,
}

impl Look<'_> {
    fn text<'v>(&self, value: &'v Value) -> &'v str {
        value.as_str().unwrap_or_default()
    }

    fn unknown(&self) -> Option<Cause> {
        let why = self.text(&self.view.status["message"]);
        (self.view.phase() == "Unknown")
            .then(|| Cause::new(None, "Unknown", format!("Nobody can tell how the pod is: {why}")))
    }

    fn deletion(&self) -> Option<Cause> {
        if !self.view.deleting || ["Succeeded", "Failed"].contains(&self.view.phase()) {
            return None;
        }
        let running: Vec<&str> = self
            .view
            .container_statuses()
            .filter(|status| status["state"]["running"].is_object())
            .map(|status| self.text(&status["name"]))
            .collect();
        let end = crate::pod::deletion(&self.view.found)
            .map(|end| format!(" until {}", end.0.strftime("%H:%M:%S UTC")))
            .unwrap_or_default();
        let message = match running.as_slice() {
            [] => "The pod is being deleted".to_owned(),
            names => format!("The pod is being deleted: {} may take{end} to end", list(names)),
        };
        Some(Cause::new(None, "Terminating", message))
    }

    fn end(&self) -> Option<Cause> {
        let status = &self.view.status;
        match self.view.phase() {
            "Succeeded" => Some(Cause {
                blocked: false,
                ..Cause::new(None, "Succeeded", "The pod has succeeded: it has nothing more to do".to_owned())
            }),
            "Failed" => {
                let reason = self.text(&status["reason"]);
                if !reason.is_empty() {
                    let message = self.text(&status["message"]);
                    return Some(Cause::new(None, reason, format!("The pod has failed: {message}")));
                }
                let failed = self
                    .view
                    .container_statuses()
                    .find(|one| one["state"]["terminated"]["exitCode"].as_u64().is_some_and(|code| code != 0));
                let message = match failed {
                    Some(one) => format!(
                        "The pod has failed and is not started again: container {:?} {}",
                        self.text(&one["name"]),
                        ending(&one["state"]["terminated"])
                    ),
                    None => "The pod has failed".to_owned(),
                };
                let container = failed.map(|one| self.text(&one["name"]).to_owned());
                Some(Cause { container, ..Cause::new(None, "Failed", message) })
            }
            _ => None,
        }
    }

    fn status(&self, container: &Container) -> &Value {
        self.view.container_statuses().find(|one| one["name"] == *container.name).unwrap_or(&Value::Null)
    }

    fn init(&self, init: &Container) -> Option<Cause> {
        let status = self.status(init);
        if is_sidecar(init) {
            return if status["started"] == true { None } else { Some(self.container("sidecar", init, status)) };
        }
        let done = status["state"]["terminated"]["exitCode"] == 0 && status["ready"] == true;
        if done { None } else { Some(self.container("init container", init, status)) }
    }

    fn runs(&self, container: &Container) -> bool {
        self.status(container)["state"]["running"].is_object()
    }

    fn app(&self, app: &Container) -> Option<Cause> {
        let status = self.status(app);
        let ended_well = status["state"]["terminated"]["exitCode"] == 0;
        if status["ready"] == true || (ended_well && !is_sidecar(app)) {
            return None;
        }
        let kind = if is_sidecar(app) { "sidecar" } else { "container" };
        Some(self.container(kind, app, status))
    }

    /// Why one container is not yet what the pod waits for.
    fn container(&self, kind: &str, container: &Container, status: &Value) -> Cause {
        let name = &container.name;
        let state = &status["state"];
        let attempt = status["restartCount"].as_u64().unwrap_or(0) + 1;
        let last = &status["lastState"]["terminated"];
        if state["running"].is_object() {
            return self.running(kind, container, status);
        }
        if state["terminated"].is_object() {
            let message = format!("The {kind} {name:?} {}", ending(&state["terminated"]));
            let reason = self.text(&state["terminated"]["reason"]);
            return Cause::new(Some(container), if reason.is_empty() { "Error" } else { reason }, message);
        }
        let reason = self.text(&state["waiting"]["reason"]);
        let said = self.text(&state["waiting"]["message"]);
        match reason {
            "CrashLoopBackOff" => {
                let message = format!("The {kind} {name:?} {} (attempt {attempt})", ending(last));
                Cause { next: self.next_attempt(name, said, last), ..Cause::new(Some(container), reason, message) }
            }
            "" | "PodInitializing" | "ContainerCreating" => {
                Cause::new(Some(container), "Starting", format!("The {kind} {name:?} is about to be started"))
            }
            _ => Cause::new(Some(container), reason, format!("The {kind} {name:?} cannot be started: {said}")),
        }
    }

    fn running(&self, kind: &str, container: &Container, status: &Value) -> Cause {
        let name = &container.name;
        let since = self.text(&status["state"]["running"]["startedAt"]).parse::<Timestamp>();
        let lasts =
            since.map(|since| format!(" for {}", table::age((self.now - since).get_seconds()))).unwrap_or_default();
        let said = self.last_failure(name);
        let because = said.map_or_else(String::new, |said| format!(": {said}"));
        let (reason, message) = if kind == "init container" {
            ("Initializing", format!("The pod waits for the init container {name:?} to end; it has run{lasts}"))
        } else if status["started"] != true && container.startup_probe.is_some() {
            ("NotStarted", format!("The {kind} {name:?} runs and has not passed its startup probe{because}"))
        } else if status["started"] != true {
            ("NotStarted", format!("The {kind} {name:?} runs and its postStart hook has not returned"))
        } else {
            ("NotReady", format!("The {kind} {name:?} runs and is not ready{because}"))
        };
        Cause::new(Some(container), reason, message)
    }

    /// What the last failure of a probe has said.
    fn last_failure(&self, container: &str) -> Option<&str> {
        let mut own = self.timeline.iter().rev().filter(|step| step.container.as_deref() == Some(container));
        let message = own.find(|step| step.reason == "Unhealthy")?.message.trim();
        // What the probe has said behind `Liveness probe failed: `, if anything.
        Some(message.split_once(" probe failed:").map_or(message, |(_, said)| said.trim()))
            .filter(|said| !said.is_empty())
    }

    /// When the delay ends that a status tells: as exact as the timeline is, or else to the second.
    fn next_attempt(&self, container: &str, said: &str, last: &Value) -> Option<Timestamp> {
        let step =
            self.timeline.iter().rfind(|step| step.container.as_deref() == Some(container) && step.reason == "BackOff");
        let (from, text) = match step {
            Some(step) => (step.at, step.message.as_str()),
            None => (self.text(&last["finishedAt"]).parse().ok()?, said),
        };
        let delay: Duration = text.strip_prefix("back-off ")?.split(' ').next().and_then(duration::parse)?;
        from.checked_add(SignedDuration::try_from(delay).ok()?).ok()
    }

    fn gates(&self) -> Option<Cause> {
        let conditions = self.view.status["conditions"].as_array()?;
        let ready = conditions.iter().find(|one| one["type"] == "Ready" && one["status"] == "False")?;
        let (reason, said) = (self.text(&ready["reason"]), self.text(&ready["message"]));
        Some(Cause::new(None, reason, format!("The pod is not ready: {said}")))
    }
}

fn ending(end: &Value) -> String {
    let code = end["exitCode"].as_u64().unwrap_or(0);
    let how = match end["reason"].as_str().unwrap_or_default() {
        "OOMKilled" => "was killed because it ran out of memory".to_owned(),
        "StartError" => "could not be started".to_owned(),
        _ => format!("has ended with exit code {code}"),
    };
    match end["message"].as_str().map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{how}: {}", message.lines().last().unwrap_or_default()),
        None => how,
    }
}

fn list(names: &[&str]) -> String {
    match names {
        [only] => format!("container {only:?}"),
        names => format!("containers {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use loment_cri::v1::PodSandbox;

    use super::*;
    use crate::session::Found;

    const NOW: &str = "2026-05-01T10:00:10Z";

    fn why(status: Value, timeline: &[Happening]) -> (Cause, String) {
        let pod = json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": {
            "initContainers": [{ "name": "init" }, { "name": "proxy", "restartPolicy": "Always", "startupProbe": {} }],
            "containers": [{ "name": "app" }] } });
        let found = Found { pod: serde_json::from_value(pod).unwrap(), sandbox: PodSandbox::default() };
        let view = View { found, status, deleting: false };
        let now = NOW.parse().unwrap();
        let cause = cause(&view, timeline, now);
        let text = cause.sentences(now);
        (cause, text)
    }

    fn step(at: &str, container: &str, reason: &str, message: &str) -> Happening {
        Happening {
            at: at.parse().unwrap(),
            since_start: Duration::ZERO,
            container: Some(container.to_owned()),
            attempt: 0,
            reason: reason.to_owned(),
            message: message.to_owned(),
            warning: true,
        }
    }

    #[test]
    fn an_init_container_in_its_back_off_is_the_cause_and_its_next_attempt_is_told() {
        let status = json!({ "phase": "Pending", "initContainerStatuses": [
            { "name": "init", "ready": false, "restartCount": 3,
              "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container=init" } },
              "lastState": { "terminated": { "exitCode": 1, "finishedAt": "2026-05-01T10:00:00Z", "message": "no database\n" } } }],
            "containerStatuses": [{ "name": "app", "state": { "waiting": { "reason": "PodInitializing" } } }] });
        let (cause, text) = why(status.clone(), &[]);
        assert_eq!((cause.container.as_deref(), cause.reason.as_str()), (Some("init"), "CrashLoopBackOff"));
        assert_eq!(
            text,
            "The init container \"init\" has ended with exit code 1: no database (attempt 4). It is tried again in 10s."
        );
        let step = step("2026-05-01T10:00:00.7Z", "init", "BackOff", "back-off 20s before it is restarted");
        assert_eq!(why(status, &[step]).0.next, "2026-05-01T10:00:20.7Z".parse().ok());
    }

    #[test]
    fn a_sidecar_that_is_not_started_goes_before_the_app() {
        let done = json!({ "name": "init", "ready": true, "state": { "terminated": { "exitCode": 0 } } });
        let proxy = json!({ "name": "proxy", "started": false, "state": { "running": { "startedAt": NOW } } });
        let status = json!({ "phase": "Pending", "initContainerStatuses": [done, proxy] });
        let failure = step(NOW, "proxy", "Unhealthy", "Startup probe failed: connection refused");
        let (cause, text) = why(status, &[failure]);
        assert_eq!((cause.container.as_deref(), cause.reason.as_str()), (Some("proxy"), "NotStarted"));
        assert!(text.ends_with("has not passed its startup probe: connection refused."), "{text}");
    }

    #[test]
    fn an_app_that_does_not_run_goes_before_one_that_is_not_ready() {
        let pod = json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "slow" }, { "name": "broken" }] } });
        let found = Found { pod: serde_json::from_value(pod).unwrap(), sandbox: PodSandbox::default() };
        let status = json!({ "phase": "Running", "containerStatuses": [
            { "name": "broken", "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
              "lastState": { "terminated": { "exitCode": 2 } } },
            { "name": "slow", "ready": false, "started": true, "state": { "running": {} } }] });
        let view = View { found, status, deleting: false };
        let cause = cause(&view, &[], NOW.parse().unwrap());
        assert_eq!((cause.container.as_deref(), cause.reason.as_str()), (Some("broken"), "CrashLoopBackOff"));
    }

    #[test]
    fn what_has_ended_or_runs_well_is_told_as_such() {
        let (cause, _) = why(json!({ "phase": "Succeeded" }), &[]);
        assert!(!cause.blocked);
        let failed = json!({ "phase": "Failed", "containerStatuses": [
            { "name": "app", "state": { "terminated": { "exitCode": 3, "reason": "Error" } } }] });
        let (cause, text) = why(failed, &[]);
        assert_eq!((cause.blocked, cause.container.as_deref()), (true, Some("app")));
        assert!(text.contains("container \"app\" has ended with exit code 3"), "{text}");
        let expired = json!({ "phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active too long" });
        assert_eq!(why(expired, &[]).1, "The pod has failed: Pod was active too long.");
        let running = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
            "initContainerStatuses": [
                { "name": "init", "ready": true, "state": { "terminated": { "exitCode": 0 } } },
                { "name": "proxy", "ready": true, "started": true, "state": { "running": {} } }],
            "containerStatuses": [{ "name": "app", "ready": true, "state": { "running": {} } }] });
        let (cause, text) = why(running, &[]);
        assert_eq!((cause.blocked, text.as_str()), (false, "Nothing blocks pod \"web\": it is Running."));
        assert_eq!(why(json!({ "phase": "Unknown", "message": "no shim" }), &[]).0.reason, "Unknown");
    }
}
