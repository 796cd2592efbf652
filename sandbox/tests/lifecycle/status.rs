//! The STATUS, READY and RESTARTS columns (5.5), from the lives of pods where the machine can live them and from
//! statuses as a cluster has them where it cannot.

use loment_sandbox::lifecycle::{
    Kind::{self, App, Init, Sidecar},
    Phase, PodSpec,
    RestartPolicy::{self, Always, Never, OnFailure},
    Time,
    column::{Columns, age, columns},
    rfc3339::Timestamp,
    status::PodStatus,
};

use crate::world::{KILL, World, pod, wall};

fn shown(world: &World) -> Columns {
    let (spec, status) = (world.machine.spec(), world.status());
    let json = serde_json::to_string(&status).unwrap();
    let back: PodStatus = serde_json::from_str(&json).unwrap();
    assert_eq!(back, status, "a status is read back as it was written");
    columns(spec, &back, false, Timestamp::seconds(wall(world.now)))
}

/// READY and STATUS.
fn row(world: &World) -> String {
    let Columns { ready, status, .. } = shown(world);
    format!("{ready} {status}")
}

fn lives(policy: RestartPolicy, containers: &[(&str, Kind)], exits: &[(&str, u32)]) -> World {
    let mut world = World::started(pod(policy, containers));
    for (name, code) in exits {
        world.exit(name, *code);
    }
    world
}

const SEED: [(&str, Kind); 3] = [("busybox1", App), ("busybox2", App), ("busybox3", App)];

#[test]
fn status_vector_three_running_containers_are_running() {
    assert_eq!(row(&lives(Never, &SEED, &[])), "3/3 Running");
}

#[test]
fn status_vector_one_of_three_that_exited_with_0_makes_the_pod_not_ready() {
    assert_eq!(row(&lives(Never, &SEED, &[("busybox1", 0)])), "2/3 NotReady");
}

#[test]
fn status_vector_one_of_three_that_failed_is_an_error() {
    assert_eq!(row(&lives(Never, &SEED, &[("busybox1", 1)])), "2/3 Error");
}

#[test]
fn status_vector_the_failure_of_a_later_container_shows_through_the_success_of_an_earlier() {
    assert_eq!(row(&lives(Never, &SEED, &[("busybox1", 0), ("busybox2", 1)])), "1/3 Error");
}

#[test]
fn a_pod_that_has_ended_is_completed_or_an_error() {
    assert_eq!(row(&lives(Never, &SEED[..1], &[("busybox1", 0)])), "0/1 Completed");
    assert_eq!(row(&lives(Never, &SEED[..1], &[("busybox1", 2)])), "0/1 Error");
}

