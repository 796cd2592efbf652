//! A pod's timeline as events of Kubernetes: those that say the same are one event that has occurred several times.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::lower;
use crate::pod::Happening;
use crate::print::table;

/// What happens inside of a pod's life without being an event: it is in the timeline.
const NO_EVENTS: [&str; 13] = [
    "Armed",
    "PhaseChanged",
    "PostStart",
    "PostStartDone",
    "PreStop",
    "PreStopDone",
    "ProbeFails",
    "ProbeSucceeds",
    "Replaced",
    "Restarting",
    "SandboxReady",
    "Signalled",
    "Updated",
];

/// An event, and how often it has occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occurrence {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    container: Option<String>,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) count: u32,
}

/// The events of a timeline, by the time of their last occurrence.
pub(crate) fn of(pod: &Pod, timeline: &[Happening]) -> Vec<Occurrence> {
    let mut all: Vec<Occurrence> = Vec::new();
    for happening in timeline.iter().filter(|happening| !NO_EVENTS.contains(&happening.reason.as_str())) {
        let one = occurrence(pod, happening);
        let same = |other: &&mut Occurrence| {
            (&other.reason, &other.message, &other.container) == (&one.reason, &one.message, &one.container)
        };
        match all.iter_mut().find(same) {
            Some(known) => {
                known.count += 1;
                known.last = one.last;
            }
            None => all.push(one),
        }
    }
    all.sort_by_key(|one| one.last);
    all
}

fn occurrence(pod: &Pod, happening: &Happening) -> Occurrence {
    Occurrence {
        warning: happening.warning,
        reason: happening.reason.clone(),
        message: message(pod, happening),
        container: happening.container.clone(),
        first: happening.at,
        last: happening.at,
        count: 1,
    }
}

/// The message in a kubelet's words, where it has some.
fn message(pod: &Pod, happening: &Happening) -> String {
    let Some(container) = &happening.container else { return happening.message.clone() };
    match happening.reason.as_str() {
        "Created" => format!("Created container {container}"),
        "Started" => format!("Started container {container}"),
        "Killing" if !is_sentence(&happening.message) => format!("Stopping container {container}"),
        "BackOff" => {
            let (name, namespace, uid) = (lower::name(pod), lower::namespace(pod), lower::uid(pod));
            format!("Back-off restarting failed container {container} in pod {name}_{namespace}({uid})")
        }
        _ if is_sentence(&happening.message) => happening.message.clone(),
        _ => format!("Container {container} {}", happening.message),
    }
}

fn is_sentence(message: &str) -> bool {
    message.starts_with(char::is_uppercase)
}

impl Occurrence {
    pub(crate) fn kind(&self) -> &'static str {
        if self.warning { "Warning" } else { "Normal" }
    }

    /// How long ago it last occurred: `5s`, or `5s (x3 over 2m)`.
    pub(crate) fn age(&self, now: Timestamp) -> String {
        let ago = |time: Timestamp| table::age((now.as_second() - time.as_second()).max(0));
        match self.count {
            1 => ago(self.last),
            count => format!("{} (x{count} over {})", ago(self.last), ago(self.first)),
        }
    }

    /// The event as an API object.
    pub(crate) fn object(&self, pod: &Pod) -> Value {
        let (name, namespace, uid) = (lower::name(pod), lower::namespace(pod), lower::uid(pod));
        let mut involved =
            json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": uid });
        if let Some(container) = &self.container {
            let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
            let list = match inits.into_iter().any(|init| init.name == *container) {
                true => "initContainers",
                false => "containers",
            };
            involved["fieldPath"] = json!(format!("spec.{list}{{{container}}}"));
        }
        let second = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("{name}.{:x}", self.first.as_nanosecond()),
                "namespace": namespace,
                "creationTimestamp": second(self.first),
            },
            "involvedObject": involved,
            "type": self.kind(),
            "reason": self.reason,
            "message": self.message,
            "count": self.count,
            "firstTimestamp": second(self.first),
            "lastTimestamp": second(self.last),
            "source": { "component": "loment" },
            "reportingComponent": "loment",
            "reportingInstance": "",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn happening(second: i64, container: Option<&str>, reason: &str, message: &str) -> Happening {
        Happening {
            at: Timestamp::from_second(second).unwrap(),
            since_start: Duration::ZERO,
            container: container.map(str::to_owned),
            attempt: 0,
            reason: reason.into(),
            message: message.into(),
            warning: ["BackOff", "Unhealthy"].contains(&reason) || message.ends_with("code 1"),
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "default", "uid": "u" },
            "spec": { "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }] } }))
        .unwrap()
    }

    #[test]
    fn what_says_the_same_is_one_event_that_has_occurred_several_times() {
        let timeline = [
            happening(10, Some("a"), "Created", "created, waits at its gate"),
            happening(11, Some("a"), "Armed", "asked to start"),
            happening(12, Some("a"), "Started", "started"),
            happening(13, Some("a"), "Exited", "exited with code 1"),
            happening(14, Some("a"), "BackOff", "back-off 10s before it is restarted"),
            happening(24, Some("a"), "Started", "started"),
            happening(25, Some("a"), "Exited", "exited with code 0"),
            happening(26, None, "Stopping", "the pod is stopped"),
        ];
        let all = of(&pod(), &timeline);
        let now = Timestamp::from_second(134).unwrap();
        let rows: Vec<_> =
            all.iter().map(|one| format!("{} {} {}: {}", one.kind(), one.age(now), one.reason, one.message)).collect();
        assert_eq!(
            rows,
            [
                "Normal 2m4s Created: Created container a",
                "Warning 2m1s Exited: Container a exited with code 1",
                "Warning 2m BackOff: Back-off restarting failed container a in pod web_default(u)",
                "Normal 110s (x2 over 2m2s) Started: Started container a",
                "Normal 109s Exited: Container a exited with code 0",
                "Normal 108s Stopping: the pod is stopped",
            ]
        );
    }

    #[test]
    fn an_object_says_which_container_is_meant() {
        let of_init = &of(&pod(), &[happening(5, Some("i"), "Unhealthy", "Startup probe failed: no")])[0];
        let object = of_init.object(&pod());
        assert_eq!(object["involvedObject"]["fieldPath"], "spec.initContainers{i}");
        assert_eq!((&object["type"], &object["message"]), (&json!("Warning"), &json!("Startup probe failed: no")));
        assert_eq!(object["lastTimestamp"], "1970-01-01T00:00:05Z");
    }
}
