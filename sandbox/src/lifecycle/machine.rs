//! The machine: events in, actions out.

use std::time::{Duration, SystemTime};

use super::{
    conditions::Conditions,
    container::ContainerState,
    event::{Action, Event},
    phase::{self, Phase, Standing},
    spec::{Kind, PodSpec},
    stage::Stage,
    status::{self, PodStatus},
    stop::{Cause, Stop},
    time::Time,
    timeline::{Entry, Log, Moment},
};

/// A pod's lifecycle.
#[derive(Debug)]
pub struct Machine {
    spec: PodSpec,
    born: Time,
    /// Whether it waits for its maker.
    held: bool,
    /// In the order in which they start; a [`ContainerId`] is a place in here.
    containers: Vec<ContainerState>,
    /// Place of the container whose turn it is to start for the first time. Those before it may be started again, those
    /// after it wait. It never goes back: a sidecar that crashes later holds nobody up.
    turn: usize,
    stop: Option<Stop>,
    phase: Phase,
    conditions: Conditions,
    log: Log,
}

impl Machine {
    /// A pod whose sandbox stands and whose containers are still to be created.
    pub fn new(spec: PodSpec, now: Time) -> Self {
        let (policy, curve) = (spec.restart_policy, spec.backoff);
        let containers: Vec<_> =
            spec.all().map(|(id, container)| ContainerState::new(id, container.clone(), policy, curve)).collect();
        let conditions = Conditions::new(&spec, &containers, now);
        Self {
            spec,
            born: now,
            held: false,
            containers,
            turn: 0,
            stop: None,
            phase: Phase::Pending,
            conditions,
            log: Log::new(now),
        }
    }

