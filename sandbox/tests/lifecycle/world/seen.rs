//! What a host remembers of each container, and the rules that it holds the machine to.

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Action, ContainerId, Entry, HookKind, Kind, Moment, Outcome, ProbeKind, Stage, Time, ending::Why,
};

use super::{KILL, World};

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
    /// How many gates were opened.
    pub(crate) attempts: u32,
    /// It has started at least once / ended with 0 and not for memory; since the pod began, or began again.
    pub(crate) started: bool,
    /// This attempt has.
    passed: bool,
    pub(crate) succeeded: bool,
    /// The app after it may be started.
    pub(crate) tried: bool,
    pub(crate) reported: Option<u32>,
    /// SIGKILL was sent to the process that is there.
    pub(crate) killed: bool,
    /// No process could be made, or it died at its gate.
    pub(crate) stalled: bool,
    /// A client wanted it to end.
    pub(crate) client_killed: bool,
    /// How many successors stand by.
    pub(crate) successors: u32,
    /// Hooks and probes under way.
    pub(crate) hooks: Vec<HookKind>,
    pub(crate) probes: Vec<ProbeKind>,
    /// Hooks that this attempt was asked for.
    hooked: Vec<HookKind>,
    since: Time,
    /// When it has to have been killed, if it was asked to end.
    doom: Option<Time>,
    /// When the attempt at the gate came there, and whether its turn may come later than that.
    pub(crate) ready: Time,
    queues: bool,
    pub(crate) finished: Option<Time>,
    /// Restarts in a row, as an independent model of the back-off counts them, and when the last was decided.
    streak: u32,
    decided: Option<Time>,
}

impl Seen {
    pub(crate) fn new(attempts: u32) -> Self {
        Self {
            process: Process::None,
            created: false,
            attempts,
            started: false,
            passed: false,
            succeeded: false,
            tried: false,
            reported: None,
            killed: false,
            stalled: false,
            client_killed: false,
            successors: 0,
            hooks: vec![],
            probes: vec![],
            hooked: vec![],
            since: Time::default(),
            doom: None,
            ready: Time::default(),
            queues: false,
            finished: None,
            streak: 0,
            decided: None,
        }
    }

    pub(crate) fn alive(&self) -> bool {
        matches!(self.process, Process::Opening | Process::Running)
    }

    /// Its process has ended.
    pub(crate) fn gone(&mut self, now: Time, succeeded: bool) {
        (self.process, self.finished, self.killed, self.doom) = (Process::None, Some(now), false, None);
        (self.succeeded, self.tried, self.passed) = (succeeded, true, false);
        self.hooks.clear();
        self.probes.clear();
        self.hooked.clear();
    }
}

impl World {
    /// Does what the machine asks, if that is possible and allowed.
    pub(super) fn obey(&mut self, action: &Action) {
        match action {
            Action::Open { container, attempt } => self.open(*container, *attempt),
            Action::Prepare { container, attempt } => self.prepare(*container, *attempt),
            Action::Signal { container, signal } => {
                let vacating = self.rewinding && *signal == KILL;
                let seen = self.seen_mut(*container);
                assert!(seen.alive() || (vacating && seen.process == Process::Gate), "{signal} to no process");
                seen.killed |= *signal == KILL;
            }
            Action::RunHook { container, attempt, hook } => self.run_hook(*container, *attempt, *hook),
            Action::Probe { container, attempt, probe } => self.probe(*container, *attempt, *probe),
            Action::Discard { container } => {
                let seen = self.seen_mut(*container);
                assert!(!seen.alive(), "a running process discarded");
                (seen.process, seen.tried) = (Process::None, true);
            }
            Action::Report { container, code } => {
                let seen = self.seen_mut(*container);
                assert_eq!(seen.reported, None, "reported twice");
                assert_eq!(seen.process, Process::None, "reported while it runs");
                assert!(seen.created, "reported although never created");
                seen.reported = Some(*code);
            }
            Action::Adopt { container, attempt } => {
                let now = self.now;
                let seen = self.seen_mut(*container);
                seen.successors = seen.successors.checked_sub(1).expect("nobody stands by");
                assert!(seen.reported.is_some(), "the end of the old one was not reported");
                assert_eq!(*attempt, seen.attempts, "attempts are counted");
                assert_eq!(seen.process, Process::None);
                (seen.process, seen.reported) = (Process::Gate, None);
                (seen.finished, seen.decided, seen.streak, seen.ready, seen.stalled) = (None, None, 0, now, false);
            }
            Action::Dismiss { container, .. } => {
                let seen = self.seen_mut(*container);
                seen.successors = seen.successors.checked_sub(1).expect("nobody stands by");
            }
            Action::RenewSandbox => {
                let left = |seen: &Seen| seen.process != Process::None;
                assert!(!self.seen.iter().any(left), "processes are left in the old sandbox: {:#?}", self.seen);
                self.renewing = true;
            }
            Action::Record(entry) => self.learn(entry),
        }
    }

