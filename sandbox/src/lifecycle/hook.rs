//! The hooks and probes of a running container: what is asked, and what the answers do.

use super::{
    container::ContainerState,
    ending::Why,
    event::Action,
    handler::{HookKind, Outcome, ProbeKind},
    moment::Moment,
    probe::{Answer, Probes, worth_telling},
    stage::Stage,
    timeline::Log,
};

impl ContainerState {
    /// Its program runs: the postStart hook begins, and when that has returned the probes do.
    pub(super) fn post_start(&mut self, log: &mut Log) {
        if self.spec.post_start.is_some() && self.life.ending.is_none() {
            self.life.post_start = true;
            self.run_hook(HookKind::PostStart, log);
        } else {
            self.pass_start(log);
        }
    }

    pub(super) fn run_hook(&self, hook: HookKind, log: &mut Log) {
        self.note(log, Moment::HookBegan { hook });
        log.act(Action::RunHook { container: self.id, attempt: self.attempt, hook });
    }

    /// Nothing but its startup probe stands between it and its being started.
    fn pass_start(&mut self, log: &Log) {
        self.tried = true;
        let started = self.run.as_ref().map_or(log.now, |run| run.started);
        self.life.probes = Probes::begin(&self.spec, started, log.now);
        if self.life.ending.is_some() {
            self.life.probes.only_readiness();
        }
    }

    pub(super) fn hook_done(&mut self, attempt: u32, hook: HookKind, error: Option<String>, log: &mut Log) {
        if attempt != self.attempt || self.stage != Stage::Running {
            return;
        }
        match hook {
            HookKind::PostStart if self.life.post_start => {
                self.life.post_start = false;
                self.note_hook(hook, error.as_ref(), log);
                self.pass_start(log);
                if error.is_some() {
                    if let Some(run) = &mut self.run {
                        run.hook_error = error;
                    }
                    self.begin_ending(Why::PostStartHook, log.now + self.terms.grace, log);
                }
            }
            HookKind::PreStop if self.life.ending.as_ref().is_some_and(super::ending::Ending::hook_runs) => {
                self.note_hook(hook, error.as_ref(), log);
                if let Some(ending) = &mut self.life.ending {
                    ending.hook_done(log.now);
                }
            }
            _ => self.unexpected(log, "HookDone"),
        }
    }

    fn note_hook(&self, hook: HookKind, error: Option<&String>, log: &mut Log) {
        self.note(
            log,
            match error {
                Some(message) => Moment::HookFailed { hook, message: message.clone() },
                None => Moment::HookReturned { hook },
            },
        );
    }

    /// Makes the probes that are due.
    pub(super) fn probe(&mut self, log: &mut Log) {
        if self.stage == Stage::Running {
            for probe in self.life.probes.ask(log.now) {
                self.ask(probe, log);
            }
        }
    }

    fn ask(&self, probe: ProbeKind, log: &mut Log) {
        log.act(Action::Probe { container: self.id, attempt: self.attempt, probe });
    }

    pub(super) fn probed(&mut self, attempt: u32, probe: ProbeKind, outcome: Outcome, log: &mut Log) {
        if attempt != self.attempt || self.stage != Stage::Running {
            return;
        }
        let started = self.run.as_ref().map_or(log.now, |run| run.started);
        match self.life.probes.answer(probe, &outcome, started, log.now) {
            Answer::Ignored => {}
            Answer::Again => self.ask(probe, log),
            Answer::GivenUp { row } => {
                if let (Outcome::Error(message), true) = (outcome, worth_telling(row)) {
                    self.note(log, Moment::ProbeErrored { probe, message });
                }
            }
            Answer::Counted { row, changed } => {
                match outcome {
                    Outcome::Failure(message) if worth_telling(row) || changed.is_some() => {
                        self.note(log, Moment::Unhealthy { probe, message });
                    }
                    Outcome::Warning(message) if worth_telling(row) => {
                        self.note(log, Moment::ProbeWarning { probe, message });
                    }
                    _ => {}
                }
                if let Some(succeeds) = changed {
                    self.note(log, Moment::ProbeChanged { probe, succeeds });
                    self.turned(probe, succeeds, log);
                }
            }
        }
    }

    /// A probe has come to another result.
    fn turned(&mut self, probe: ProbeKind, succeeds: bool, log: &mut Log) {
        let (why, spec) = match probe {
            ProbeKind::Liveness => (Why::Liveness, self.spec.liveness.as_ref()),
            ProbeKind::Startup => (Why::Startup, self.spec.startup.as_ref()),
            ProbeKind::Readiness => return,
        };
        if !succeeds {
            let grace = spec.and_then(|probe| probe.grace).unwrap_or(self.terms.grace);
            self.begin_ending(why, log.now + grace, log);
        }
    }
}
