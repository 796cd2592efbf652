//! A container gets another image (A7, S6, I13, I8): at each stage, under each policy.

use std::time::Duration;

use crate::world::{TERM, World, pod};
use loment_sandbox::lifecycle::{
    Action, Event,
    HookKind::PreStop,
    Kind::{App, Init, Sidecar},
    Outcome, Phase, PodSpec,
    ProbeKind::{Liveness, Startup},
    RestartPolicy::{Always, Never, OnFailure},
    handler::{Handler, Hook, Probe},
};

const POLICIES: [loment_sandbox::lifecycle::RestartPolicy; 3] = [Always, OnFailure, Never];

fn restarts(world: &World, name: &str) -> u32 {
    world.machine.container(name).unwrap().restart_count()
}

#[test]
fn a7_an_image_update_of_a_running_app_ends_it_gracefully_and_starts_the_new_one_under_every_policy() {
    for policy in POLICIES {
        let mut spec = pod(policy, &[("web", App), ("cache", App)]);
        spec.containers[0].pre_stop = Some(Hook::Sleep { length: Duration::from_secs(1) });
        let mut world = World::started(spec);
        world.secs(5);
        world.replace("web");
        assert_eq!(world.hooks(), [(5, "web", PreStop)]);
        assert_eq!(world.signals(), [(5, "web", TERM)]);
        assert_eq!(
            world.told(&["Killing"]),
            [(5, "Killing Container web definition changed, will be restarted".into())]
        );
        world.exit("web", 143);
        assert_eq!((world.reports(), world.successors().0), (vec![("web", 143)], vec!["web"]));
        assert_eq!(world.running(), ["web", "cache"], "{policy:?}: its sibling is untouched");
        assert_eq!((restarts(&world, "web"), world.phase()), (1, Phase::Running));
        assert_eq!(world.json()["containerStatuses"][1]["lastState"]["terminated"]["exitCode"], 143);
        world.exit("web", 0);
        let last = if policy == Always { &world.reports()[..1] } else { &world.reports()[..] };
        let ends: &[_] = if policy == Always { &[("web", 143)] } else { &[("web", 143), ("web", 0)] };
        assert_eq!(last, ends, "the successor has an end of its own");
    }
}

#[test]
fn a5_a_successor_is_asked_to_end_by_the_signal_of_its_own_image() {
    const QUIT: i32 = 3;
    let mut world = World::started(pod(Always, &[("web", App)]));
    let mut spec = world.machine.spec().clone();
    spec.containers[0].image = "other".into();
    spec.containers[0].stop_signal = QUIT;
    world.event(Event::Updated { spec: Box::new(spec) });
    world.replace("web");
    assert_eq!(world.signals(), [(0, "web", TERM)], "who is replaced has the old image");
    world.exit("web", 143);
    world.terminate(None);
    assert_eq!(world.signals().last(), Some(&(0, "web", QUIT)));
}

#[test]
fn s6_an_image_update_of_a_sidecar_restarts_that_one_only() {
    for policy in POLICIES {
        let mut world = World::started(pod(policy, &[("proxy", Sidecar), ("logger", Sidecar), ("web", App)]));
        world.replace("proxy");
        assert_eq!(world.signals(), [(0, "proxy", TERM)]);
        world.exit("proxy", 0);
        assert_eq!(world.running(), ["proxy", "logger", "web"]);
        assert_eq!([restarts(&world, "proxy"), restarts(&world, "logger"), restarts(&world, "web")], [1, 0, 0]);
    }
}

#[test]
fn s6_an_image_update_of_a_sidecar_during_init_holds_up_what_comes_after_it_only_until_it_has_started() {
    let mut world = World::started(pod(Never, &[("proxy", Sidecar), ("setup", Init), ("web", App)]));
    world.replace("proxy");
    world.exit("proxy", 0);
    world.exit("setup", 0);
    assert_eq!(world.running(), ["proxy", "web"]);
}

#[test]
fn a7_an_app_that_waits_for_its_turn_is_replaced_at_once_and_starts_as_the_first_attempt() {
    for policy in POLICIES {
        let mut world = World::started(pod(policy, &[("setup", Init), ("web", App)]));
        world.replace("web");
        assert_eq!((world.discarded(), world.reports()), (vec!["web"], vec![("web", 137)]));
        world.exit("setup", 0);
        assert_eq!((world.running(), restarts(&world, "web")), (vec!["web"], 0));
    }
}

#[test]
fn i13_an_image_update_does_not_restart_a_running_init_container_nor_run_a_completed_one_again() {
    for policy in POLICIES {
        let mut world = World::started(pod(policy, &[("setup", Init), ("web", App)]));
        world.replace("setup");
        world.secs(60);
        assert!(world.signals().is_empty());
        world.exit("setup", 0);
        assert_eq!(world.successors(), (vec![], vec!["setup"]), "it has succeeded and needs no successor");
        world.replace("setup");
        assert_eq!(world.successors().1.len(), 2);
        assert_eq!(world.opens(), [(0, "setup"), (60, "web")]);
    }
}

#[test]
fn i13_a_failing_init_container_picks_the_new_image_up_at_its_next_retry() {
    let mut world = World::started(pod(OnFailure, &[("setup", Init), ("web", App)]));
    world.replace("setup");
    world.exit("setup", 1);
    assert_eq!((world.successors().0, world.running()), (vec!["setup"], vec!["setup"]));
    world.exit("setup", 1);
    world.exit("setup", 1);
    assert!(world.running().is_empty(), "it backs off");
    world.replace("setup");
    assert_eq!((world.successors().0.len(), world.running()), (2, vec!["setup"]), "at once: it is another image");
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web"]);
}