    fn learn(&mut self, entry: &Entry) {
        match &entry.what {
            Moment::Stopping { grace, .. } => {
                let deadline = self.now + (*grace).max(Duration::from_secs(1));
                let deadline = self.stop_deadline.map_or(deadline, |before| before.min(deadline));
                (self.stop_deadline, self.rewinding) = (Some(deadline), false);
                for seen in self.seen.iter_mut().filter(|seen| seen.alive()) {
                    seen.doom = Some(seen.doom.map_or(deadline, |doom| doom.min(deadline)));
                }
            }
            Moment::Killing { why, .. } => {
                let id = entry.container.unwrap();
                let grace = self.grace_of(id, *why);
                let (now, stop) = (self.now, self.stop_deadline);
                let doom = if *why == Why::PodStopped { stop.unwrap() } else { now + grace };
                let seen = self.seen_mut(id);
                seen.doom = Some(seen.doom.map_or(doom, |before| before.min(doom)));
            }
            Moment::RestartingAll => self.rewind(entry.container),
            Moment::SandboxChanged if self.stop_deadline.is_none() => self.rewind(None),
            _ => {}
        }
    }

    fn grace_of(&self, id: ContainerId, why: Why) -> Duration {
        let spec = self.machine.spec();
        let container = spec.container(id).unwrap();
        let probe = match why {
            Why::Liveness => container.liveness.as_ref(),
            Why::Startup => container.startup.as_ref(),
            Why::RestartAll => return Duration::ZERO,
            _ => None,
        };
        probe.and_then(|probe| probe.grace).unwrap_or(spec.grace)
    }

    /// The whole pod begins again: the order has to be kept once more, and only what was in a back-off anyway, and the
    /// container that it all comes from, serve one.
    fn rewind(&mut self, trigger: Option<ContainerId>) {
        self.rewinding = true;
        for (place, seen) in self.seen.iter_mut().enumerate() {
            let stage = self.machine.containers()[place].stage();
            (seen.started, seen.queues) = (false, true);
            // What has ended for good with success does not run again for the sake of a new sandbox.
            let done = trigger.is_none() && seen.succeeded && stage == Stage::Ended && self.kinds[place] == Kind::App;
            (seen.succeeded, seen.tried) = (done, done);
            let waits = matches!(seen.process, Process::Gate | Process::Preparing) || seen.stalled;
            let keeps = trigger.is_some() && waits;
            if Some(self.ids[place]) != trigger && !keeps {
                seen.finished = None;
            }
        }
    }

    fn prepare(&mut self, container: ContainerId, attempt: u32) {
        self.assert_may_start(container, "prepared");
        let anew = std::mem::take(&mut self.rewinding);
        let now_alive = self.seen.iter().any(Seen::alive);
        assert!(!anew || !now_alive, "the pod begins again while it runs");
        let seen = self.seen_mut(container);
        assert_eq!(seen.process, Process::None, "two attempts of one container");
        assert_eq!(attempt, seen.attempts, "attempts are counted");
        (seen.process, seen.stalled) = (Process::Preparing, false);
    }

    fn open(&mut self, container: ContainerId, attempt: u32) {
        self.rewinding = false;
        let place = self.place(container);
        for (before, id) in self.ids.iter().copied().take(place).enumerate() {
            let other = &self.seen[before];
            match self.kind(id) {
                Kind::Init => assert!(other.succeeded, "{container:?} opened before {id:?} has succeeded"),
                Kind::Sidecar => assert!(other.started, "{container:?} opened before {id:?} has started"),
                Kind::App => {
                    let tried = other.tried || other.reported.is_some();
                    assert!(other.created && tried, "app {container:?} opened before app {id:?}");
                }
            }
        }
        self.assert_may_start(container, "opened");
        let now = self.now;
        let expected = self.expected_open(place);
        let seen = &mut self.seen[place];
        assert_eq!(seen.process, Process::Gate, "opened without a process at the gate");
        assert_eq!(attempt, seen.attempts, "attempts are counted");
        assert!(!seen.client_killed, "opened after its client ended it");
        if let Some(expected) = expected {
            assert!(now >= expected, "opened {:?} too early", expected - now);
            let exact = now == expected.max(seen.ready) || seen.queues;
            assert!(exact, "opened when the delay was over and the attempt was ready");
            seen.decided = Some(now);
        }
        (seen.process, seen.attempts, seen.queues) = (Process::Opening, seen.attempts + 1, false);
    }

