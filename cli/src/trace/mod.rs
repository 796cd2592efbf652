//! How long each phase of the starts in a pod took: what its shim has noted, in an order for people.

pub(crate) mod otlp;
pub(crate) mod send;
pub(crate) mod waterfall;

use std::collections::HashSet;

use loment_sandbox::trace::{Lane, Phase};
use loment_shim::pod::{
    api::{TraceResponse, TracedSpan, TracedStart, traced_start::Kind},
    client::kind_name,
};
use serde_json::{Value, json};

/// The traced starts of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// containerd's id of the sandbox.
    pub(crate) sandbox: String,
    /// To be added to a time of the trace: then it is nanoseconds since 1970.
    pub(crate) since_epoch: i64,
    /// In the order in which they began.
    pub(crate) starts: Vec<Start>,
}

/// One start.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) exec: String,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    /// What was done at one go, in the order in which it was asked for.
    pub(crate) parts: Vec<Part>,
}

/// What was done for one request.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Of what it is a part: "create", "start" ...
    pub(crate) name: &'static str,
    /// In the order in which they ended; without the moment of the request.
    pub(crate) spans: Vec<Span>,
    /// When it was asked for.
    pub(crate) from: u64,
}

/// Something that was done. Nanoseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) phase: String,
    /// Whether the process that is made has done it, and not the shim.
    pub(crate) by_child: bool,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Trace {
    /// Of the pod with this name.
    pub(crate) fn of(namespace: &str, pod: &str, sandbox: &str, answer: TraceResponse) -> Self {
        let now = i64::try_from(answer.now_monotonic_nanos).unwrap_or(i64::MAX);
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            sandbox: sandbox.to_owned(),
            since_epoch: answer.now_unix_nanos.saturating_sub(now),
            starts: answer.starts.into_iter().filter_map(Start::of).collect(),
        }
    }

    /// Keeps of each container the newest attempt, and no further processes. A container that a kubelet has started again has
    /// another id and the same name.
    pub(crate) fn keep_newest(&mut self) {
        let mut seen = HashSet::new();
        let mut kept: Vec<Start> = std::mem::take(&mut self.starts);
        kept.reverse();
        kept.retain(|start| {
            let known_by = if start.name.is_empty() { &start.id } else { &start.name };
            start.kind != Kind::EXEC && seen.insert((kind_name(start.kind), known_by.clone()))
        });
        kept.reverse();
        self.starts = kept;
    }

    /// Keeps what belongs to the container of this name.
    pub(crate) fn keep_container(&mut self, name: &str) {
        self.starts.retain(|start| start.name == name && matches!(start.kind, Kind::CONTAINER | Kind::EXEC));
    }

    /// When the first of its starts began.
    pub(crate) fn from(&self) -> u64 {
        self.starts.iter().filter_map(Start::began).min().unwrap_or_default()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let first = self.from();
        let span = |span: &Span| {
            json!({
                "phase": span.phase,
                "lane": if span.by_child { Lane::Child.name() } else { Lane::Shim.name() },
                "sinceStartNanos": span.from.saturating_sub(first),
                "nanos": span.to - span.from,
            })
        };
        let part = |part: &Part| {
            json!({
                "name": part.name,
                "unixNanos": self.since_epoch.saturating_add_unsigned(part.from),
                "sinceStartNanos": part.from.saturating_sub(first),
                "nanos": part.nanos(),
                "spans": part.spans.iter().map(span).collect::<Vec<_>>(),
            })
        };
        let start = |start: &Start| {
            json!({
                "kind": kind_name(start.kind),
                "id": start.id,
                "execId": start.exec,
                "name": start.name,
                "attempt": start.attempt,
                "parts": start.parts.iter().map(part).collect::<Vec<_>>(),
            })
        };
        json!({
            "namespace": self.namespace,
            "pod": self.pod,
            "sandbox": self.sandbox,
            "starts": self.starts.iter().map(start).collect::<Vec<_>>(),
        })
    }
}

impl Start {
    /// As a person calls it.
    pub(crate) fn title(&self) -> String {
        let name = if self.name.is_empty() { self.id.get(..12).unwrap_or(&self.id) } else { &self.name };
        let attempt = if self.attempt > 0 { format!(", attempt {}", self.attempt + 1) } else { String::new() };
        match self.kind {
            Kind::SHIM => "shim".to_owned(),
            Kind::SANDBOX => format!("sandbox{attempt}"),
            Kind::CONTAINER => format!("{name}{attempt}"),
            Kind::EXEC => format!("exec in {name}"),
        }
    }

    fn began(&self) -> Option<u64> {
        self.parts.first().map(|part| part.from)
    }
}

impl Part {
    /// How long it took.
    pub(crate) fn nanos(&self) -> u64 {
        self.to().saturating_sub(self.from)
    }

    /// When its last span ended.
    pub(crate) fn to(&self) -> u64 {
        self.spans.iter().map(|span| span.to).max().unwrap_or(self.from)
    }
}

impl Start {
    /// `None` for a kind that only a newer shim knows.
    fn of(start: TracedStart) -> Option<Self> {
        let kind = start.kind.enum_value().ok()?;
        Some(Self {
            kind,
            id: start.id,
            exec: start.exec_id,
            name: start.name,
            attempt: start.attempt,
            parts: parts(kind, start.spans),
        })
    }
}

