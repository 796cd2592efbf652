//! Clocks that differ: a shim, or a `delete`, in a time namespace of its own, for which the machine has run for longer
//! (time_namespaces(7)). And one that jumps.

use std::fs;

use containerd_shim_protos::api::Status;
use nix::{
    sys::time::{TimeSpec, TimeValLike},
    time::{ClockId, clock_gettime, clock_settime},
};
use serde_json::{Value, json};

use super::{SLEEP, lives, until};
use crate::{Place, skipped};

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

/// Set where the machine's clock may be: in a guest.
const MAY_JUMP: &str = "LOMENT_TEST_CLOCK_MAY_JUMP";

fn jump(seconds: i64) {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
    clock_settime(ClockId::CLOCK_REALTIME, now + TimeSpec::seconds(seconds)).unwrap();
}

#[test]
fn a_clock_that_jumps_keeps_no_pod_from_its_restarts_and_makes_no_time_run_backwards() {
    const YEAR: i64 = 365 * 86_400;
    if std::env::var_os(MAY_JUMP).is_none() {
        skipped(&format!(
            "no clock that jumps: this machine's is not to be set without {MAY_JUMP}, as scripts/guest does"
        ));
        return;
    }
    let place = Place::new();
    let liveness = json!({"exec": {"command": ["/bin/busybox", "true"]}, "periodSeconds": 1});
    let (sandbox, tasks) = place.pod(&["one"], json!({"livenessProbe": liveness}), "echo >>/data/ran; exit 3");
    sandbox.change(|spec| {
        let annotations = &mut spec["annotations"];
        let mut manifest: Value =
            serde_json::from_str(annotations["io.loment.pod.manifest"].as_str().unwrap()).unwrap();
        manifest["spec"]["restartPolicy"] = json!("Always");
        manifest["metadata"]["annotations"] = json!({"io.loment.pod.backoff-max": "50ms"});
        annotations["io.loment.pod.manifest"] = json!(manifest.to_string());
    });
    Place::keep(&sandbox, &place.directory);
    sandbox.run().unwrap();
    tasks[0].run().unwrap();
    let ran = || fs::read_to_string(place.directory.join("ran")).unwrap_or_default().lines().count();
    for years in [2, -1, -40, 39] {
        jump(years * YEAR);
        let before = ran();
        until("it has been restarted", || ran() > before + 3);
        assert_eq!(sandbox.status(), Status::RUNNING);
    }
    tasks[0].removed();
    sandbox.removed();
    let timeline = fs::read_to_string(place.directory.join("timeline.jsonl")).unwrap();
    let since = |line: &str| serde_json::from_str::<Value>(line).unwrap()["since_start_nanos"].as_u64().unwrap();
    assert!(timeline.lines().map(since).is_sorted(), "{timeline}");
    place.is_clean();
}
