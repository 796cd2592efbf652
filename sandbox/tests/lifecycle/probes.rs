//! Probes (P1 to P5, P8, P9; S5, R2, A4).

use std::time::Duration;

use loment_sandbox::lifecycle::{
    ContainerSpec,
    HookKind::PostStart,
    Kind::{App, Init, Sidecar},
    Outcome, Phase, PodSpec,
    ProbeKind::{Liveness, Readiness, Startup},
    RestartPolicy::{Always, Never, OnFailure},
    handler::{Handler, Hook, Probe},
    restart::{RestartRule, RuleAction},
};

use crate::world::{KILL, TERM, World, pod};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// As Kubernetes defaults it: every 10 s, one success, three failures.
fn probe() -> Option<Probe> {
    Some(Probe {
        handler: Handler::Exec { command: vec!["true".into()] },
        initial_delay: Duration::ZERO,
        timeout: secs(1),
        period: secs(10),
        success_threshold: 1,
        failure_threshold: 3,
        grace: None,
    })
}

fn failure() -> Outcome {
    Outcome::Failure("HTTP probe failed with statuscode: 503".into())
}

fn pod_with(kind: loment_sandbox::lifecycle::Kind, give: impl FnOnce(&mut ContainerSpec)) -> PodSpec {
    let mut spec = pod(Always, &[("proxy", Sidecar), ("web", App)]);
    give(if kind == Sidecar { &mut spec.init_containers[0] } else { &mut spec.containers[0] });
    spec
}

fn state(world: &World, name: &str) -> (bool, bool) {
    let container = world.machine.container(name).unwrap();
    (container.is_started(), container.is_ready())
}

/// A world in which a probe of `web` (and, if it is one, a startup probe) has the outcome from the beginning.
fn ailing(spec: PodSpec, probe: loment_sandbox::lifecycle::ProbeKind, outcome: Outcome) -> World {
    let mut world = World::new(spec);
    world.ail("web", probe, Some(outcome));
    world.create_all();
    world.arm_all();
    world
}

#[test]
fn p1_a_probe_is_made_every_period_and_not_before_its_initial_delay() {
    let mut spec = pod_with(App, |web| {
        web.liveness = probe().map(|probe| Probe { initial_delay: secs(7), period: secs(5), ..probe });
        web.readiness = probe();
    });
    spec.grace = secs(5);
    let mut world = World::started(spec);
    world.secs(22);
    assert_eq!(world.probes("web", Liveness), [7, 12, 17, 22]);
    assert_eq!(world.probes("web", Readiness), [0, 10, 20], "at once, as nothing has to be waited for");
}

#[test]
fn p1_until_the_first_result_a_container_lives_and_is_not_ready() {
    let spec = pod_with(App, |web| {
        (web.liveness, web.readiness) = (probe(), probe());
    });
    let mut world = World::new(spec);
    world.busy = true;
    world.create_all();
    world.arm_all();
    world.secs(100);
    assert_eq!(state(&world, "web"), (true, false));
    assert!(world.signals().is_empty());
    world.probed(world.id("web"), Readiness, Outcome::Success);
    assert_eq!(state(&world, "web"), (true, true));
}

#[test]
fn p1_a_probe_that_takes_longer_than_its_period_is_made_again_when_it_has_ended_and_never_twice_at_once() {
    let mut world = World::new(pod_with(App, |web| web.liveness = probe()));
    world.busy = true;
    world.create_all();
    world.arm_all();
    world.secs(25);
    world.probed(world.id("web"), Liveness, Outcome::Success);
    assert_eq!(world.probes("web", Liveness), [0, 25]);
    world.probed(world.id("web"), Liveness, Outcome::Success);
    world.secs(10);
    assert_eq!(world.probes("web", Liveness), [0, 25, 35]);
}

#[test]
fn p2_until_the_startup_probe_has_succeeded_the_others_do_not_run_and_the_container_has_not_started() {
    let spec = pod_with(App, |web| {
        web.startup = probe().map(|probe| Probe { failure_threshold: 30, ..probe });
        web.liveness = probe().map(|probe| Probe { period: secs(8), ..probe });
        web.readiness = probe().map(|probe| Probe { initial_delay: secs(5), ..probe });
    });
    let mut world = ailing(spec, Startup, failure());
    world.secs(25);
    assert_eq!(world.probes("web", Startup), [0, 10, 20]);
    assert_eq!((world.probes("web", Liveness), world.probes("web", Readiness)), (vec![], vec![]));
    assert_eq!(state(&world, "web"), (false, false));
    assert_eq!(world.json()["containerStatuses"][0]["started"], false);
    world.ail("web", Startup, None);
    world.secs(25);
    assert_eq!(world.probes("web", Startup), [0, 10, 20, 30], "it has done its part");
    assert_eq!(world.probes("web", Readiness), [30, 40, 50], "at once");
    assert_eq!(world.probes("web", Liveness), [32, 40, 48], "at its own pace");
    assert_eq!(state(&world, "web"), (true, true));
}

