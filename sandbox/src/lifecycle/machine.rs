//! The machine: events in, actions out.

use std::time::{Duration, SystemTime};

use super::{
    conditions::{Conditions, Scene},
    container::{ContainerState, Terms},
    event::{Action, Event},
    life::Course,
    moment::Moment,
    phase::{self, Phase, Standing},
    rewind::Rewind,
    rfc3339::Timestamp,
    run::Exit,
    spec::{ContainerId, Kind, PodSpec},
    stage::Stage,
    status::PodStatus,
    stop::{Cause, Stop},
    time::Time,
    timeline::Log,
    told,
};

/// A pod's lifecycle.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) spec: PodSpec,
    pub(super) born: Time,
    /// Whether it waits for its maker.
    held: bool,
    /// In the order in which they start; a [`ContainerId`] is a place in here.
    pub(super) containers: Vec<ContainerState>,
    /// Place of the container whose turn it is to start for the first time. Those before it may be started again, those
    /// after it wait. It goes back only when the whole pod begins again: a sidecar that crashes later holds nobody up.
    pub(super) turn: usize,
    pub(super) stop: Option<Stop>,
    pub(super) rewind: Option<Rewind>,
    /// Reason and message of an eviction.
    pub(super) verdict: Option<(String, String)>,
    /// Of a pod that was resumed: when it first began, and for how long it had been active.
    pub(super) began: Option<Timestamp>,
    pub(super) active_before: Duration,
    pub(super) phase: Phase,
    pub(super) conditions: Conditions,
    pub(super) log: Log,
}

impl Machine {
    /// A pod whose sandbox stands and whose containers are still to be created.
    pub fn new(spec: PodSpec, now: Time) -> Self {
        let terms = Terms::from(&spec);
        let containers: Vec<_> =
            spec.all().map(|(id, container)| ContainerState::new(id, container.clone(), terms)).collect();
        let conditions = Conditions::new(&spec, &containers, now);
        Self {
            spec,
            born: now,
            held: false,
            containers,
            turn: 0,
            stop: None,
            rewind: None,
            verdict: None,
            began: None,
            active_before: Duration::ZERO,
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
        if self.stop.is_none() && self.rewind.is_some() {
            self.rewind_containers();
        }
        match self.course() {
            Course::On if self.held => {}
            Course::On => self.start_containers(),
            Course::Again => {}
            Course::Lingering | Course::Over => self.stop_containers(),
        }
        self.advance_endings();
        self.report();
        self.observe();
        self.log.take_actions()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick => {}
            Event::Released => self.held = false,
            Event::Terminate { grace } => self.begin_stop(Cause::Terminated, grace),
            Event::Evict { reason, message } => self.evict(reason, message),
            Event::Updated { spec } => self.update(*spec),
            Event::SandboxLost => self.sandbox_lost(),
            Event::SandboxReady => self.sandbox_ready(),
            Event::SandboxFailed { message } => self.sandbox_failed(message),
            Event::Created { container } => self.with(container, "Created", |c, _, log| c.created(log)),
            Event::Armed { container } => self.with(container, "Armed", |c, _, log| c.arm(log)),
            Event::Replaced { container } => {
                self.with(container, "Replaced", ContainerState::replaced);
            }
            Event::Opened { container } => self.with(container, "Opened", |c, _, log| c.opened(log)),
            Event::Ready { container } => self.with(container, "Ready", |c, _, log| c.ready(log)),
            Event::PrepareFailed { container, message } => {
                self.with(container, "PrepareFailed", |c, _, log| c.stalled(message, log));
            }
            Event::HookDone { container, attempt, hook, error } => {
                self.with(container, "HookDone", |c, _, log| c.hook_done(attempt, hook, error, log));
            }
            Event::Probed { container, attempt, probe, outcome } => {
                self.with(container, "Probed", |c, _, log| c.probed(attempt, probe, outcome, log));
            }
            Event::MemoryKilled { container, kills } => {
                self.with(container, "MemoryKilled", |c, _, log| c.lost(kills, log));
            }
            Event::KillRequested { container, signal } => {
                self.with(container, "KillRequested", |c, _, log| c.kill_requested(signal, log));
            }
            Event::StartFailed { container, code, message } => {
                let mut all = false;
                self.with(container, "StartFailed", |c, course, log| all = c.start_failed(code, message, course, log));
                self.restart_all_if(all, container);
            }
            Event::Exited { container, code, oom_killed, message } => {
                let exit = Exit { message, ..Exit::new(code, oom_killed, self.log.now) };
                let mut all = false;
                self.with(container, "Exited", |c, course, log| all = c.exited(exit, course, log));
                self.restart_all_if(all, container);
            }
        }
    }

    fn with(&mut self, id: ContainerId, event: &str, act: impl FnOnce(&mut ContainerState, Course, &mut Log)) {
        let course = if self.outlives_stop(id.0) { Course::Lingering } else { self.course() };
        match self.containers.get_mut(id.0) {
            Some(container) => act(container, course, &mut self.log),
            None => self.log.note(None, 0, Moment::Unexpected { event: format!("{event} of an unknown container") }),
        }
    }

