//! A pod that begins again: because a rule says so (KEP-5532), or because it needs a new sandbox (the kubelet's
//! PodSandboxChanged).

use std::time::Duration;

use super::{
    container::ContainerState,
    ending::Why,
    event::Action,
    machine::Machine,
    moment::Moment,
    restart,
    spec::{ContainerId, Kind, RestartPolicy},
    stage::{Input, Stage},
    stop::Cause,
    time::Time,
    timeline::Log,
};

/// How long after a sandbox that could not be made the next is tried (the kubelet's pod workers).
const SANDBOX_RETRY: Duration = Duration::from_secs(10);

/// A pod whose containers all end, to begin again.
#[derive(Debug, Clone)]
pub(super) struct Rewind {
    purpose: Purpose,
    /// The end of the budget that all containers share.
    deadline: Time,
}

#[derive(Debug, Clone)]
enum Purpose {
    RestartAll { trigger: ContainerId },
    Sandbox(Renewal),
}

/// How far a new sandbox is.
#[derive(Debug, Clone)]
enum Renewal {
    /// Containers may still be in the old one.
    Vacating,
    Asked,
    Failed {
        retry: Time,
    },
}

impl Rewind {
    /// When there is something to do that only time brings about.
    pub(super) fn next(&self) -> Option<Time> {
        match self.purpose {
            Purpose::Sandbox(Renewal::Failed { retry }) => Some(retry),
            _ => None,
        }
    }

    fn why(&self) -> Why {
        match self.purpose {
            Purpose::RestartAll { .. } => Why::RestartAll,
            Purpose::Sandbox(_) => Why::SandboxChanged,
        }
    }
}

impl Machine {
    /// Whether the pod has no sandbox that it could use.
    pub(super) fn needs_sandbox(&self) -> bool {
        matches!(&self.rewind, Some(Rewind { purpose: Purpose::Sandbox(_), .. }))
    }

    /// Whether all containers end to be started again in the same sandbox.
    pub(super) fn restarting_all(&self) -> bool {
        matches!(&self.rewind, Some(Rewind { purpose: Purpose::RestartAll { .. }, .. }))
    }

    /// The end of `trigger` is one after which all containers are to be started again. They are killed without grace,
    /// and so without their preStop hooks.
    pub(super) fn restart_all_if(&mut self, all: bool, trigger: ContainerId) {
        if all {
            self.log.note(Some(trigger), 0, Moment::RestartingAll);
            self.rewind = Some(Rewind { purpose: Purpose::RestartAll { trigger }, deadline: self.log.now });
        }
    }

    pub(super) fn sandbox_lost(&mut self) {
        if self.stop.is_some() || self.needs_sandbox() {
            return;
        }
        self.log.note(None, 0, Moment::SandboxChanged);
        let any_created = self.containers.iter().any(|container| container.stage() != Stage::Absent);
        if self.spec.restart_policy == RestartPolicy::Never && any_created {
            return self.begin_stop(Cause::SandboxLost, None);
        }
        let deadline = self.log.now + self.spec.grace;
        self.rewind = Some(Rewind { purpose: Purpose::Sandbox(Renewal::Vacating), deadline });
    }

    pub(super) fn sandbox_ready(&mut self) {
        match &self.rewind {
            Some(Rewind { purpose: Purpose::Sandbox(Renewal::Asked), .. }) => {
                self.log.note(None, 0, Moment::SandboxReady);
                self.begin_anew(None);
            }
            // It was stopped meanwhile.
            None if self.stop.is_some() => {}
            _ => self.log.note(None, 0, Moment::Unexpected { event: "SandboxReady".into() }),
        }
    }

