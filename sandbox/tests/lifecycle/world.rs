//! A host that is not there: it does what the machine asks, and fails the test when that is impossible or forbidden.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loment_sandbox::lifecycle::{
    Action, Backoff, ContainerId, ContainerSpec, Event, Kind, Machine, Moment, Phase, PodSpec, RestartPolicy, Time,
    qos::QosClass, status::PodStatus,
};

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

/// The process of a container, as the host has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    None,
    Gate,
    Opening,
    Running,
    Preparing,
}

/// What the host remembers of a container, to check the machine by.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) process: Process,
    pub(crate) created: bool,
    pub(crate) attempts: u32,
    /// Opened at least once / ended with 0 and not for memory.
    pub(crate) ran: bool,
    pub(crate) succeeded: bool,
    pub(crate) reported: Option<u32>,
    /// SIGKILL was sent to the process that is there.
    pub(crate) killed: bool,
    /// A client wanted it to end.
    pub(crate) client_killed: bool,
    /// Its process at the gate has died: it has given up its turn, also when it stands there again.
    lost: bool,
    /// When the attempt at the gate came there.
    ready: Time,
    finished: Option<Time>,
    /// Restarts in a row, as an independent model of the back-off counts them, and when the last was decided.
    streak: u32,
    decided: Option<Time>,
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) now: Time,
    /// The containers in the order of the pod, and what is remembered of each.
    ids: Vec<ContainerId>,
    pub(crate) seen: Vec<Seen>,
    /// Every action with its time, in order.
    pub(crate) trace: Vec<(Time, Action)>,
    /// Whether the host answers Open and Prepare at once and well.
    pub(crate) prompt: bool,
    /// When the pod had to be stopped, by what the test knows of it.
    pub(crate) stop_deadline: Option<Time>,
}

impl World {
    pub(crate) fn new(spec: PodSpec) -> Self {
        let seen = Seen {
            process: Process::None,
            created: false,
            attempts: 0,
            ran: false,
            succeeded: false,
            reported: None,
            killed: false,
            client_killed: false,
            lost: false,
            ready: Time::default(),
            finished: None,
            streak: 0,
            decided: None,
        };
        let now = Time::from_nanos(1_000_000_000);
        let ids: Vec<_> = spec.all().map(|(id, _)| id).collect();
        let seen = vec![seen; ids.len()];
        Self { machine: Machine::new(spec, now), now, ids, seen, trace: vec![], prompt: true, stop_deadline: None }
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
        (seen.process, seen.finished, seen.killed) = (Process::None, Some(now), false);
        seen.succeeded = code == 0 && !(init && oom_killed);
        self.event(Event::Exited { container, code, oom_killed, message: None });
    }

    pub(crate) fn fail_start(&mut self, container: ContainerId) {
        let now = self.now;
        let seen = self.seen_mut(container);
        if seen.process == Process::Opening {
            (seen.process, seen.finished, seen.succeeded, seen.killed) = (Process::None, Some(now), false, false);
            self.event(Event::StartFailed { container, code: 128, message: "exec /nope: no such file".into() });
        }
    }

    /// The process at the gate of a container dies, which nobody asked for.
    pub(crate) fn lose(&mut self, container: ContainerId) {
        let seen = self.seen_mut(container);
        if seen.process == Process::Gate {
            (seen.process, seen.lost) = (Process::None, true);
            self.event(Event::Exited { container, code: 137, oom_killed: false, message: None });
        }
    }

    /// The host answers what it was asked, well or not.
    pub(crate) fn reply(&mut self, container: ContainerId, well: bool) {
        let now = self.now;
        let seen = self.seen_mut(container);
        match (seen.process, well) {
            (Process::Opening, true) => {
                (seen.process, seen.ran) = (Process::Running, true);
                self.event(Event::Opened { container });
            }
            (Process::Opening, false) => self.fail_start(container),
            (Process::Preparing, true) => {
                (seen.process, seen.ready) = (Process::Gate, now);
                self.event(Event::Ready { container });
            }
            (Process::Preparing, false) => {
                seen.process = Process::None;
                self.event(Event::PrepareFailed { container, message: "no space".into() });
            }
            _ => {}
        }
    }

