//! Pods that begin again: by a rule (R4), in a new sandbox (section 6.8), after a reboot (6.8, A8).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loment_sandbox::lifecycle::{
    Action, Cause, Event,
    HookKind::PreStop,
    Kind::{App, Init, Sidecar},
    Machine, Phase, PodSpec,
    RestartPolicy::{Always, Never, OnFailure},
    Time,
    handler::Hook,
    restart::{RestartRule, RuleAction},
    status::PodStatus,
};
use serde_json::json;

use crate::world::{KILL, TERM, World, pod, wall};

fn restart_all_on(code: u32) -> Vec<RestartRule> {
    vec![RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![code] }]
}

fn hooked(mut spec: PodSpec) -> PodSpec {
    spec.containers[0].pre_stop = Some(Hook::Sleep { length: Duration::from_secs(1) });
    spec
}

/// An init container, a sidecar, an app and one whose exit with 42 restarts them all.
fn pod_of_four() -> PodSpec {
    let mut spec = pod(Never, &[("setup", Init), ("proxy", Sidecar), ("web", App), ("job", App)]);
    spec.containers[1].restart_rules = restart_all_on(42);
    hooked(spec)
}

fn reason(world: &World, list: &str, place: usize, state: &str) -> serde_json::Value {
    let status = &world.json()[list][place][state];
    let of = |kind: &str| status[kind]["reason"].clone();
    if status["waiting"].is_object() { of("waiting") } else { of("terminated") }
}

