//! Successors: a container of the same name from another image, which a client has made beside the one that is there.

use std::time::Duration;

use super::{
    backoff::Series,
    container::ContainerState,
    ending::Why,
    event::Action,
    life::{Course, KILLED},
    moment::Moment,
    spec::Kind,
    stage::{Input, Stage},
    timeline::Log,
};

impl ContainerState {
    /// A successor stands at its gate. An app container or sidecar makes room for it, whatever its restart policy; a
    /// regular init container does when it would be retried, and never when it has succeeded.
    pub(super) fn replaced(&mut self, course: Course, log: &mut Log) {
        if self.stage == Stage::Absent {
            return self.unexpected(log, "Replaced");
        }
        self.dismiss(log);
        self.successor = true;
        let ended = self.stage == Stage::Ended && course != Course::Again;
        if ended || self.killed.is_some() || matches!(course, Course::Lingering | Course::Over) {
            return self.dismiss(log);
        }
        self.adopt_if_idle(log);
        if self.stage == Stage::Running && self.kind() != Kind::Init {
            self.begin_ending(Why::Replaced, log.now + self.terms.grace, log);
        }
    }

    /// Lets the successor take over if nothing of the old container runs or is being made.
    pub(super) fn adopt_if_idle(&mut self, log: &mut Log) {
        if self.successor && matches!(self.stage, Stage::Gate | Stage::Stalled | Stage::Resting) {
            if self.stage == Stage::Gate {
                log.act(Action::Discard { container: self.id });
            }
            self.adopt(self.exit().map_or(KILLED, |exit| exit.code), log);
        }
    }

    /// The successor takes over. It begins a back-off of its own.
    pub(super) fn adopt(&mut self, code: u32, log: &mut Log) {
        if !self.go(Input::Adopt, log) {
            return;
        }
        if !self.reported {
            log.act(Action::Report { container: self.id, code });
        }
        if self.run.as_ref().is_some_and(|run| run.attempt == self.attempt) {
            self.attempt = self.attempt.saturating_add(1);
        }
        (self.successor, self.armed, self.vacated) = (false, true, false);
        self.spec.stop_signal = self.next_stop_signal.take().unwrap_or(self.spec.stop_signal);
        (self.reported, self.awaited, self.stall, self.owes) = (false, false, None, None);
        (self.series, self.stalls) = (Series::default(), Series::default());
        (self.delay, self.not_before) = (Duration::ZERO, log.now);
        self.note(log, Moment::Replaced);
        log.act(Action::Adopt { container: self.id, attempt: self.attempt });
    }

    /// The successor, if there is one, will not be needed.
    pub(super) fn dismiss(&mut self, log: &mut Log) {
        if self.successor {
            self.successor = false;
            let code = self.exit().map_or(KILLED, |exit| exit.code);
            log.act(Action::Dismiss { container: self.id, code });
        }
    }
}
