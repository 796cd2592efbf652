//! What happens to a pod as a whole: eviction, deadlines, limits, and what is told about it.

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Cause, Event,
    Kind::{self, App, Init, Sidecar},
    Outcome, Phase,
    ProbeKind::Liveness,
    RestartPolicy::{Always, Never, OnFailure},
    handler::{Handler, Hook, Probe},
    message,
    restart::{RestartRule, RuleAction},
};
use serde_json::{Value, json};

use crate::world::{KILL, TERM, World, pod};

/// Reasons of the kubelet's events that a pod's life can bring about, besides those of its making.
const EVENTS: [&str; 14] = [
    "BackOff",
    "Created",
    "DeadlineExceeded",
    "Evicted",
    "Failed",
    "FailedCreatePodSandBox",
    "FailedPostStartHook",
    "FailedPreStopHook",
    "Killing",
    "OOMKilling",
    "ProbeWarning",
    "SandboxChanged",
    "Started",
    "Unhealthy",
];

fn evict() -> Event {
    let message = "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\".".into();
    Event::Evict { reason: "Evicted".into(), message }
}

/// The status of a container, with its times taken out.
fn container(world: &World, name: &str) -> Value {
    let status = world.json();
    let of = |list: &str| status[list].as_array().cloned().unwrap_or_default();
    let all = [of("initContainerStatuses"), of("containerStatuses")].concat();
    let mut found = all.into_iter().find(|status| status["name"] == name).unwrap();
    for state in ["state", "lastState"] {
        for kind in ["running", "terminated"] {
            if let Some(kind) = found[state].get_mut(kind).and_then(Value::as_object_mut) {
                kind.retain(|field, _| !field.ends_with("At"));
            }
        }
    }
    found
}

#[test]
fn an_evicted_pod_has_a_second_to_end_and_has_failed_with_the_reason() {
    let mut world = World::started(pod(Always, &[("proxy", Sidecar), ("web", App)]));
    world.secs(5);
    world.event(evict());
    assert_eq!(world.machine.stopping(), Some(Cause::Evicted));
    assert_eq!(world.phase(), Phase::Running, "not before it has ended");
    world.secs(10);
    assert_eq!(world.signals(), [(5, "web", TERM), (6, "proxy", TERM), (7, "web", KILL), (8, "proxy", KILL)]);
    world.exit("web", 0);
    world.exit("proxy", 0);
    let status = world.json();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Evicted")), "whatever it exited with");
    assert_eq!(status["message"], "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\".");
    assert_eq!(world.told(&["Evicted"]).len(), 1);
}

#[test]
fn a_pod_that_is_evicted_while_it_is_stopped_has_failed_and_one_that_has_ended_stays_as_it_is() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.terminate(None);
    world.event(evict());
    world.exit("web", 0);
    assert_eq!((world.phase(), &world.json()["reason"]), (Phase::Failed, &json!("Evicted")));
    let mut ended = World::started(pod(Never, &[("web", App)]));
    ended.exit("web", 0);
    ended.event(evict());
    assert_eq!((ended.phase(), &ended.json()["reason"]), (Phase::Succeeded, &Value::Null));
}

#[test]
fn i9_a_container_is_not_restarted_more_often_than_the_pod_allows() {
    for (kind, name) in [(App, "web"), (Sidecar, "proxy")] {
        let mut spec = pod(Always, &[("proxy", Sidecar), ("web", App), ("cache", App)]);
        spec.max_restarts = Some(2);
        let mut world = World::started(spec);
        for _ in 0..5 {
            world.exit(name, 1);
            world.secs(300);
        }
        let attempts = world.opens().iter().filter(|(_, opened)| *opened == name).count();
        assert_eq!(attempts, 3, "{kind:?}");
        assert_eq!(world.told(&["RestartLimit"]).len(), 1);
        assert_eq!(world.phase(), Phase::Running);
        assert_eq!(container(&world, name)["state"]["terminated"]["exitCode"], 1);
    }
}

#[test]
fn i9_an_init_container_or_a_sidecar_that_may_not_be_restarted_before_the_apps_run_fails_the_pod() {
    for name in ["proxy", "setup"] {
        let mut spec = pod(Always, &[("setup", Init), ("proxy", Sidecar), ("web", App)]);
        spec.max_restarts = Some(1);
        spec.init_containers[1].startup = Some(slow());
        let mut world = World::new(spec);
        world.busy = true;
        world.create_all();
        world.arm_all();
        if name == "proxy" {
            world.exit("setup", 0);
        }
        world.exit(name, 1);
        world.exit(name, 1);
        assert_eq!((world.machine.stopping(), world.phase()), (Some(Cause::InitFailed), Phase::Failed), "{name}");
    }
}

