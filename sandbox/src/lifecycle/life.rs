//! What happens to a container, from its making to its end.

use super::{
    container::{ContainerState, Life},
    ending::Why,
    event::Action,
    moment::Moment,
    restart::{self, Decision},
    run::{Exit, Run},
    spec::Kind,
    stage::{Input, Stage},
    timeline::Log,
};

/// Exit code of what was killed, and of what was thrown away before it ran.
pub(super) const KILLED: u32 = 128 + 9;

/// What the pod is about, which decides what becomes of a container that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Its containers run as they are to.
    On,
    /// All of them end, to begin again.
    Again,
    /// All of them end, but this one is still needed.
    Lingering,
    /// All of them end.
    Over,
}

/// What becomes of a container that has ended.
enum Next {
    Again,
    All,
    Rest,
    Adopt,
    End,
}

impl ContainerState {
    /// Goes to the next stage, or stays and says that the host is confused.
    pub(super) fn go(&mut self, input: Input, log: &mut Log) -> bool {
        let next = self.stage.next(input);
        match next {
            Some(stage) => self.stage = stage,
            None => self.unexpected(log, &format!("{input:?}")),
        }
        next.is_some()
    }

    pub(super) fn note(&self, log: &mut Log, what: Moment) {
        log.note(Some(self.id), self.attempt, what);
    }

    pub(super) fn unexpected(&self, log: &mut Log, event: &str) {
        self.note(log, Moment::Unexpected { event: event.into() });
    }

    pub(super) fn created(&mut self, log: &mut Log) {
        if self.go(Input::Create, log) {
            self.note(log, Moment::Created);
            if let (true, Some(earlier)) = (self.skipped, &self.earlier) {
                self.discard(earlier.exit_code, log);
            }
        }
    }

    pub(super) fn arm(&mut self, log: &mut Log) {
        match (self.stage, self.armed) {
            (Stage::Absent, _) => self.unexpected(log, "Armed"),
            (Stage::Ended, _) | (_, true) => {}
            _ => {
                self.armed = true;
                self.note(log, Moment::Armed);
            }
        }
    }

    /// Opens its gate, or tries a fresh attempt once more, if the time for that has come.
    pub(super) fn advance(&mut self, its_turn: bool, log: &mut Log) {
        if self.wakes(its_turn).is_none_or(|due| due > log.now) {
            return;
        }
        if self.stage == Stage::Stalled {
            self.prepare(log);
        } else if self.go(Input::Open, log) {
            if let Some(exit) = self.owes.take() {
                self.series.restarted(&self.terms.curve, exit, log.now);
            }
            log.act(Action::Open { container: self.id, attempt: self.attempt });
        }
    }

    pub(super) fn prepare(&mut self, log: &mut Log) {
        if self.go(Input::Prepare, log) {
            self.note(log, Moment::Restarting);
            log.act(Action::Prepare { container: self.id, attempt: self.attempt });
        }
    }

    pub(super) fn opened(&mut self, log: &mut Log) {
        if !self.go(Input::Opened, log) {
            return;
        }
        self.begin_run(log);
        self.note(log, Moment::Started);
        self.post_start(log);
        if let Some(signal) = self.life.owed.take() {
            self.send(signal, log);
        }
        if self.successor && self.kind() != Kind::Init {
            self.begin_ending(Why::Replaced, log.now + self.terms.grace, log);
        }
    }

    fn begin_run(&mut self, log: &Log) {
        let run = Run { attempt: self.attempt, started: log.now, hook_error: None, exit: None };
        if let Some(before) = self.run.replace(run) {
            self.previous = Some(before);
        }
        self.restarts = self.attempt;
        (self.rewound, self.ran_here) = (false, true);
    }

    pub(super) fn ready(&mut self, log: &mut Log) {
        if self.stage == Stage::Ended {
            // It was thrown away while the host was making it.
            log.act(Action::Discard { container: self.id });
        } else if self.go(Input::Ready, log) {
            self.stall = None;
            self.stalls = super::backoff::Series::default();
            self.adopt_if_idle(log);
        }
    }

    /// No process waits for this container, and none can be made now. That is not an exit: it is tried again under
    /// every policy, after ever longer delays but not at once.
    pub(super) fn stalled(&mut self, message: String, log: &mut Log) {
        if self.stage == Stage::Ended || !self.go(Input::Stall, log) {
            return;
        }
        self.tried = true;
        self.stalls.restarted(&self.terms.curve, log.now, log.now);
        self.stalled_until = log.now + self.stalls.delay(&self.terms.curve, log.now);
        self.note(log, Moment::PrepareFailed { message: message.clone(), until: self.stalled_until });
        self.stall = Some(message);
        self.adopt_if_idle(log);
    }

