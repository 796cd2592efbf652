//! What docker's users have of the shim, and not of a runtime's command line.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::resources::SURVIVES_A_CHILD;
use crate::{
    engine::{Case, Engine, cases, eventually},
    lab::Lab,
    way::SHIM,
};

pub(super) const CASES: &[Case<Lab>] = cases![
    a_container_is_made_by_the_shim_that_it_names,
    a_container_whose_shim_was_killed_has_ended_and_starts_again,
    a_container_that_memory_ended_is_told_to_have_lacked_it,
    a_container_that_only_lost_a_child_ends_as_it_ends,
];

/// The process that serves a container, and its program.
fn shim_of(lab: &Lab, name: &str) -> (Pid, String) {
    let status = fs::read_to_string(format!("/proc/{}/status", lab.inspect(name, ".State.Pid"))).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let program = fs::read_link(format!("/proc/{parent}/exe")).unwrap();
    (Pid::from_raw(parent.parse().unwrap()), program.file_name().unwrap().to_string_lossy().into_owned())
}

/// Without a word of it in `daemon.json`.
fn a_container_is_made_by_the_shim_that_it_names(lab: &Lab) {
    lab.start("named", &["--runtime", SHIM], "exec sleep 1000");
    lab.start("default", &[], "exec sleep 1000");
    let shims = [shim_of(lab, "named"), shim_of(lab, "default")];
    assert!(shims.iter().all(|(_, program)| program == "containerd-shim-loment-v2"), "{shims:?}");
    assert_ne!(shims[0].0, shims[1].0, "docker has no groups");
    lab.remove("default");
    assert_eq!(lab.call(&["exec", "named", "echo", "here"]).ok(), "here\n");
    lab.remove("named");
}

fn a_container_whose_shim_was_killed_has_ended_and_starts_again(lab: &Lab) {
    lab.start("orphan", &[], "exec sleep 1000");
    let pid = lab.inspect("orphan", ".State.Pid");
    kill(shim_of(lab, "orphan").0, Signal::SIGKILL).unwrap();
    assert_eq!(lab.call(&["wait", "orphan"]).ok(), "137\n");
    // Nobody collects what has lost its shim here: it has no words any more.
    eventually("the end of its process", || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty());
    lab.call(&["start", "orphan"]).ok();
    assert_eq!(lab.call(&["exec", "orphan", "echo", "again"]).ok(), "again\n");
    let id = lab.inspect("orphan", ".Id");
    lab.remove("orphan");
    eventually("the end of all that was its own", || lab.traces(&id).is_empty());
}

fn a_container_that_memory_ended_is_told_to_have_lacked_it(lab: &Lab) {
    lab.start("ended", &["--memory", "20m", "--memory-swap", "20m"], "exec dd if=/dev/zero of=/dev/null bs=100M");
    assert_eq!(lab.call(&["wait", "ended"]).ok(), "137\n");
    eventually("the end", || lab.inspect("ended", ".State.Status") == "exited");
    assert_eq!(lab.inspect("ended", ".State.OOMKilled"), "true");
    let told = lab.events("ended", "{{.Action}}");
    assert!(told.ends_with("start\noom\ndie\n"), "{told}");
    lab.remove("ended");
}

/// containerd's event means that memory ended the container; the shim's log has the rest.
fn a_container_that_only_lost_a_child_ends_as_it_ends(lab: &Lab) {
    lab.start("lost", &["--memory", "20m", "--memory-swap", "20m"], SURVIVES_A_CHILD);
    eventually("the child's end", || lab.call(&["logs", "lost"]).ok() == "137\n");
    lab.call(&["exec", "lost", "touch", "/go"]).ok();
    assert_eq!(lab.call(&["wait", "lost"]).ok(), "0\n");
    assert_eq!(lab.inspect("lost", ".State.OOMKilled"), "false");
    lab.remove("lost");
}