#[test]
fn p2_a_new_attempt_has_to_start_anew() {
    let mut world = World::started(pod_with(App, |web| web.startup = probe()));
    assert_eq!(state(&world, "web"), (true, true));
    world.busy = true;
    world.exit("web", 1);
    assert_eq!(state(&world, "web"), (false, false));
    world.probed(world.id("web"), Startup, Outcome::Success);
    assert_eq!(state(&world, "web"), (true, true));
}

#[test]
fn p3_a_result_takes_effect_after_so_many_alike_in_a_row() {
    let spec = pod_with(App, |web| {
        web.readiness =
            probe().map(|probe| Probe { period: secs(1), success_threshold: 2, failure_threshold: 3, ..probe });
    });
    let mut world = World::started(spec);
    let mut seen = vec![];
    for outcome in "+--+---+-++".chars() {
        world.ail("web", Readiness, (outcome == '-').then(failure));
        world.secs(1);
        seen.push(if state(&world, "web").1 { '+' } else { '-' });
    }
    assert_eq!(seen.iter().collect::<String>(), "++++++----+");
}

#[test]
fn p4_a_liveness_failure_ends_the_container_and_restarts_it_unless_its_policy_is_never() {
    for policy in [Always, OnFailure, Never] {
        let mut spec = pod_with(App, |web| {
            web.liveness = probe();
            web.pre_stop = Some(Hook::Sleep { length: secs(1) });
        });
        spec.restart_policy = policy;
        let mut world = ailing(spec, Liveness, failure());
        world.secs(30);
        assert_eq!(world.probes("web", Liveness), [0, 10, 20], "and it is left alone after that");
        assert_eq!(world.hooks().len(), 1);
        assert_eq!(world.signals(), [(20, "web", TERM)]);
        let again = if policy == Never { "" } else { ", will be restarted" };
        assert_eq!(world.told(&["Killing"]), [(20, format!("Killing Container web failed liveness probe{again}"))]);
        world.ail("web", Liveness, None);
        world.exit("web", 0);
        assert_eq!(world.running(), if policy == Never { vec!["proxy"] } else { vec!["proxy", "web"] });
        if policy != Never {
            world.secs(1);
            assert_eq!(world.probes("web", Liveness)[3..], [30]);
        }
    }
}

#[test]
fn p4_a_readiness_failure_makes_the_container_unready_and_nothing_else() {
    let mut world = ailing(pod_with(App, |web| web.readiness = probe()), Readiness, failure());
    world.secs(1000);
    assert_eq!(state(&world, "web"), (true, false));
    assert!(world.signals().is_empty());
    assert_eq!(world.json()["conditions"][3]["message"], "containers with unready status: [web]");
    world.ail("web", Readiness, None);
    world.secs(10);
    assert_eq!(state(&world, "web"), (true, true));
    assert_eq!(world.json()["conditions"][2]["status"], "True");
}

#[test]
fn a4_a_probe_has_a_grace_period_of_its_own() {
    for (kind, at) in [(Liveness, 20), (Startup, 20)] {
        let mut spec = pod_with(App, |web| {
            let own = probe().map(|probe| Probe { grace: Some(secs(4)), ..probe });
            *(if kind == Liveness { &mut web.liveness } else { &mut web.startup }) = own;
        });
        spec.grace = secs(60);
        let mut world = ailing(spec, kind, failure());
        world.secs(60);
        assert_eq!(world.signals(), [(at, "web", TERM), (at + 4, "web", KILL)], "{kind}");
    }
}

#[test]
fn p5_a_probe_that_cannot_be_made_is_tried_three_times_at_once_and_its_result_thrown_away() {
    let error = Outcome::Error("couldn't find port: metrics".into());
    let mut world = ailing(pod_with(App, |web| web.liveness = probe()), Liveness, error);
    world.secs(100);
    assert_eq!(world.probes("web", Liveness)[..6], [0, 0, 0, 10, 10, 10]);
    assert!(world.signals().is_empty(), "the state stays as it is");
    let told = world.told(&["Unhealthy"]);
    assert_eq!(
        told[0].1,
        "Unhealthy Liveness probe errored and resulted in unknown state: couldn't find port: metrics"
    );
    assert_eq!(told.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 10, 30, 70], "ever fewer of a long row");
}

#[test]
fn p5_an_error_does_not_interrupt_a_row_of_failures() {
    let mut world = ailing(pod_with(App, |web| web.liveness = probe()), Liveness, failure());
    world.secs(15);
    world.ail("web", Liveness, Some(Outcome::Error("no way in".into())));
    world.secs(10);
    world.ail("web", Liveness, Some(failure()));
    world.secs(5);
    assert_eq!(world.signals(), [(30, "web", TERM)]);
}

