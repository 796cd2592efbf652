//! The phases of a start, as the processes that take part in it have noted them.

use loment_cgroups::Layout;
use loment_sandbox::{
    container::{Creating, Extras, Role},
    trace::{Group, Lane, Phase, Trace, Traces, now},
};
use serde_json::json;

use crate::{support::*, users};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_container_notes_every_phase_in_its_order,
    a_holder_notes_its_phases,
    a_container_with_users_of_its_own_notes_its_phases,
    an_exec_notes_its_phases,
    what_has_failed_has_noted_how_far_it_came,
];

/// What the maker reaches between Create and the gate that is opened, and what the process reaches.
const MADE: [Phase; 3] = [Phase::Planned, Phase::CgroupMade, Phase::Cloned];
const ROOTED: [Phase; 2] = [Phase::MountsGathered, Phase::RootEntered];

fn trace() -> Trace {
    Traces::new(1, 1).unwrap().begin(Group::Containers).0
}

fn creating(bundle: &Bundle, trace: Trace) -> loment_sandbox::Result<Creating> {
    Creating::begin_with(bundle.request(no_io()), Extras { trace, ..Extras::default() }, &Layout::detect().unwrap())
}

/// Creates it, lets it run, and deletes it.
fn live(bundle: &Bundle) -> Trace {
    let trace = trace();
    let mut container = creating(bundle, trace).unwrap().finish().unwrap();
    container.start().unwrap().finish().unwrap();
    container.delete().unwrap();
    trace
}

/// Those of a lane, in the order in which they were reached.
fn reached(trace: Trace, lane: Lane) -> Vec<Phase> {
    let spans = trace.spans().unwrap();
    assert!(spans.iter().all(|span| span.from <= span.to && span.to <= now()), "{spans:?}");
    spans.iter().map(|span| span.phase).filter(|phase| phase.lane() == lane).collect()
}

fn a_container_notes_every_phase_in_its_order() {
    let trace = live(&Bundle::new("true"));
    assert_eq!(reached(trace, Lane::Shim), MADE);
    let child = [
        &[Phase::Born, Phase::CgroupEntered, Phase::NamespacesJoined][..],
        &ROOTED,
        &[Phase::RootSealed, Phase::Ready, Phase::GatePassed, Phase::Prepared],
    ];
    assert_eq!(reached(trace, Lane::Child), child.concat());
    let spans = trace.spans().unwrap();
    let born = spans.iter().find(|span| span.phase == Phase::Born).unwrap();
    assert_eq!(Some(born.from), trace.at(Phase::CgroupMade), "its birth begins in its maker");
}

fn a_holder_notes_its_phases() {
    let mut bundle = Bundle::new("");
    bundle.role = Role::Holder;
    let expected = [
        Phase::Born,
        Phase::CgroupEntered,
        Phase::NamespacesJoined,
        Phase::Ready,
        Phase::RootEntered,
        Phase::GatePassed,
    ];
    assert_eq!(reached(live(&bundle), Lane::Child), expected);
}

fn a_container_with_users_of_its_own_notes_its_phases() {
    let trace = live(&users::bundle("true"));
    let child = reached(trace, Lane::Child);
    let expected =
        [Phase::Born, Phase::CgroupEntered, Phase::RootEntered, Phase::Ready, Phase::GatePassed, Phase::Prepared];
    assert_eq!(child, expected);
}

fn an_exec_notes_its_phases() {
    let running = Bundle::new("sleep 100");
    let running = running.started();
    let trace = trace();
    let process = serde_json::from_value(json!({"args": ["/bin/true"], "cwd": "/", "user": {}})).unwrap();
    let extras = Extras { trace, ..Extras::default() };
    let (mut process, _) = running.0.exec_with(&process, no_io(), extras).unwrap().finish().unwrap();
    wait(&mut process);
    assert_eq!(reached(trace, Lane::Shim), [Phase::Planned, Phase::Cloned]);
    let child = [Phase::Born, Phase::CgroupEntered, Phase::NamespacesJoined, Phase::Ready, Phase::Prepared];
    assert_eq!(reached(trace, Lane::Child), child);
}

fn what_has_failed_has_noted_how_far_it_came() {
    let mut bundle = Bundle::new("");
    bundle.spec["process"]["args"] = json!(["/bin/is-missing"]);
    let trace = trace();
    creating(&bundle, trace).unwrap().finish().unwrap_err();
    assert_eq!(reached(trace, Lane::Child).last(), Some(&Phase::RootSealed));
}
