//! Clocks that differ: a shim, or a `delete`, in a time namespace of its own, for which the machine has run for longer, or
//! less long. time_namespaces(7)

use super::{SLEEP, lives};
use crate::Place;

/// In the place of the program: the same for which so much more time has passed since the machine was started.
fn later(seconds: u32) -> String {
    format!("exec unshare --time --monotonic {seconds} --boottime {seconds} --fork \"$0\" \"$@\";")
}

#[test]
fn after_the_death_of_a_shim_a_delete_with_another_clock_ends_its_container() {
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    let pid = task.pid().cast_signed();
    place.bereave();
    let output = place.run_after(&later(86_400), "delete", "");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(!lives(pid));
    place.is_clean();
}

#[test]
fn a_shim_with_a_clock_of_its_own_serves_and_is_cleaned_up_after_by_one_without() {
    let mut place = Place::new();
    place.before = later(86_400);
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    assert_eq!(task.exec("e", "exit 3").unwrap(), 3);
    let pid = task.pid().cast_signed();
    place.bereave();
    place.deleted();
    assert!(!lives(pid));
    place.is_clean();
}