#[test]
fn i13_an_init_container_that_failed_for_good_is_not_replaced() {
    let mut world = World::started(pod(Never, &[("setup", Init), ("web", App)]));
    world.replace("setup");
    world.exit("setup", 1);
    assert_eq!(world.successors(), (vec![], vec!["setup"]));
    assert_eq!(world.phase(), Phase::Failed);
}

#[test]
fn i8_another_image_begins_another_back_off() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    for _ in 0..3 {
        world.exit("web", 1);
        world.secs(40);
    }
    world.exit("web", 1);
    assert_eq!(world.machine.container("web").unwrap().backing_off().unwrap().0, Duration::from_secs(40));
    world.replace("web");
    assert_eq!(world.running(), ["web"], "its back-off is over");
    let from = world.opens().last().unwrap().0;
    world.exit("web", 1);
    assert_eq!(world.opens().last().unwrap().0, from, "the first restart is immediate again");
    world.exit("web", 1);
    world.secs(10);
    assert_eq!(world.opens().last().unwrap().0, from + 10);
    assert_eq!(restarts(&world, "web"), 6);
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

#[test]
fn a7_an_image_update_after_a_failed_startup_or_liveness_probe() {
    for (policy, kind) in POLICIES.into_iter().flat_map(|policy| [(policy, Startup), (policy, Liveness)]) {
        let mut spec: PodSpec = pod(policy, &[("web", App), ("cache", App)]);
        let place = &mut spec.containers[0];
        *(if kind == Startup { &mut place.startup } else { &mut place.liveness }) = probe();
        let mut world = World::new(spec);
        world.ail("web", kind, Some(Outcome::Failure("no".into())));
        world.create_all();
        world.arm_all();
        world.exit("web", 143);
        if policy == Never {
            world.replace("web");
            assert_eq!(world.successors(), (vec![], vec!["web"]), "it has ended and is not to run again");
            continue;
        }
        world.exit("web", 143);
        assert_eq!(world.running(), ["cache"], "{kind}: it backs off");
        world.ail("web", kind, None);
        world.replace("web");
        assert_eq!(world.running(), ["web", "cache"]);
        assert!(world.machine.container("web").unwrap().is_ready());
    }
}

#[test]
fn a7_an_image_update_while_the_container_is_ended_for_its_probe_takes_over_when_it_has_ended() {
    let mut spec = pod(Never, &[("web", App), ("cache", App)]);
    spec.containers[0].liveness = probe();
    let mut world = World::new(spec);
    world.ail("web", Liveness, Some(Outcome::Failure("no".into())));
    world.create_all();
    world.arm_all();
    world.replace("web");
    assert_eq!(world.signals().len(), 1, "it is asked once");
    world.ail("web", Liveness, None);
    world.exit("web", 143);
    assert_eq!(world.running(), ["web", "cache"]);
}

#[test]
fn a7_a_change_made_while_the_pod_is_stopped_is_ignored() {
    for policy in POLICIES {
        let mut world = World::started(pod(policy, &[("web", App)]));
        world.terminate(None);
        world.replace("web");
        assert_eq!(world.successors(), (vec![], vec!["web"]));
        world.exit("web", 0);
        assert_eq!(world.opens().len(), 1);
        assert!(world.machine.finished());
    }
}

#[test]
fn a7_a_pod_that_is_stopped_while_a_successor_stands_by_throws_it_away() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.replace("web");
    world.terminate(None);
    assert_eq!(world.successors(), (vec![], vec!["web"]));
    world.exit("web", 143);
    assert_eq!((world.reports(), world.opens().len()), (vec![("web", 143)], 1));
}

#[test]
fn a7_of_two_successors_the_later_one_takes_over() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.replace("web");
    world.replace("web");
    assert_eq!(world.successors(), (vec![], vec!["web"]));
    world.exit("web", 143);
    assert_eq!((world.successors().0, world.running()), (vec!["web"], vec!["web"]));
}

#[test]
fn a7_a_container_that_is_being_made_anew_is_replaced_when_the_host_has_answered() {
    for well in [true, false] {
        let mut world = World::started(pod(Always, &[("web", App)]));
        world.prompt = false;
        world.exit("web", 1);
        world.replace("web");
        assert!(world.successors().0.is_empty(), "the host is at it");
        world.reply(world.id("web"), well);
        assert_eq!((world.successors().0, world.opens().len()), (vec!["web"], 2));
        assert_eq!(world.discarded().len(), usize::from(well));
    }
}

#[test]
fn what_may_change_in_a_pod_that_runs_is_taken_over() {
    let mut world = World::started(pod(Always, &[("setup", Init), ("web", App)]));
    let mut spec = world.machine.spec().clone();
    (spec.generation, spec.active_deadline) = (3, Some(Duration::from_secs(60)));
    spec.containers[0].image = "busybox:2".into();
    spec.init_containers[0].image = "busybox:3".into();
    (spec.grace, spec.restart_policy) = (Duration::from_secs(1), Never);
    world.event(Event::Updated { spec: Box::new(spec) });
    let status = world.json();
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(status["containerStatuses"][0]["image"], "busybox:2");
    assert_eq!(status["initContainerStatuses"][0]["image"], "busybox:3");
    world.exit("setup", 1);
    assert_eq!(world.running(), ["setup"], "its policy is not one of the things that may change");
    world.secs(60);
    assert_eq!(world.signals(), [(60, "setup", TERM)], "its deadline is");
    world.secs(29);
    assert_eq!(world.signals().len(), 1);
}

#[test]
fn a_change_to_another_set_of_containers_is_refused() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    let spec = Box::new(pod(Always, &[("web", App), ("cache", App)]));
    let actions = world.machine.step(world.now, Event::Updated { spec });
    assert!(matches!(&actions[..], [Action::Record(entry)] if entry.what.reason() == "Unexpected"), "{actions:?}");
}
