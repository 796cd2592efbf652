//! One container of the pod: what has happened to it and what is owed to it.

use std::time::Duration;

use super::{
    backoff::Series,
    event::Action,
    restart,
    run::{Exit, Run},
    spec::{Backoff, ContainerId, ContainerSpec, Kind, RestartPolicy},
    stage::{Input, Stage},
    time::Time,
    timeline::{Log, Moment},
};

/// SIGKILL.
const KILL: i32 = 9;

/// Exit code of what was killed, and of what was thrown away before it ran.
const KILLED: u32 = 128 + 9;

/// Where a container stands.
#[derive(Debug, Clone)]
pub struct ContainerState {
    id: ContainerId,
    spec: ContainerSpec,
    /// The pod's policy and curve, which a restart is decided by.
    pod_policy: RestartPolicy,
    curve: Backoff,
    stage: Stage,
    armed: bool,
    /// Number of the attempt that waits, runs or is prepared.
    attempt: u32,
    /// Whether what waits for this container may go on. Set when the program runs; hooks and startup probes are to set
    /// it later than that.
    started: bool,
    /// The newest run and the one before.
    run: Option<Run>,
    previous: Option<Run>,
    /// Back-off after exits: the curve's position, the delay now served and its end.
    series: Series,
    delay: Duration,
    not_before: Time,
    /// The same for attempts that could not be made, with the last reason.
    stalls: Series,
    stalled_until: Time,
    stall: Option<String>,
    /// When the program was asked to end, and whether it was killed.
    asked: Option<Time>,
    forced: bool,
    /// A signal that came between the opening of the gate and the program: a process that is still setting itself up
    /// as pid 1 of its namespace would never see it.
    owed: Option<i32>,
    /// Exit code that a client's kill stands for: it is not started again.
    killed: Option<u32>,
}

/// What the world sees of it.
impl ContainerState {
    /// Its place.
    pub fn id(&self) -> ContainerId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What part it has in the pod.
    pub fn kind(&self) -> Kind {
        self.spec.kind
    }

    /// Its stage.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether a client has started it.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// Number of the attempt that waits, runs or is prepared, counted from 0.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often it was started again.
    pub fn restart_count(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.attempt)
    }

    /// The newest run, ended or not.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The run before that.
    pub fn previous(&self) -> Option<&Run> {
        self.previous.as_ref()
    }

    /// Whether what waits for this container may go on: it runs (and, once there are such, its hook has returned and
    /// its startup probe has succeeded).
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The back-off it is in, as the length and the end; `None` when it is in none.
    pub fn backing_off(&self) -> Option<(Duration, Time)> {
        let waits = self.stage.is_waiting() || self.stage == Stage::Opening;
        (waits && !self.delay.is_zero()).then_some((self.delay, self.not_before))
    }

    /// Why no fresh attempt could be made, while that is so.
    pub fn stall(&self) -> Option<&str> {
        self.stall.as_deref()
    }

    /// The exit code that a client's kill before the first run stands for.
    pub fn killed_before_run(&self) -> Option<u32> {
        self.killed.filter(|_| self.stage == Stage::Ended && self.run.is_none())
    }

    /// Whether it is an init container that did what it is for.
    pub fn has_succeeded(&self) -> bool {
        let exit = self.run.as_ref().and_then(|run| run.exit.as_ref());
        self.stage == Stage::Ended
            && self.killed.is_none()
            && exit.is_some_and(|exit| !restart::failed(self.spec.kind, exit.code, exit.oom))
    }

    /// Whether the container after this one, if both are apps, may be tried: a failure does not hold it up.
    pub(super) fn has_tried(&self) -> bool {
        self.run.is_some() || matches!(self.stage, Stage::Stalled | Stage::Ended)
    }

    /// When it was asked to end.
    pub(super) fn asked_to_end(&self) -> Option<Time> {
        self.asked
    }

    /// Whether it was killed.
    pub(super) fn is_forced(&self) -> bool {
        self.forced
    }

    /// When it wants to be looked at again: its gate opened or its fresh attempt tried once more.
    pub(super) fn wakes(&self, its_turn: bool) -> Option<Time> {
        match self.stage {
            Stage::Gate if self.armed && its_turn => Some(self.not_before),
            Stage::Stalled => Some(self.stalled_until),
            _ => None,
        }
    }
}

