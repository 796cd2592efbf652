//! Pods of every shape through lives of every kind. What must hold at every step is checked by the world itself.

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Action, ContainerSpec, Event, HookKind,
    Kind::{self, App, Init, Sidecar},
    Outcome, Phase, PodSpec, ProbeKind,
    RestartPolicy::{self, Always, Never, OnFailure},
    Stage,
    handler::{Handler, Hook, Probe},
    restart::{RestartRule, RuleAction},
};
use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest},
    sample::Index,
};

use crate::world::{KILL, Process, World, pod};

fn policies() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![Just(Always), Just(OnFailure), Just(Never)]
}

/// Up to three init containers and two sidecars in any order, and one to three apps; some with hooks, probes and rules.
fn pods() -> impl Strategy<Value = PodSpec> {
    let mixed = (vec(Just(Init), 0..=3), vec(Just(Sidecar), 0..=2));
    let inits = mixed.prop_flat_map(|(inits, sidecars)| Just([inits, sidecars].concat()).prop_shuffle());
    let deadline = prop_oneof![4 => Just(None), 1 => (1_u64..2000).prop_map(Some)];
    let limit = prop_oneof![4 => Just(None), 1 => (0_u32..5).prop_map(Some)];
    let whole = (policies(), 0_u64..60, deadline, limit, any::<bool>());
    (inits, 1_usize..=3, vec(traits(), 8), whole).prop_map(|(inits, apps, traits, whole)| {
        let (policy, grace, deadline, limit, outlive) = whole;
        let kinds: Vec<Kind> = inits.into_iter().chain(std::iter::repeat_n(App, apps)).collect();
        let names: Vec<String> = (0..kinds.len()).map(|place| format!("c{place}")).collect();
        let containers: Vec<_> = names.iter().map(String::as_str).zip(kinds).collect();
        let mut spec = pod(policy, &containers);
        spec.grace = Duration::from_secs(grace);
        spec.active_deadline = deadline.map(Duration::from_secs);
        spec.max_restarts = limit;
        spec.restart_sidecars_while_stopping = outlive;
        for (container, traits) in spec.init_containers.iter_mut().chain(&mut spec.containers).zip(traits) {
            traits.give(container);
        }
        spec
    })
}

/// What a container has beside its kind.
#[derive(Debug, Clone)]
struct Traits {
    policy: Option<RestartPolicy>,
    rule: Option<RestartRule>,
    hooks: [bool; 2],
    probes: [Option<Probe>; 3],
}

impl Traits {
    fn give(self, container: &mut ContainerSpec) {
        container.restart_rules.extend(self.rule);
        if container.kind == App {
            container.restart_policy = self.policy;
        }
        if container.kind != Init {
            let hook = || Some(Hook::Exec { command: vec![] });
            container.post_start = hook().filter(|_| self.hooks[0]);
            container.pre_stop = hook().filter(|_| self.hooks[1]);
            [container.startup, container.liveness, container.readiness] = self.probes;
        }
    }
}

fn traits() -> impl Strategy<Value = Traits> {
    let policy = prop_oneof![3 => Just(None), 1 => policies().prop_map(Some)];
    let action = prop_oneof![Just(RuleAction::Restart), Just(RuleAction::RestartAllContainers)];
    let rule = (action, any::<bool>(), vec(0_u32..4, 1..3));
    let rule = rule.prop_map(|(action, negated, codes)| RestartRule { action, negated, codes });
    let probe = || proptest::option::weighted(0.3, probe());
    (policy, proptest::option::weighted(0.15, rule), any::<[bool; 2]>(), [probe(), probe(), probe()])
        .prop_map(|(policy, rule, hooks, probes)| Traits { policy, rule, hooks, probes })
}

fn probe() -> impl Strategy<Value = Probe> {
    let grace = proptest::option::weighted(0.3, (1_u64..20).prop_map(Duration::from_secs));
    (0_u64..30, 5_u64..40, 1_u32..3, 1_u32..4, grace).prop_map(|(delay, period, successes, failures, grace)| Probe {
        handler: Handler::Exec { command: vec![] },
        initial_delay: Duration::from_secs(delay),
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(period),
        success_threshold: if grace.is_some() { 1 } else { successes },
        failure_threshold: failures,
        grace,
    })
}