fn slow() -> Probe {
    Probe {
        handler: Handler::Exec { command: vec![] },
        initial_delay: Duration::from_secs(60),
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(10),
        success_threshold: 1,
        failure_threshold: 1,
        grace: None,
    }
}

#[test]
fn s10_where_the_pod_asks_for_it_a_sidecar_is_restarted_while_an_app_is_still_stopping() {
    let mut spec = pod(Always, &[("one", Sidecar), ("two", Sidecar), ("web", App)]);
    spec.restart_sidecars_while_stopping = true;
    spec.init_containers[0].pre_stop = Some(Hook::Sleep { length: Duration::from_secs(1) });
    let mut world = World::started(spec);
    world.terminate(None);
    assert_eq!(world.hooks().len(), 1);
    world.secs(1);
    world.exit("one", 1);
    assert_eq!(world.running(), ["one", "two", "web"], "at once");
    world.exit("one", 1);
    world.exit("two", 0);
    assert_eq!(world.running(), ["two", "web"], "its back-off holds as ever");
    world.secs(10);
    assert_eq!(world.running(), ["one", "two", "web"]);
    assert_eq!(world.hooks().len(), 1, "its preStop hook has had its time");
    world.exit("web", 0);
    assert_eq!(world.signals(), [(0, "web", TERM), (11, "two", TERM)]);
    world.exit("two", 0);
    world.exit("one", 0);
    assert_eq!(world.opens().len(), 3 + 3);
    assert_eq!(world.phase(), Phase::Succeeded);
    assert!(world.machine.finished());
}

#[test]
fn s10_a_rule_of_a_sidecar_restarts_that_one_only_while_the_pod_is_stopped() {
    let mut spec = pod(Always, &[("proxy", Sidecar), ("web", App)]);
    spec.restart_sidecars_while_stopping = true;
    let rule = RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![42] };
    spec.init_containers[0].restart_rules = vec![rule];
    let mut world = World::started(spec);
    world.terminate(None);
    world.exit("proxy", 42);
    assert_eq!((world.running(), world.told(&["RestartingAllContainers"]).len()), (vec!["proxy", "web"], 0));
    world.exit("web", 0);
    world.exit("proxy", 42);
    assert!(world.machine.finished());
}

#[test]
fn s10_a_sidecar_that_waits_for_its_restart_is_thrown_away_when_the_last_app_or_the_budget_has_ended() {
    for budget in [false, true] {
        let mut spec = pod(Always, &[("proxy", Sidecar), ("web", App)]);
        spec.restart_sidecars_while_stopping = true;
        let mut world = World::started(spec);
        world.exit("proxy", 1);
        world.exit("proxy", 1);
        world.terminate(Some(Duration::from_secs(5)));
        assert!(world.discarded().is_empty());
        if budget {
            world.secs(5);
        } else {
            world.exit("web", 0);
        }
        assert_eq!(world.discarded(), ["proxy"]);
    }
}

#[test]
fn a9_the_reason_of_an_end_follows_from_its_code_and_from_what_is_known_beside_it() {
    let ended = |end: &dyn Fn(&mut World)| {
        let mut world = World::new(pod(Never, &[("web", App)]));
        world.prompt = false;
        world.create_all();
        world.arm_all();
        end(&mut world);
        container(&world, "web")["state"]["terminated"].clone()
    };
    let exits = |code: u32, oom: bool| {
        ended(&|world| {
            world.reply(world.id("web"), true);
            world.end(world.id("web"), code, oom);
        })
    };
    assert_eq!(exits(0, false), json!({"exitCode": 0, "reason": "Completed"}));
    assert_eq!(exits(3, false), json!({"exitCode": 3, "reason": "Error"}));
    assert_eq!(exits(137, false), json!({"exitCode": 137, "reason": "Error"}), "SIGKILL");
    assert_eq!(exits(137, true), json!({"exitCode": 137, "reason": "OOMKilled"}));
    let failed = ended(&|world| world.fail_start(world.id("web")));
    assert_eq!(failed, json!({"exitCode": 128, "reason": "StartError", "message": "exec /nope: no such file"}));
}