/// What happens to it.
impl ContainerState {
    pub(super) fn new(id: ContainerId, spec: ContainerSpec, pod_policy: RestartPolicy, curve: Backoff) -> Self {
        Self {
            id,
            spec,
            pod_policy,
            curve,
            stage: Stage::Absent,
            armed: false,
            attempt: 0,
            started: false,
            run: None,
            previous: None,
            series: Series::default(),
            delay: Duration::ZERO,
            not_before: Time::default(),
            stalls: Series::default(),
            stalled_until: Time::default(),
            stall: None,
            asked: None,
            forced: false,
            owed: None,
            killed: None,
        }
    }

    /// Goes to the next stage, or stays and says that the host is confused.
    fn go(&mut self, input: Input, log: &mut Log) -> bool {
        let next = self.stage.next(input);
        match next {
            Some(stage) => self.stage = stage,
            None => self.note(log, Moment::Unexpected { event: format!("{input:?}") }),
        }
        next.is_some()
    }

    fn note(&self, log: &mut Log, what: Moment) {
        log.note(Some(self.id), self.attempt, what);
    }

    pub(super) fn created(&mut self, log: &mut Log) {
        if self.go(Input::Create, log) {
            self.note(log, Moment::Created);
        }
    }

    pub(super) fn arm(&mut self, log: &mut Log) {
        match (self.stage, self.armed) {
            (Stage::Absent, _) => self.note(log, Moment::Unexpected { event: "Armed".into() }),
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
            if let Some(exit) = self.run.as_ref().and_then(|run| run.exit.as_ref()) {
                self.series.restarted(&self.curve, exit.at, log.now);
            }
            log.act(Action::Open { container: self.id, attempt: self.attempt });
        }
    }

    fn prepare(&mut self, log: &mut Log) {
        if self.go(Input::Prepare, log) {
            self.note(log, Moment::Restarting);
            log.act(Action::Prepare { container: self.id, attempt: self.attempt });
        }
    }

    pub(super) fn opened(&mut self, log: &mut Log) {
        if !self.go(Input::Opened, log) {
            return;
        }
        self.begin_run(log.now);
        self.started = true;
        self.note(log, Moment::Started);
        if let Some(signal) = self.owed.take() {
            self.send(signal, log);
        }
    }

    fn begin_run(&mut self, now: Time) {
        self.previous = self.run.replace(Run { attempt: self.attempt, started: now, exit: None });
    }

    pub(super) fn ready(&mut self, log: &mut Log) {
        if self.stage == Stage::Ended {
            // It was thrown away while the host was making it.
            log.act(Action::Discard { container: self.id });
        } else if self.go(Input::Ready, log) {
            self.stall = None;
            self.stalls = Series::default();
        }
    }

    /// No process waits for this container, and none can be made now. That is not an exit: it is tried again under
    /// every policy, after ever longer delays but not at once.
    pub(super) fn stalled(&mut self, message: String, log: &mut Log) {
        if self.stage == Stage::Ended || !self.go(Input::Stall, log) {
            return;
        }
        self.stalls.restarted(&self.curve, log.now, log.now);
        self.stalled_until = log.now + self.stalls.delay(&self.curve, log.now);
        self.note(log, Moment::PrepareFailed { message: message.clone() });
        self.stall = Some(message);
    }