#[test]
fn p8_when_the_pod_is_deleted_liveness_and_startup_stop_and_readiness_goes_on_until_the_container_has_ended() {
    let spec = pod_with(App, |web| {
        (web.liveness, web.readiness) = (probe(), probe());
    });
    let mut world = World::started(spec);
    world.secs(5);
    world.terminate(Some(secs(40)));
    world.ail("web", Readiness, Some(failure()));
    world.secs(30);
    assert_eq!((world.probes("web", Liveness), world.probes("web", Readiness)), (vec![0], vec![0, 10, 20, 30]));
    assert_eq!(state(&world, "web"), (true, false));
    world.exit("web", 0);
    world.secs(30);
    assert_eq!(world.probes("web", Readiness).len(), 4);
}

#[test]
fn p9_what_a_probe_says_is_told_and_of_a_long_row_not_each_time() {
    let mut world = ailing(pod_with(App, |web| web.readiness = probe()), Readiness, failure());
    world.secs(85);
    let told = world.told(&["Unhealthy"]);
    assert_eq!(told[0], (0, "Unhealthy Readiness probe failed: HTTP probe failed with statuscode: 503".into()));
    assert_eq!(told.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 10, 20, 30, 70], "1, 2, 3 (which counts), 4, 8");
    world.ail("web", Readiness, Some(Outcome::Warning("Probe terminated redirects".into())));
    world.secs(10);
    assert_eq!(
        world.told(&["ProbeWarning"]),
        [(90, "ProbeWarning Readiness probe warning: Probe terminated redirects".into())]
    );
    assert!(state(&world, "web").1, "a warning is a success");
    let flips = world.told(&["ProbeFails", "ProbeSucceeds"]);
    assert_eq!(flips.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [20, 90]);
}

#[test]
fn s5_a_startup_failure_restarts_a_sidecar_and_keeps_what_comes_after_it_waiting() {
    let mut spec = pod(Never, &[("web", Sidecar), ("setup", Init), ("job", App)]);
    spec.init_containers[0].startup = probe();
    let mut world = ailing(spec, Startup, failure());
    world.secs(20);
    assert_eq!(world.signals(), [(20, "web", TERM)]);
    world.exit("web", 143);
    assert_eq!(world.opens(), [(0, "web"), (20, "web")]);
    assert_eq!(world.phase(), Phase::Pending);
    world.ail("web", Startup, None);
    world.secs(10);
    assert_eq!(world.running(), ["web", "setup"]);
}

#[test]
fn s5_a_liveness_failure_restarts_a_sidecar_and_holds_nobody_up() {
    let mut spec = pod(Never, &[("web", Sidecar), ("setup", Init), ("job", App)]);
    spec.init_containers[0].liveness = probe();
    let mut world = ailing(spec, Liveness, failure());
    assert_eq!(world.running(), ["web", "setup"]);
    world.secs(20);
    world.exit("web", 143);
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web", "job"]);
}

#[test]
fn s7_the_readiness_of_a_sidecar_counts_for_the_pod() {
    let mut world = World::new(pod_with(Sidecar, |proxy| proxy.readiness = probe()));
    world.ail("proxy", Readiness, Some(failure()));
    world.create_all();
    world.arm_all();
    assert_eq!(world.running(), ["proxy", "web"], "readiness gates nobody");
    let columns = loment_sandbox::lifecycle::column::columns;
    let now = loment_sandbox::lifecycle::rfc3339::Timestamp::seconds(crate::world::wall(world.now));
    assert_eq!(columns(world.machine.spec(), &world.status(), false, now).ready, "1/2");
    assert_eq!(world.json()["conditions"][3]["message"], "containers with unready status: [proxy]");
}

#[test]
fn r2_a_kill_for_a_probe_asks_the_policy_and_not_the_rules() {
    let mut spec = pod_with(App, |web| {
        web.liveness = probe();
        web.restart_policy = Some(Never);
        web.restart_rules = vec![RestartRule { action: RuleAction::Restart, negated: true, codes: vec![] }];
    });
    spec.restart_policy = Always;
    let mut world = ailing(spec, Liveness, failure());
    world.secs(20);
    world.exit("web", 143);
    assert_eq!(world.opens(), [(0, "proxy"), (0, "web")]);
}

#[test]
fn probes_begin_when_the_post_start_hook_has_returned() {
    let mut world = World::new(pod_with(App, |web| {
        web.post_start = Some(Hook::Sleep { length: secs(12) });
        (web.startup, web.readiness) = (probe(), probe());
    }));
    world.busy = true;
    world.create_all();
    world.arm_all();
    world.secs(12);
    assert!(world.probes("web", Startup).is_empty());
    world.busy = false;
    world.hook(world.id("web"), PostStart, None);
    world.secs(8);
    assert_eq!((world.probes("web", Startup), world.probes("web", Readiness)), (vec![20], vec![20]));
}
