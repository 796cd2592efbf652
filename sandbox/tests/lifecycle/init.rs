//! Init containers (I1 to I15).

use std::time::Duration;

use loment_sandbox::lifecycle::{
    Backoff, Cause, Event,
    Kind::{App, Init, Sidecar},
    Moment, Phase,
    RestartPolicy::{Always, Never, OnFailure},
    Stage,
};

use crate::world::{KILL, Process, TERM, World, pod};

#[test]
fn i1_init_containers_run_in_list_order_each_after_the_one_before_has_exited_with_0() {
    let mut world = World::started(pod(Always, &[("one", Init), ("two", Init), ("three", Init), ("web", App)]));
    for (name, next) in [("one", "two"), ("two", "three"), ("three", "web")] {
        assert_eq!(world.running(), [name]);
        world.secs(5);
        assert_eq!(world.running(), [name], "time alone starts nothing");
        world.exit(name, 0);
        assert_eq!(world.running(), [next], "the next one starts in the same step");
    }
}

#[test]
fn i1_containers_created_and_started_in_reverse_order_still_run_in_the_order_of_the_pod() {
    let mut world = World::new(pod(Always, &[("one", Init), ("two", Init), ("web", App)]));
    for id in world.ids().into_iter().rev() {
        world.create(id);
        world.event(Event::Armed { container: id });
    }
    assert_eq!(world.running(), ["one"]);
    world.exit("one", 0);
    world.exit("two", 0);
    assert_eq!(world.opens(), [(0, "one"), (0, "two"), (0, "web")]);
}

#[test]
fn i1_an_init_container_whose_turn_it_is_waits_for_its_client() {
    let mut world = World::new(pod(Always, &[("one", Init), ("web", App)]));
    world.create_all();
    world.event(Event::Armed { container: world.id("web") });
    assert!(world.opens().is_empty());
    world.event(Event::Armed { container: world.id("one") });
    assert_eq!(world.running(), ["one"]);
}

#[test]
fn i2_no_app_starts_before_every_init_container_has_succeeded_and_every_sidecar_has_started() {
    let mut world = World::new(pod(Always, &[("proxy", Sidecar), ("setup", Init), ("logger", Sidecar), ("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    let [proxy, setup, logger, web] = ["proxy", "setup", "logger", "web"].map(|name| world.id(name));
    assert_eq!(world.opens(), [(0, "proxy")]);
    world.reply(proxy, true);
    assert_eq!(world.seen(setup).process, Process::Opening);
    world.reply(setup, true);
    assert_eq!(world.seen(logger).process, Process::Gate);
    world.exit("setup", 0);
    assert_eq!(world.seen(logger).process, Process::Opening);
    assert_eq!(world.seen(web).process, Process::Gate, "the last sidecar has not started yet");
    world.reply(logger, true);
    assert_eq!(world.seen(web).process, Process::Opening);
}

#[test]
fn i3_a_failed_init_container_is_retried_until_it_succeeds() {
    for policy in [Always, OnFailure] {
        let mut world = World::started(pod(policy, &[("setup", Init), ("web", App)]));
        for _ in 0..5 {
            world.exit("setup", 1);
            assert_eq!(world.phase(), Phase::Pending);
            world.secs(400);
        }
        world.exit("setup", 0);
        assert_eq!(world.running(), ["web"]);
        assert_eq!(world.machine.container("setup").unwrap().restart_count(), 5);
        assert_eq!(world.reports(), [], "in a new sandbox it would have to run again");
        world.terminate(None);
        assert_eq!(world.reports(), [("setup", 0)], "failures on the way are not reported");
    }
}

#[test]
fn i3_an_init_container_that_succeeded_is_not_run_again_under_always() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("web", App)]));
    world.exit("setup", 0);
    world.exit("web", 0);
    world.secs(3600);
    assert_eq!(world.opens().iter().filter(|(_, name)| *name == "setup").count(), 1);
}

#[test]
fn i4_under_never_the_first_failed_init_container_fails_the_pod() {
    let mut world = World::started(pod(
        Never,
        &[("proxy", Sidecar), ("setup", Init), ("more", Init), ("late", Sidecar), ("web", App)],
    ));
    world.exit("setup", 3);
    assert_eq!(world.machine.stopping(), Some(Cause::InitFailed));
    assert_eq!(world.discarded(), ["more", "late", "web"]);
    assert_eq!(world.signals(), [(0, "proxy", TERM)]);
    assert_eq!(world.phase(), Phase::Pending, "a container still runs");
    world.exit("proxy", 0);
    assert_eq!(world.phase(), Phase::Failed);
    assert!(world.machine.finished());
    assert_eq!(world.reports(), [("setup", 3), ("more", 137), ("late", 137), ("web", 137), ("proxy", 0)]);
    assert_eq!(world.opens(), [(0, "proxy"), (0, "setup")]);
}

