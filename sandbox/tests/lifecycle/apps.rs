//! App containers (A1 to A10) and restart rules (R1, R3).

use loment_sandbox::lifecycle::{
    Event,
    Kind::{App, Init},
    Phase,
    RestartPolicy::{Always, Never, OnFailure},
    restart::{RestartRule, RuleAction},
};

use crate::world::{KILL, Process, TERM, World, pod};

#[test]
fn a1_apps_start_one_after_the_other_in_list_order_and_run_together() {
    let mut world = World::new(pod(Always, &[("web", App), ("cache", App), ("admin", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    for name in ["web", "cache", "admin"] {
        assert_eq!(world.opens().last().map(|(_, name)| *name), Some(name));
        world.reply(world.id(name), true);
    }
    assert_eq!(world.running(), ["web", "cache", "admin"]);
}

#[test]
fn a1_the_failure_of_one_app_does_not_stop_the_others() {
    let mut world = World::new(pod(Never, &[("web", App), ("cache", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    world.reply(world.id("web"), false);
    world.reply(world.id("cache"), true);
    assert_eq!(world.running(), ["cache"]);
    assert_eq!(world.reports(), [("web", 128)]);
    world.exit("cache", 0);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a4_stop_signal_then_sigkill_at_the_end_of_the_grace_period() {
    let mut spec = pod(Always, &[("web", App), ("cache", App)]);
    spec.containers[1].stop_signal = 3;
    let mut world = World::started(spec);
    world.secs(7);
    world.terminate(None);
    world.exit("web", 0);
    world.secs(29);
    assert_eq!(world.signals(), [(7, "web", TERM), (7, "cache", 3)]);
    world.secs(1);
    assert_eq!(world.signals()[2..], [(37, "cache", KILL)]);
    assert_eq!(world.phase(), Phase::Running, "a signal is not yet an exit");
    world.exit("cache", 137);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a4_a_grace_period_of_0_still_gives_two_seconds() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.terminate(Some(std::time::Duration::ZERO));
    world.secs(10);
    assert_eq!(world.signals(), [(0, "web", TERM), (2, "web", KILL)]);
}

#[test]
fn a4_stopping_again_may_shorten_the_grace_period_and_never_lengthens_it() {
    let secs = std::time::Duration::from_secs;
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.terminate(Some(secs(30)));
    world.secs(5);
    world.terminate(Some(secs(3)));
    world.terminate(Some(secs(300)));
    world.secs(60);
    assert_eq!(world.signals(), [(0, "web", TERM), (8, "web", KILL)], "and the stop signal is sent once");
}

#[test]
fn a5_a_program_that_is_still_being_executed_gets_the_stop_signal_when_it_runs() {
    let mut world = World::new(pod(Always, &[("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    let web = world.id("web");
    assert_eq!(world.seen(web).process, Process::Opening);
    world.terminate(None);
    assert!(world.signals().is_empty(), "as pid 1 that is not set up it would not see it");
    world.secs(1);
    world.reply(web, true);
    assert_eq!(world.signals(), [(1, "web", TERM)]);
    world.secs(29);
    assert_eq!(world.signals()[1..], [(30, "web", KILL)]);
}

#[test]
fn a6_the_policy_of_the_pod_decides_about_a_restart() {
    for (policy, code, restarts) in [
        (Always, 0, true),
        (Always, 1, true),
        (OnFailure, 0, false),
        (OnFailure, 1, true),
        (Never, 0, false),
        (Never, 1, false),
    ] {
        let mut world = World::started(pod(policy, &[("web", App)]));
        world.exit("web", code);
        assert_eq!(world.running().len(), usize::from(restarts), "{policy:?} {code}");
        let reports: &[_] = if restarts { &[] } else { &[("web", code)] };
        assert_eq!(world.reports(), reports, "{policy:?} {code}");
        let ended = if code == 0 { Phase::Succeeded } else { Phase::Failed };
        assert_eq!(world.phase(), if restarts { Phase::Running } else { ended }, "{policy:?} {code}");
    }
}

#[test]
fn a6_a_client_that_ends_a_container_keeps_it_from_being_restarted() {
    let mut world = World::started(pod(Always, &[("web", App), ("cache", App)]));
    world.kill("web", TERM);
    world.kill("web", KILL);
    assert_eq!(world.signals(), [(0, "web", TERM), (0, "web", KILL)], "each signal is passed on");
    world.exit("web", 137);
    world.secs(1000);
    assert_eq!(world.running(), ["cache"]);
    assert_eq!(world.reports(), [("web", 137)]);
    assert_eq!(world.phase(), Phase::Running);
}

#[test]
fn a_container_that_its_client_ends_at_its_gate_never_runs() {
    for (signal, code) in [(KILL, 137), (TERM, 143)] {
        let mut world = World::new(pod(Always, &[("web", App), ("cache", App)]));
        world.create_all();
        world.kill("web", signal);
        world.arm_all();
        assert_eq!(world.discarded(), ["web"]);
        assert_eq!(world.reports(), [("web", code)]);
        assert_eq!(world.running(), ["cache"]);
        assert_eq!(world.json()["containerStatuses"][1]["state"]["terminated"]["exitCode"], code);
        assert_eq!(world.phase(), Phase::Running);
    }
}

#[test]
fn what_a_client_has_killed_is_not_killed_again() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.kill("web", KILL);
    world.terminate(None);
    world.secs(60);
    assert_eq!(world.signals(), [(0, "web", KILL)]);
    assert_eq!(world.machine.next_deadline(), None);
}

#[test]
fn the_null_signal_is_no_wish_to_end_a_container() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.event(Event::KillRequested { container: world.id("web"), signal: 0 });
    world.exit("web", 1);
    assert_eq!(world.running(), ["web"]);
    assert!(world.signals().is_empty());
}

#[test]
fn a_container_that_its_client_ends_in_its_back_off_ended_with_its_last_code() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.exit("web", 7);
    world.exit("web", 7);
    world.kill("web", TERM);
    assert_eq!(world.reports(), [("web", 7)]);
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn a8_the_restart_count_goes_up_by_one_and_last_state_is_the_run_before() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    for (count, code) in [(1, 5), (2, 6), (3, 7)] {
        world.secs(1);
        world.exit("web", code);
        world.secs(300);
        let status = world.json();
        assert_eq!(status["containerStatuses"][0]["restartCount"], count);
        assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], code);
    }
}

#[test]
fn a9_the_reason_tells_how_a_container_ended() {
    let end = |code: u32, oom: bool| {
        let mut world = World::started(pod(Never, &[("web", App)]));
        world.end(world.id("web"), code, oom);
        world.json()["containerStatuses"][0]["state"]["terminated"]["reason"].clone()
    };
    let reasons = [end(0, false), end(1, false), end(137, true), end(137, false)];
    assert_eq!(reasons, ["Completed", "Error", "OOMKilled", "Error"]);
}

#[test]
fn a9_a_program_that_could_not_be_executed_is_a_start_error_with_the_message_of_the_runtime() {
    let mut world = World::new(pod(Never, &[("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    world.fail_start(world.id("web"));
    let status = world.json();
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&"StartError".into(), &128.into()));
    assert_eq!(end["message"], "exec /nope: no such file");
    assert_eq!(world.reports(), [("web", 128)]);
}

#[test]
fn a9_an_exit_that_comes_before_the_start_was_confirmed_is_an_exit() {
    let mut world = World::new(pod(Never, &[("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    world.exit("web", 0);
    world.event(Event::Opened { container: world.id("web") });
    assert_eq!(world.reports(), [("web", 0)]);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn r1_the_policy_of_a_container_overrides_the_one_of_its_pod() {
    let mut spec = pod(Never, &[("setup", Init), ("web", App), ("job", App)]);
    spec.init_containers[0].restart_policy = Some(OnFailure);
    spec.containers[0].restart_policy = Some(Always);
    let mut world = World::started(spec);
    world.exit("setup", 1);
    assert_eq!(world.running(), ["setup"]);
    world.exit("setup", 0);
    world.exit("web", 0);
    world.exit("job", 1);
    assert_eq!(world.running(), ["web"]);
    assert_eq!(world.reports(), [("setup", 0), ("job", 1)]);
}

#[test]
fn r3_a_restart_by_rule_obeys_the_back_off_and_counts_even_under_never() {
    let mut spec = pod(Never, &[("job", App)]);
    spec.containers[0].restart_policy = Some(Never);
    spec.containers[0].restart_rules =
        vec![RestartRule { action: RuleAction::Restart, negated: false, codes: vec![42] }];
    let mut world = World::started(spec);
    world.exit("job", 42);
    world.exit("job", 42);
    assert!(world.running().is_empty());
    world.secs(10);
    assert_eq!(world.running(), ["job"]);
    assert_eq!(world.machine.container("job").unwrap().restart_count(), 2);
    world.exit("job", 1);
    assert_eq!(world.phase(), Phase::Failed);
}
