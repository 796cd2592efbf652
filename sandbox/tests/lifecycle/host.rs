//! What a confused host reports changes nothing, and what happened is kept.

use loment_sandbox::lifecycle::{
    Action, Event,
    Kind::{App, Init},
    Moment, Phase,
    RestartPolicy::{Always, Never},
    timeline::Record,
};

use crate::world::{World, pod, wall};

#[test]
fn an_event_that_cannot_have_happened_is_recorded_and_asks_for_nothing() {
    let mut world = World::new(pod(Always, &[("setup", Init), ("web", App)]));
    let container = world.id("web");
    for event in [
        Event::Armed { container },
        Event::Opened { container },
        Event::Ready { container },
        Event::StartFailed { container, code: 1, message: String::new() },
        Event::Exited { container, code: 1, oom_killed: false, message: None },
        Event::PrepareFailed { container, message: String::new() },
        Event::KillRequested { container, signal: 9 },
    ] {
        let actions = world.machine.step(world.now, event.clone());
        let recorded =
            matches!(&actions[..], [Action::Record(entry)] if matches!(entry.what, Moment::Unexpected { .. }));
        assert!(recorded, "{event:?}: {actions:?}");
    }
    assert_eq!(world.phase(), Phase::Pending);
}

#[test]
fn an_event_of_a_container_that_another_pod_has_is_recorded_and_asks_for_nothing() {
    let larger = World::new(pod(Always, &[("a", App), ("b", App), ("c", App)]));
    let mut world = World::new(pod(Always, &[("web", App)]));
    let actions = world.machine.step(world.now, Event::Created { container: larger.id("c") });
    assert!(matches!(&actions[..], [Action::Record(_)]), "{actions:?}");
}

#[test]
fn what_is_reported_twice_counts_once() {
    let mut world = World::new(pod(Always, &[("web", App)]));
    world.create_all();
    let container = world.id("web");
    for event in [Event::Created { container }, Event::Armed { container }, Event::Armed { container }] {
        world.event(event);
    }
    world.event(Event::Opened { container });
    assert_eq!(world.opens(), [(0, "web")]);
    world.terminate(None);
    world.terminate(None);
    assert_eq!(world.signals().len(), 1);
    world.exit("web", 0);
    world.event(Event::Exited { container, code: 1, oom_killed: false, message: None });
    assert_eq!(world.reports(), [("web", 0)]);
    assert_eq!(world.phase(), Phase::Succeeded);
}

#[test]
fn a_process_lost_for_memory_is_recorded_of_a_container_that_lives_on_and_changes_nothing() {
    let mut world = World::new(pod(Always, &[("web", App)]));
    world.create_all();
    let container = world.id("web");
    let lost = Event::MemoryKilled { container, kills: 2 };
    assert_eq!(world.machine.step(world.now, lost.clone()), [], "it has not begun");
    world.event(Event::Armed { container });
    world.event(Event::Opened { container });
    let actions = world.machine.step(world.now, lost.clone());
    let [Action::Record(entry)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((entry.what.reason(), entry.what.is_warning()), ("OOMKilling", true));
    assert_eq!(entry.what.to_string(), "lost 2 processes for want of memory and lives on");
    assert_eq!(world.running(), ["web"]);
    world.terminate(None);
    world.exit("web", 0);
    assert_eq!(world.machine.step(world.now, lost), [], "it has ended, and its exit was told");
}

#[test]
fn a_process_that_dies_at_its_gate_is_replaced_after_a_delay_and_counts_as_no_attempt() {
    let mut world = World::new(pod(Never, &[("setup", Init), ("web", App)]));
    world.create_all();
    world.event(Event::Armed { container: world.id("web") });
    let container = world.id("web");
    world.lose(container);
    world.secs(10);
    world.event(Event::Armed { container: world.id("setup") });
    world.exit("setup", 0);
    assert_eq!(world.running(), ["web"]);
    assert_eq!(world.machine.container("web").unwrap().restart_count(), 0);
}

#[test]
fn an_attempt_that_was_being_prepared_when_it_was_discarded_is_discarded_again_when_it_is_ready() {
    let mut world = World::new(pod(Always, &[("web", App)]));
    world.prompt = false;
    world.create_all();
    world.arm_all();
    let container = world.id("web");
    world.reply(container, true);
    world.exit("web", 1);
    world.terminate(None);
    assert_eq!((world.discarded(), world.reports()), (vec!["web"], vec![("web", 1)]));
    world.event(Event::Ready { container });
    assert_eq!((world.discarded(), world.reports()), (vec!["web", "web"], vec![("web", 1)]));
}

#[test]
fn time_that_runs_backwards_is_taken_as_standing_still() {
    let mut world = World::started(pod(Always, &[("web", App)]));
    world.secs(100);
    world.exit("web", 1);
    world.exit("web", 1);
    let before = loment_sandbox::lifecycle::Time::from_nanos(0);
    world.machine.step(before, Event::Tick);
    assert!(world.timeline().zip(world.timeline().skip(1)).all(|(one, next)| one.at <= next.at));
    assert!(world.machine.next_deadline().unwrap() > world.now);
}

#[test]
fn the_timeline_tells_a_pods_life_in_order() {
    let mut world = World::started(pod(Never, &[("setup", Init), ("web", App)]));
    world.secs(1);
    world.exit("setup", 0);
    world.secs(1);
    world.exit("web", 3);
    let spec = world.machine.spec().clone();
    let told: Vec<Record> = world.timeline().map(|entry| entry.record(&spec, &wall)).collect();
    let lines: Vec<String> = told
        .iter()
        .map(|r| format!("{} {} {}", &r.time.to_string()[17..19], r.container.as_deref().unwrap_or("-"), r.reason))
        .collect();
    assert_eq!(
        lines,
        [
            "01 setup Created",
            "01 web Created",
            "01 setup Armed",
            "01 setup Started",
            "01 web Armed",
            "02 setup Exited",
            "02 web Started",
            "02 - PhaseChanged",
            "03 web Exited",
            "03 - PhaseChanged",
        ]
    );
    let last = serde_json::to_value(told.last().unwrap()).unwrap();
    assert_eq!(last["type"], "Warning");
    assert_eq!(last["phase"], "Failed");
    let back: Vec<Record> = serde_json::from_value(serde_json::to_value(&told).unwrap()).unwrap();
    assert_eq!(back, told);
}

#[test]
fn a_pod_that_is_held_starts_nothing_before_it_is_released() {
    let held = || {
        let begun = World::new(pod(Always, &[("setup", Init), ("web", App)]));
        let (machine, now) = (begun.machine.held(), begun.now);
        let mut world = World::of(machine, now);
        world.create_all();
        world.arm_all();
        world.secs(3600);
        assert_eq!(world.opens(), []);
        world
    };
    let mut released = held();
    released.event(Event::Released);
    assert_eq!(released.opens(), [(3600, "setup")]);
    released.event(Event::Released);
    assert_eq!(released.opens().len(), 1);
    let mut stopped = held();
    stopped.terminate(None);
    assert_eq!((stopped.opens(), stopped.reports().len()), (vec![], 2));
    assert!(stopped.machine.finished());
    stopped.event(Event::Released);
    assert_eq!(stopped.opens(), []);
}
