//! Conditions (5.2).

use loment_sandbox::lifecycle::{
    Kind::{App, Init, Sidecar},
    RestartPolicy::{Always, Never},
};

use crate::world::{World, pod};

/// Status, reason and message of a condition.
fn condition(world: &World, kind: &str) -> (String, String, String) {
    let status = world.status();
    let found = status.conditions.into_iter().find(|condition| condition.kind == kind).unwrap();
    (found.status, found.reason.unwrap_or_default(), found.message.unwrap_or_default())
}

fn holds(world: &World, kind: &str) -> bool {
    condition(world, kind).0 == "True"
}

#[test]
fn conditions_come_in_the_order_of_the_kubelet() {
    let world = World::new(pod(Always, &[("web", App)]));
    let kinds: Vec<_> = world.status().conditions.into_iter().map(|condition| condition.kind).collect();
    assert_eq!(kinds, ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]);
}

#[test]
fn initialized_names_the_init_containers_that_are_not_done() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("proxy", Sidecar), ("web", App)]));
    let (_, reason, message) = condition(&world, "Initialized");
    assert_eq!(reason, "ContainersNotInitialized");
    assert_eq!(message, "containers with incomplete status: [setup proxy]");
    world.exit("setup", 0);
    assert!(holds(&world, "Initialized"));
}

#[test]
fn initialized_stays_true_once_an_app_has_run() {
    let mut world = World::started(pod(Always, &[("proxy", Sidecar), ("web", App)]));
    world.exit("proxy", 1);
    world.exit("proxy", 1);
    assert!(holds(&world, "Initialized"));
    assert_eq!(condition(&world, "ContainersReady").2, "containers with unready status: [proxy]");
}

#[test]
fn a_pod_is_ready_when_all_its_apps_and_sidecars_run() {
    let mut world = World::started(pod(Always, &[("proxy", Sidecar), ("web", App), ("cache", App)]));
    assert!(holds(&world, "Ready") && holds(&world, "ContainersReady"));
    world.exit("web", 1);
    world.exit("web", 1);
    let (status, reason, message) = condition(&world, "Ready");
    assert_eq!((&*status, &*reason), ("False", "ContainersNotReady"));
    assert_eq!(message, "containers with unready status: [web]");
}

#[test]
fn a_readiness_gate_that_nobody_sets_keeps_the_pod_from_ready_but_not_its_containers() {
    let mut spec = pod(Always, &[("web", App)]);
    spec.readiness_gates = vec!["example.com/gate".into()];
    let world = World::started(spec);
    assert!(holds(&world, "ContainersReady"));
    let (status, reason, message) = condition(&world, "Ready");
    assert_eq!((&*status, &*reason), ("False", "ReadinessGatesNotReady"));
    assert!(message.contains("\"example.com/gate\""));
}

#[test]
fn a_pod_that_has_ended_says_how() {
    for (code, reason, initialized) in [(0, "PodCompleted", "PodCompleted"), (1, "PodFailed", "")] {
        let mut world = World::started(pod(Never, &[("setup", Init), ("web", App)]));
        world.exit("setup", 0);
        world.exit("web", code);
        for kind in ["Ready", "ContainersReady"] {
            let (status, said, _) = condition(&world, kind);
            assert_eq!((&*status, &*said), ("False", reason), "{kind}");
        }
        assert_eq!(condition(&world, "Initialized"), ("True".into(), initialized.into(), String::new()));
        assert!(!holds(&world, "PodReadyToStartContainers"));
    }
}

#[test]
fn the_time_of_a_condition_moves_only_when_it_changes_sides() {
    let mut world = World::started(pod(Always, &[("web", App), ("cache", App)]));
    let since = |world: &World| world.json()["conditions"][2]["lastTransitionTime"].clone();
    let ready = since(&world);
    world.secs(60);
    world.exit("web", 1);
    world.exit("web", 1);
    let unready = since(&world);
    assert_ne!(unready, ready);
    world.secs(5);
    world.exit("cache", 1);
    world.exit("cache", 1);
    assert_eq!(condition(&world, "Ready").2, "containers with unready status: [web cache]");
    assert_eq!(since(&world), unready);
    world.secs(60);
    assert_ne!(since(&world), unready);
}