/// What can happen to a pod, at a container where it needs one.
#[derive(Debug, Clone)]
enum Fate {
    Create(Index),
    Arm(Index),
    Exit(Index, u32, bool),
    Reply(Index, bool),
    Hook(Index, HookKind, bool),
    Probed(Index, ProbeKind, Outcome),
    Kill(Index, i32),
    Lose(Index),
    Replace(Index),
    Terminate(Option<u64>),
    Evict,
    SandboxLost,
    Sandbox(bool),
    Wait(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    let code = || prop_oneof![3 => Just(0_u32), 2 => Just(1_u32), 1 => 2_u32..256];
    let at = any::<Index>;
    let hook = prop_oneof![Just(HookKind::PostStart), Just(HookKind::PreStop)];
    let probe = prop_oneof![Just(ProbeKind::Startup), Just(ProbeKind::Liveness), Just(ProbeKind::Readiness)];
    let signal = prop_oneof![Just(KILL), Just(15), Just(1), Just(0)];
    prop_oneof![
        3 => at().prop_map(Fate::Create),
        3 => at().prop_map(Fate::Arm),
        8 => (at(), code(), proptest::bool::weighted(0.1)).prop_map(|(at, code, oom)| Fate::Exit(at, code, oom)),
        10 => (at(), proptest::bool::weighted(0.9)).prop_map(|(at, well)| Fate::Reply(at, well)),
        6 => (at(), hook, proptest::bool::weighted(0.8)).prop_map(|(at, hook, well)| Fate::Hook(at, hook, well)),
        8 => (at(), probe, outcomes()).prop_map(|(at, probe, outcome)| Fate::Probed(at, probe, outcome)),
        1 => (at(), signal).prop_map(|(at, signal)| Fate::Kill(at, signal)),
        1 => at().prop_map(Fate::Lose),
        1 => at().prop_map(Fate::Replace),
        1 => proptest::option::of(0_u64..100).prop_map(Fate::Terminate),
        1 => Just(Fate::SandboxLost),
        2 => any::<bool>().prop_map(Fate::Sandbox),
        6 => prop_oneof![0_u64..5_000, 0_u64..700_000].prop_map(Fate::Wait),
        (1) => proptest::bool::weighted(0.2).prop_map(|evict| if evict { Fate::Evict } else { Fate::Wait(1) }),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Success),
        1 => Just(Outcome::Warning("elsewhere".into())),
        3 => Just(Outcome::Failure("503".into())),
        1 => Just(Outcome::Error("no such port".into())),
    ]
}

fn live(world: &mut World, fate: &Fate) {
    let ids = world.ids();
    let name = |world: &World, at: &Index| world.name(*at.get(&ids)).to_owned();
    match fate {
        Fate::Create(at) => world.create(*at.get(&ids)),
        Fate::Arm(at) => {
            let container = *at.get(&ids);
            if world.seen(container).created {
                world.event(Event::Armed { container });
            }
        }
        Fate::Exit(at, code, oom) => world.end(*at.get(&ids), *code, *oom),
        Fate::Reply(at, well) => world.reply(*at.get(&ids), *well),
        Fate::Kill(at, signal) => {
            let name = name(world, at);
            if world.seen(*at.get(&ids)).created && *signal != 0 {
                world.kill(&name, *signal);
            } else {
                world.event(Event::KillRequested { container: *at.get(&ids), signal: 0 });
            }
        }
        Fate::Lose(at) => world.lose(*at.get(&ids)),
        Fate::Hook(at, hook, well) => world.hook(*at.get(&ids), *hook, Some("no").filter(|_| !well)),
        Fate::Probed(at, probe, outcome) => world.probed(*at.get(&ids), *probe, outcome.clone()),
        Fate::Replace(at) => {
            let name = name(world, at);
            if world.seen(*at.get(&ids)).created {
                world.replace(&name);
            }
        }
        Fate::Evict => world.event(Event::Evict { reason: "Evicted".into(), message: "too much".into() }),
        Fate::SandboxLost => world.event(Event::SandboxLost),
        Fate::Sandbox(well) => world.sandbox(*well),
        Fate::Terminate(grace) => world.terminate(grace.map(Duration::from_secs)),
        Fate::Wait(millis) => world.advance(Duration::from_millis(*millis)),
    }
}

/// Creates and starts what is not yet, and lets the host catch up with what it was asked.
fn catch_up(world: &mut World) {
    world.create_all();
    for container in world.ids() {
        if !world.machine.containers().iter().any(|c| c.id() == container && c.is_armed()) {
            world.event(Event::Armed { container });
        }
    }
    (world.prompt, world.busy) = (true, false);
    world.event(Event::Tick);
}

