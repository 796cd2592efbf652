//! Hooks (A1 to A4, S9).

use std::time::Duration;

use loment_sandbox::lifecycle::{
    ContainerSpec, Event,
    HookKind::{PostStart, PreStop},
    Kind::{App, Init, Sidecar},
    Phase, PodSpec,
    RestartPolicy::{Always, Never, OnFailure},
    handler::Hook,
};

use crate::world::{KILL, TERM, World, pod};

fn container<'a>(spec: &'a mut PodSpec, name: &str) -> &'a mut ContainerSpec {
    let all = spec.init_containers.iter_mut().chain(&mut spec.containers);
    all.into_iter().find(|container| container.name == name).unwrap()
}

fn hook() -> Option<Hook> {
    Some(Hook::Exec { command: vec!["true".into()] })
}

/// A world in which hooks take until the test ends them.
fn busy(spec: PodSpec) -> World {
    let mut world = World::new(spec);
    world.busy = true;
    world.create_all();
    world.arm_all();
    world
}

#[test]
fn a1_the_next_app_starts_when_the_post_start_hook_of_the_one_before_has_returned() {
    let mut spec = pod(Always, &[("web", App), ("cache", App)]);
    container(&mut spec, "web").post_start = hook();
    let mut world = busy(spec);
    world.secs(5);
    assert_eq!((world.hooks(), world.opens()), (vec![(0, "web", PostStart)], vec![(0, "web")]));
    assert!(!world.machine.container("web").unwrap().is_started());
    world.hook(world.id("web"), PostStart, None);
    assert_eq!(world.opens(), [(0, "web"), (5, "cache")]);
    assert!(world.machine.container("web").unwrap().is_ready());
}

#[test]
fn a1_the_failure_of_a_post_start_hook_does_not_hold_up_the_next_app() {
    let mut spec = pod(Never, &[("web", App), ("cache", App)]);
    container(&mut spec, "web").post_start = hook();
    let mut world = busy(spec);
    world.hook(world.id("web"), PostStart, Some("exit code 1"));
    assert_eq!(world.running(), ["web", "cache"], "web is being ended");
}

#[test]
fn s2_a_sidecar_holds_up_what_comes_after_it_until_its_post_start_hook_has_returned() {
    let mut spec = pod(Always, &[("proxy", Sidecar), ("setup", Init), ("web", App)]);
    container(&mut spec, "proxy").post_start = hook();
    let mut world = busy(spec);
    world.secs(60);
    assert_eq!(world.running(), ["proxy"]);
    assert_eq!(world.phase(), Phase::Pending);
    world.hook(world.id("proxy"), PostStart, None);
    assert_eq!(world.running(), ["proxy", "setup"]);
}

#[test]
fn s2_nothing_begins_behind_a_sidecar_whose_post_start_hook_has_failed() {
    let mut spec = pod(Always, &[("proxy", Sidecar), ("setup", Init), ("web", App)]);
    container(&mut spec, "proxy").post_start = hook();
    let mut world = busy(spec);
    world.hook(world.id("proxy"), PostStart, Some("exit code 1"));
    assert_eq!(world.running(), ["proxy"], "it is being ended");
    world.exit("proxy", 137);
    assert_eq!(world.running(), ["proxy"], "restarted at once");
    world.hook(world.id("proxy"), PostStart, None);
    assert_eq!(world.running(), ["proxy", "setup"]);
}

#[test]
fn a2_a_post_start_hook_that_fails_ends_the_container_which_is_then_restarted_as_its_policy_says() {
    for policy in [Always, OnFailure, Never] {
        let mut spec = pod(policy, &[("web", App)]);
        (spec.containers[0].post_start, spec.containers[0].pre_stop) = (hook(), hook());
        let mut world = busy(spec);
        world.secs(1);
        world.hook(world.id("web"), PostStart, Some("exit code 7"));
        assert_eq!(
            world.told(&["FailedPostStartHook"]),
            [(1, "FailedPostStartHook PostStart hook failed: exit code 7".into())]
        );
        assert_eq!(world.hooks()[1..], [(1, "web", PreStop)], "it is ended as gracefully as ever");
        world.hook(world.id("web"), PreStop, None);
        world.secs(30);
        assert_eq!(world.signals(), [(1, "web", TERM), (31, "web", KILL)]);
        world.prompt = false;
        world.exit("web", 137);
        let state = &world.json()["containerStatuses"][0]["state"];
        if policy == Never {
            assert_eq!(
                (&state["terminated"]["exitCode"], &state["terminated"]["reason"]),
                (&137.into(), &"Error".into())
            );
        } else {
            let waiting = serde_json::json!({"reason": "PostStartHookError", "message": "exit code 7"});
            assert_eq!(state["waiting"], waiting);
        }
    }
}

#[test]
fn a2_a_hook_that_returns_after_its_container_has_ended_changes_nothing() {
    let mut spec = pod(Always, &[("web", App)]);
    container(&mut spec, "web").post_start = hook();
    let mut world = busy(spec);
    let web = world.id("web");
    world.exit("web", 0);
    assert_eq!(world.running(), ["web"], "restarted at once");
    let late = Event::HookDone { container: web, attempt: 0, hook: PostStart, error: Some("gone".into()) };
    assert_eq!(world.machine.step(world.now, late), []);
    assert!(!world.machine.container("web").unwrap().is_started(), "the hook of the second attempt still runs");
    world.hook(web, PostStart, None);
    assert!(world.machine.container("web").unwrap().is_started());
}

