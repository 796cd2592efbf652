//! No descriptors: a limit that is reached at each of those that an operation opens, one after the other.

use std::{collections::HashSet, process::Command, thread, time::Duration};

use containerd_shim_protos::ttrpc;

use super::{SLEEP, children, descriptors, refusal, until};
use crate::{
    Place,
    task::{Task, slowness},
};

/// More than any operation opens.
const ENOUGH: u64 = 200;

/// What it has otherwise.
const PLENTY: u64 = 1000;
/// What every refusal says.
const MISSING: &str = "Too many open files";

/// How many descriptors the shim may have.
struct Limit(i32);

impl Limit {
    /// As many as it has, and `more`.
    fn set(&self, more: u64) {
        let open: HashSet<u64> = descriptors(self.0).into_iter().map(|(number, _)| number as u64).collect();
        let mut free = (0..).filter(|number| !open.contains(number));
        self.to(free.nth(more as usize).unwrap());
    }

    fn to(&self, limit: u64) {
        // The hard limit stays.
        let done = Command::new("prlimit").args([format!("--pid={}", self.0), format!("--nofile={limit}:")]).status();
        assert!(done.unwrap().success());
    }
}

/// Does `work` with 0, 1, 2 and so on descriptors, until it is done. Every refusal says what is missing, and leaves the shim
/// with what it had.
fn with_ever_more(place: &Place, task: &Task, mut work: impl FnMut(&Task) -> ttrpc::Result<()>) -> u64 {
    let (shim, asked) = (place.shim(), task.again(place));
    asked.is_answered();
    let (limit, family) = (Limit(shim), children(shim).len());
    for more in 0..ENOUGH {
        let before = descriptors(shim).len();
        limit.set(more);
        let done = work(task);
        asked.is_answered();
        limit.to(PLENTY);
        if done.is_ok() {
            return more;
        }
        let refused = refusal(done);
        assert!(refused.contains(MISSING), "with {more}: {refused}");
        until("the shim has no child left of what failed", || children(shim).len() <= family);
        until("it has no descriptor left of what failed", || descriptors(shim).len() <= before);
    }
    panic!("{ENOUGH} descriptors are not enough");
}

#[test]
fn for_want_of_each_descriptor_a_create_fails_clearly_and_leaves_nothing() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    let needed = with_ever_more(&place, &task, |task| task.created().inspect_err(|_| place.is_clean()));
    assert!(needed > 3, "{needed}");
    task.started().unwrap();
    task.removed();
    place.is_clean();
}

#[test]
fn for_want_of_each_descriptor_a_start_or_an_exec_fails_clearly_and_works_afterwards() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.created().unwrap();
    with_ever_more(&place, &task, Task::started);
    let mut number = 0;
    with_ever_more(&place, &task, |task| {
        number += 1;
        task.exec(&format!("e{number}"), "exit 3").map(|code| assert_eq!(code, 3))
    });
    let limit = Limit(place.shim());
    limit.set(0);
    task.killed().unwrap();
    task.ended();
    let deleted = task.deleted();
    limit.to(PLENTY);
    if deleted.is_err() {
        assert!(refusal(deleted).contains(MISSING));
        task.deleted().unwrap();
    }
    place.is_clean();
}

/// A client that cannot be accepted waits in the queue of the socket.
#[test]
fn a_client_that_comes_when_there_are_none_left_is_served_when_there_are_again() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.is_answered();
    let limit = Limit(place.shim());
    limit.set(0);
    let late = task.again(&place);
    let answered = thread::spawn(move || late.is_answered());
    for _ in 0..20 * slowness() {
        task.is_answered();
        thread::sleep(Duration::from_millis(5));
    }
    assert!(!answered.is_finished(), "there was one");
    limit.to(PLENTY);
    answered.join().unwrap();
}
