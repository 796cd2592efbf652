//! A trace as OpenTelemetry takes it: `ExportTraceServiceRequest` of OTLP 1, in its JSON form (numbers of 64 bits as text,
//! ids in hexadecimal).

use loment_shim::pod::client::kind_name;
use serde_json::{Value, json};

use super::{Part, Span, Start, Trace};

/// `SpanKind.SPAN_KIND_INTERNAL`.
const INTERNAL: u32 = 1;

/// The whole pod is one trace: the pod, in it the requests, in those the phases. Ids follow from containerd's, so that who
/// is told twice knows it.
pub(crate) fn request(trace: &Trace) -> Value {
    let parts = || trace.starts.iter().flat_map(|start| start.parts.iter().map(move |part| (start, part)));
    let root = identity(&[&trace.sandbox]);
    let until = parts().map(|(_, part)| part.to()).max().unwrap_or_default();
    let pod = span(trace, (&root, ""), "pod start", (trace.from(), until), &[]);
    let spans: Vec<Value> =
        std::iter::once(pod).chain(parts().flat_map(|(start, part)| of_part(trace, &root, start, part))).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&[
                ("service.name", "containerd-shim-loment-v2"),
                ("k8s.namespace.name", &trace.namespace),
                ("k8s.pod.name", &trace.pod),
                ("loment.sandbox.id", &trace.sandbox),
            ]) },
            "scopeSpans": [{
                "scope": { "name": "loment", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }],
    })
}

fn of_part(trace: &Trace, root: &str, start: &Start, part: &Part) -> Vec<Value> {
    let subject = [trace.sandbox.as_str(), &start.id, &start.exec, part.name, &part.from.to_string()].join("/");
    let own = identity(&[&subject]);
    let attempt = start.attempt.to_string();
    let described = [
        ("loment.kind", kind_name(start.kind)),
        ("container.id", &start.id),
        ("k8s.container.name", &start.name),
        ("loment.attempt", &attempt),
        ("loment.exec.id", &start.exec),
    ];
    let name = format!("{}: {}", start.title(), part.name);
    let whole = span(trace, (&own, root), &name, (part.from, part.to()), &described);
    let phase = |(index, phase): (usize, &Span)| {
        let id = identity(&[&subject, &index.to_string()]);
        let lane = [("loment.lane", if phase.by_child { "child" } else { "shim" })];
        span(trace, (&id, &own), &phase.phase, (phase.from, phase.to), &lane)
    };
    std::iter::once(whole).chain(part.spans.iter().enumerate().map(phase)).collect()
}

fn span(trace: &Trace, (id, parent): (&str, &str), name: &str, (from, to): (u64, u64), all: &[(&str, &str)]) -> Value {
    let at = |nanos: u64| trace.since_epoch.saturating_add_unsigned(nanos).to_string();
    json!({
        "traceId": trace_id(&trace.sandbox),
        "spanId": id,
        "parentSpanId": parent,
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": at(from),
        "endTimeUnixNano": at(to),
        "attributes": attributes(all),
    })
}

fn attributes(all: &[(&str, &str)]) -> Vec<Value> {
    let given = all.iter().filter(|(_, value)| !value.is_empty());
    given.map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

/// 16 bytes. CRI's ids are random and longer.
fn trace_id(sandbox: &str) -> String {
    match sandbox.get(..32).filter(|start| start.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        Some(start) => start.to_ascii_lowercase(),
        None => format!("{}{}", identity(&[sandbox]), identity(&[sandbox, "trace"])),
    }
}

/// 8 bytes that are not all 0: FNV-1a of the words.
fn identity(words: &[&str]) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = words.iter().flat_map(|word| word.bytes().chain([b'/']));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{:016x}", hash.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn spans() -> Vec<Value> {
        let request = request(&super::super::tests::trace());
        request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    #[test]
    fn every_span_has_a_parent_around_it_but_the_pod() {
        let spans = spans();
        let nanos = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
        let mut roots = 0;
        for span in &spans {
            let parent = span["parentSpanId"].as_str().unwrap();
            if parent.is_empty() {
                roots += 1;
                continue;
            }
            let around = spans.iter().find(|other| other["spanId"] == parent).expect(parent);
            assert!(nanos(&around["startTimeUnixNano"]) <= nanos(&span["startTimeUnixNano"]), "{span}");
            assert!(nanos(&around["endTimeUnixNano"]) >= nanos(&span["endTimeUnixNano"]), "{span}");
        }
        assert_eq!(roots, 1);
    }

    #[test]
    fn ids_are_unique_and_the_same_the_next_time() {
        let ids = |spans: &[Value]| spans.iter().map(|span| span["spanId"].to_string()).collect::<HashSet<_>>();
        let (first, second) = (spans(), spans());
        assert_eq!(ids(&first).len(), first.len());
        assert_eq!(ids(&first), ids(&second));
        assert!(first.iter().all(|span| span["traceId"] == "0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn an_id_of_another_kind_makes_a_trace_id_too() {
        let id = trace_id("a-pod");
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