    pub(super) fn sandbox_failed(&mut self, message: String) {
        match &mut self.rewind {
            Some(Rewind { purpose: Purpose::Sandbox(renewal @ Renewal::Asked), .. }) => {
                let retry = self.log.now + SANDBOX_RETRY;
                *renewal = Renewal::Failed { retry };
                self.log.note(None, 0, Moment::SandboxFailed { message, until: retry });
            }
            None if self.stop.is_some() => {}
            _ => self.log.note(None, 0, Moment::Unexpected { event: "SandboxFailed".into() }),
        }
    }

    /// Ends what still runs, and when nothing does, begins again.
    pub(super) fn rewind_containers(&mut self) {
        let Self { containers, rewind: Some(rewind), log, .. } = self else { return };
        let needs_sandbox = matches!(rewind.purpose, Purpose::Sandbox(_));
        for container in containers.iter_mut() {
            container.begin_ending(rewind.why(), rewind.deadline, log);
            if needs_sandbox {
                container.vacate(log);
            }
        }
        let now = log.now;
        let ended = |container: &ContainerState| !container.stage().is_alive();
        let vacated =
            |container: &ContainerState| matches!(container.stage(), Stage::Absent | Stage::Resting | Stage::Ended);
        match &mut rewind.purpose {
            Purpose::RestartAll { trigger } if containers.iter().all(ended) => {
                let trigger = *trigger;
                self.begin_anew(Some(trigger));
            }
            Purpose::Sandbox(renewal) => {
                if matches!(renewal, Renewal::Failed { retry } if *retry <= now) {
                    *renewal = Renewal::Vacating;
                }
                if matches!(renewal, Renewal::Vacating) && containers.iter().all(vacated) {
                    *renewal = Renewal::Asked;
                    log.act(Action::RenewSandbox);
                }
            }
            Purpose::RestartAll { .. } => {}
        }
    }

    /// Every container waits for its turn again: apps are made anew first, then the init containers, last the one that
    /// it all comes from.
    fn begin_anew(&mut self, trigger: Option<ContainerId>) {
        let new_sandbox = trigger.is_none();
        (self.rewind, self.turn) = (None, 0);
        let mut places: Vec<_> = self.spec.all().map(|(id, container)| (id, container.kind)).collect();
        places.sort_by_key(|(id, kind)| (Some(*id) == trigger, *kind != Kind::App));
        for (id, _) in places {
            if let Some(container) = self.containers.get_mut(id.0) {
                container.begin_anew(new_sandbox, Some(id) == trigger, &mut self.log);
            }
        }
    }
}

impl ContainerState {
    fn begin_anew(&mut self, new_sandbox: bool, trigger: bool, log: &mut Log) {
        let is_done = self.killed.is_some() || self.reported || (new_sandbox && self.is_done());
        if self.stage == Stage::Absent || (self.stage == Stage::Ended && is_done) {
            return;
        }
        if self.stage == Stage::Ended && !self.go(Input::Rest, log) {
            return;
        }
        let used = self.run.as_ref().is_some_and(|run| run.attempt == self.attempt);
        (self.tried, self.rewound, self.skipped, self.code) = (false, true, false, None);
        if new_sandbox {
            self.ran_here = false;
            self.previous = self.run.take().or_else(|| self.previous.take());
        }
        if self.stage != Stage::Resting {
            return;
        }
        if used {
            self.attempt = self.attempt.saturating_add(1);
        }
        if !trigger {
            (self.delay, self.not_before, self.owes) = (Duration::ZERO, log.now, None);
        }
        if self.successor {
            self.adopt_if_idle(log);
        } else {
            self.prepare(log);
        }
    }

    /// Whether it is run again, ended or not, when the pod needs a new sandbox.
    pub(super) fn may_run_in_new_sandbox(&self) -> bool {
        self.terms.policy != RestartPolicy::Never && !self.is_done()
    }

    /// Whether it is an app container that has succeeded and whose policy restarts failures only.
    pub(super) fn is_done(&self) -> bool {
        self.skipped
            || self.kind() == Kind::App
                && self.has_succeeded()
                && restart::policy(&self.spec, self.terms.policy) == RestartPolicy::OnFailure
    }
}