    /// In a pod that is being stopped nothing starts, but for a sidecar of a running app where that is asked for.
    fn assert_may_start(&self, container: ContainerId, what: &str) {
        let spec = self.machine.spec();
        let app_alive = self.ids.iter().zip(&self.seen).any(|(id, seen)| self.kind(*id) == Kind::App && seen.alive());
        let outlives = spec.restart_sidecars_while_stopping && self.kind(container) == Kind::Sidecar && app_alive;
        assert!(self.stop_deadline.is_none() || outlives, "{what} in a pod that is being stopped");
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

    /// The program of a container runs.
    pub(super) fn runs(&mut self, id: ContainerId) {
        let spec = self.machine.spec().container(id).unwrap();
        let (hook, startup) = (spec.post_start.is_some(), spec.startup.is_some());
        let now = self.now;
        let seen = self.seen_mut(id);
        (seen.process, seen.since) = (Process::Running, now);
        if !hook {
            seen.tried = true;
            seen.passed = !startup;
            seen.started |= seen.passed;
        }
    }

    fn run_hook(&mut self, id: ContainerId, attempt: u32, hook: HookKind) {
        assert!(self.machine.spec().container(id).unwrap().hook(hook).is_some(), "no such hook");
        let now = self.now;
        let seen = self.seen_mut(id);
        // The machine asks within the step that the program's start was told in.
        assert!(seen.process == Process::Running, "{hook} hook of a container that does not run");
        assert_eq!(attempt + 1, seen.attempts);
        assert!(!seen.hooked.contains(&hook), "{hook} hook twice in one attempt");
        assert!(hook == HookKind::PreStop || now == seen.since, "a postStart hook that is late");
        seen.hooked.push(hook);
        seen.hooks.push(hook);
    }

    fn probe(&mut self, id: ContainerId, attempt: u32, probe: ProbeKind) {
        let spec = self.machine.spec().container(id).unwrap();
        let delay = spec.probe(probe).expect("no such probe").initial_delay;
        let startup = spec.startup.is_some();
        let now = self.now;
        let seen = self.seen_mut(id);
        assert_eq!(seen.process, Process::Running, "{probe} probe of a container that does not run");
        assert_eq!(attempt + 1, seen.attempts);
        assert!(!seen.probes.contains(&probe), "two {probe} probes at once");
        assert!(now >= seen.since + delay, "{probe} probe before its initial delay");
        assert!(!seen.hooks.contains(&HookKind::PostStart), "{probe} probe during the postStart hook");
        assert!(probe == ProbeKind::Startup || !startup || seen.passed, "{probe} probe before the startup probe");
        assert!(probe == ProbeKind::Readiness || seen.doom.is_none(), "{probe} probe of what is to end");
        seen.probes.push(probe);
    }

    /// A hook returns, if it runs.
    pub(crate) fn hook(&mut self, id: ContainerId, hook: HookKind, error: Option<&str>) {
        let startup = self.machine.spec().container(id).unwrap().startup.is_some();
        let seen = self.seen_mut(id);
        if !seen.hooks.contains(&hook) {
            return;
        }
        seen.hooks.retain(|other| *other != hook);
        let attempt = seen.attempts - 1;
        if hook == HookKind::PostStart {
            seen.tried = true;
            seen.passed = error.is_none() && !startup;
            seen.started |= seen.passed;
        }
        let error = error.map(str::to_owned);
        self.event(loment_sandbox::lifecycle::Event::HookDone { container: id, attempt, hook, error });
    }

    /// An attempt at a probe ends, if one is under way.
    pub(crate) fn probed(&mut self, id: ContainerId, probe: ProbeKind, outcome: Outcome) {
        let seen = self.seen_mut(id);
        if !seen.probes.contains(&probe) {
            return;
        }
        seen.probes.retain(|other| *other != probe);
        let attempt = seen.attempts - 1;
        seen.passed |= probe == ProbeKind::Startup && matches!(outcome, Outcome::Success | Outcome::Warning(_));
        seen.started |= seen.passed;
        self.event(loment_sandbox::lifecycle::Event::Probed { container: id, attempt, probe, outcome });
    }

    /// Nothing runs unkilled 2 s after the end of its grace.
    pub(super) fn check_grace(&self) {
        let window = Duration::from_secs(2);
        for (id, seen) in self.ids.iter().zip(&self.seen) {
            let doomed = seen.doom.is_some_and(|doom| self.now >= doom + window);
            assert!(!doomed || !seen.alive() || seen.killed, "{id:?} outlived its grace");
        }
    }
}