/// A pod that is not finished and waits for no time has something that runs: only that can change anything.
fn progresses(world: &World) -> bool {
    world.machine.finished()
        || world.machine.next_deadline().is_some()
        || world.seen.iter().any(|seen| seen.process == Process::Running)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_order_the_back_off_and_the_grace_are_kept(
        spec in pods(),
        fates in vec(fates(), 1..120),
        prompt in any::<bool>(),
        busy in any::<bool>(),
    ) {
        let mut world = World::new(spec);
        (world.prompt, world.busy) = (prompt, busy);
        for fate in &fates {
            live(&mut world, fate);
        }
        catch_up(&mut world);
        prop_assert!(progresses(&world), "stuck: {:#?}", world.machine.containers());
    }

    #[test]
    fn a_pod_that_is_stopped_ends_in_time_and_reports_each_container_once(
        spec in pods(),
        fates in vec(fates(), 0..80),
        grace in proptest::option::of(0_u64..100),
        obedient in vec(any::<bool>(), 8),
    ) {
        let mut world = World::new(spec);
        for fate in &fates {
            live(&mut world, fate);
        }
        catch_up(&mut world);
        let budget = grace.map_or(world.machine.spec().grace, Duration::from_secs).max(Duration::from_secs(1));
        let deadline = world.now + budget + Duration::from_secs(2);
        world.terminate(grace.map(Duration::from_secs));
        while world.now <= deadline {
            for (container, obedient) in world.ids().into_iter().zip(&obedient) {
                let asked = world.machine.containers().iter().any(|c| c.id() == container && c.stage() == Stage::Running);
                if world.seen(container).killed || (asked && *obedient) {
                    world.end(container, 137, false);
                }
            }
            world.secs(1);
        }
        for id in world.ids() {
            if world.seen(id).killed {
                world.end(id, 137, false);
            }
        }
        prop_assert!(world.machine.finished());
        prop_assert!(world.phase().is_terminal());
        prop_assert_eq!(world.machine.next_deadline(), None);
        prop_assert!(world.seen.iter().all(|seen| seen.reported.is_some()), "each is reported, and the world saw it once");
    }

    #[test]
    fn a_pod_whose_containers_do_their_work_succeeds_however_often_they_fail_before(
        spec in pods(),
        failures in vec(0_u32..4, 8),
    ) {
        let mut spec = spec;
        spec.restart_policy = OnFailure;
        (spec.active_deadline, spec.max_restarts) = (None, None);
        for container in spec.init_containers.iter_mut().chain(&mut spec.containers) {
            container.restart_rules.retain(|rule| !rule.negated && !rule.codes.contains(&0));
            container.restart_policy = container.restart_policy.filter(|_| container.kind != App);
        }
        let ids: Vec<_> = spec.all().map(|(id, container)| (id, container.kind)).collect();
        let mut world = World::started(spec);
        let mut left = failures;
        for _ in 0..200 {
            for ((id, kind), left) in ids.iter().zip(&mut left) {
                let runs = world.seen(*id).process == Process::Running;
                let stopping = world.machine.stopping().is_some();
                if runs && world.seen(*id).killed {
                    world.end(*id, 137, false);
                } else if runs && (*kind != Sidecar || stopping || *left > 0) {
                    world.end(*id, u32::from(*left > 0), false);
                    *left = left.saturating_sub(1);
                }
            }
            world.secs(10);
        }
        prop_assert_eq!(world.phase(), Phase::Succeeded);
        prop_assert!(world.seen.iter().all(|seen| seen.reported.is_some()));
    }

    #[test]
    fn a_host_that_reports_nonsense_gets_no_panic_and_no_second_report(
        spec in pods(),
        noise in vec((0_u8..19, any::<Index>(), 0_u32..3, 0_u64..400), 1..200),
    ) {
        let mut machine = loment_sandbox::lifecycle::Machine::new(spec, loment_sandbox::lifecycle::Time::default());
        let ids: Vec<_> = machine.spec().all().map(|(id, _)| id).collect();
        let (mut now, mut reported, mut ended) = (loment_sandbox::lifecycle::Time::default(), vec![], None);
        for (what, at, code, secs) in noise {
            let container = *at.get(&ids);
            now = now + Duration::from_secs(secs);
            let message = String::new();
            let event = match what {
                0 => Event::Created { container },
                1 => Event::Armed { container },
                2 => Event::Opened { container },
                3 => Event::StartFailed { container, code, message },
                4 => Event::Exited { container, code, oom_killed: code == 2, message: None },
                5 => Event::Ready { container },
                6 => Event::PrepareFailed { container, message },
                7 => Event::KillRequested { container, signal: i32::MAX },
                8 => Event::HookDone { container, attempt: code, hook: HookKind::PostStart, error: Some(message) },
                9 => Event::HookDone { container, attempt: code, hook: HookKind::PreStop, error: None },
                10 => Event::Probed { container, attempt: code, probe: ProbeKind::Liveness, outcome: Outcome::Failure(message) },
                11 => Event::Probed { container, attempt: code, probe: ProbeKind::Startup, outcome: Outcome::Success },
                12 => Event::Replaced { container },
                13 => Event::SandboxLost,
                14 => Event::SandboxReady,
                15 => Event::SandboxFailed { message },
                16 => Event::MemoryKilled { container, kills: secs },
                17 if code == 2 => Event::Evict { reason: message.clone(), message },
                _ if code == 2 => Event::Terminate { grace: Some(Duration::MAX) },
                _ => Event::Tick,
            };
            for action in machine.step(now, event) {
                match action {
                    Action::Report { container, .. } => {
                        prop_assert!(!reported.contains(&container), "{container:?} twice");
                        reported.push(container);
                    }
                    // The successor's end is another one.
                    Action::Adopt { container, .. } => reported.retain(|other| *other != container),
                    _ => {}
                }
            }
            prop_assert!(ended.is_none_or(|phase| phase == machine.phase()));
            ended = Some(machine.phase()).filter(|phase| phase.is_terminal());
        }
    }
}