#[test]
fn a10_a_container_that_waits_says_what_for() {
    let mut world = World::new(pod(Always, &[("web", App)]));
    world.prompt = false;
    let waits = |world: &World| container(world, "web")["state"]["waiting"].clone();
    assert_eq!(waits(&world), json!({"reason": "ContainerCreating"}));
    world.create_all();
    world.arm_all();
    world.fail_start(world.id("web"));
    assert_eq!(waits(&world), json!({"reason": "RunContainerError", "message": "exec /nope: no such file"}));
    assert_eq!(container(&world, "web")["lastState"]["terminated"]["reason"], "StartError");
    world.reply(world.id("web"), true);
    world.fail_start(world.id("web"));
    let message = "back-off 10s restarting failed container=web pod=p_ns(u)";
    assert_eq!(waits(&world), json!({"reason": "CrashLoopBackOff", "message": message}));
    world.reply(world.id("web"), false);
    assert_eq!(waits(&world), json!({"reason": "CreateContainerError", "message": "no space"}));
}

#[test]
fn a8_the_last_state_is_the_instance_before_and_restarts_are_counted_by_instance() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    assert_eq!(
        (&container(&world, "web")["lastState"], &container(&world, "web")["restartCount"]),
        (&json!({}), &json!(0))
    );
    for code in [1, 2, 3] {
        world.exit("web", code);
        world.secs(300);
        let web = container(&world, "web");
        assert_eq!((&web["lastState"]["terminated"]["exitCode"], &web["restartCount"]), (&json!(code), &json!(code)));
        assert!(web["state"]["running"].is_object());
    }
}

#[test]
fn a11_what_a_container_left_to_say_stands_in_its_state_and_all_of_it_within_12_kib() {
    let mut world = World::started(pod(Never, &[("web", App), ("cache", App), ("job", App), ("sync", App)]));
    for name in ["web", "cache", "job", "sync"] {
        let message = Some("x".repeat(message::LONGEST));
        world.say(name, 1, message);
    }
    let message = container(&world, "web")["state"]["terminated"]["message"].as_str().unwrap().len();
    assert_eq!(message, message::LONGEST_OF_POD / 4);
}

#[test]
fn the_condition_of_a_restart_of_all_is_shown_only_where_a_rule_may_bring_it_about() {
    let kinds = |world: &World| {
        let all = world.json()["conditions"].as_array().unwrap().clone();
        all.iter().map(|condition| condition["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let usual = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let mut spec = pod(Never, &[("web", App)]);
    assert_eq!(kinds(&World::new(spec.clone())), usual);
    let rule = RestartRule { action: RuleAction::RestartAllContainers, negated: false, codes: vec![1] };
    spec.containers[0].restart_rules = vec![rule];
    let mut world = World::started(spec);
    assert_eq!(kinds(&world)[5..], ["AllContainersRestarting"]);
    world.exit("web", 0);
    let condition = &world.json()["conditions"][5];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("PodCompleted")));
}

#[test]
fn what_is_told_has_the_reasons_that_kubernetes_gives_its_events() {
    let mut spec = pod(Always, &[("setup", Init), ("web", App)]);
    (spec.containers[0].liveness, spec.containers[0].pre_stop) =
        (Some(slow()), Some(Hook::Exec { command: vec!["false".into()] }));
    spec.active_deadline = Some(Duration::from_secs(500));
    let mut world = World::new(spec);
    world.ail("web", Liveness, Some(Outcome::Failure("no".into())));
    world.create_all();
    world.arm_all();
    world.exit("setup", 1);
    world.exit("setup", 0);
    world.busy = true;
    world.secs(60);
    world.probed(world.id("web"), Liveness, Outcome::Failure("no".into()));
    world.hook(world.id("web"), loment_sandbox::lifecycle::HookKind::PreStop, Some("exit code 1"));
    world.exit("web", 1);
    world.exit("web", 1);
    world.secs(600);
    let reasons = world.timeline().map(|entry| entry.what.reason()).filter(|reason| EVENTS.contains(reason));
    let mut distinct: Vec<_> = reasons.collect();
    distinct.dedup();
    assert_eq!(
        distinct,
        [
            "Created",
            "Started",
            "Unhealthy",
            "Killing",
            "FailedPreStopHook",
            "Started",
            "BackOff",
            "Started",
            "DeadlineExceeded",
            "Killing"
        ]
    );
}

#[test]
fn an_init_container_whose_client_ends_it_afterwards_has_succeeded_all_the_same() {
    let kinds: [(&str, Kind); 2] = [("setup", Init), ("web", App)];
    let mut world = World::started(pod(OnFailure, &kinds));
    world.exit("setup", 0);
    world.kill("setup", KILL);
    assert_eq!(world.reports(), [("setup", 0)], "whoever asks is told");
    assert_eq!(world.running(), ["web"]);
}