#[test]
fn status_vector_apps_that_are_awaited_after_init_are_pod_initializing() {
    let mut world = World::new(pod(Always, &[("setup", Init), ("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    world.reply(world.id("setup"), true);
    world.exit("setup", 0);
    assert_eq!(row(&world), "0/1 PodInitializing");
}

#[test]
fn status_vector_init_containers_are_counted_while_they_run() {
    let two = [("one", Init), ("two", Init), ("web", App)];
    assert_eq!(row(&World::new(pod(Always, &two))), "0/1 Init:0/2");
    assert_eq!(row(&lives(Always, &two, &[("one", 0)])), "0/1 Init:1/2");
}

#[test]
fn status_vector_an_init_container_that_backs_off_is_named_by_that() {
    let one = [("setup", Init), ("web", App)];
    assert_eq!(row(&lives(OnFailure, &one, &[("setup", 1), ("setup", 1)])), "0/1 Init:CrashLoopBackOff");
}

#[test]
fn status_vector_a_failed_init_container_is_an_error_when_it_is_about_to_be_retried_and_under_never() {
    let one = [("setup", Init), ("web", App)];
    assert_eq!(row(&lives(Never, &one, &[("setup", 1)])), "0/1 Init:Error");
    let mut world = World::new(pod(OnFailure, &one));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    world.reply(world.id("setup"), true);
    world.exit("setup", 1);
    assert_eq!(row(&world), "0/1 Init:Error");
}

#[test]
fn status_vector_a_sidecar_that_has_not_started_counts_in_both_numbers() {
    let world = World::new(pod(Always, &[("proxy", Sidecar), ("web", App)]));
    assert_eq!(row(&world), "0/2 Init:0/1");
    assert_eq!(row(&lives(Always, &[("proxy", Sidecar), ("web", App)], &[])), "2/2 Running");
}

#[test]
fn status_vector_a_container_whose_image_cannot_be_pulled_hides_the_ones_that_run() {
    let status = r#"{"phase": "Pending", "containerStatuses": [
        {"name": "a", "ready": true, "state": {"running": {"startedAt": "2026-05-01T10:00:00Z"}}},
        {"name": "b", "ready": false, "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}"#;
    let status: PodStatus = serde_json::from_str(status).unwrap();
    let now = Timestamp::seconds(wall(Time::default()));
    let Columns { ready, status, .. } = columns(&pod(Always, &[("a", App), ("b", App)]), &status, false, now);
    assert_eq!((&*ready, &*status), ("1/2", "ImagePullBackOff"));
}

#[test]
fn of_two_containers_that_do_not_run_the_first_by_name_is_shown() {
    let world = lives(Never, &[("b", App), ("c", App), ("a", App)], &[("b", 137), ("c", 1)]);
    assert_eq!(row(&world), "1/3 Error");
    let mut world = lives(Always, &[("b", App), ("a", App)], &[("a", 1), ("a", 1)]);
    world.kill("b", KILL);
    world.exit("b", 137);
    assert_eq!(row(&world), "0/2 CrashLoopBackOff");
}

#[test]
fn a_sidecar_that_is_ready_is_counted_while_a_later_init_container_runs() {
    let world = lives(Always, &[("proxy", Sidecar), ("setup", Init), ("web", App)], &[]);
    assert_eq!(row(&world), "1/2 Init:1/2");
}

#[test]
fn status_vector_a_deadline_is_hidden_by_the_container_that_it_ended() {
    let mut spec = pod(Never, &[("web", App)]);
    spec.active_deadline = Some(std::time::Duration::from_secs(1));
    let mut world = World::started(spec);
    world.secs(40);
    assert_eq!(world.signals().last(), Some(&(31, "web", KILL)));
    world.exit("web", 137);
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(row(&world), "0/1 Error");
}

#[test]
fn an_app_that_backs_off_is_named_by_that_and_its_restarts_are_counted() {
    let mut world = lives(Always, &[("web", App), ("cache", App)], &[("web", 1), ("web", 1)]);
    world.secs(4);
    assert_eq!(row(&world), "1/2 CrashLoopBackOff");
    assert_eq!(shown(&world).restarts, "1 (4s ago)");
}

#[test]
fn restarts_of_init_containers_count_during_init_and_those_of_sidecars_for_ever() {
    let mut world = lives(Always, &[("setup", Init), ("proxy", Sidecar), ("web", App)], &[("setup", 1)]);
    assert_eq!(shown(&world).restarts, "1 (0s ago)");
    world.exit("setup", 0);
    assert_eq!(shown(&world).restarts, "0");
    world.exit("proxy", 1);
    assert_eq!(shown(&world).restarts, "1 (0s ago)");
}

#[test]
fn a_pod_that_is_deleted_is_terminating_until_it_has_ended() {
    let mut world = lives(Never, &SEED[..1], &[]);
    let status = |world: &World| {
        columns(world.machine.spec(), &world.status(), true, Timestamp::seconds(wall(world.now))).status
    };
    assert_eq!(status(&world), "Terminating");
    world.exit("busybox1", 0);
    assert_eq!(status(&world), "Completed");
}

#[test]
fn an_end_without_a_reason_is_told_by_its_signal_or_its_code() {
    let spec: PodSpec = pod(Never, &[("setup", Init), ("web", App)]);
    let now = Timestamp::seconds(wall(Time::default()));
    for (end, expected) in [(r#""exitCode": 3"#, "ExitCode:3"), (r#""exitCode": 137, "signal": 9"#, "Signal:9")] {
        let init =
            format!(r#"{{"initContainerStatuses": [{{"name": "setup", "state": {{"terminated": {{{end}}}}}}}]}}"#);
        let app = format!(r#"{{"containerStatuses": [{{"name": "web", "state": {{"terminated": {{{end}}}}}}}]}}"#);
        let shown = |json: &str| columns(&spec, &serde_json::from_str(json).unwrap(), false, now).status;
        assert_eq!([shown(&init), shown(&app)], [format!("Init:{expected}"), expected.into()]);
    }
}

#[test]
fn containers_of_a_pod_that_was_stopped_before_they_ran_are_lost_or_still_awaited() {
    let mut world = World::new(pod(Never, &[("web", App), ("cache", App)]));
    world.create_all();
    world.terminate(None);
    let end = world.json()["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!((&end["reason"], &end["exitCode"]), (&"ContainerStatusUnknown".into(), &137.into()));
    assert_eq!(world.phase(), Phase::Failed);
    let world = lives(Never, &[("setup", Init), ("web", App)], &[("setup", 1)]);
    assert_eq!(world.json()["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
}

#[test]
fn ages_have_two_units_at_most() {
    let minute = 60;
    let (hour, day) = (60 * minute, 24 * 60 * minute);
    for (secs, expected) in [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * minute + 5, "10m"),
        (3 * hour + 7 * minute, "3h7m"),
        (8 * hour + minute, "8h"),
        (2 * day + 3 * hour, "2d3h"),
        (9 * day + hour, "9d"),
        (800 * day, "2y70d"),
        (3000 * day, "8y"),
    ] {
        assert_eq!(age(std::time::Duration::from_secs(secs)), expected);
    }
}