#[test]
fn a3_the_pre_stop_hook_runs_before_the_stop_signal_and_its_whole_seconds_are_deducted() {
    let mut spec = pod(Always, &[("web", App)]);
    container(&mut spec, "web").pre_stop = hook();
    let mut world = busy(spec);
    world.terminate(None);
    assert_eq!((world.hooks(), world.signals()), (vec![(0, "web", PreStop)], vec![]));
    world.secs(10);
    world.hook(world.id("web"), PreStop, None);
    world.secs(60);
    assert_eq!(world.signals(), [(10, "web", TERM), (30, "web", KILL)]);
}

#[test]
fn a3_a_pre_stop_hook_that_overruns_the_grace_period_leaves_the_two_second_window() {
    let mut spec = pod(Always, &[("web", App)]);
    container(&mut spec, "web").pre_stop = hook();
    let mut world = busy(spec);
    world.terminate(Some(Duration::from_secs(5)));
    world.secs(60);
    assert_eq!(world.signals(), [(5, "web", TERM), (7, "web", KILL)]);
}

#[test]
fn a3_a_pre_stop_hook_that_fails_is_told_and_changes_nothing() {
    let mut spec = pod(Always, &[("web", App)]);
    container(&mut spec, "web").pre_stop = hook();
    let mut world = busy(spec);
    world.terminate(None);
    world.hook(world.id("web"), PreStop, Some("no route to host"));
    assert_eq!(
        world.told(&["FailedPreStopHook"]),
        [(0, "FailedPreStopHook PreStop hook failed: no route to host".into())]
    );
    assert_eq!(world.signals(), [(0, "web", TERM)]);
}

#[test]
fn a3_a_container_that_ends_by_itself_and_one_that_has_no_grace_run_no_pre_stop_hook() {
    let mut spec = pod(Always, &[("web", App)]);
    (spec.containers[0].pre_stop, spec.containers[0].post_start) = (hook(), hook());
    spec.grace = Duration::ZERO;
    let mut world = busy(spec);
    world.exit("web", 0);
    assert_eq!(world.hooks(), [(0, "web", PostStart), (0, "web", PostStart)]);
    world.hook(world.id("web"), PostStart, Some("no"));
    world.secs(2);
    assert_eq!(world.hooks().len(), 2, "the pod says that its containers get no time");
    assert_eq!(world.signals(), [(0, "web", TERM), (2, "web", KILL)]);
}

#[test]
fn a3_a_container_that_a_client_stops_through_containerd_runs_no_pre_stop_hook() {
    let mut spec = pod(Always, &[("web", App)]);
    container(&mut spec, "web").pre_stop = hook();
    let mut world = busy(spec);
    world.kill("web", TERM);
    world.terminate(None);
    assert_eq!((world.hooks(), world.signals()), (vec![], vec![(0, "web", TERM)]));
}

#[test]
fn s9_all_pre_stop_hooks_begin_at_once_and_each_app_is_asked_to_end_when_its_own_has_returned() {
    let mut spec = pod(Always, &[("one", Sidecar), ("two", Sidecar), ("web", App), ("cache", App)]);
    for name in ["one", "two", "web", "cache"] {
        container(&mut spec, name).pre_stop = hook();
    }
    let mut world = busy(spec);
    world.terminate(None);
    let mut begun = world.hooks();
    begun.sort_unstable();
    assert_eq!(begun, [(0, "cache", PreStop), (0, "one", PreStop), (0, "two", PreStop), (0, "web", PreStop)]);
    world.secs(1);
    world.hook(world.id("cache"), PreStop, None);
    world.hook(world.id("one"), PreStop, None);
    assert_eq!(world.signals(), [(1, "cache", TERM)], "a sidecar waits for its turn");
    world.secs(1);
    world.hook(world.id("web"), PreStop, None);
    world.exit("web", 0);
    world.exit("cache", 0);
    assert_eq!(world.signals()[2..], [], "two comes first, and its hook still runs");
    world.secs(1);
    world.hook(world.id("two"), PreStop, None);
    world.exit("two", 0);
    assert_eq!(world.signals()[2..], [(3, "two", TERM), (3, "one", TERM)]);
}

#[test]
fn s9_hooks_that_do_not_return_are_waited_for_until_the_budget_is_used_up() {
    let mut spec = pod(Always, &[("one", Sidecar), ("web", App)]);
    container(&mut spec, "one").pre_stop = hook();
    container(&mut spec, "web").pre_stop = hook();
    let mut world = busy(spec);
    world.terminate(Some(Duration::from_secs(10)));
    world.secs(20);
    assert_eq!(world.signals(), [(10, "web", TERM), (10, "one", TERM), (12, "web", KILL), (12, "one", KILL)]);
}

#[test]
fn a_pod_that_is_stopped_while_a_post_start_hook_runs_does_not_wait_for_it() {
    let mut spec = pod(Always, &[("web", App), ("cache", App)]);
    container(&mut spec, "web").post_start = hook();
    let mut world = busy(spec);
    world.terminate(None);
    assert_eq!(world.signals(), [(0, "web", TERM)]);
    world.exit("web", 0);
    assert_eq!(world.reports(), [("cache", 137), ("web", 0)]);
}