    /// The same, but nothing starts before [`Event::Released`]: so the pod that is still being made is nobody's yet.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Takes in what happened at `now` and answers what is to be done. Never panics: what cannot have happened is
    /// recorded and changes nothing.
    pub fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.log.now = self.log.now.max(now);
        self.take(event);
        self.pass_turns();
        self.stop_if_due();
        if self.stop.is_some() {
            self.stop_containers();
        } else {
            self.start_containers();
        }
        self.observe();
        self.log.take_actions()
    }

    fn take(&mut self, event: Event) {
        let stopping = self.stop.is_some();
        let (container, name) = match &event {
            Event::Tick => return,
            Event::Released => {
                self.held = false;
                return;
            }
            Event::Terminate { grace } => return self.begin_stop(Cause::Terminated, *grace),
            Event::Created { container } => (*container, "Created"),
            Event::Armed { container } => (*container, "Armed"),
            Event::Opened { container } => (*container, "Opened"),
            Event::StartFailed { container, .. } => (*container, "StartFailed"),
            Event::Exited { container, .. } => (*container, "Exited"),
            Event::MemoryKilled { container, .. } => (*container, "MemoryKilled"),
            Event::Ready { container } => (*container, "Ready"),
            Event::PrepareFailed { container, .. } => (*container, "PrepareFailed"),
            Event::KillRequested { container, .. } => (*container, "KillRequested"),
            Event::HookDone { container, .. } => (*container, "HookDone"),
            Event::Probed { container, .. } => (*container, "Probed"),
            Event::Replaced { container } => (*container, "Replaced"),
            Event::Evict { .. }
            | Event::Updated { .. }
            | Event::SandboxLost
            | Event::SandboxReady
            | Event::SandboxFailed { .. } => {
                return self.log.note(None, 0, Moment::Unexpected { event: "what is not yet done".into() });
            }
        };
        let log = &mut self.log;
        let Some(container) = self.containers.get_mut(container.0) else {
            return log.note(None, 0, Moment::Unexpected { event: format!("{name} of an unknown container") });
        };
        match event {
            Event::Created { .. } => container.created(log),
            Event::Armed { .. } => container.arm(log),
            Event::Opened { .. } => container.opened(log),
            Event::StartFailed { code, message, .. } => container.start_failed(code, message, stopping, log),
            Event::Exited { code, oom_killed, .. } => container.exited(code, oom_killed, stopping, log),
            Event::MemoryKilled { kills, .. } => container.lost(kills, log),
            Event::Ready { .. } => container.ready(log),
            Event::PrepareFailed { message, .. } => container.stalled(message, log),
            Event::KillRequested { signal, .. } => container.kill_requested(signal, log),
            _ => {}
        }
    }

    /// Moves the turn on past every container that lets the next one start.
    fn pass_turns(&mut self) {
        let passed = |container: &ContainerState| match container.kind() {
            Kind::Init => container.has_succeeded(),
            Kind::Sidecar => container.is_started(),
            Kind::App => container.has_tried(),
        };
        self.turn += self.containers.iter().skip(self.turn).take_while(|container| passed(container)).count();
    }

    /// Begins to stop the pod if nothing is left for it to do or to hope for.
    fn stop_if_due(&mut self) {
        let (inits, apps) = self.containers.split_at(self.spec.init_containers.len());
        let ended = |container: &ContainerState| container.stage() == Stage::Ended;
        let cause = if self.stop.is_some() {
            None
        } else if apps.iter().all(ended) {
            Some(Cause::Completed)
        } else if !self.is_initialized() && inits.iter().any(|container| ended(container) && !container.has_succeeded())
        {
            Some(Cause::InitFailed)
        } else {
            self.active_until().filter(|until| *until <= self.log.now).map(|_| Cause::DeadlineExceeded)
        };
        if let Some(cause) = cause {
            self.begin_stop(cause, None);
        }
    }

    fn active_until(&self) -> Option<Time> {
        self.spec.active_deadline.map(|deadline| self.born + deadline)
    }

    fn begin_stop(&mut self, cause: Cause, grace: Option<Duration>) {
        let (now, grace) = (self.log.now, grace.unwrap_or(self.spec.grace));
        let news = match &mut self.stop {
            Some(stop) => stop.shorten(now, grace),
            none => {
                *none = Some(Stop::begin(cause, now, grace));
                true
            }
        };
        // Nobody needs to be told that nothing had to be stopped.
        if news && !self.finished() {
            self.log.note(None, 0, Moment::Stopping { cause, grace });
        }
    }

    fn stop_containers(&mut self) {
        let Self { containers, stop: Some(stop), log, .. } = self else { return };
        for container in containers.iter_mut() {
            container.discard_waiting(log);
        }
        for place in stop.due(containers, log.now) {
            if let Some(container) = containers.get_mut(place) {
                container.ask_to_end(log);
            }
        }
        for container in containers.iter_mut().filter(|container| container.stage().is_alive()) {
            if container.asked_to_end().is_some_and(|asked| stop.kill_at(asked) <= log.now) {
                container.force(log);
            }
        }
    }

    fn start_containers(&mut self) {
        if self.held {
            return;
        }
        let (turn, log) = (self.turn, &mut self.log);
        for (place, container) in self.containers.iter_mut().enumerate() {
            container.advance(place <= turn, log);
        }
    }

    fn observe(&mut self) {
        let finished = self.finished();
        let standings: Vec<_> =
            self.containers.iter().map(|container| (container.kind(), Standing::from(container))).collect();
        let computed = phase::of(&standings, self.stop.is_some());
        let phase = match (self.phase.is_terminal(), finished, self.stop.map(|stop| stop.cause)) {
            (true, ..) => self.phase,
            (false, true, Some(Cause::DeadlineExceeded)) => Phase::Failed,
            // A pod that was stopped before it was all there has failed.
            (false, true, _) if !computed.is_terminal() => Phase::Failed,
            (false, true, _) => computed,
            // A pod whose containers may still run, be it for a moment, has not ended.
            (false, false, _) if computed.is_terminal() => self.phase,
            (false, false, _) => computed,
        };
        if phase != self.phase {
            self.phase = phase;
            self.log.note(None, 0, Moment::PhaseChanged(phase));
        }
        self.conditions.update(&self.spec, &self.containers, phase, finished, self.log.now);
    }

    /// When to call [`Machine::step`] with [`Event::Tick`] at the latest. `None`: only an event can change anything.
    pub fn next_deadline(&self) -> Option<Time> {
        let Some(stop) = &self.stop else {
            let wakes =
                self.containers.iter().enumerate().filter_map(|(place, container)| container.wakes(place <= self.turn));
            // What waits for its maker waits for no time.
            return wakes.filter(|_| !self.held).chain(self.active_until()).min();
        };
        self.containers
            .iter()
            .filter(|container| container.stage().is_alive())
            .filter_map(|container| stop.next(container))
            .min()
    }

    /// The pod's phase. `Succeeded` and `Failed` are final.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The pod.
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// When the pod began.
    pub fn born(&self) -> Time {
        self.born
    }

    /// The containers in the order in which they start.
    pub fn containers(&self) -> &[ContainerState] {
        &self.containers
    }

    /// The container named `name`.
    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.containers.iter().find(|container| container.name() == name)
    }

    /// The conditions, in the order in which they are shown.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Whether all init containers have succeeded and all sidecars have been started.
    pub fn is_initialized(&self) -> bool {
        self.turn >= self.spec.init_containers.len()
    }

    /// Why the pod is being or has been stopped.
    pub fn stopping(&self) -> Option<Cause> {
        self.stop.map(|stop| stop.cause)
    }

    /// What happened, oldest first; the last thousand entries.
    pub fn timeline(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.log.entries()
    }

    /// The pod's `status`. `wall` tells the wall-clock time of one of the machine's times.
    pub fn status(&self, wall: &dyn Fn(Time) -> SystemTime) -> PodStatus {
        status::of(self, wall)
    }

    /// Whether the pod has ended: no container runs and none will. Containers that are created even now are thrown
    /// away and reported at once.
    pub fn finished(&self) -> bool {
        self.stop.is_some()
            && self.containers.iter().all(|container| matches!(container.stage(), Stage::Ended | Stage::Absent))
    }
}
