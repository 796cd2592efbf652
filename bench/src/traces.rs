//! What a shim notes of the starts in its pod, where it is one that does.

use std::{path::Path, time::Duration};

use loment_sandbox::trace::Phase;
use loment_shim::pod::{
    api::{TraceResponse, TracedSpan, TracedStart},
    client::{PodShim, kind_name},
};

use crate::samples::Samples;

/// The namespace of everything that CRI makes.
const NAMESPACE: &str = "k8s.io";

/// One thing that was done in the course of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) key: Key,
    /// Since the request that it is a part of came.
    pub(crate) from: Duration,
    pub(crate) took: Duration,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// What was started, and the moment since which time counts: `container, called`.
    pub(crate) part: String,
    /// Who did it: `shim`, or `child`.
    pub(crate) lane: String,
    pub(crate) phase: String,
}

/// The steps of many pods, in the order in which they came first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(pub(crate) Vec<(Key, Samples, Samples)>);

impl Steps {
    pub(crate) fn add(&mut self, round: u32, step: Step) {
        let place = self.0.iter().position(|(key, ..)| *key == step.key);
        let place = place.unwrap_or_else(|| {
            self.0.push((step.key, Samples::default(), Samples::default()));
            self.0.len() - 1
        });
        let (_, from, took) = &mut self.0[place];
        from.push(round, step.from);
        took.push(round, step.took);
    }
}

/// What the shim of a sandbox tells; `None` from one that notes nothing.
pub(crate) async fn read(containerd: &Path, sandbox: &str) -> Option<Vec<Step>> {
    let shim = PodShim::connect(containerd, NAMESPACE, sandbox).await.ok()?;
    Some(steps(&shim.trace().await.ok()?))
}

fn steps(trace: &TraceResponse) -> Vec<Step> {
    trace.starts.iter().flat_map(of_start).collect()
}

/// The steps of one start. What follows the moment of a request is counted from there.
fn of_start(start: &TracedStart) -> Vec<Step> {
    // A kind that only a newer shim knows is left out.
    let Ok(kind) = start.kind.enum_value().map(kind_name) else { return Vec::new() };
    let is_moment = |span: &&TracedSpan| Phase::named(&span.phase).is_some_and(Phase::is_moment);
    let mut moments: Vec<&TracedSpan> = start.spans.iter().filter(is_moment).collect();
    moments.sort_by_key(|moment| moment.from_nanos);
    let step = |span: &TracedSpan| {
        let moment = moments.iter().rev().find(|moment| moment.from_nanos <= span.from_nanos)?;
        let nanos = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        Some(Step {
            key: Key { part: format!("{kind}, {}", moment.phase), lane: span.lane.clone(), phase: span.phase.clone() },
            from: nanos(moment.from_nanos, span.from_nanos),
            took: nanos(span.from_nanos, span.to_nanos),
        })
    };
    start.spans.iter().filter(|span| !is_moment(span)).filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use loment_shim::pod::api::traced_start::Kind;

    use super::*;

    #[test]
    fn time_counts_from_the_request_that_a_step_is_a_part_of() {
        let span = |phase: &str, lane: &str, from_nanos, to_nanos| TracedSpan {
            phase: phase.to_owned(),
            lane: lane.to_owned(),
            from_nanos,
            to_nanos,
            ..TracedSpan::default()
        };
        let spans = vec![
            span("asked", "shim", 100, 100),
            span("plan", "shim", 100, 130),
            span("be born", "child", 110, 150),
            span("called", "shim", 900, 900),
            span("open gate", "shim", 900, 905),
            // It may take no time at all.
            span("pass gate", "child", 905, 905),
        ];
        let start = TracedStart { kind: Kind::CONTAINER.into(), spans, ..TracedStart::default() };
        let found = steps(&TraceResponse { starts: vec![start.clone(), start], ..TraceResponse::default() });
        let shown: Vec<_> =
            found.iter().map(|step| (&*step.key.part, &*step.key.phase, step.from.as_nanos())).collect();
        let once = [
            ("container, asked", "plan", 0),
            ("container, asked", "be born", 10),
            ("container, called", "open gate", 0),
            ("container, called", "pass gate", 5),
        ];
        assert_eq!(shown, [once, once].concat());
        let mut steps = Steps::default();
        found.into_iter().for_each(|step| steps.add(0, step));
        assert_eq!(steps.0.len(), 4);
        assert_eq!(steps.0[1].2.iter().map(|took| took.as_nanos()).collect::<Vec<_>>(), [40, 40]);
    }
}
