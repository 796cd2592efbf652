//! Small pods through every life they can have, up to a number of events: each order of what containers, host and clients
//! do. The world checks each step; from each state that is reached the pod can still be stopped in time.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    slice::SliceIndex,
    time::Duration,
};

use loment_sandbox::lifecycle::{
    ContainerId, Event, HookKind,
    Kind::{App, Init, Sidecar},
    Outcome, PodSpec, ProbeKind,
    RestartPolicy::{Always, Never, OnFailure},
    handler::{Handler, Hook, Probe},
    restart::{RestartRule, RuleAction},
};

use crate::world::{Process, World, pod};

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    Exit(ContainerId, u32),
    Reply(ContainerId, bool),
    Lose(ContainerId),
    Hook(ContainerId, HookKind, bool),
    Probed(ContainerId, ProbeKind, bool),
    Sandbox(bool),
    Time,
    Replace,
    SandboxLost,
    Terminate,
    /// A client makes and starts the last container.
    Create,
}

/// What may come once in a life.
#[derive(Clone, Copy)]
struct Once {
    replace: bool,
    lose: bool,
    terminate: bool,
    create: bool,
}

fn steps(world: &World, once: Once) -> Vec<Step> {
    let mut steps = vec![];
    for (id, seen) in world.ids().into_iter().zip(&world.seen) {
        match seen.process {
            Process::Running => steps.extend([Step::Exit(id, 0), Step::Exit(id, 1)]),
            Process::Opening => steps.extend([Step::Reply(id, true), Step::Reply(id, false), Step::Exit(id, 1)]),
            Process::Preparing => steps.extend([Step::Reply(id, true), Step::Reply(id, false)]),
            Process::Gate if seen.killed => steps.push(Step::Lose(id)),
            Process::Gate | Process::None => {}
        }
        steps.extend(seen.hooks.iter().flat_map(|hook| [true, false].map(|well| Step::Hook(id, *hook, well))));
        steps.extend(seen.probes.iter().flat_map(|probe| [true, false].map(|well| Step::Probed(id, *probe, well))));
    }
    if world.renewing() {
        steps.extend([Step::Sandbox(true), Step::Sandbox(false)]);
    }
    let optional = [
        (world.machine.next_deadline().is_some(), Step::Time),
        (once.replace && !once.create, Step::Replace),
        (once.lose, Step::SandboxLost),
        (once.terminate, Step::Terminate),
        (once.create, Step::Create),
    ];
    steps.extend(optional.into_iter().filter_map(|(may, step)| may.then_some(step)));
    steps
}

fn take(world: &mut World, once: &mut Once, step: Step) {
    match step {
        Step::Exit(id, code) => world.end(id, code, false),
        Step::Reply(id, well) => world.reply(id, well),
        Step::Lose(id) => world.lose(id),
        Step::Hook(id, hook, well) => world.hook(id, hook, Some("no").filter(|_| !well)),
        Step::Probed(id, probe, well) => {
            let outcome = if well { Outcome::Success } else { Outcome::Failure("no".into()) };
            world.probed(id, probe, outcome);
        }
        Step::Sandbox(well) => world.sandbox(well),
        Step::Time => {
            if let Some(deadline) = world.machine.next_deadline() {
                world.advance(deadline - world.now);
            }
        }
        Step::Replace => {
            once.replace = false;
            let last = world.name(world.ids()[world.ids().len() - 1]).to_owned();
            world.replace(&last);
        }
        Step::SandboxLost => {
            once.lose = false;
            world.event(Event::SandboxLost);
        }
        Step::Terminate => {
            once.terminate = false;
            world.terminate(None);
        }
        Step::Create => {
            once.create = false;
            create(world, world.ids().len() - 1..);
        }
    }
}

/// A client makes and starts the containers from one place on.
fn create(world: &mut World, places: impl SliceIndex<[ContainerId], Output = [ContainerId]>) {
    for container in world.ids()[places].to_vec() {
        world.create(container);
        world.event(Event::Armed { container });
    }
}

/// The pod is asked to stop and its containers do as they are told: then it has ended, in time, and told each end.
fn can_be_stopped(mut world: World) {
    let from = world.now;
    (world.prompt, world.busy) = (true, false);
    create(&mut world, ..);
    world.terminate(None);
    for _ in 0..40 {
        for id in world.ids() {
            if world.seen(id).killed {
                world.end(id, 137, false);
            }
        }
        if world.machine.finished() {
            break;
        }
        world.secs(1);
    }
    assert!(world.machine.finished() && world.now - from <= world.machine.spec().grace + Duration::from_secs(3));
    assert!(world.seen.iter().all(|seen| seen.reported.is_some() && seen.successors == 0));
    assert!(world.phase().is_terminal());
}

