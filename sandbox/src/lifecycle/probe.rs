//! Probing a container: when each of its probes is due, and what their outcomes come to (the kubelet's prober/worker.go).

use super::{
    handler::{Outcome, Probe, ProbeKind},
    spec::ContainerSpec,
    time::Time,
};

/// How often a probe that could not be made is tried, one after the other, before that is given up until the next time.
const TRIES: u32 = 3;

/// In which order probes that are due at once are made.
const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

/// The probes of one attempt of a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    workers: [Option<Worker>; KINDS.len()],
}

/// One probe of a running container.
#[derive(Debug, Clone)]
struct Worker {
    probe: Probe,
    next: Time,
    under_way: bool,
    errors: u32,
    given_up: u32,
    /// The newest outcome, and how many there were of its kind in a row.
    last: Option<bool>,
    row: u32,
    /// What the outcomes have come to.
    result: Option<bool>,
    /// Whether it has done its part in this attempt.
    at_rest: bool,
}

/// What an outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing: nobody asked, or nobody needs it any more.
    Ignored,
    /// The attempt could not be made: ask once more at once.
    Again,
    /// It could not be made and is given up. The state stays as it is.
    GivenUp {
        /// How many were in a row.
        row: u32,
    },
    /// It counts, and was the last of so many alike in a row. `changed`: the probe succeeds or fails from now on.
    Counted {
        /// How many alike there were in a row.
        row: u32,
        /// What the probe has come to, if that is news.
        changed: Option<bool>,
    },
}

impl Probes {
    /// The probes of a container that runs since `started` and may be probed since `now`.
    pub(super) fn begin(spec: &ContainerSpec, started: Time, now: Time) -> Self {
        let worker = |kind| spec.probe(kind).map(|probe| Worker::begin(kind, probe.clone(), started, now));
        Self { workers: KINDS.map(worker) }
    }

    fn worker(&self, kind: ProbeKind) -> Option<&Worker> {
        self.workers.get(kind as usize).and_then(Option::as_ref)
    }

    fn worker_mut(&mut self, kind: ProbeKind) -> Option<&mut Worker> {
        self.workers.get_mut(kind as usize).and_then(Option::as_mut)
    }

    /// Whether the container has started, for all that its startup probe says.
    pub(super) fn started(&self) -> bool {
        self.worker(ProbeKind::Startup).is_none_or(|worker| worker.result == Some(true))
    }

    /// Whether a container that has started is ready.
    pub(super) fn ready(&self) -> bool {
        self.worker(ProbeKind::Readiness).is_none_or(|worker| worker.result == Some(true))
    }

    /// Liveness and readiness have to wait for the startup probe.
    fn may_run(&self, kind: ProbeKind) -> bool {
        kind == ProbeKind::Startup || self.started()
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Time> {
        KINDS.into_iter().filter(|kind| self.may_run(*kind)).filter_map(|kind| self.worker(kind)?.due()).min()
    }

    /// The probes to be made now. Each is under way from then on.
    pub(super) fn ask(&mut self, now: Time) -> Vec<ProbeKind> {
        let mut asked = Vec::new();
        for kind in KINDS {
            let may_run = self.may_run(kind);
            if let Some(worker) = self.worker_mut(kind)
                && may_run
                && worker.due().is_some_and(|due| due <= now)
            {
                worker.ask(now);
                asked.push(kind);
            }
        }
        asked
    }

    /// Takes an outcome. `started`: when the container started.
    pub(super) fn answer(&mut self, kind: ProbeKind, outcome: &Outcome, started: Time, now: Time) -> Answer {
        let Some(worker) = self.worker_mut(kind) else { return Answer::Ignored };
        let answer = worker.answer(kind, outcome);
        if let (ProbeKind::Startup, Answer::Counted { changed: Some(true), .. }) = (kind, answer) {
            for kind in [ProbeKind::Liveness, ProbeKind::Readiness] {
                if let Some(worker) = self.worker_mut(kind) {
                    worker.next = first_tick(kind, &worker.probe, started, now);
                }
            }
        }
        answer
    }

    /// The container is to end: only whether it is ready still matters.
    pub(super) fn only_readiness(&mut self) {
        for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
            if let Some(worker) = self.worker_mut(kind) {
                worker.at_rest = true;
            }
        }
    }
}

/// The first time from `now` on at which a probe is due. They are due in steps of the period, the first when the
/// initial delay is over; whether a container that has just started is ready is asked at once.
fn first_tick(kind: ProbeKind, probe: &Probe, started: Time, now: Time) -> Time {
    let first = started + probe.initial_delay;
    if kind == ProbeKind::Readiness {
        return first.max(now);
    }
    let (late, period) = (now.since(first).as_nanos(), probe.period.as_nanos().max(1));
    let steps = u32::try_from(late.div_ceil(period)).unwrap_or(u32::MAX);
    first + probe.period.saturating_mul(steps)
}

impl Worker {
    fn begin(kind: ProbeKind, probe: Probe, started: Time, now: Time) -> Self {
        let next = first_tick(kind, &probe, started, now);
        Self { probe, next, under_way: false, errors: 0, given_up: 0, last: None, row: 0, result: None, at_rest: false }
    }

    fn due(&self) -> Option<Time> {
        (!self.under_way && !self.at_rest).then_some(self.next)
    }

    fn ask(&mut self, now: Time) {
        (self.under_way, self.errors) = (true, 0);
        // One that takes longer than its period is made again as soon as it has ended.
        self.next = now + self.probe.period;
    }

    fn answer(&mut self, kind: ProbeKind, outcome: &Outcome) -> Answer {
        if !self.under_way || self.at_rest {
            return Answer::Ignored;
        }
        let succeeded = match outcome {
            Outcome::Success | Outcome::Warning(_) => true,
            Outcome::Failure(_) => false,
            Outcome::Error(_) => {
                self.errors += 1;
                self.under_way = self.errors < TRIES;
                if self.under_way {
                    return Answer::Again;
                }
                self.given_up = self.given_up.saturating_add(1);
                return Answer::GivenUp { row: self.given_up };
            }
        };
        (self.under_way, self.given_up) = (false, 0);
        self.row = if self.last == Some(succeeded) { self.row.saturating_add(1) } else { 1 };
        self.last = Some(succeeded);
        let threshold = if succeeded { self.probe.success_threshold } else { self.probe.failure_threshold };
        let (row, reached) = (self.row, self.row >= threshold);
        let changed = (reached && self.result != Some(succeeded)).then_some(succeeded);
        if reached {
            self.result = Some(succeeded);
            // A container that failed is ended, and one that has started needs no more of that probe.
            self.at_rest = kind == ProbeKind::Startup || (kind == ProbeKind::Liveness && !succeeded);
        }
        Answer::Counted { row, changed }
    }
}

/// Whether the `row`th outcome alike is worth telling: the first ones, and ever fewer of a long row.
pub(super) fn worth_telling(row: u32) -> bool {
    row.is_power_of_two()
}