    pub(super) fn course(&self) -> Course {
        match (&self.stop, &self.rewind) {
            (Some(_), _) => Course::Over,
            (None, Some(_)) => Course::Again,
            (None, None) => Course::On,
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

    fn start_containers(&mut self) {
        let (turn, log) = (self.turn, &mut self.log);
        for (place, container) in self.containers.iter_mut().enumerate() {
            container.advance(place <= turn, log);
        }
    }

    /// Tells the ends that have come, but not that of a container which may have to run again, by a rule or in a new
    /// sandbox, as long as the pod lives: containerd forgets what has ended, and has no way back from there.
    fn report(&mut self) {
        let (goes_on, all) = (self.stop.is_none(), self.spec.may_restart_all());
        for container in &mut self.containers {
            let withhold = goes_on && (all || container.may_run_in_new_sandbox());
            container.report(withhold, &mut self.log);
        }
    }

    pub(super) fn observe(&mut self) {
        let finished = self.finished();
        let standings: Vec<_> =
            self.containers.iter().map(|container| (container.kind(), Standing::from(container))).collect();
        let computed = phase::of(&standings, self.stop.is_some());
        let phase = match (self.phase.is_terminal(), finished, self.stop.map(|stop| stop.cause)) {
            (true, ..) => self.phase,
            (false, true, Some(Cause::DeadlineExceeded | Cause::Evicted)) => Phase::Failed,
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
        let scene = Scene { phase, sandbox: !finished && !self.needs_sandbox(), restarting_all: self.restarting_all() };
        self.conditions.update(&self.spec, &self.containers, scene, self.log.now);
    }

    /// When to call [`Machine::step`] with [`Event::Tick`] at the latest. `None`: only an event can change anything.
    pub fn next_deadline(&self) -> Option<Time> {
        let places = || self.containers.iter().enumerate();
        let wakes = |place: usize, container: &ContainerState| match self.course() {
            // What waits for its maker waits for no time.
            Course::On if self.held => None,
            Course::On => container.wakes(place <= self.turn),
            Course::Again => None,
            Course::Lingering | Course::Over if self.outlives_stop(place) => container.wakes(true),
            Course::Lingering | Course::Over => None,
        };
        let running = self.containers.iter().filter_map(ContainerState::next);
        let waiting = places().filter_map(|(place, container)| wakes(place, container));
        let whole = if self.stop.is_none() { self.active_until() } else { None };
        let sidecars = self.stop.filter(|_| places().any(|(place, _)| self.outlives_stop(place)));
        running
            .chain(waiting)
            .chain(whole)
            .chain(sidecars.map(|stop| stop.deadline))
            .chain(self.rewind.as_ref().and_then(Rewind::next))
            .min()
    }

    /// The pod was changed: what may change is taken over.
    fn update(&mut self, new: PodSpec) {
        let shape = |pod: &PodSpec| pod.all().map(|(_, c)| (c.name.clone(), c.kind)).collect::<Vec<_>>();
        if shape(&new) != shape(&self.spec) {
            return self.log.note(None, 0, Moment::Unexpected { event: "another set of containers".into() });
        }
        for (id, changed) in new.all() {
            if let Some(container) = self.containers.get_mut(id.0).filter(|own| own.spec.image != changed.image) {
                container.spec.image.clone_from(&changed.image);
                container.next_stop_signal = Some(changed.stop_signal);
            }
        }
        let all = self.spec.init_containers.iter_mut().chain(&mut self.spec.containers);
        for (container, changed) in all.zip(new.init_containers.iter().chain(&new.containers)) {
            container.image.clone_from(&changed.image);
        }
        self.spec.active_deadline = new.active_deadline;
        self.spec.backoff = new.backoff;
        self.spec.max_restarts = new.max_restarts;
        self.spec.restart_sidecars_while_stopping = new.restart_sidecars_while_stopping;
        self.spec.generation = self.spec.generation.max(new.generation);
        let terms = Terms::from(&self.spec);
        self.containers.iter_mut().for_each(|container| container.terms = terms);
        self.log.note(None, 0, Moment::Updated { generation: self.spec.generation });
    }

    /// Whether the pod has ended: no container runs and none will. Containers that are created even now are thrown
    /// away and reported at once.
    pub fn finished(&self) -> bool {
        self.stop.is_some()
            && self.containers.iter().all(|container| matches!(container.stage(), Stage::Ended | Stage::Absent))
    }
}

/// What can be asked of it.
impl Machine {
    /// The pod's phase. `Succeeded` and `Failed` are final.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The pod.
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// When the machine began.
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

    /// Reason and message of the pod's eviction.
    pub(super) fn verdict(&self) -> Option<&(String, String)> {
        self.verdict.as_ref()
    }

    /// The pod's `status`. `wall` tells the wall-clock time of one of the machine's times.
    pub fn status(&self, wall: &dyn Fn(Time) -> SystemTime) -> PodStatus {
        told::of(self, wall)
    }
}
