//! The traces of the shim's last starts, with whose starts they were.

use std::sync::Mutex;

use loment_sandbox::trace::{self, Group, Phase, Trace};

use crate::pod::api::{TraceResponse, TracedSpan, TracedStart, traced_start::Kind};

/// Starts of containers (and of the shim, and of the sandbox) that are remembered: more than most pods ever have.
const CONTAINERS: usize = 32;
/// Starts of further processes that are remembered.
const EXECS: usize = 16;

/// The longest id that containerd lets anybody choose, in bytes.
const LONGEST_ID: usize = 76;
/// The longest name of a container, in bytes: that of an RFC 1123 label.
const LONGEST_NAME: usize = 63;

/// What the shim's process has done before there was a place to note it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {
    /// The program has begun.
    pub(crate) invoked: u64,
    /// What is wanted was known.
    pub(crate) understood: u64,
    /// The process that stays was there.
    pub(crate) forked: u64,
    /// The socket was there.
    pub(crate) bound: u64,
}

/// Whose start it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) kind: Kind,
    /// containerd's id of the container.
    pub(crate) id: &'a str,
    /// Of a further process, its id.
    pub(crate) exec: &'a str,
    /// The container's name in its pod, if it has one.
    pub(crate) name: &'a str,
    /// Counted from 0.
    pub(crate) attempt: u32,
}

/// The memory of starts. It does not grow.
#[derive(Debug)]
pub(crate) struct Traces {
    /// `None` if there is no memory for it: nothing is traced then.
    memory: Option<trace::Traces>,
    known: Mutex<Vec<Option<Known>>>,
}

/// A start, without any memory but its own.
#[derive(Debug, Clone, Copy)]
struct Known {
    trace: Trace,
    kind: Kind,
    attempt: u32,
    id: Text<LONGEST_ID>,
    exec: Text<LONGEST_ID>,
    name: Text<LONGEST_NAME>,
}

impl Traces {
    /// With the start of this shim as the first one.
    pub(crate) fn new(began: Began) -> Self {
        let memory = trace::Traces::new(CONTAINERS, EXECS);
        let memory = memory.inspect_err(|error| log::warn!("starts are not traced: {error}")).ok();
        let traces = Self { memory, known: Mutex::new(Vec::with_capacity(CONTAINERS + EXECS)) };
        let trace = traces.begin(Subject { kind: Kind::SHIM, id: "", exec: "", name: "", attempt: 0 });
        let reached = [
            (Phase::Invoked, began.invoked),
            (Phase::Understood, began.understood),
            (Phase::Forked, began.forked),
            (Phase::Bound, began.bound),
        ];
        reached.into_iter().for_each(|(phase, at)| trace.reached_at(phase, at));
        trace.reached(Phase::Serving);
        traces
    }

    /// A trace for this start; the oldest one goes.
    pub(crate) fn begin(&self, subject: Subject<'_>) -> Trace {
        let Some(memory) = &self.memory else { return Trace::default() };
        let group = if subject.kind == Kind::EXEC { Group::Execs } else { Group::Containers };
        let (trace, place) = memory.begin(group);
        let known = Known {
            trace,
            kind: subject.kind,
            attempt: subject.attempt,
            id: Text::of(subject.id),
            exec: Text::of(subject.exec),
            name: Text::of(subject.name),
        };
        let mut all = crate::lock(&self.known);
        while all.len() <= place {
            all.push(None);
        }
        all[place] = Some(known);
        trace
    }

    /// All of them, the oldest first.
    pub(crate) fn read(&self) -> TraceResponse {
        let known: Vec<Known> = crate::lock(&self.known).iter().flatten().copied().collect();
        let mut starts: Vec<TracedStart> = known.iter().filter_map(Known::read).collect();
        starts.sort_by_key(|start| start.spans.first().map(|span| span.from_nanos));
        TraceResponse {
            now_monotonic_nanos: trace::now(),
            now_unix_nanos: crate::time::unix_nanos(),
            starts,
            ..TraceResponse::default()
        }
    }
}

impl Known {
    fn read(&self) -> Option<TracedStart> {
        let spans = self.trace.spans()?;
        let span = |span: trace::Span| TracedSpan {
            phase: span.phase.name().to_owned(),
            lane: span.phase.lane().name().to_owned(),
            from_nanos: span.from,
            to_nanos: span.to,
            ..TracedSpan::default()
        };
        Some(TracedStart {
            kind: self.kind.into(),
            id: self.id.as_str().to_owned(),
            exec_id: self.exec.as_str().to_owned(),
            name: self.name.as_str().to_owned(),
            attempt: self.attempt,
            spans: spans.into_iter().map(span).collect(),
            ..TracedStart::default()
        })
    }
}

/// A short text in place.
#[derive(Debug, Clone, Copy)]
struct Text<const LONGEST: usize> {
    length: u8,
    bytes: [u8; LONGEST],
}

impl<const LONGEST: usize> Text<LONGEST> {
    /// As much of it as there is room for.
    fn of(text: &str) -> Self {
        let end = (0..=text.len().min(LONGEST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let mut bytes = [0; LONGEST];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self { length: end as u8, bytes }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Began = Began { invoked: 1, understood: 2, forked: 3, bound: 4 };

    fn container(id: &str, attempt: u32) -> Subject<'_> {
        Subject { kind: Kind::CONTAINER, id, exec: "", name: "app", attempt }
    }

    #[test]
    fn the_shims_own_start_comes_first() {
        let traces = Traces::new(BEGAN);
        traces.begin(container("a", 3)).reached(Phase::Asked);
        let read = traces.read();
        let starts: Vec<_> = read.starts.iter().map(|start| (start.kind.unwrap(), &*start.id, start.attempt)).collect();
        assert_eq!(starts, [(Kind::SHIM, "", 0), (Kind::CONTAINER, "a", 3)]);
        let spans = &read.starts[0].spans;
        assert_eq!(spans.iter().map(|span| span.to_nanos).take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(read.now_monotonic_nanos >= read.starts[1].spans[0].to_nanos);
    }

    #[test]
    fn any_number_of_starts_takes_the_same_memory() {
        let traces = Traces::new(BEGAN);
        for attempt in 0..100 {
            traces.begin(container("a", attempt)).reached(Phase::Asked);
            traces.begin(Subject { kind: Kind::EXEC, exec: "probe", ..container("a", 0) }).reached(Phase::Asked);
        }
        let read = traces.read();
        assert_eq!(read.starts.len(), CONTAINERS + EXECS);
        assert_eq!(crate::lock(&traces.known).capacity(), CONTAINERS + EXECS);
        let last = read.starts.iter().filter(|start| start.kind == Kind::CONTAINER.into()).map(|start| start.attempt);
        assert_eq!(last.collect::<Vec<_>>(), (68..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(Text::<3>::of("äö").as_str(), "ä");
        assert_eq!(Text::<3>::of("abc").as_str(), "abc");
        assert_eq!(Text::<3>::of("").as_str(), "");
    }
}