#[test]
fn i4_a_container_that_is_created_after_the_pod_failed_is_thrown_away_and_reported() {
    let mut world = World::new(pod(Never, &[("setup", Init), ("web", App)]));
    let [setup, web] = ["setup", "web"].map(|name| world.id(name));
    world.create(setup);
    world.event(Event::Armed { container: setup });
    world.exit("setup", 1);
    assert_eq!(world.phase(), Phase::Failed);
    world.create(web);
    world.event(Event::Armed { container: web });
    assert_eq!(world.reports(), [("setup", 1), ("web", 137)]);
    assert_eq!(world.discarded(), ["web"]);
    assert!(world.machine.finished());
}

#[test]
fn i5_an_init_container_killed_for_memory_is_retried_although_it_exited_with_0() {
    let mut world = World::started(pod(OnFailure, &[("setup", Init), ("web", App)]));
    world.end(world.id("setup"), 0, true);
    assert_eq!(world.running(), ["setup"], "restarted, the first time at once");
    assert_eq!(world.json()["initContainerStatuses"][0]["lastState"]["terminated"]["reason"], "OOMKilled");
    let mut never = World::started(pod(Never, &[("setup", Init), ("web", App)]));
    never.end(never.id("setup"), 0, true);
    assert_eq!(never.phase(), Phase::Failed);
}

#[test]
fn i6_an_attempt_that_cannot_be_made_is_no_exit_and_is_tried_again_for_ever() {
    let mut world = World::new(pod(OnFailure, &[("setup", Init), ("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    let setup = world.id("setup");
    world.reply(setup, true);
    world.exit("setup", 1);
    for waited in [10, 20, 40, 80, 160, 300, 300] {
        world.reply(setup, false);
        let status = world.json();
        let waiting = &status["initContainerStatuses"][0]["state"]["waiting"];
        assert_eq!((&waiting["reason"], &waiting["message"]), (&"CreateContainerError".into(), &"no space".into()));
        assert_eq!(world.phase(), Phase::Pending);
        world.secs(waited - 1);
        assert_eq!(world.seen(setup).process, Process::None);
        world.secs(1);
        assert_eq!(world.seen(setup).process, Process::Preparing, "after {waited} s");
    }
    world.reply(setup, true);
    assert_eq!(world.machine.container("setup").unwrap().stage(), Stage::Opening);
    assert_eq!(world.machine.container("setup").unwrap().attempt(), 1, "a failed preparation is no attempt");
    world.reply(setup, true);
    world.exit("setup", 1);
    world.reply(setup, false);
    world.secs(10);
    assert_eq!(world.seen(setup).process, Process::Preparing, "one that succeeded starts the delays over");
}

#[test]
fn i8_the_first_restart_is_immediate_and_then_the_delay_doubles_from_10_to_300_seconds() {
    for kind in [Init, Sidecar, App] {
        let containers = [("it", kind), ("web", App)];
        let mut world = World::started(pod(Always, &containers[..if kind == App { 1 } else { 2 }]));
        let mut second = 0;
        let mut expected = vec![(0, "it")];
        for delay in [0, 10, 20, 40, 80, 160, 300, 300, 300] {
            world.secs(1);
            world.exit("it", u32::from(kind == Init));
            world.secs(delay);
            second += 1 + delay;
            expected.push((second, "it"));
        }
        assert_eq!(
            world.opens().into_iter().filter(|(_, name)| *name == "it").collect::<Vec<_>>(),
            expected,
            "{kind:?}"
        );
    }
}

#[test]
fn i8_a_run_of_more_than_600_seconds_starts_the_series_over() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    for _ in 0..6 {
        world.exit("web", 1);
        world.secs(300);
    }
    world.secs(601);
    world.exit("web", 1);
    assert_eq!(world.running(), ["web"], "at once");
    world.exit("web", 1);
    world.secs(9);
    assert!(world.running().is_empty());
    world.secs(1);
    assert_eq!(world.running(), ["web"], "and after 10 s");
}

#[test]
fn i8_waiting_is_told_as_crash_loop_back_off_and_recorded_once() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.exit("web", 1);
    world.exit("web", 1);
    world.secs(5);
    let status = world.json();
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "CrashLoopBackOff");
    assert_eq!(waiting["message"], "back-off 10s restarting failed container=web pod=p_ns(u)");
    let back_offs = || world.timeline().filter(|entry| matches!(entry.what, Moment::BackOff { .. }));
    assert_eq!(back_offs().map(|entry| entry.what.reason()).collect::<Vec<_>>(), ["BackOff"]);
}

#[test]
fn i9_the_curve_can_be_tuned_per_pod() {
    let mut spec = pod(OnFailure, &[("setup", Init), ("web", App)]);
    let millis = Duration::from_millis;
    spec.backoff = Backoff { initial: millis(200), max: millis(500), ..Backoff::default() };
    let mut world = World::started(spec);
    for delay in [0, 200, 400, 500, 500] {
        world.exit("setup", 1);
        if delay > 0 {
            world.advance(millis(delay - 1));
            assert!(world.running().is_empty(), "{delay}");
            world.advance(millis(1));
        }
        assert_eq!(world.running(), ["setup"], "{delay}");
    }
}

#[test]
fn i10_the_newest_dead_attempt_is_what_last_state_tells() {
    let mut world = World::started(pod(OnFailure, &[("setup", Init), ("web", App)]));
    world.exit("setup", 1);
    world.exit("setup", 2);
    world.secs(10);
    let status = world.json();
    let setup = &status["initContainerStatuses"][0];
    assert_eq!(setup["lastState"]["terminated"]["exitCode"], 2);
    assert_eq!(setup["restartCount"], 2);
    assert!(setup["state"]["running"].is_object());
}

#[test]
fn i11_before_anything_ran_containers_wait_for_the_pod_or_for_themselves() {
    let reason = |world: &World, list: &str| world.json()[list][0]["state"]["waiting"]["reason"].clone();
    let world = World::new(pod(Always, &[("setup", Init), ("web", App)]));
    assert_eq!(reason(&world, "initContainerStatuses"), "PodInitializing");
    assert_eq!(reason(&world, "containerStatuses"), "PodInitializing");
    let world = World::new(pod(Always, &[("web", App)]));
    assert_eq!(reason(&world, "containerStatuses"), "ContainerCreating");
}

#[test]
fn i11_a_finished_init_container_is_completed_and_ready() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("web", App)]));
    assert_eq!(world.json()["initContainerStatuses"][0]["ready"], false);
    world.exit("setup", 0);
    let status = world.json();
    let setup = &status["initContainerStatuses"][0];
    assert_eq!(setup["state"]["terminated"]["reason"], "Completed");
    assert_eq!(setup["state"]["terminated"]["exitCode"], 0);
    assert_eq!(setup["ready"], true);
}