#[test]
fn r4_all_containers_are_killed_without_grace_and_begin_again_in_order() {
    let mut world = World::started(pod_of_four());
    world.exit("setup", 0);
    assert_eq!(world.reports(), [], "containerd has no way back from an end that it was told");
    world.secs(5);
    world.exit("job", 42);
    assert_eq!(world.hooks(), [], "no preStop");
    let mut signals = world.signals();
    signals.sort_unstable();
    assert_eq!(signals, [(5, "proxy", TERM), (5, "web", TERM)]);
    assert_eq!(world.phase(), Phase::Running);
    let condition = world.json()["conditions"][5].clone();
    assert_eq!((&condition["type"], &condition["status"]), (&json!("AllContainersRestarting"), &json!("True")));
    assert_eq!(condition["reason"], "RestartAllContainersStarted");
    assert_eq!(reason(&world, "containerStatuses", 0, "state"), "RestartingAllContainers");
    world.secs(2);
    assert_eq!(world.signals().iter().filter(|(at, _, signal)| (*at, *signal) == (7, KILL)).count(), 2);
    world.exit("web", 137);
    world.exit("proxy", 137);
    assert_eq!(world.opens()[4..], [(7, "setup")], "the init containers come first");
    assert_eq!(world.json()["conditions"][5]["status"], "False");
    world.exit("setup", 0);
    assert_eq!(world.opens()[5..], [(7, "proxy"), (7, "web"), (7, "job")]);
    for (list, place, name) in [("initContainerStatuses", 1, "proxy"), ("containerStatuses", 1, "web")] {
        let ended = &world.json()[list][place]["lastState"]["terminated"];
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("RestartingAllContainers"), &json!(137)), "{name}");
        assert_eq!(world.json()[list][place]["restartCount"], 1);
    }
    assert_eq!(world.json()["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 42);
    assert_eq!(world.json()["initContainerStatuses"][0]["lastState"]["terminated"]["reason"], "Completed");
}

#[test]
fn r4_containers_are_made_anew_apps_first_then_inits_then_the_one_that_it_comes_from() {
    let mut spec = pod(Never, &[("setup", Init), ("proxy", Sidecar), ("web", App), ("job", App)]);
    spec.init_containers[1].restart_rules = restart_all_on(42);
    let mut world = World::started(spec);
    world.exit("setup", 0);
    world.exit("proxy", 42);
    world.exit("web", 137);
    world.exit("job", 137);
    let prepared = |(_, action): &(Time, Action)| match action {
        Action::Prepare { container, .. } => Some(world.name(*container)),
        _ => None,
    };
    assert_eq!(world.trace.iter().filter_map(prepared).collect::<Vec<_>>(), ["web", "job", "setup", "proxy"]);
}

#[test]
fn r4_an_init_container_may_restart_all_and_its_success_never_does() {
    let mut spec = pod(Never, &[("one", Init), ("two", Init), ("web", App)]);
    spec.init_containers[1].restart_rules = restart_all_on(3);
    let mut world = World::started(spec);
    world.exit("one", 0);
    world.exit("two", 3);
    assert_eq!(world.running(), ["one"]);
    world.exit("one", 0);
    world.exit("two", 0);
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn r3_the_container_that_restarts_all_serves_its_back_off_and_the_others_do_not() {
    let mut spec = pod(Never, &[("web", App), ("job", App)]);
    spec.containers[1].restart_rules = restart_all_on(42);
    let mut world = World::started(spec);
    world.exit("job", 42);
    world.exit("web", 137);
    assert_eq!(world.running(), ["web", "job"], "the first restart is immediate");
    world.exit("job", 42);
    world.exit("web", 137);
    assert_eq!(world.running(), ["web"]);
    assert_eq!(reason(&world, "containerStatuses", 0, "state"), "CrashLoopBackOff");
    world.secs(10);
    assert_eq!(world.running(), ["web", "job"]);
}

#[test]
fn r4_a_container_that_is_restarted_with_all_does_not_show_the_back_off_of_an_earlier_end() {
    let mut spec = pod(OnFailure, &[("setup", Init), ("web", App), ("job", App)]);
    spec.containers[1].restart_rules = restart_all_on(42);
    let mut world = World::started(spec);
    world.exit("setup", 0);
    world.exit("web", 1);
    world.exit("web", 1);
    world.secs(10);
    world.exit("job", 42);
    world.exit("web", 137);
    assert_eq!(world.running(), ["setup"]);
    assert_eq!(reason(&world, "containerStatuses", 1, "state"), "PodInitializing");
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web", "job"]);
}

#[test]
fn r4_a_pod_that_is_stopped_meanwhile_does_not_begin_again() {
    let mut world = World::started(pod_of_four());
    world.exit("setup", 0);
    world.exit("job", 42);
    world.terminate(None);
    world.exit("web", 0);
    world.exit("proxy", 0);
    assert_eq!(world.opens().len(), 4);
    assert!(world.machine.finished());
    let mut reports = world.reports();
    reports.sort_unstable();
    assert_eq!(reports, [("job", 42), ("proxy", 0), ("setup", 0), ("web", 0)], "now all ends are told");
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn r4_a_pod_with_such_a_rule_that_completes_tells_all_ends() {
    let mut world = World::started(pod_of_four());
    world.exit("setup", 0);
    world.exit("web", 0);
    assert_eq!(world.reports(), []);
    world.exit("job", 0);
    world.exit("proxy", 0);
    assert_eq!(world.reports().len(), 4);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn r4_an_end_that_a_client_waits_for_is_told_at_once() {
    let mut world = World::started(pod_of_four());
    world.exit("setup", 0);
    world.kill("setup", TERM);
    assert_eq!(world.reports(), [("setup", 0)]);
    assert!(world.machine.is_initialized(), "and it has succeeded all the same");
}

#[test]
fn sandbox_8_a_lost_sandbox_ends_all_containers_gracefully_and_all_begins_again_in_order() {
    for policy in [Always, OnFailure] {
        let mut world = World::started(hooked(pod(policy, &[("setup", Init), ("proxy", Sidecar), ("web", App)])));
        world.exit("setup", 0);
        world.secs(5);
        world.event(Event::SandboxLost);
        assert_eq!((world.hooks(), world.signals()), (vec![(5, "web", PreStop)], vec![(5, "web", TERM)]));
        assert_eq!(world.told(&["SandboxChanged"]).len(), 1);
        let usable = |world: &World| world.json()["conditions"][0]["status"] == "True";
        assert!(!usable(&world));
        world.exit("web", 143);
        world.exit("proxy", 143);
        assert!(usable(&world), "the host has made another one");
        assert_eq!(world.opens()[3..], [(5, "setup")]);
        assert_eq!(world.phase(), Phase::Pending);
        assert_eq!(world.json()["conditions"][1]["status"], "False", "not initialized");
        world.exit("setup", 0);
        assert_eq!(world.running(), ["proxy", "web"]);
        let web = &world.json()["containerStatuses"][0];
        assert_eq!((&web["restartCount"], &web["lastState"]["terminated"]["exitCode"]), (&json!(1), &json!(143)));
    }
}

#[test]
fn sandbox_8_what_waits_at_a_gate_does_not_stay_in_the_old_sandbox() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("web", App)]));
    world.prompt = false;
    world.event(Event::SandboxLost);
    assert_eq!(world.signals(), [(0, "web", KILL), (0, "setup", TERM)]);
    let renewed = |world: &World| world.trace.iter().any(|(_, action)| *action == Action::RenewSandbox);
    world.lose(world.id("web"));
    assert!(!renewed(&world));
    world.exit("setup", 143);
    assert!(renewed(&world));
}

