//! Clients that ask again, that go away in the middle, and that come after the death of a shim.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{DeleteRequest, StartRequest, StateRequest, Status},
    ttrpc::{self, context},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use super::{SLEEP, lives, until};
use crate::{
    Place,
    task::{Task, patience, slowness},
};

impl Place {
    /// A hook that says that it has begun and waits until it is let go.
    fn hook(&self, name: &str) -> Value {
        let script = format!(
            "echo >>{0}/begun-{name}; while [ ! -e {0}/go-{name} ]; do busybox sleep 0.01; done",
            self.directory.display()
        );
        json!([{"path": "/bin/busybox", "args": ["busybox", "sh", "-c", script]}])
    }

    fn has_begun(&self, name: &str) {
        until("the hook has begun", || self.directory.join(format!("begun-{name}")).exists());
    }

    /// How often it was run.
    fn runs(&self, name: &str) -> usize {
        fs::read_to_string(self.directory.join(format!("begun-{name}"))).unwrap_or_default().lines().count()
    }

    fn let_go(&self, name: &str) {
        fs::write(self.directory.join(format!("go-{name}")), "").unwrap();
    }
}

fn code(error: &ttrpc::Error) -> ttrpc::Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

/// For a client that goes away before it is answered.
fn impatience() -> context::Context {
    context::with_duration(Duration::from_millis(300) * slowness())
}

#[test]
fn a_delete_that_is_asked_for_again_joins_the_first() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.change(|spec| spec["hooks"] = json!({"poststop": place.hook("stop")}));
    task.run().unwrap();
    task.killed().unwrap();
    task.ended();
    let ask = || {
        let task = task.again(&place);
        thread::spawn(move || task.deleted().map(|answer| (answer.pid, answer.exit_status)))
    };
    let first = ask();
    place.has_begun("stop");
    let second = ask();
    task.is_answered();
    assert!(!first.is_finished() && !second.is_finished());
    place.let_go("stop");
    let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap());
    match second {
        Ok(second) => assert_eq!(second, first),
        Err(error) => assert_eq!(code(&error), ttrpc::Code::NOT_FOUND),
    }
    assert_eq!(first.1, 137);
    assert_eq!(code(&task.deleted().unwrap_err()), ttrpc::Code::NOT_FOUND);
    assert_eq!(place.runs("stop"), 1);
    place.is_clean();
}

#[test]
fn what_a_client_has_asked_for_and_not_waited_for_is_done_once() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    let (create, start, stop) = (place.hook("create"), place.hook("start"), place.hook("stop"));
    task.change(|spec| spec["hooks"] = json!({"createRuntime": create, "poststart": start, "poststop": stop}));
    let gone = task.again(&place);
    gone.client.create(impatience(), &gone.create).unwrap_err();
    place.has_begun("create");
    drop(gone);
    assert_eq!(code(&task.created().unwrap_err()), ttrpc::Code::ALREADY_EXISTS);
    place.let_go("create");
    until("it is created", || task.found() == Some(Status::CREATED));

    let gone = task.again(&place);
    let request = StartRequest { id: task.id.clone(), ..StartRequest::default() };
    gone.client.start(impatience(), &request).unwrap_err();
    place.has_begun("start");
    drop(gone);
    let again = task.again(&place);
    let again = thread::spawn(move || again.started());
    task.is_answered();
    place.let_go("start");
    assert_eq!(code(&again.join().unwrap().unwrap_err()), ttrpc::Code::FAILED_PRECONDITION, "it has been started");
    assert_eq!(task.status(), Status::RUNNING);

    task.killed().unwrap();
    task.ended();
    let gone = task.again(&place);
    let request = DeleteRequest { id: task.id.clone(), ..DeleteRequest::default() };
    gone.client.delete(impatience(), &request).unwrap_err();
    place.has_begun("stop");
    drop(gone);
    let again = task.again(&place);
    let again = thread::spawn(move || again.deleted());
    place.let_go("stop");
    let again = again.join().unwrap();
    assert!(again.is_ok() || code(&again.unwrap_err()) == ttrpc::Code::NOT_FOUND);
    assert_eq!(["create", "start", "stop"].map(|name| place.runs(name)), [1; 3]);
    place.is_clean();
}

impl Task {
    /// Where it stands, if it is there.
    fn found(&self) -> Option<Status> {
        let request = StateRequest { id: self.id.clone(), ..StateRequest::default() };
        self.client.state(patience(), &request).ok().map(|state| state.status())
    }
}

/// How far a container has come when its shim is killed, and what is to be gone afterwards.
const STAGES: [&str; 4] = ["created", "running", "stopped", "with execs"];

