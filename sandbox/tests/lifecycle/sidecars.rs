//! Sidecars (S1 to S10).

use loment_sandbox::lifecycle::{
    Cause, Event,
    Kind::{self, App, Init, Sidecar},
    Phase, PodSpec,
    RestartPolicy::{Always, Never, OnFailure},
};

use crate::world::{KILL, Process, TERM, World, pod};

#[test]
fn s1_an_init_container_with_restart_policy_always_is_a_sidecar() {
    let json = r#"{"metadata": {"name": "p"}, "spec": {
        "initContainers": [{"name": "a", "restartPolicy": "Always"}, {"name": "b"}, {"name": "c", "restartPolicy": "Never"}],
        "containers": [{"name": "d", "restartPolicy": "Always"}]}}"#;
    let kinds: Vec<Kind> = PodSpec::from_manifest(json).unwrap().all().map(|(_, container)| container.kind).collect();
    assert_eq!(kinds, [Sidecar, Init, Init, App]);
}

#[test]
fn s2_the_next_container_waits_until_the_sidecar_has_started() {
    let mut world = World::new(pod(Always, &[("proxy", Sidecar), ("setup", Init), ("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    let [proxy, setup] = ["proxy", "setup"].map(|name| world.id(name));
    world.secs(60);
    assert_eq!(world.opens(), [(0, "proxy")]);
    world.fail_start(proxy);
    world.reply(proxy, true);
    assert_eq!(world.seen(setup).process, Process::Gate, "a sidecar that could not be started holds up the rest");
    world.reply(proxy, true);
    assert_eq!(world.seen(setup).process, Process::Opening);
}

#[test]
fn s3_a_sidecar_is_restarted_before_and_after_init_whatever_its_code_and_the_policy() {
    for policy in [Always, OnFailure, Never] {
        for code in [0, 1] {
            let mut world = World::started(pod(policy, &[("proxy", Sidecar), ("setup", Init), ("web", App)]));
            world.exit("proxy", code);
            assert_eq!(world.running(), ["proxy", "setup"]);
            world.exit("setup", 0);
            world.exit("proxy", code);
            assert_eq!(world.running(), ["web"], "it is in its back-off, which holds nobody up");
            assert_eq!(world.phase(), Phase::Running);
            world.secs(10);
            assert_eq!(world.running(), ["proxy", "web"]);
            assert_eq!(world.machine.container("proxy").unwrap().restart_count(), 2);
        }
    }
}

#[test]
fn s8_when_all_apps_are_done_the_sidecars_are_stopped_and_the_pod_completes() {
    let mut world = World::started(pod(Never, &[("proxy", Sidecar), ("logger", Sidecar), ("web", App), ("job", App)]));
    world.exit("web", 0);
    assert!(world.signals().is_empty());
    world.exit("job", 0);
    assert_eq!(world.machine.stopping(), Some(Cause::Completed));
    assert_eq!(world.signals(), [(0, "logger", TERM)]);
    assert_eq!(world.phase(), Phase::Running, "not complete while a sidecar runs");
    world.exit("logger", 1);
    assert_eq!(world.signals(), [(0, "logger", TERM), (0, "proxy", TERM)]);
    world.exit("proxy", 2);
    assert_eq!(world.phase(), Phase::Succeeded, "whatever the sidecars exited with");
    assert_eq!(world.reports(), [("web", 0), ("job", 0), ("logger", 1), ("proxy", 2)]);
}

#[test]
fn s8_the_pod_succeeds_although_its_sidecar_overran_the_grace_period() {
    let mut world = World::started(pod(OnFailure, &[("proxy", Sidecar), ("job", App)]));
    world.exit("job", 0);
    world.secs(30);
    assert_eq!(world.signals(), [(0, "proxy", TERM), (30, "proxy", KILL)]);
    world.exit("proxy", 137);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn s8_apps_that_will_be_restarted_keep_the_sidecars() {
    let mut world = World::started(pod(OnFailure, &[("proxy", Sidecar), ("job", App)]));
    world.exit("job", 1);
    world.exit("job", 1);
    assert_eq!(world.running(), ["proxy"]);
    assert_eq!(world.phase(), Phase::Running);
    assert_eq!(world.machine.stopping(), None);
}

#[test]
fn s9_apps_are_stopped_together_and_then_the_sidecars_one_by_one_in_reverse_order() {
    let mut world = World::started(pod(
        Always,
        &[("one", Sidecar), ("setup", Init), ("two", Sidecar), ("web", App), ("cache", App)],
    ));
    world.exit("setup", 0);
    world.terminate(None);
    assert_eq!(world.signals(), [(0, "web", TERM), (0, "cache", TERM)]);
    world.secs(1);
    world.exit("web", 0);
    assert_eq!(world.signals().len(), 2, "cache still runs");
    world.secs(1);
    world.exit("cache", 0);
    assert_eq!(world.signals()[2..], [(2, "two", TERM)]);
    world.secs(1);
    world.exit("two", 0);
    assert_eq!(world.signals()[3..], [(3, "one", TERM)]);
    world.exit("one", 0);
    assert!(world.machine.finished());
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn s9_all_share_one_grace_budget_and_the_rest_gets_two_seconds_together() {
    let mut world = World::started(pod(Always, &[("one", Sidecar), ("two", Sidecar), ("web", App)]));
    world.terminate(Some(std::time::Duration::from_secs(10)));
    world.secs(10);
    assert_eq!(
        world.signals(),
        [(0, "web", TERM), (10, "web", KILL), (10, "two", TERM), (10, "one", TERM)],
        "the budget is used up: nothing waits for the app any more"
    );
    world.secs(2);
    assert_eq!(world.signals()[4..], [(12, "two", KILL), (12, "one", KILL)]);
}

#[test]
fn s9_a_sidecar_whose_turn_comes_late_has_two_seconds_at_least() {
    let mut world = World::started(pod(Always, &[("one", Sidecar), ("web", App)]));
    world.terminate(None);
    world.secs(29);
    world.exit("web", 0);
    world.secs(10);
    assert_eq!(world.signals(), [(0, "web", TERM), (29, "one", TERM), (31, "one", KILL)]);
}

#[test]
fn s10_nothing_is_restarted_while_the_pod_is_stopped() {
    let mut world = World::started(pod(Always, &[("one", Sidecar), ("two", Sidecar), ("web", App)]));
    world.exit("one", 1);
    world.exit("one", 1);
    world.terminate(None);
    assert_eq!(world.discarded(), ["one"], "what waits for its restart is thrown away");
    world.exit("two", 1);
    world.secs(5);
    assert_eq!(world.running(), ["web"]);
    world.exit("web", 1);
    assert_eq!(world.reports(), [("one", 1), ("two", 1), ("web", 1)]);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a_client_that_ends_a_sidecar_ends_that_one_only() {
    let mut world = World::started(pod(Always, &[("proxy", Sidecar), ("web", App)]));
    world.kill("proxy", TERM);
    world.exit("proxy", 143);
    world.secs(1000);
    assert_eq!(world.running(), ["web"]);
    assert_eq!(world.reports(), [("proxy", 143)]);
    world.event(Event::Exited { container: world.id("proxy"), code: 0, oom_killed: false, message: None });
    assert_eq!(world.reports(), [("proxy", 143)], "once");
}