#[test]
fn sandbox_8_apps_that_have_succeeded_under_on_failure_do_not_run_again() {
    let mut world = World::started(pod(OnFailure, &[("setup", Init), ("job", App), ("web", App)]));
    world.exit("setup", 0);
    world.exit("job", 0);
    world.event(Event::SandboxLost);
    world.exit("web", 1);
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web"]);
    world.exit("web", 0);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn sandbox_8_under_never_a_pod_of_which_anything_was_created_ends() {
    let mut world = World::started(pod(Never, &[("web", App)]));
    world.event(Event::SandboxLost);
    assert_eq!(world.machine.stopping(), Some(Cause::SandboxLost));
    world.exit("web", 143);
    assert_eq!(world.phase(), Phase::Failed);
    let mut empty = World::new(pod(Never, &[("web", App)]));
    empty.event(Event::SandboxLost);
    empty.create_all();
    empty.arm_all();
    assert_eq!(empty.running(), ["web"]);
}

#[test]
fn sandbox_8_a_sandbox_that_cannot_be_made_is_tried_again_for_ever() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.prompt = false;
    world.event(Event::SandboxLost);
    world.exit("web", 143);
    for _ in 0..5 {
        world.sandbox(false);
        world.secs(10);
    }
    let asked = world.trace.iter().filter(|(_, action)| *action == Action::RenewSandbox).count();
    assert_eq!(asked, 6);
    assert_eq!(world.told(&["FailedCreatePodSandBox"])[4].0, 40);
    world.sandbox(true);
    world.prompt = true;
    world.reply(world.id("web"), true);
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn sandbox_8_a_pod_that_is_stopped_while_its_sandbox_is_made_ends_when_it_comes() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.prompt = false;
    world.event(Event::SandboxLost);
    world.exit("web", 143);
    world.terminate(None);
    assert!(world.machine.finished());
    assert_eq!(world.reports(), [("web", 143)]);
    world.sandbox(true);
    assert_eq!(world.opens().len(), 1);
}

#[test]
fn sandbox_8_a_container_that_is_created_while_the_sandbox_is_made_is_made_anew() {
    for first in [true, false] {
        let mut world = World::new(pod(Always, &[("web", App)]));
        world.prompt = false;
        world.event(Event::SandboxLost);
        world.create_all();
        world.arm_all();
        let web = world.id("web");
        assert_eq!(world.signals(), [(0, "web", KILL)], "it may have got into the old one");
        if first {
            world.lose(web);
        }
        world.sandbox(true);
        assert!(world.opens().is_empty());
        world.lose(web);
        world.reply(web, true);
        assert_eq!(world.opens(), [(0, "web")]);
    }
}

/// The status of a pod when its host was switched off, and the world after that.
fn rebooted(spec: PodSpec, before: impl FnOnce(&mut World)) -> World {
    let mut world = World::started(spec.clone());
    before(&mut world);
    let saved: PodStatus = serde_json::from_value(world.json()).unwrap();
    let now = Time::from_nanos(1_000_000_000);
    let off: SystemTime = wall(world.now) + Duration::from_secs(3600);
    World::of(Machine::resume(spec, &saved, now, off), now)
}