#[test]
fn after_the_death_of_a_shim_delete_removes_a_container_however_far_it_has_come() {
    for stage in STAGES {
        let place = Place::new();
        let task = place.task(false, SLEEP);
        task.created().unwrap();
        let mut pids = vec![task.pid().cast_signed()];
        if stage != "created" {
            task.started().unwrap();
        }
        match stage {
            "stopped" => {
                task.killed().unwrap();
                task.ended();
            }
            "with execs" => {
                task.exec_added("registered", "true").unwrap();
                task.exec_added("running", "busybox sleep 1000").unwrap();
                pids.push(task.exec_started("running").unwrap());
            }
            _ => {}
        }
        place.bereave();
        place.deleted();
        assert!(pids.iter().all(|pid| !lives(*pid)), "{stage}: of {pids:?} there is one left");
        place.is_clean();
        // Once more finds nothing to do.
        place.deleted();
    }
}

/// With Task v3 a client asks for the sandbox alone.
#[test]
fn after_the_death_of_a_shim_delete_removes_the_pod_that_it_ran() {
    let place = Place::new();
    let (sandbox, tasks) = place.pod(&["one", "two", "three"], json!({}), SLEEP);
    sandbox.run().unwrap();
    tasks.iter().for_each(|task| task.created().unwrap());
    tasks[..2].iter().for_each(|task| task.started().unwrap());
    tasks[1].killed().unwrap();
    tasks[1].ended();
    let pids: Vec<_> = [&sandbox, &tasks[0], &tasks[2]].map(|task| task.pid().cast_signed()).into();
    place.bereave();
    place.deleted();
    assert!(pids.iter().all(|pid| !lives(*pid)), "of {pids:?} there is one left");
    place.is_clean();
}

#[test]
fn after_the_death_of_a_shim_two_deletes_at_once_are_both_answered_and_run_the_hooks_once() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    place.let_go("stop");
    task.change(|spec| spec["hooks"] = json!({"poststop": place.hook("stop")}));
    task.run().unwrap();
    place.bereave();
    thread::scope(|scope| {
        // The two read the same input, which is written before.
        for _ in 0..4 {
            scope.spawn(|| place.deleted());
        }
    });
    assert_eq!(place.runs("stop"), 1);
    place.is_clean();
}

#[test]
fn a_delete_of_one_container_disturbs_no_other_of_a_shim_that_lives() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    let sibling = place.sibling(&task, "beside");
    sibling.run().unwrap();
    // As containerd asks after a Create that it has not waited for.
    place.deleted();
    assert_eq!(sibling.status(), Status::RUNNING);
    task.run().unwrap();
    place.deleted();
    assert_eq!(sibling.status(), Status::RUNNING);
    assert_eq!(task.ended(), 137);
    task.deleted().unwrap();
    sibling.removed();
    place.is_clean();
}

/// Kills the shim as soon as there is `path`, while it makes a container.
fn killed_when_there_is(path: &Path, place: &Place, task: &Task) {
    let shim = Pid::from_raw(place.shim());
    thread::scope(|scope| {
        scope.spawn(|| {
            // The moment is short: nobody sleeps.
            let deadline = Instant::now() + Duration::from_secs(20) * slowness();
            let mut is_there = false;
            while !is_there && Instant::now() < deadline {
                is_there = path.exists();
            }
            kill(shim, Signal::SIGKILL).unwrap();
            assert!(is_there, "there never was {}", path.display());
        });
        let _lost = task.created();
    });
    until("the shim is gone", || !lives(shim.as_raw()));
}

/// Between the cgroup and the container's process there is a moment in which only the cgroup is there.
#[test]
fn a_shim_that_is_killed_while_it_makes_a_cgroup_leaves_none_after_delete() {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path());
    // Hybrid's own hierarchy gets a cgroup only where that is asked for.
    let mut hierarchies: Vec<_> = hierarchies.filter(|path| path.join("release_agent").exists()).collect();
    if hierarchies.is_empty() {
        hierarchies.push(top.to_owned());
    }
    for hierarchy in hierarchies {
        for _ in 0..3 {
            let place = Place::new();
            let task = place.task(false, SLEEP);
            killed_when_there_is(&hierarchy.join(&task.id), &place, &task);
            place.deleted();
            place.is_clean();
        }
    }
}

#[test]
fn a_shim_that_is_killed_when_it_has_written_the_record_leaves_nothing_after_delete() {
    for _ in 0..10 {
        let place = Place::new();
        let task = place.task(false, SLEEP);
        killed_when_there_is(&place.directory.join("bundle/loment.json"), &place, &task);
        place.deleted();
        place.is_clean();
    }
}
