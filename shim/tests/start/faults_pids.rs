//! No processes left: a limit on the shim's cgroup that is reached at each process which an operation needs, one after the
//! other.

use std::{fs, path::PathBuf};

use containerd_shim_protos::ttrpc;
use serde_json::{Value, json};

use super::{Limit, SLEEP, children, refusal, until};
use crate::{Place, task::Task};

/// More than any operation needs.
const ENOUGH: usize = 20;

impl Limit {
    /// Counts the shim's processes.
    fn of(place: &Place) -> Self {
        let limit = Self::new(place, "pids");
        limit.take(place.shim());
        limit
    }

    /// As many as there are, and `more`.
    fn set(&self, more: usize) {
        let now: usize = fs::read_to_string(self.0.join("pids.current")).unwrap().trim().parse().unwrap();
        self.write("pids.max", (now + more).to_string());
    }

    fn lift(&self) {
        self.write("pids.max", "max");
    }
}

/// Does `work` with 0, 1, 2 and so on processes, until it is done; answers how many it took. Every refusal says what is
/// missing.
fn with_ever_more(place: &Place, asked: &Task, mut work: impl FnMut() -> ttrpc::Result<()>) -> usize {
    let (shim, limit, family) = (place.shim(), Limit::of(place), children(place.shim()).len());
    for more in 0..ENOUGH {
        limit.set(more);
        let done = work();
        asked.is_answered();
        limit.lift();
        if done.is_ok() {
            return more;
        }
        let refused = refusal(done);
        assert!(refused.contains("Try again"), "with {more}: {refused}");
        assert!(refused.contains("limit of processes"), "it does not say what to do: {refused}");
        until("the shim has no child left of what failed", || children(shim).len() <= family);
    }
    panic!("{ENOUGH} processes are not enough");
}

/// As many as there are at the same time in the shim's cgroup. On cgroup v2 a container's are born in its own.
#[track_caller]
fn is_what_it_takes(taken: usize, needed: usize) {
    match PathBuf::from("/sys/fs/cgroup/pids").exists() {
        true => assert_eq!(taken, needed),
        false => assert!(taken <= needed, "{taken}"),
    }
}

/// Users of its own.
fn give_users(spec: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (map.clone(), map);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
}

/// A container that is made of such a specification, in want of each process.
fn lives_with_ever_more(change: impl FnOnce(&mut Value), needed: usize) {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.change(change);
    let taken = with_ever_more(&place, &task, || task.created().inspect_err(|_| place.is_clean()));
    is_what_it_takes(taken, needed);
    with_ever_more(&place, &task, || task.started());
    task.removed();
    place.is_clean();
}

#[test]
fn a_container_for_whose_init_there_is_no_process_is_refused() {
    lives_with_ever_more(|_| (), 1);
}

#[test]
fn the_holder_of_a_pod_for_which_there_is_no_process_is_refused() {
    lives_with_ever_more(|spec| spec["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox"}), 1);
}

#[test]
fn a_container_with_users_of_its_own_is_refused_for_want_of_each_process_that_makes_it() {
    lives_with_ever_more(give_users, 1);
}

#[test]
fn a_container_for_whose_hooks_there_is_no_process_is_refused() {
    lives_with_ever_more(
        |spec| {
            let hook = json!([{"path": "/bin/busybox", "args": ["busybox", "true"]}]);
            spec["hooks"] = json!({"createRuntime": hook, "createContainer": hook, "startContainer": hook});
        },
        2,
    );
}

#[test]
fn an_exec_for_which_there_is_no_process_is_refused_and_the_container_lives_on() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    let mut number = 0;
    let taken = with_ever_more(&place, &task, || {
        number += 1;
        task.exec(&format!("e{number}"), "exit 3").map(|code| assert_eq!(code, 3))
    });
    is_what_it_takes(taken, 1);
    task.removed();
    place.is_clean();
}

/// The limit is the container's own, as a limit on the processes of a pod is.
#[test]
fn in_a_container_that_may_have_no_more_processes_an_exec_is_refused() {
    let place = Place::new();
    let task = place.task(false, "while :; do busybox sleep 1000; done");
    task.change(|spec| spec["linux"]["resources"] = json!({"pids": {"limit": 2}}));
    task.run().unwrap();
    let pid = task.pid().cast_signed();
    until("it has all that it may have", || !children(pid).is_empty());
    let code = task.exec("e", "busybox true && busybox true; exit 3");
    // One may be moved beyond the limit, but not begin another there.
    if let Ok(code) = code {
        assert_ne!(code, 3, "it has begun others");
    }
    task.removed();
    place.is_clean();
}

/// After its death nobody else would do it.
#[test]
fn a_delete_whose_hooks_find_no_process_is_done_again() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    let hook = json!([{"path": "/bin/busybox", "args": ["busybox", "true"]}]);
    task.change(|spec| spec["hooks"] = json!({"poststop": hook}));
    task.run().unwrap();
    task.killed().unwrap();
    task.ended();
    let taken = with_ever_more(&place, &task, || task.deleted().map(drop));
    // What keeps a hook from being run is a warning.
    assert!(taken == 1, "{taken}");
    place.is_clean();
}

/// The limit is the container's own, and less than what makes it.
#[test]
fn a_container_that_may_have_one_process_is_made_or_refused_clearly() {
    for has_users in [false, true] {
        let place = Place::new();
        let task = place.task(false, SLEEP);
        task.change(|spec| {
            spec["linux"]["resources"] = json!({"pids": {"limit": 1}});
            if has_users {
                give_users(spec);
            }
        });
        match task.run() {
            Ok(()) => task.removed(),
            refused => {
                let refused = refusal(refused);
                assert!(has_users && refused.contains("limit of processes"), "{refused}");
            }
        }
        place.is_clean();
    }
}