#[test]
fn sandbox_8_after_a_reboot_init_containers_run_again_in_order_and_restarts_are_counted_on() {
    let spec = pod(Always, &[("setup", Init), ("proxy", Sidecar), ("web", App)]);
    let mut world = rebooted(spec, |world| {
        world.exit("setup", 0);
        world.exit("web", 3);
        world.secs(20);
    });
    let web = world.json()["containerStatuses"][0].clone();
    assert_eq!((&web["restartCount"], &web["state"]["waiting"]["reason"]), (&json!(1), &json!("PodInitializing")));
    let last = &web["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("Unknown"), &json!(255)), "nobody saw its end");
    world.create_all();
    world.arm_all();
    assert_eq!(world.running(), ["setup"]);
    world.exit("setup", 0);
    assert_eq!(world.running(), ["proxy", "web"]);
    let counts = |list: &str| {
        world.json()[list].as_array().unwrap().iter().map(|c| c["restartCount"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (counts("initContainerStatuses"), counts("containerStatuses")),
        (vec![json!(1), json!(1)], vec![json!(2)])
    );
    assert_eq!(world.json()["startTime"], "1970-01-01T00:00:01Z", "the pod began when it first did");
}

#[test]
fn sandbox_8_after_a_reboot_apps_that_have_succeeded_under_on_failure_are_skipped() {
    let spec = pod(OnFailure, &[("setup", Init), ("job", App), ("web", App)]);
    let mut world = rebooted(spec, |world| {
        world.exit("setup", 0);
        world.exit("job", 0);
    });
    world.create_all();
    world.arm_all();
    assert_eq!((world.discarded(), world.reports()), (vec!["job"], vec![("job", 0)]));
    assert_eq!(world.json()["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web"]);
    world.exit("web", 0);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn sandbox_8_after_a_reboot_a_pod_under_never_has_ended() {
    let ended = |before: fn(&mut World)| {
        let mut world = rebooted(pod(Never, &[("setup", Init), ("web", App), ("job", App)]), before);
        assert!(world.machine.finished());
        world.create_all();
        world.arm_all();
        assert_eq!((world.opens(), world.reports().len()), (vec![], 3));
        world
    };
    let lost = ended(|world| {
        world.exit("setup", 0);
        world.exit("job", 0);
    });
    assert_eq!(lost.phase(), Phase::Failed, "nobody knows what became of web");
    assert_eq!(lost.json()["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(lost.json()["containerStatuses"][1]["state"]["terminated"]["reason"], "Unknown");
    let done = ended(|world| {
        world.exit("setup", 0);
        world.exit("job", 0);
        world.exit("web", 0);
    });
    assert_eq!(done.phase(), Phase::Succeeded);
}

#[test]
fn sandbox_8_a_pod_that_had_ended_before_a_reboot_stays_so() {
    let mut spec = pod(Always, &[("web", App)]);
    spec.active_deadline = Some(Duration::from_secs(5));
    let world = rebooted(spec, |world| {
        world.secs(5);
        world.exit("web", 143);
    });
    assert!(world.machine.finished());
    let status = world.json();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 143);
}

#[test]
fn i14_the_active_deadline_counts_the_time_before_a_reboot_and_the_time_off() {
    let mut spec = pod(Always, &[("web", App)]);
    spec.active_deadline = Some(Duration::from_secs(3700));
    let mut world = rebooted(spec, |world| world.secs(60));
    world.create_all();
    world.arm_all();
    world.secs(39);
    assert!(world.signals().is_empty());
    world.secs(1);
    assert_eq!(world.signals(), [(40, "web", TERM)]);
}

#[test]
fn a_reboot_moves_no_time_of_a_condition_that_stands_as_before() {
    let spec = pod(Always, &[("web", App)]);
    let world = rebooted(spec, |world| world.secs(60));
    let status = world.json();
    let condition = |kind: &str| {
        let conditions = status["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap()
    };
    assert_eq!(condition("PodScheduled")["lastTransitionTime"], "1970-01-01T00:00:01Z");
    assert_eq!(condition("Ready")["status"], "False");
    assert!(wall(world.now) > UNIX_EPOCH);
}