/// A request begins a part. What nobody has asked for, of a shim that notes less than this command knows, is left out.
fn parts(kind: Kind, spans: Vec<TracedSpan>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for span in spans {
        let begins = match (Phase::named(&span.phase), kind) {
            (Some(Phase::Invoked), _) => Some("begin"),
            (Some(Phase::Asked), Kind::EXEC) | (Some(Phase::Called), _) => Some("start"),
            (Some(Phase::Asked), _) => Some("create"),
            _ => None,
        };
        let by_child = span.lane == Lane::Child.name();
        match (begins, parts.last_mut()) {
            (Some(name), _) => parts.push(Part { name, spans: Vec::new(), from: span.from_nanos }),
            (None, Some(part)) => {
                part.spans.push(Span {
                    phase: span.phase,
                    by_child,
                    from: span.from_nanos,
                    to: span.to_nanos.max(span.from_nanos),
                });
            }
            (None, None) => {}
        }
    }
    parts
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Phases with their beginnings and ends.
    fn start(kind: Kind, id: &str, attempt: u32, spans: &[(Phase, u64, u64)]) -> TracedStart {
        let span = |(phase, from, to): &(Phase, u64, u64)| TracedSpan {
            phase: phase.name().to_owned(),
            lane: phase.lane().name().to_owned(),
            from_nanos: *from,
            to_nanos: *to,
            ..TracedSpan::default()
        };
        let name = if matches!(kind, Kind::CONTAINER | Kind::EXEC) { "app" } else { "" };
        TracedStart {
            kind: kind.into(),
            id: id.to_owned(),
            name: name.to_owned(),
            attempt,
            spans: spans.iter().map(span).collect(),
            ..TracedStart::default()
        }
    }

    const MS: u64 = 1_000_000;

    /// A pod's shim, its sandbox, two attempts at its container, and an exec.
    pub(crate) fn trace() -> Trace {
        let container = [
            (Phase::Asked, 20 * MS, 20 * MS),
            (Phase::SpecRead, 20 * MS, 21 * MS),
            (Phase::Born, 21 * MS, 23 * MS),
            (Phase::Created, 21 * MS, 24 * MS),
            (Phase::Called, 30 * MS, 30 * MS),
            (Phase::GateOpened, 30 * MS, 31 * MS),
            (Phase::Executed, 31 * MS, 32 * MS),
        ];
        let starts = vec![
            start(Kind::SHIM, "", 0, &[(Phase::Invoked, 5 * MS, 5 * MS), (Phase::Bound, 5 * MS, 6 * MS)]),
            start(Kind::SANDBOX, "s", 0, &[(Phase::Asked, 10 * MS, 10 * MS), (Phase::Created, 10 * MS, 12 * MS)]),
            start(Kind::CONTAINER, "c", 0, &container),
            start(Kind::EXEC, "c", 0, &[(Phase::Asked, 50 * MS, 50 * MS), (Phase::Executed, 50 * MS, 51 * MS)]),
            // Made anew by its client: another id.
            start(Kind::CONTAINER, "d", 1, &[(Phase::Asked, 60 * MS, 60 * MS), (Phase::Created, 60 * MS, 64 * MS)]),
        ];
        let answer = TraceResponse {
            now_monotonic_nanos: 100 * MS,
            now_unix_nanos: 1_700_000_000_000_000_000,
            starts,
            ..TraceResponse::default()
        };
        Trace::of("default", "web", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", answer)
    }

    #[test]
    fn each_request_is_a_part_of_its_start() {
        let parts: Vec<Vec<(&str, usize, u64)>> = trace()
            .starts
            .iter()
            .map(|start| start.parts.iter().map(|part| (part.name, part.spans.len(), part.nanos() / MS)).collect())
            .collect();
        let expected = vec![
            vec![("begin", 1, 1)],
            vec![("create", 1, 2)],
            vec![("create", 3, 4), ("start", 2, 2)],
            vec![("start", 1, 1)],
            vec![("create", 1, 4)],
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn of_several_attempts_the_newest_is_kept_and_no_exec() {
        let mut trace = trace();
        trace.keep_newest();
        let titles: Vec<String> = trace.starts.iter().map(Start::title).collect();
        assert_eq!(titles, ["shim", "sandbox", "app, attempt 2"]);
    }

    #[test]
    fn of_one_container_everything_is_kept() {
        let mut trace = trace();
        trace.keep_container("app");
        let titles: Vec<String> = trace.starts.iter().map(Start::title).collect();
        assert_eq!(titles, ["app", "exec in app", "app, attempt 2"]);
    }

    #[test]
    fn json_has_every_span_with_its_place() {
        let json = trace().json();
        let part = &json["starts"][2]["parts"][0];
        assert_eq!((&part["name"], &part["sinceStartNanos"]), (&json!("create"), &json!(15 * MS)));
        assert_eq!(part["unixNanos"], json!(1_700_000_000_000_000_000_i64 - 80 * MS as i64));
        let span = json!({ "phase": "be born", "lane": "child", "sinceStartNanos": 16 * MS, "nanos": 2 * MS });
        assert_eq!(part["spans"][1], span);
    }
}