    /// Its process is gone. Whether every container of the pod is to be started again for that.
    pub(super) fn exited(&mut self, exit: Exit, course: Course, log: &mut Log) -> bool {
        match self.stage {
            Stage::Opening | Stage::Running => {
                self.note(log, Moment::Exited { code: exit.code, oom: exit.oom });
                return self.over(exit, course, log);
            }
            Stage::Gate if self.vacated => {
                self.vacated = false;
                // A client may have created it while the new sandbox was made, which then came before this.
                if self.go(Input::Rest, log) && course == Course::On {
                    self.prepare(log);
                }
            }
            Stage::Gate => self.stalled(format!("the process at the gate ended with code {}", exit.code), log),
            // What was thrown away at its gate ends too.
            Stage::Ended => {}
            Stage::Absent | Stage::Preparing | Stage::Stalled | Stage::Resting => self.unexpected(log, "Exited"),
        }
        false
    }

    /// Some of its processes are gone and the first one is not. One that has ended meanwhile has its exit to tell.
    pub(super) fn lost(&mut self, kills: u64, log: &mut Log) {
        if self.stage == Stage::Running {
            self.note(log, Moment::MemoryKilled { kills });
        }
    }

    /// Its program could not be executed, which counts as an exit.
    pub(super) fn start_failed(&mut self, code: u32, message: String, course: Course, log: &mut Log) -> bool {
        if self.stage != Stage::Opening {
            self.unexpected(log, "StartFailed");
            return false;
        }
        self.note(log, Moment::StartFailed { code, message: message.clone() });
        let exit = Exit { start_error: Some(message), ..Exit::new(code, false, log.now) };
        self.over(exit, course, log)
    }

    /// Whether every container of the pod is to be started again for that.
    fn over(&mut self, mut exit: Exit, course: Course, log: &mut Log) -> bool {
        if self.stage == Stage::Opening {
            self.begin_run(log);
        }
        let why = self.ending();
        exit.restarting_all = why == Some(Why::RestartAll);
        let next = self.next_after(&exit, why, course, log);
        let (code, at) = (exit.code, exit.at);
        if let Some(run) = &mut self.run {
            run.exit = Some(exit);
        }
        (self.life, self.tried) = (Life::default(), true);
        match next {
            Next::Again => {
                self.attempt = self.attempt.saturating_add(1);
                self.back_off(at, log);
                self.prepare(log);
            }
            Next::All => {
                self.back_off(at, log);
                self.go(Input::Rest, log);
                return true;
            }
            Next::Rest => drop(self.go(Input::Rest, log)),
            Next::Adopt => self.adopt(code, log),
            Next::End => self.end(code, log),
        }
        false
    }

    fn next_after(&self, exit: &Exit, why: Option<Why>, course: Course, log: &mut Log) -> Next {
        if self.killed.is_some() || course == Course::Over {
            return Next::End;
        }
        let is_init = self.kind() == Kind::Init;
        if self.successor && (course == Course::Again || !is_init) {
            return Next::Adopt;
        }
        if course == Course::Again {
            return Next::Rest;
        }
        let decision = match why {
            Some(Why::Liveness | Why::Startup) => restart::decide_after_probe(&self.spec, self.terms.policy),
            _ => restart::decide(&self.spec, self.terms.policy, exit.code, exit.oom),
        };
        match decision {
            Decision::Ended => Next::End,
            Decision::Again | Decision::All if self.terms.max_restarts.is_some_and(|max| self.attempt >= max) => {
                self.note(log, Moment::RestartLimit { restarts: self.attempt });
                Next::End
            }
            Decision::All if course == Course::On => Next::All,
            Decision::Again if self.successor => Next::Adopt,
            Decision::Again | Decision::All => Next::Again,
        }
    }

    /// It ended at `at` and is to be started again.
    fn back_off(&mut self, at: super::Time, log: &mut Log) {
        self.delay = self.series.delay(&self.terms.curve, at);
        (self.not_before, self.owes) = (at + self.delay, Some(at));
        if !self.delay.is_zero() {
            self.note(log, Moment::BackOff { until: self.not_before, delay: self.delay });
        }
    }

    /// It does not run and is not to run (again). What it last exited with is what it ended with; `code` stands in when
    /// it never ran.
    pub(super) fn end(&mut self, code: u32, log: &mut Log) {
        if self.go(Input::End, log) {
            self.stall = None;
            self.vacated = false;
            self.code = Some(self.exit().map_or(code, |exit| exit.code));
            self.dismiss(log);
        }
    }

    /// It waits and is not to run (again).
    pub(super) fn discard(&mut self, code: u32, log: &mut Log) {
        if self.stage != Stage::Resting {
            self.note(log, Moment::Discarded);
            log.act(Action::Discard { container: self.id });
        }
        self.end(code, log);
    }

    /// Tells its end, if it has come and was not told. `withhold`: it may have to run again, so that nobody is told but
    /// a client that has asked for its end.
    pub(super) fn report(&mut self, withhold: bool, log: &mut Log) {
        if let (Stage::Ended, false, Some(code)) = (self.stage, self.reported, self.code)
            && (!withhold || self.awaited)
        {
            self.reported = true;
            log.act(Action::Report { container: self.id, code });
        }
    }
}