    pub(crate) fn kill(&mut self, name: &str, signal: i32) {
        let container = self.id(name);
        self.seen_mut(container).client_killed = true;
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
            let asked = |seen: &Seen| matches!(seen.process, Process::Opening | Process::Preparing);
            if let Some(place) = self.seen.iter().position(asked) {
                self.reply(self.ids[place], true);
            }
        }
    }

    // What the machine asks for.

    fn obey(&mut self, action: &Action) {
        match action {
            Action::Open { container, attempt } => self.open(*container, *attempt),
            Action::Prepare { container, attempt } => {
                assert_eq!(self.stop_deadline, None, "prepared in a pod that is being stopped");
                let seen = self.seen_mut(*container);
                assert_eq!(seen.process, Process::None, "two attempts of one container");
                assert_eq!(*attempt, seen.attempts, "attempts are counted");
                assert_eq!(seen.reported, None, "prepared after it was reported");
                seen.process = Process::Preparing;
            }
            Action::Signal { container, signal } => {
                let seen = self.seen_mut(*container);
                assert!(matches!(seen.process, Process::Opening | Process::Running), "{signal} to no process");
                seen.killed |= *signal == KILL;
            }
            Action::Discard { container } => {
                let seen = self.seen_mut(*container);
                assert!(!matches!(seen.process, Process::Opening | Process::Running), "a running process discarded");
                seen.process = Process::None;
            }
            Action::Report { container, code } => {
                let seen = self.seen_mut(*container);
                assert_eq!(seen.reported, None, "reported twice");
                assert_eq!(seen.process, Process::None, "reported while it runs");
                assert!(seen.created, "reported although never created");
                seen.reported = Some(*code);
            }
            Action::Record(entry) => self.learn(&entry.what),
            other => unimplemented!("{other:?}"),
        }
    }

    fn learn(&mut self, what: &Moment) {
        if let Moment::Stopping { grace, .. } = what {
            let deadline = self.now + (*grace).max(Duration::from_secs(1));
            self.stop_deadline = Some(self.stop_deadline.map_or(deadline, |before| before.min(deadline)));
        }
    }

    fn open(&mut self, container: ContainerId, attempt: u32) {
        let place = self.place(container);
        for (before, id) in self.ids.iter().copied().take(place).enumerate() {
            let other = &self.seen[before];
            match self.kind(id) {
                Kind::Init => assert!(other.succeeded, "{container:?} opened before {id:?} has succeeded"),
                Kind::Sidecar => assert!(other.ran, "{container:?} opened before {id:?} has started"),
                Kind::App => {
                    let tried =
                        other.attempts > 0 || other.reported.is_some() || other.lost || other.process != Process::Gate;
                    assert!(other.created && tried, "app {container:?} opened before app {id:?}");
                }
            }
        }
        assert_eq!(self.stop_deadline, None, "opened in a pod that is being stopped");
        let now = self.now;
        let expected = self.expected_open(place);
        let seen = &mut self.seen[place];
        assert_eq!(seen.process, Process::Gate, "opened without a process at the gate");
        assert_eq!(attempt, seen.attempts, "attempts are counted");
        assert_eq!(seen.reported, None, "opened after it was reported");
        assert!(!seen.client_killed, "opened after its client ended it");
        if let Some(expected) = expected {
            assert!(now >= expected, "opened {:?} too early", expected - now);
            assert_eq!(now, expected.max(seen.ready), "opened when the delay was over and the attempt was ready");
            seen.decided = Some(now);
        }
        (seen.process, seen.attempts) = (Process::Opening, seen.attempts + 1);
    }

    /// When a restart is due, written down from the specification and not from the code: at once, then 10 s doubling
    /// to 300 s, over again when the exit came more than 600 s after the last restart.
    fn expected_open(&mut self, place: usize) -> Option<Time> {
        let curve = self.machine.spec().backoff;
        let seen = &mut self.seen[place];
        let finished = seen.finished?;
        if seen.decided.is_some_and(|decided| finished - decided > curve.reset) {
            seen.streak = 0;
        }
        let delay = match seen.streak {
            0 => Duration::ZERO,
            n => curve.max.min(curve.initial.saturating_mul(1 << (n - 1).min(20))),
        };
        seen.streak += 1;
        Some(finished + delay)
    }

    /// Nothing runs unkilled 2 s after the end of the grace period.
    fn check_grace(&self) {
        let window = Duration::from_secs(2);
        if self.stop_deadline.is_some_and(|deadline| self.now >= deadline + window) {
            for (id, seen) in self.ids.iter().zip(&self.seen) {
                let alive = matches!(seen.process, Process::Opening | Process::Running);
                assert!(!alive || seen.killed, "{id:?} outlived the grace period");
            }
        }
    }

    // What a test asks.

    pub(crate) fn running(&self) -> Vec<&str> {
        let all = self.machine.spec().all().zip(&self.seen);
        all.filter(|(_, seen)| seen.process == Process::Running).map(|((_, spec), _)| spec.name.as_str()).collect()
    }

    pub(crate) fn name(&self, id: ContainerId) -> &str {
        &self.machine.spec().container(id).unwrap().name
    }

    fn at(&self, time: Time) -> u64 {
        (time - Time::from_nanos(1_000_000_000)).as_secs()
    }

    /// Every opening of a gate: second and name.
    pub(crate) fn opens(&self) -> Vec<(u64, &str)> {
        let open = |(time, action): &(Time, Action)| match action {
            Action::Open { container, .. } => Some((self.at(*time), self.name(*container))),
            _ => None,
        };
        self.trace.iter().filter_map(open).collect()
    }

    /// Every signal: second, name and number.
    pub(crate) fn signals(&self) -> Vec<(u64, &str, i32)> {
        let signal = |(time, action): &(Time, Action)| match action {
            Action::Signal { container, signal } => Some((self.at(*time), self.name(*container), *signal)),
            _ => None,
        };
        self.trace.iter().filter_map(signal).collect()
    }

    /// Every report: name and code.
    pub(crate) fn reports(&self) -> Vec<(&str, u32)> {
        let report = |(_, action): &(Time, Action)| match action {
            Action::Report { container, code } => Some((self.name(*container), *code)),
            _ => None,
        };
        self.trace.iter().filter_map(report).collect()
    }

    pub(crate) fn discarded(&self) -> Vec<&str> {
        let discard = |(_, action): &(Time, Action)| match action {
            Action::Discard { container } => Some(self.name(*container)),
            _ => None,
        };
        self.trace.iter().filter_map(discard).collect()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.machine.phase()
    }

    pub(crate) fn status(&self) -> PodStatus {
        self.machine.status(&wall)
    }

    /// The status as JSON, for tests that look at single fields.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self.status()).unwrap()
    }
}

/// The machine's clock as if it had been started with the year 1970.
pub(crate) fn wall(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(time.as_nanos())
}