    /// Its process is gone. `stopping`: nothing is started again.
    pub(super) fn exited(&mut self, code: u32, oom: bool, stopping: bool, log: &mut Log) {
        match self.stage {
            Stage::Opening | Stage::Running => {
                self.note(log, Moment::Exited { code, oom });
                self.over(Exit { code, oom, start_error: None, at: log.now }, stopping, log);
            }
            Stage::Gate => self.stalled(format!("the process at the gate ended with code {code}"), log),
            // What was thrown away at its gate ends too.
            Stage::Ended => {}
            Stage::Absent | Stage::Preparing | Stage::Stalled => {
                self.note(log, Moment::Unexpected { event: "Exited".into() });
            }
        }
    }

    /// Some of its processes are gone and the first one is not. One that has ended meanwhile has its exit to tell.
    pub(super) fn lost(&mut self, kills: u64, log: &mut Log) {
        if self.stage == Stage::Running {
            self.note(log, Moment::MemoryKilled { kills });
        }
    }

    /// Its program could not be executed, which counts as an exit.
    pub(super) fn start_failed(&mut self, code: u32, message: String, stopping: bool, log: &mut Log) {
        if self.stage != Stage::Opening {
            return self.note(log, Moment::Unexpected { event: "StartFailed".into() });
        }
        self.note(log, Moment::StartFailed { code, message: message.clone() });
        self.over(Exit { code, oom: false, start_error: Some(message), at: log.now }, stopping, log);
    }

    fn over(&mut self, exit: Exit, stopping: bool, log: &mut Log) {
        if self.stage == Stage::Opening {
            self.begin_run(log.now);
        }
        let (code, oom, at) = (exit.code, exit.oom, exit.at);
        if let Some(run) = &mut self.run {
            run.exit = Some(exit);
        }
        self.started = false;
        if !stopping && self.killed.is_none() && restart::again(&self.spec, self.pod_policy, code, oom) {
            self.attempt = self.attempt.saturating_add(1);
            self.delay = self.series.delay(&self.curve, at);
            self.not_before = at + self.delay;
            if !self.delay.is_zero() {
                self.note(log, Moment::BackOff { until: self.not_before, delay: self.delay });
            }
            self.prepare(log);
        } else if self.go(Input::End, log) {
            log.act(Action::Report { container: self.id, code });
        }
    }

    /// It waits and is not to run (again). What it last exited with is what it ended with; `code` stands in when it
    /// never ran.
    fn discard(&mut self, code: u32, log: &mut Log) {
        if !self.go(Input::End, log) {
            return;
        }
        let last = self.run.as_ref().and_then(|run| run.exit.as_ref()).map(|exit| exit.code);
        self.stall = None;
        self.note(log, Moment::Discarded);
        log.act(Action::Discard { container: self.id });
        log.act(Action::Report { container: self.id, code: last.unwrap_or(code) });
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
        if signal == 0 || self.stage == Stage::Ended {
            return;
        }
        if self.stage == Stage::Absent {
            return self.note(log, Moment::Unexpected { event: "KillRequested".into() });
        }
        let code = 128 + signal.unsigned_abs();
        self.killed.get_or_insert(code);
        if self.stage.is_waiting() {
            return self.discard(code, log);
        }
        self.forced |= signal == KILL;
        if signal == self.spec.stop_signal {
            self.asked.get_or_insert(log.now);
        }
        self.send_when_running(signal, log);
    }

    /// The pod is being stopped and it is this container's turn. It is asked once, and not after it was killed.
    pub(super) fn ask_to_end(&mut self, log: &mut Log) {
        if self.asked.is_none() {
            self.asked = Some(log.now);
            if !self.forced {
                self.send_when_running(self.spec.stop_signal, log);
            }
        }
    }

    /// Its time is up.
    pub(super) fn force(&mut self, log: &mut Log) {
        if !self.forced {
            self.forced = true;
            self.send(KILL, log);
        }
    }

    fn send_when_running(&mut self, signal: i32, log: &mut Log) {
        if self.stage == Stage::Opening && signal != KILL {
            self.owed = Some(signal);
        } else {
            self.send(signal, log);
        }
    }

    fn send(&self, signal: i32, log: &mut Log) {
        self.note(log, Moment::Killing { signal });
        log.act(Action::Signal { container: self.id, signal });
    }
}
