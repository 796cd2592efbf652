//! A host that is not there: it does what the machine asks, and fails the test when that is impossible or forbidden.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loment_sandbox::lifecycle::{
    Action, Backoff, ContainerId, ContainerSpec, Event, Kind, Machine, Outcome, PodSpec, ProbeKind, RestartPolicy,
    Stage, Time, qos::QosClass,
};

mod ask;
mod seen;

pub(crate) use seen::{Process, Seen};

pub(crate) const TERM: i32 = 15;
pub(crate) const KILL: i32 = 9;

/// Name and kind of each container, in the order of the pod.
pub(crate) fn pod(policy: RestartPolicy, containers: &[(&str, Kind)]) -> PodSpec {
    let of = |app: bool| {
        let these = containers.iter().filter(|(_, kind)| (*kind == Kind::App) == app);
        let spec = |(name, kind): &(&str, Kind)| ContainerSpec {
            name: (*name).into(),
            image: "busybox".into(),
            kind: *kind,
            ..ContainerSpec::default()
        };
        these.map(spec).collect()
    };
    PodSpec {
        name: "p".into(),
        namespace: "ns".into(),
        uid: "u".into(),
        restart_policy: policy,
        grace: Duration::from_secs(30),
        active_deadline: None,
        readiness_gates: vec![],
        init_containers: of(false),
        containers: of(true),
        backoff: Backoff::default(),
        max_restarts: None,
        restart_sidecars_while_stopping: false,
        generation: 1,
        qos: QosClass::BestEffort,
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Time,
    /// The containers in the order of the pod, and what is remembered of each.
    ids: Vec<ContainerId>,
    kinds: Vec<Kind>,
    pub(crate) seen: Vec<Seen>,
    /// Every action with its time, in order.
    pub(crate) trace: Vec<(Time, Action)>,
    /// Whether the host answers Open and Prepare at once and well.
    pub(crate) prompt: bool,
    /// Whether hooks and probes take until the test ends them; else a prompt host's return at once.
    pub(crate) busy: bool,
    /// Probes that fail, and hooks.
    pub(crate) sick: Vec<(ContainerId, ProbeKind, Outcome)>,
    /// All containers end, to begin again; the host makes a new sandbox.
    rewinding: bool,
    renewing: bool,
    /// When the pod had to be stopped, by what the test knows of it.
    pub(crate) stop_deadline: Option<Time>,
}

impl World {
    pub(crate) fn new(spec: PodSpec) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        Self::of(Machine::new(spec, now), now)
    }

    /// A world with a machine that may be at the end or the beginning of a pod's second life.
    pub(crate) fn of(machine: Machine, now: Time) -> Self {
        let ids: Vec<_> = machine.spec().all().map(|(id, _)| id).collect();
        let kinds = machine.spec().all().map(|(_, container)| container.kind).collect();
        let first = machine.containers().iter().map(loment_sandbox::lifecycle::ContainerState::attempt);
        let seen = first.map(Seen::new).collect();
        Self {
            machine,
            now,
            ids,
            kinds,
            seen,
            trace: vec![],
            prompt: true,
            busy: false,
            sick: vec![],
            rewinding: false,
            renewing: false,
            stop_deadline: None,
        }
    }

    /// A world in which every container was created and started by its client, in the order of the pod.
    pub(crate) fn started(spec: PodSpec) -> Self {
        let mut world = Self::new(spec);
        world.create_all();
        world.arm_all();
        world
    }

    pub(crate) fn id(&self, name: &str) -> ContainerId {
        self.machine.spec().id(name).unwrap_or_else(|| panic!("no container {name}"))
    }

    pub(crate) fn ids(&self) -> Vec<ContainerId> {
        self.ids.clone()
    }

    pub(crate) fn kinds(&self) -> Vec<(ContainerId, Kind)> {
        self.ids.iter().copied().zip(self.kinds.iter().copied()).collect()
    }

    fn place(&self, id: ContainerId) -> usize {
        self.ids.iter().position(|other| *other == id).unwrap()
    }

    pub(crate) fn seen(&self, id: ContainerId) -> &Seen {
        &self.seen[self.place(id)]
    }

    fn seen_mut(&mut self, id: ContainerId) -> &mut Seen {
        let place = self.place(id);
        &mut self.seen[place]
    }

    fn kind(&self, id: ContainerId) -> Kind {
        self.machine.spec().container(id).unwrap().kind
    }

    // What happens.

    pub(crate) fn create_all(&mut self) {
        self.ids().into_iter().for_each(|id| self.create(id));
    }

    pub(crate) fn arm_all(&mut self) {
        self.ids().into_iter().for_each(|container| self.event(Event::Armed { container }));
    }

    pub(crate) fn create(&mut self, container: ContainerId) {
        let seen = self.seen_mut(container);
        if !seen.created {
            (seen.created, seen.process) = (true, Process::Gate);
            self.event(Event::Created { container });
        }
    }

    pub(crate) fn exit(&mut self, name: &str, code: u32) {
        self.end(self.id(name), code, false);
    }

    /// The process of a container ends, if there is one that can.
    pub(crate) fn end(&mut self, container: ContainerId, code: u32, oom_killed: bool) {
        let now = self.now;
        let init = self.kind(container) == Kind::Init;
        let seen = self.seen_mut(container);
        if !matches!(seen.process, Process::Opening | Process::Running) {
            return;
        }
        seen.gone(now, code == 0 && !(init && oom_killed));
        if self.rewinding {
            let seen = self.seen_mut(container);
            (seen.succeeded, seen.tried, seen.finished) = (false, false, None);
        }
        self.event(Event::Exited { container, code, oom_killed, message: None });
    }

    /// The program of a container exits and leaves a message.
    pub(crate) fn say(&mut self, name: &str, code: u32, message: Option<String>) {
        let (container, now) = (self.id(name), self.now);
        self.seen_mut(container).gone(now, code == 0);
        self.event(Event::Exited { container, code, oom_killed: false, message });
    }

    pub(crate) fn fail_start(&mut self, container: ContainerId) {
        let now = self.now;
        let seen = self.seen_mut(container);
        if seen.process == Process::Opening {
            seen.gone(now, false);
            if self.rewinding {
                let seen = self.seen_mut(container);
                (seen.tried, seen.finished) = (false, None);
            }
            self.event(Event::StartFailed { container, code: 128, message: "exec /nope: no such file".into() });
        }
    }

    /// The process at the gate of a container dies, which nobody asked for.
    pub(crate) fn lose(&mut self, container: ContainerId) {
        let rewinding = self.rewinding;
        let seen = self.seen_mut(container);
        if seen.process == Process::Gate {
            let vacated = std::mem::take(&mut seen.killed);
            (seen.process, seen.tried, seen.stalled) = (Process::None, !rewinding, !vacated);
            self.event(Event::Exited { container, code: 137, oom_killed: false, message: None });
        }
    }

    /// The host answers what it was asked, well or not.
    pub(crate) fn reply(&mut self, container: ContainerId, well: bool) {
        let now = self.now;
        let seen = self.seen_mut(container);
        match (seen.process, well) {
            (Process::Opening, true) => {
                self.runs(container);
                self.event(Event::Opened { container });
            }
            (Process::Opening, false) => self.fail_start(container),
            (Process::Preparing, true) => {
                (seen.process, seen.ready) = (Process::Gate, now);
                self.event(Event::Ready { container });
            }
            (Process::Preparing, false) => {
                (seen.process, seen.tried, seen.stalled) = (Process::None, true, true);
                self.event(Event::PrepareFailed { container, message: "no space".into() });
            }
            _ => {}
        }
    }

    pub(crate) fn kill(&mut self, name: &str, signal: i32) {
        let container = self.id(name);
        let ended = self.machine.container(name).is_some_and(|container| container.stage() == Stage::Ended);
        self.seen_mut(container).client_killed |= !ended;
        self.event(Event::KillRequested { container, signal });
    }

    pub(crate) fn terminate(&mut self, grace: Option<Duration>) {
        self.event(Event::Terminate { grace });
    }

    /// Lets time pass, with a tick at every deadline on the way.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(deadline) = self.machine.next_deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline that has passed: {deadline:?} at {:?}", self.now);
            self.now = deadline;
            self.event(Event::Tick);
        }
        self.now = end;
    }

    pub(crate) fn secs(&mut self, secs: u64) {
        self.advance(Duration::from_secs(secs));
    }

    pub(crate) fn event(&mut self, event: Event) {
        let before = self.machine.phase();
        let actions = self.machine.step(self.now, event);
        let after = self.machine.phase();
        assert!(!before.is_terminal() || before == after, "{before:?} became {after:?}");
        for action in actions {
            self.trace.push((self.now, action.clone()));
            self.obey(&action);
        }
        self.check_grace();
        if self.prompt {
            self.answer();
        }
    }

    /// Answers one of the things that the machine waits for; what it asks for then is answered in turn.
    fn answer(&mut self) {
        let vacated = |seen: &Seen| seen.process == Process::Gate && seen.killed;
        let asked = |seen: &Seen| matches!(seen.process, Process::Opening | Process::Preparing);
        if let Some(place) = self.seen.iter().position(asked) {
            self.reply(self.ids[place], true);
        } else if let Some(place) = self.seen.iter().position(vacated) {
            self.lose(self.ids[place]);
        } else if self.renewing {
            self.sandbox(true);
        } else if let Some(place) = self.seen.iter().position(|seen| !seen.hooks.is_empty()).filter(|_| !self.busy) {
            let hook = self.seen[place].hooks[0];
            self.hook(self.ids[place], hook, None);
        } else if let Some(place) = self.seen.iter().position(|seen| !seen.probes.is_empty()).filter(|_| !self.busy) {
            let (id, probe) = (self.ids[place], self.seen[place].probes[0]);
            let sick = self.sick.iter().find(|(of, kind, _)| (*of, *kind) == (id, probe));
            let outcome = sick.map_or(Outcome::Success, |(_, _, outcome)| outcome.clone());
            self.probed(id, probe, outcome);
        }
    }

    /// Whether the host makes a new sandbox.
    pub(crate) fn renewing(&self) -> bool {
        self.renewing
    }

    /// The new sandbox stands, or could not be made.
    pub(crate) fn sandbox(&mut self, well: bool) {
        if std::mem::take(&mut self.renewing) {
            self.event(if well {
                Event::SandboxReady
            } else {
                Event::SandboxFailed { message: "no more addresses".into() }
            });
            self.rewinding &= !well;
        }
    }

    /// A client makes a successor of a container and starts it.
    pub(crate) fn replace(&mut self, name: &str) {
        let container = self.id(name);
        self.seen_mut(container).successors += 1;
        self.event(Event::Replaced { container });
    }

    /// A probe fails from now on with this outcome, or succeeds.
    pub(crate) fn ail(&mut self, name: &str, probe: ProbeKind, outcome: Option<Outcome>) {
        let id = self.id(name);
        self.sick.retain(|(of, kind, _)| (*of, *kind) != (id, probe));
        self.sick.extend(outcome.map(|outcome| (id, probe, outcome)));
    }
}

/// The machine's clock as if it had been started with the year 1970.
pub(crate) fn wall(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(time.as_nanos())
}
