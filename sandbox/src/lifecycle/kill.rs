//! How a container is brought to its end: by its pod, by a probe, by a client.

use super::{
    container::ContainerState,
    ending::{Due, Ending, Why, message},
    event::Action,
    handler::HookKind,
    life::KILLED,
    moment::Moment,
    restart::{self, Decision},
    stage::Stage,
    time::Time,
    timeline::Log,
};

/// SIGKILL.
const KILL: i32 = 9;

impl ContainerState {
    /// Begins to end it, if it runs and does not end already.
    pub(super) fn begin_ending(&mut self, why: Why, deadline: Time, log: &mut Log) {
        if !self.stage.is_alive() || self.life.ending.is_some() {
            return;
        }
        let again = match why {
            Why::Liveness | Why::Startup => {
                restart::decide_after_probe(&self.spec, self.terms.policy) == Decision::Again
            }
            Why::PodStopped | Why::PostStartHook => false,
            Why::Replaced | Why::RestartAll | Why::SandboxChanged => true,
        };
        self.note(log, Moment::Killing { why, message: message(self.name(), why, again) });
        // A sidecar that is started again while its pod is stopped is here before it runs: its hook has had its time.
        let runs = self.stage == Stage::Running && self.life.asked.is_none() && !self.life.forced;
        let hook = self.spec.pre_stop.is_some() && runs && deadline > log.now;
        let mut ending = Ending::begin(why, hook, log.now, deadline);
        if let Some(asked) = self.life.asked {
            ending.was_asked(asked);
        }
        if self.life.forced {
            ending.was_killed();
        }
        self.life.ending = Some(ending);
        self.life.probes.only_readiness();
        if hook {
            self.run_hook(HookKind::PreStop, log);
        }
    }

    /// The pod is stopped, or has less time for that than before.
    pub(super) fn shorten_ending(&mut self, why: Why, deadline: Time) {
        if let Some(ending) = &mut self.life.ending {
            ending.shorten(why, deadline);
        }
    }

    /// Does what is due about its end. `turn`: nobody else has to end before.
    pub(super) fn advance_ending(&mut self, turn: bool, log: &mut Log) {
        while self.stage.is_alive()
            && let Some(due) = self.life.ending.as_mut().and_then(|ending| ending.due(turn, log.now))
        {
            match due {
                Due::Signal => self.send_when_running(self.spec.stop_signal, log),
                Due::Kill => self.send(KILL, log),
            }
        }
    }

    /// The pod is being stopped: what waits is thrown away.
    pub(super) fn discard_waiting(&mut self, log: &mut Log) {
        if self.stage.is_waiting() {
            self.discard(KILLED, log);
        }
    }

    /// A client signals it.
    pub(super) fn kill_requested(&mut self, signal: i32, log: &mut Log) {
        // Signal 0 asks whether there is a process; it ends nothing.
        if signal == 0 {
            return;
        }
        self.awaited = true;
        match self.stage {
            Stage::Ended => return,
            Stage::Absent => return self.unexpected(log, "KillRequested"),
            _ => {}
        }
        let code = 128 + signal.unsigned_abs();
        self.killed.get_or_insert(code);
        if self.stage.is_waiting() {
            return self.discard(code, log);
        }
        if signal == KILL {
            self.life.forced = true;
            self.life.ending.iter_mut().for_each(Ending::was_killed);
        }
        if signal == self.spec.stop_signal {
            self.life.asked.get_or_insert(log.now);
            self.life.ending.iter_mut().for_each(|ending| ending.was_asked(log.now));
        }
        self.send_when_running(signal, log);
    }

    fn send_when_running(&mut self, signal: i32, log: &mut Log) {
        if self.stage == Stage::Opening && signal != KILL {
            self.life.owed = Some(signal);
        } else {
            self.send(signal, log);
        }
    }

    pub(super) fn send(&self, signal: i32, log: &mut Log) {
        self.note(log, Moment::Signalled { signal });
        log.act(Action::Signal { container: self.id, signal });
    }

    /// The pod needs a new sandbox: no process may be left in the old one, not even at a gate.
    pub(super) fn vacate(&mut self, log: &mut Log) {
        match self.stage {
            Stage::Gate if !self.vacated => {
                self.vacated = true;
                self.send(KILL, log);
            }
            Stage::Stalled => drop(self.go(super::stage::Input::Rest, log)),
            _ => {}
        }
    }
}