/// All goes well from now on: then a pod that does not run for ever ends by itself.
fn can_complete(mut world: World) {
    (world.prompt, world.busy) = (true, false);
    create(&mut world, ..);
    world.event(Event::Tick);
    for _ in 0..100 {
        for (id, kind) in world.kinds() {
            if world.seen(id).killed {
                world.end(id, 137, false);
            } else if kind != Sidecar && world.seen(id).process == Process::Running {
                world.end(id, 0, false);
            }
        }
        if world.machine.finished() {
            return;
        }
        world.secs(10);
    }
    panic!("it does not come to its end: {:#?}", world.machine.containers());
}

/// Goes through all lives of at most `depth` events; how many different states there are.
fn explore(spec: PodSpec, once: Once, depth: u32) -> usize {
    let mut first = World::new(spec);
    (first.prompt, first.busy) = (false, true);
    let containers = first.ids().len() - usize::from(once.create);
    create(&mut first, ..containers);
    let mut known = HashSet::new();
    let mut open = VecDeque::from([(first, once, 0)]);
    while let Some((world, once, age)) = open.pop_front() {
        let mut hasher = DefaultHasher::new();
        format!("{:?}{:?}{:?}", world.machine.containers(), world.seen, world.now).hash(&mut hasher);
        (world.machine.stopping(), once.replace, once.lose, once.terminate, once.create, world.renewing())
            .hash(&mut hasher);
        if !known.insert(hasher.finish()) {
            continue;
        }
        let steps = steps(&world, once);
        let from_outside = |step: &Step| matches!(step, Step::Terminate | Step::SandboxLost | Step::Replace);
        let goes_on = world.machine.finished() || !steps.iter().all(from_outside);
        assert!(goes_on, "stuck: {:#?}", world.machine.containers());
        can_be_stopped(world.clone());
        if world.machine.spec().restart_policy != Always {
            can_complete(world.clone());
        }
        if age == depth {
            continue;
        }
        for step in steps {
            let (mut world, mut once) = (world.clone(), once);
            world.trace.clear();
            take(&mut world, &mut once, step);
            open.push_back((world, once, age + 1));
        }
    }
    known.len()
}

fn probe() -> Option<Probe> {
    Some(Probe {
        handler: Handler::Exec { command: vec![] },
        initial_delay: Duration::ZERO,
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(10),
        success_threshold: 1,
        failure_threshold: 1,
        grace: None,
    })
}

fn hook() -> Option<Hook> {
    Some(Hook::Exec { command: vec![] })
}

const TERMINATE: Once = Once { replace: false, lose: false, terminate: true, create: false };

#[test]
fn every_life_of_a_pod_with_an_init_container_a_sidecar_and_an_app() {
    for policy in [Always, OnFailure, Never] {
        let states = explore(pod(policy, &[("setup", Init), ("proxy", Sidecar), ("web", App)]), TERMINATE, 7);
        assert!(states > 300, "{policy:?}: only {states} states");
    }
}

#[test]
fn every_life_of_a_sidecar_and_an_app_with_hooks_and_probes() {
    let mut spec = pod(OnFailure, &[("proxy", Sidecar), ("web", App)]);
    (spec.init_containers[0].post_start, spec.init_containers[0].pre_stop) = (hook(), hook());
    spec.init_containers[0].startup = probe();
    (spec.containers[0].pre_stop, spec.containers[0].liveness) = (hook(), probe());
    let states = explore(spec, TERMINATE, 9);
    assert!(states > 300, "only {states} states");
}

#[test]
fn every_life_of_a_pod_that_loses_its_sandbox_and_whose_app_is_replaced() {
    let spec = pod(OnFailure, &[("setup", Init), ("web", App)]);
    let states = explore(spec, Once { replace: true, lose: true, terminate: true, create: true }, 7);
    assert!(states > 300, "only {states} states");
}

#[test]
fn every_life_of_a_pod_whose_containers_may_all_be_restarted() {
    let mut spec = pod(Never, &[("setup", Init), ("web", App), ("job", App)]);
    let rule = RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![1] };
    spec.containers[1].restart_rules = vec![rule];
    let states = explore(spec, Once { replace: true, lose: true, terminate: true, create: false }, 6);
    assert!(states > 300, "only {states} states");
}
