//! A pod's timeline as a chart: a row for each container, with what it did when.
//!
//! The axis is not even. A pod starts within milliseconds and then runs for hours; on an even axis its start would be a
//! dot. So a quiet time takes room by the logarithm of its length, and the axis says the times.

pub(crate) mod svg;
pub(crate) mod terminal;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::lower;
use crate::pod::Happening;
use crate::print::table;

/// Quiet times shorter than this take room by their length, longer ones by its logarithm.
const EVEN: f64 = 0.005;

/// What is drawn. Times are seconds since the pod's sandbox was made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// The pod's phases.
    phases: Vec<Span>,
    rows: Vec<Row>,
    end: f64,
    /// The times at which something happened, each once, in order.
    times: Vec<f64>,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: String,
    role: &'static str,
    spans: Vec<Span>,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq)]
struct Span {
    from: f64,
    until: f64,
    what: What,
    /// In words.
    text: String,
}

/// What a container does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Waits,
    Runs,
    BacksOff,
    /// A phase of the pod.
    Phase,
}

/// Something that happens at one moment.
#[derive(Debug, Clone, PartialEq)]
struct Mark {
    at: f64,
    sign: Sign,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Succeeded,
    Failed,
    Signal,
    /// A probe succeeds from now on.
    Healthy,
    /// A probe fails from now on.
    Unhealthy,
    Warning,
    Note,
}

impl Chart {
    /// The chart of a pod's steps. With `now` the pod is there still, and what is not over lasts until then.
    pub(crate) fn of(pod: &Pod, steps: &[Happening], now: Option<Timestamp>) -> Self {
        let last = steps.last().map_or(0.0, seconds);
        let end = match (now, steps.first()) {
            (Some(now), Some(first)) if !is_over(steps) => {
                last.max(seconds(first) + now.duration_since(first.at).as_secs_f64())
            }
            _ => last,
        };
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.as_deref().unwrap_or_default();
        let role = |container: &Container| match container.restart_policy.as_deref() {
            Some("Always") => "sidecar",
            _ => "init",
        };
        let inits = inits.iter().map(|container| (container, role(container)));
        let apps = spec.containers.iter().map(|container| (container, ""));
        let rows: Vec<Row> =
            inits.chain(apps).map(|(container, role)| row(&container.name, role, steps, end)).collect();
        let phases = phases(steps, end);
        let mut times: Vec<f64> = steps.iter().map(seconds).chain([0.0, end]).collect();
        times.sort_by(f64::total_cmp);
        times.dedup_by(|later, earlier| *later - *earlier < 1e-6);
        let phase = phases.last().map_or("no phase yet", |span| span.text.as_str());
        let title = format!("{}/{}: {phase} after {}", lower::namespace(pod), lower::name(pod), length(end));
        Chart { title, phases, rows, end, times }
    }

    /// Where a time stands on an axis from 0 to 1.
    fn place(&self, at: f64) -> f64 {
        let (mut before, mut all) = (0.0, 0.0);
        for pair in self.times.windows(2) {
            let &[from, until] = pair else { continue };
            all += room(until - from);
            before += room(at.clamp(from, until) - from);
        }
        if all > 0.0 { before / all } else { 0.0 }
    }

    /// Times for the axis that stand at least `apart` from each other, and from the end.
    fn ticks(&self, apart: f64) -> Vec<(f64, String)> {
        let mut ticks: Vec<(f64, String)> = Vec::new();
        let end = self.place(self.end);
        for time in &self.times {
            let place = self.place(*time);
            let is_far = ticks.last().is_none_or(|(last, _)| place - last >= apart);
            if is_far && (end - place >= apart || *time >= self.end) {
                ticks.push((place, length(*time)));
            }
        }
        ticks
    }
}

/// The room that a quiet time takes.
fn room(length: f64) -> f64 {
    (1.0 + length / EVEN).ln()
}

fn seconds(step: &Happening) -> f64 {
    step.since_start.as_secs_f64()
}

/// `850µs`, `12ms`, `1.25s`, `10m`.
fn length(seconds: f64) -> String {
    let length = Duration::from_secs_f64(seconds.max(0.0));
    match length.as_micros() {
        0 => "0".to_owned(),
        micros @ 1..1000 => format!("{micros}µs"),
        1000..1_000_000 => format!("{}ms", length.as_millis()),
        1_000_000..60_000_000 => {
            let text = format!("{:.2}", length.as_secs_f64());
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => table::age(i64::try_from(length.as_secs()).unwrap_or(i64::MAX)),
    }
}

/// Whether the pod has come to its last phase.
fn is_over(steps: &[Happening]) -> bool {
    let phase = steps.iter().rfind(|step| step.reason == "PhaseChanged").map(|step| step.message.as_str());
    phase.is_some_and(|phase| phase.ends_with("Succeeded") || phase.ends_with("Failed"))
}

fn phases(steps: &[Happening], end: f64) -> Vec<Span> {
    let mut phases: Vec<Span> = Vec::new();
    let mut begin = |at: f64, text: &str| {
        if let Some(last) = phases.last_mut() {
            last.until = at;
        }
        phases.push(Span { from: at, until: end, what: What::Phase, text: text.to_owned() });
    };
    if !steps.is_empty() {
        begin(0.0, "Pending");
    }
    for step in steps.iter().filter(|step| step.container.is_none()) {
        match step.reason.as_str() {
            "PhaseChanged" => begin(seconds(step), step.message.rsplit(' ').next().unwrap_or_default()),
            "Stopping" | "DeadlineExceeded" | "Evicted" => begin(seconds(step), "Stopping"),
            _ => {}
        }
    }
    phases.retain(|phase| phase.until > phase.from || phase.from >= end);
    phases
}

fn row(name: &str, role: &'static str, steps: &[Happening], end: f64) -> Row {
    let mut row = Row { name: name.to_owned(), role, spans: Vec::new(), marks: Vec::new() };
    let mut open = false;
    for step in steps.iter().filter(|step| step.container.as_deref() == Some(name)) {
        let at = seconds(step);
        let attempt = step.attempt + 1;
        let next = match step.reason.as_str() {
            "Created" if !open => Some((What::Waits, "waits for its turn".to_owned())),
            "Started" => Some((What::Runs, format!("attempt {attempt} runs"))),
            "BackOff" => Some((What::BacksOff, step.message.clone())),
            "Exited" | "Failed" | "Discarded" => None,
            "Created" | "Armed" | "Restarting" => continue,
            _ => {
                row.marks.push(Mark { at, sign: sign(step), text: format!("{}: {}", step.reason, step.message) });
                continue;
            }
        };
        if let (true, Some(last)) = (open, row.spans.last_mut()) {
            last.until = at;
        }
        if matches!(step.reason.as_str(), "Exited" | "Failed") {
            row.marks.push(Mark { at, sign: sign(step), text: format!("attempt {attempt} {}", step.message) });
        }
        open = next.is_some();
        row.spans.extend(next.map(|(what, text)| Span { from: at, until: end, what, text }));
    }
    row
}

fn sign(step: &Happening) -> Sign {
    match step.reason.as_str() {
        "Exited" if step.warning => Sign::Failed,
        "Exited" => Sign::Succeeded,
        "Failed" => Sign::Failed,
        "Killing" | "Signalled" => Sign::Signal,
        "ProbeSucceeds" => Sign::Healthy,
        "ProbeFails" => Sign::Unhealthy,
        _ if step.warning => Sign::Warning,
        _ => Sign::Note,
    }
}

#[cfg(test)]
mod tests;