#[test]
fn i11_init_statuses_keep_the_order_of_the_pod_and_app_statuses_are_sorted_by_name() {
    let world = World::new(pod(Always, &[("z", Init), ("a", Sidecar), ("web", App), ("admin", App), ("cache", App)]));
    let names = |list: Vec<_>| {
        list.into_iter().map(|c: loment_sandbox::lifecycle::status::ContainerStatus| c.name).collect::<Vec<_>>()
    };
    assert_eq!(names(world.status().init_container_statuses), ["z", "a"]);
    assert_eq!(names(world.status().container_statuses), ["admin", "cache", "web"]);
}

#[test]
fn i13_nothing_that_is_reported_later_runs_a_completed_init_container_again() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("web", App)]));
    world.exit("setup", 0);
    let container = world.id("setup");
    for event in [
        Event::Created { container },
        Event::Armed { container },
        Event::Opened { container },
        Event::Exited { container, code: 1, oom_killed: false, message: None },
        Event::StartFailed { container, code: 128, message: String::new() },
        Event::PrepareFailed { container, message: String::new() },
        Event::KillRequested { container, signal: KILL },
        Event::Tick,
    ] {
        world.event(event);
    }
    world.exit("web", 1);
    world.secs(1000);
    assert_eq!(world.opens().iter().filter(|(_, name)| *name == "setup").count(), 1);
    assert_eq!(world.running(), ["web"]);
    assert_eq!(world.reports(), [("setup", 0)]);
}

#[test]
fn i14_the_active_deadline_counts_from_the_start_and_fails_the_pod() {
    let mut spec = pod(Always, &[("setup", Init), ("web", App)]);
    spec.active_deadline = Some(Duration::from_secs(60));
    let mut world = World::started(spec);
    world.secs(50);
    world.exit("setup", 0);
    world.secs(9);
    assert!(world.signals().is_empty());
    world.secs(1);
    assert_eq!(world.signals(), [(60, "web", TERM)]);
    world.exit("web", 0);
    assert_eq!(world.phase(), Phase::Failed);
    assert_eq!(world.json()["reason"], "DeadlineExceeded");
}

#[test]
fn i15_deleting_a_pod_during_init_stops_the_init_container_and_starts_nothing_later() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("more", Init), ("web", App)]));
    world.terminate(None);
    assert_eq!(world.signals(), [(0, "setup", TERM)]);
    assert_eq!(world.discarded(), ["more", "web"]);
    world.exit("setup", 0);
    assert_eq!(world.opens(), [(0, "setup")]);
    assert_eq!(world.phase(), Phase::Failed, "a pod that is still pending ends failed");
}

#[test]
fn a_client_that_ends_an_init_container_ends_the_chain() {
    for (code, signal) in [(0, TERM), (137, KILL)] {
        let mut world = World::started(pod(Always, &[("proxy", Sidecar), ("setup", Init), ("web", App)]));
        world.kill("setup", signal);
        world.exit("setup", code);
        assert_eq!(world.reports(), [("setup", code), ("web", 137)]);
        assert_eq!(world.signals(), [(0, "setup", signal), (0, "proxy", TERM)]);
        world.exit("proxy", 143);
        assert_eq!(world.phase(), Phase::Failed);
    }
}
