//! A pod that begins again where the host that ran it was started anew: as with any new sandbox (the kubelet's
//! PodSandboxChanged), its init containers run again, then its apps, and its restarts are counted on.

use std::time::SystemTime;

use super::{
    container::ContainerState,
    machine::Machine,
    moment::Moment,
    restart,
    rfc3339::Timestamp,
    spec::{Kind, PodSpec, RestartPolicy},
    status::{ContainerStatus, PodStatus, Terminated},
    stop::Cause,
    time::Time,
};

/// Exit code of a container of whose end nobody was told.
const UNSEEN: u32 = 255;

impl Machine {
    /// A pod that ran before with the status `saved`, and whose new sandbox stands. Its containers are still to be
    /// created anew, all of them: those that need not run again are thrown away then and reported with the code they
    /// had. `wall`: the wall-clock time at `now`.
    ///
    /// Under `Never` a pod of which anything has run ends instead; one that had ended stays so.
    pub fn resume(spec: PodSpec, saved: &PodStatus, now: Time, wall: SystemTime) -> Self {
        let mut machine = Self::new(spec, now);
        machine.began = saved.start_time;
        machine.active_before = saved.start_time.map(|began| Timestamp::seconds(wall).since(began)).unwrap_or_default();
        for condition in &saved.conditions {
            if let Some(since) = condition.last_transition_time {
                machine.conditions.recall(&condition.kind, condition.status == "True", since);
            }
        }
        let policy = machine.spec.restart_policy;
        let statuses = || saved.init_container_statuses.iter().chain(&saved.container_statuses);
        for container in &mut machine.containers {
            if let Some(status) = statuses().find(|status| status.name == container.name()) {
                container.recall(status, policy);
            }
        }
        machine.log.note(None, 0, Moment::SandboxChanged);
        let ran = machine.containers.iter().any(|container| container.earlier.is_some());
        if saved.phase.is_terminal() {
            machine.phase = saved.phase;
            machine.verdict = saved.reason.clone().zip(saved.message.clone().or_else(|| Some(String::new())));
            machine.end_unseen();
        } else if policy == RestartPolicy::Never && ran {
            machine.end_unseen();
        }
        machine
    }

    /// Nothing in the pod may run again: it ends as its containers did.
    fn end_unseen(&mut self) {
        for container in &mut self.containers {
            container.skipped = container.earlier.is_some();
        }
        self.begin_stop(Cause::SandboxLost, None);
        self.observe();
        // Who hears of it has asked nothing yet.
        drop(self.log.take_actions());
    }
}

impl ContainerState {
    /// Takes over what is known of the container from before.
    fn recall(&mut self, saved: &ContainerStatus, policy: RestartPolicy) {
        let state = &saved.state;
        let ended = state.terminated.clone().or_else(|| {
            state.running.as_ref().map(|running| Terminated {
                exit_code: UNSEEN,
                reason: Some("Unknown".into()),
                started_at: running.started_at,
                ..Terminated::default()
            })
        });
        let succeeded = state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
        let Some(last) = ended.or_else(|| saved.last_state.terminated.clone()) else { return };
        self.earlier = Some(Box::new(last));
        self.restarts = saved.restart_count;
        self.attempt = saved.restart_count.saturating_add(1);
        self.skipped =
            self.kind() == Kind::App && succeeded && restart::policy(&self.spec, policy) == RestartPolicy::OnFailure;
    }
}
