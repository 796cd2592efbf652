//! Pods of every shape through lives of every kind. What must hold at every step is checked by the world itself.

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Event,
    Kind::{self, App, Init, Sidecar},
    Phase, PodSpec,
    RestartPolicy::{self, Always, Never, OnFailure},
    Stage,
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

/// Up to three init containers and two sidecars in any order, and one to three apps.
fn pods() -> impl Strategy<Value = PodSpec> {
    let mixed = (vec(Just(Init), 0..=3), vec(Just(Sidecar), 0..=2));
    let inits = mixed.prop_flat_map(|(inits, sidecars)| Just([inits, sidecars].concat()).prop_shuffle());
    let own = vec(prop_oneof![3 => Just(None), 1 => policies().prop_map(Some)], 3);
    (policies(), inits, 1_usize..=3, own, 0_u64..60, prop_oneof![4 => Just(None), 1 => (1_u64..2000).prop_map(Some)])
        .prop_map(|(policy, inits, apps, own, grace, deadline)| {
            let kinds: Vec<Kind> = inits.into_iter().chain(std::iter::repeat_n(App, apps)).collect();
            let names: Vec<String> = (0..kinds.len()).map(|place| format!("c{place}")).collect();
            let containers: Vec<_> = names.iter().map(String::as_str).zip(kinds).collect();
            let mut spec = pod(policy, &containers);
            spec.grace = Duration::from_secs(grace);
            spec.active_deadline = deadline.map(Duration::from_secs);
            for (container, policy) in spec.containers.iter_mut().zip(own) {
                container.restart_policy = policy;
            }
            spec
        })
}

/// What can happen to a pod, at a container where it needs one.
#[derive(Debug, Clone)]
enum Fate {
    Create(Index),
    Arm(Index),
    Exit(Index, u32, bool),
    Reply(Index, bool),
    Kill(Index, i32),
    Lose(Index),
    Terminate(Option<u64>),
    Wait(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    let code = prop_oneof![3 => Just(0_u32), 2 => Just(1_u32), 1 => 2_u32..256];
    prop_oneof![
        3 => any::<Index>().prop_map(Fate::Create),
        3 => any::<Index>().prop_map(Fate::Arm),
        8 => (any::<Index>(), code, proptest::bool::weighted(0.1)).prop_map(|(at, code, oom)| Fate::Exit(at, code, oom)),
        10 => (any::<Index>(), proptest::bool::weighted(0.9)).prop_map(|(at, well)| Fate::Reply(at, well)),
        1 => (any::<Index>(), prop_oneof![Just(KILL), Just(15), Just(1), Just(0)]).prop_map(|(at, signal)| Fate::Kill(at, signal)),
        1 => any::<Index>().prop_map(Fate::Lose),
        1 => proptest::option::of(0_u64..100).prop_map(Fate::Terminate),
        6 => prop_oneof![0_u64..5_000, 0_u64..700_000].prop_map(Fate::Wait),
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
    world.prompt = true;
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
    ) {
        let mut world = World::new(spec);
        world.prompt = prompt;
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
        spec.active_deadline = None;
        spec.containers.iter_mut().for_each(|container| container.restart_policy = None);
        let ids: Vec<_> = spec.all().map(|(id, container)| (id, container.kind)).collect();
        let mut world = World::started(spec);
        let mut left = failures;
        for _ in 0..200 {
            for ((id, kind), left) in ids.iter().zip(&mut left) {
                let runs = world.seen(*id).process == Process::Running;
                let stopping = world.machine.stopping().is_some();
                if runs && (*kind != Sidecar || stopping || *left > 0) {
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
        noise in vec((0_u8..9, any::<Index>(), 0_u32..3, 0_u64..400), 1..200),
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
                _ if code == 2 => Event::Terminate { grace: Some(Duration::MAX) },
                _ => Event::Tick,
            };
            for action in machine.step(now, event) {
                if let loment_sandbox::lifecycle::Action::Report { container, .. } = action {
                    prop_assert!(!reported.contains(&container), "{container:?} twice");
                    reported.push(container);
                }
            }
            prop_assert!(ended.is_none_or(|phase| phase == machine.phase()));
            ended = Some(machine.phase()).filter(|phase| phase.is_terminal());
        }
    }
}
