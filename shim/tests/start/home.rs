//! A shim of which nobody knows any more: its bundle is gone, and nothing of it runs.

use std::{fs, path::PathBuf, thread::sleep, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{Place, task::slowness};

/// Longer than a shim that nobody asks for anything waits before it looks.
const QUIET: Duration = Duration::from_millis(2500);

impl Place {
    /// As containerd removes a bundle: it is renamed first.
    fn loses(&self, bundle: &str) {
        let renamed = self.directory.join(format!(".{bundle}"));
        fs::rename(self.directory.join(bundle), &renamed).unwrap();
        fs::remove_dir_all(renamed).unwrap();
    }

    /// Gives back what the place's end wants to find.
    fn has_again(&self) {
        fs::create_dir_all(self.directory.join("bundle")).unwrap();
    }
}

#[test]
fn a_shim_that_was_never_asked_for_anything_leaves_when_its_bundle_is_gone() {
    let place = Place::new();
    place.started("");
    let socket = place.socket();
    place.loses("bundle");
    place.gone();
    place.has_again();
    assert!(!socket.exists(), "its socket is still there");
}

#[test]
fn a_shim_whose_container_has_ended_leaves_with_its_bundle_and_one_whose_container_runs_stays() {
    let place = Place::new();
    let task = place.task(false, "exec sleep 1000");
    let socket = place.socket();
    task.created().unwrap();
    task.started().unwrap();
    // What is mounted in a bundle is not the shim's to lose: the container's root is nowhere but in its own namespace.
    place.loses("bundle");
    sleep(QUIET * slowness());
    assert_eq!(place.shims().len(), 1, "it has left, and its container runs");
    assert!(!place.cgroups().is_empty(), "nobody could see that the cgroup of its container goes");
    task.killed().unwrap();
    place.gone();
    place.has_again();
    assert!(!socket.exists(), "its socket is still there");
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new(), "cgroups of its container are still there");
}

/// containerd loses a task like this when its client hangs up, and then runs `delete` for it, which kills the holder.
#[test]
fn a_shim_whose_pod_never_began_leaves_when_its_holder_and_its_bundle_are_gone() {
    let place = Place::new();
    let (sandbox, _) = place.pod(&["one"], json!({}), "exec sleep 1000");
    let socket = place.socket();
    sandbox.created().unwrap();
    kill(Pid::from_raw(sandbox.pid().cast_signed()), Signal::SIGKILL).unwrap();
    place.loses("bundle");
    place.gone();
    place.has_again();
    assert!(!socket.exists(), "its socket is still there");
}
