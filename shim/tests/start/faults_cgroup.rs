//! A cgroup that does not empty, and processes that do not end: frozen, which for the shim is the same as waiting in the
//! kernel.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use containerd_shim_protos::api::Status;
use serde_json::json;

use super::{SLEEP, lives, refusal, until};
use crate::{Place, clean_up, skipped, task::Task};

/// A process of nobody's in particular.
pub(super) struct Stranger(Child);

impl Stranger {
    pub(super) fn new() -> Self {
        Self(Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn enter(&self, cgroup: &Path) {
        fs::write(cgroup.join("cgroup.procs"), self.pid().to_string()).unwrap();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        clean_up(|| {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        });
    }
}

/// Of cgroup v1.
const FREEZER: &str = "/sys/fs/cgroup/freezer";

fn has_freezer() -> bool {
    let is_there = Path::new(FREEZER).exists();
    if !is_there {
        skipped("no container that cannot end: what is frozen on cgroup v2 is killed all the same");
    }
    is_there
}

/// A hierarchy of cgroup v1 in which a process can be that is in no other of a container's.
const PIDS: &str = "/sys/fs/cgroup/pids";

fn has_many_hierarchies() -> bool {
    let is_there = Path::new(PIDS).exists();
    if !is_there {
        skipped(
            "no stranger in a container's cgroup: in the only hierarchy of cgroup v2 the kernel kills it with the others",
        );
    }
    is_there
}

/// A cgroup above those of containers, which the test freezes.
struct Above {
    name: String,
    directory: PathBuf,
}

impl Above {
    fn new(place: &Place) -> Self {
        let name = format!("{}-above", place.id);
        let directory = Path::new(FREEZER).join(&name);
        fs::create_dir(&directory).unwrap();
        Self { name, directory }
    }

    /// Has a container made below it.
    fn around(&self, task: &Task) {
        task.change(|spec| spec["linux"]["cgroupsPath"] = json!(format!("/{}/{}", self.name, task.id)));
    }

    fn freeze(&self, is_frozen: bool) {
        let (state, word) = (self.directory.join("freezer.state"), if is_frozen { "FROZEN" } else { "THAWED" });
        fs::write(&state, word).unwrap();
        until("it is so for all in it", || fs::read_to_string(&state).unwrap().trim() == word);
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        // The shim removes it with the last of its containers.
        let _gone = fs::write(self.directory.join("freezer.state"), "THAWED");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
            let _other = fs::remove_dir(hierarchy.join(&self.name));
        }
        let _gone = fs::remove_dir(&self.directory);
    }
}

/// The stranger is in one hierarchy only, where nobody looks for processes to be killed: as one that a tool of the machine
/// has put there. (With a single hierarchy the kernel kills whoever is in the cgroup.)
fn with_a_stranger(test: impl FnOnce(&Place, &Task, &Path, Stranger)) {
    if !has_many_hierarchies() {
        return;
    }
    let place = Place::new();
    let task = place.task(false, SLEEP);
    task.run().unwrap();
    let (stranger, cgroup) = (Stranger::new(), Path::new(PIDS).join(&task.id));
    stranger.enter(&cgroup);
    test(&place, &task, &cgroup, stranger);
}

#[test]
fn a_delete_names_who_keeps_the_cgroup_from_being_removed_and_is_done_when_that_has_gone() {
    with_a_stranger(|place, task, cgroup, stranger| {
        task.killed().unwrap();
        task.ended();
        let (answer, answers) = task.while_answered(place, || task.again(place).deleted());
        let refused = refusal(answer);
        for word in [&task.id, &stranger.pid().to_string(), &cgroup.display().to_string(), "try again"] {
            assert!(refused.contains(word), "{refused}");
        }
        assert!(answers > 10, "the shim waited with it: {answers} answers");
        assert!(lives(stranger.pid()), "it is nobody's to kill");
        assert_eq!(task.status(), Status::STOPPED);
        assert!(place.directory.join("bundle/loment.json").exists(), "nobody could clean up after the shim");
        drop(stranger);
        task.deleted().unwrap();
        place.is_clean();
    });
}

#[test]
fn after_the_death_of_a_shim_the_same_is_true_of_the_action() {
    with_a_stranger(|place, task, cgroup, stranger| {
        let pid = task.pid().cast_signed();
        place.bereave();
        let output = place.run("delete", "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{output:?}");
        for word in [stranger.pid().to_string(), cgroup.display().to_string(), "delete again".into()] {
            assert!(said.contains(&word), "{said}");
        }
        assert!(lives(stranger.pid()) && !lives(pid), "the container's own process has ended");
        drop(stranger);
        place.deleted();
        place.is_clean();
    });
}

#[test]
fn a_create_that_fails_over_a_cgroup_which_does_not_empty_leaves_it_on_record() {
    if !has_many_hierarchies() {
        return;
    }
    // A container by itself, and one of a sandbox, whose record is where its shim was started.
    for is_member in [false, true] {
        let place = Place::new();
        let (task, record) = match is_member {
            false => (place.task(false, SLEEP), "bundle/loment.json".to_owned()),
            true => {
                let sandbox = place.sandbox(SLEEP);
                sandbox.created().unwrap();
                sandbox.started().unwrap();
                let record = format!("bundle/members/{}/loment.json", sandbox.container.id);
                (sandbox.container, record)
            }
        };
        let (stranger, cgroup) = (Stranger::new(), Path::new(PIDS).join(&task.id));
        fs::create_dir(&cgroup).unwrap();
        stranger.enter(&cgroup);
        let missing =
            json!({"destination": "/data", "type": "bind", "source": "/no/such/source", "options": ["rbind"]});
        task.change(|spec| spec["mounts"].as_array_mut().unwrap().push(missing));
        let refused = refusal(task.created());
        assert!(refused.contains("/no/such/source"), "{refused}");
        assert!(place.directory.join(record).exists(), "nobody would remove {}", cgroup.display());
        drop(stranger);
        if is_member {
            place.bereave();
        }
        // As containerd does after a Create that has failed, and after a sandbox.
        place.deleted();
        place.is_clean();
    }
}

#[test]
fn a_frozen_container_ends_when_it_can_and_until_then_every_answer_says_so() {
    if !has_freezer() {
        return;
    }
    let place = Place::new();
    let above = Above::new(&place);
    let task = place.task(false, SLEEP);
    above.around(&task);
    task.run().unwrap();
    above.freeze(true);
    task.killed().unwrap();
    assert_eq!(task.status(), Status::RUNNING, "it has not ended");
    let (answer, _) = task.while_answered(&place, || task.again(&place).deleted());
    assert!(refusal(answer).contains("it is running"));
    above.freeze(false);
    assert_eq!(task.ended(), 137);
    task.deleted().unwrap();
    drop(above);
    place.is_clean();
}

#[test]
fn a_frozen_container_that_was_never_started_is_deleted_when_it_can_end() {
    if !has_freezer() {
        return;
    }
    let place = Place::new();
    let above = Above::new(&place);
    let task = place.task(false, SLEEP);
    above.around(&task);
    task.created().unwrap();
    let pid = task.pid();
    above.freeze(true);
    let sibling = place.sibling(&task, "beside");
    sibling.run().unwrap();
    let (answer, answers) = sibling.while_answered(&place, || task.again(&place).deleted());
    let refused = refusal(answer);
    assert!(refused.contains(&pid.to_string()) && refused.contains("frozen"), "{refused}");
    assert!(answers > 10, "the shim waited with it: {answers} answers");
    above.freeze(false);
    task.deleted().unwrap();
    sibling.removed();
    drop(above);
    place.is_clean();
}

#[test]
fn after_the_death_of_a_shim_a_frozen_container_stays_on_record_until_it_can_end() {
    if !has_freezer() {
        return;
    }
    let place = Place::new();
    let above = Above::new(&place);
    let task = place.task(false, SLEEP);
    above.around(&task);
    task.run().unwrap();
    let pid = task.pid().cast_signed();
    above.freeze(true);
    place.bereave();
    let output = place.run("delete", "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&pid.to_string()), "{output:?}");
    above.freeze(false);
    place.deleted();
    assert!(!lives(pid));
    drop(above);
    place.is_clean();
}

/// A container of a pod that is to run again whatever ends it, paused; its probe fails when the listener is gone.
fn with_a_paused_member(test: impl FnOnce(&Place, &Task, TcpListener)) {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let liveness = json!({"tcpSocket": {"host": "127.0.0.1", "port": port}, "periodSeconds": 1, "failureThreshold": 1});
    let (sandbox, tasks) = place.pod(&["one"], json!({"livenessProbe": liveness}), "touch /data/ran; exec sleep 1000");
    sandbox.change(|spec| {
        let manifest = spec["annotations"]["io.loment.pod.manifest"].as_str().unwrap();
        let mut manifest: serde_json::Value = serde_json::from_str(manifest).unwrap();
        manifest["spec"]["restartPolicy"] = json!("Always");
        manifest["spec"]["terminationGracePeriodSeconds"] = json!(1);
        spec["annotations"]["io.loment.pod.manifest"] = json!(manifest.to_string());
    });
    for task in [&sandbox, &tasks[0]] {
        task.change(|spec| {
            // In the network of the listener.
            spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "network");
        });
        task.created().unwrap();
        task.started().unwrap();
    }
    fs::remove_file(place.until("ran")).unwrap();
    tasks[0].paused().unwrap();
    assert_eq!(tasks[0].status(), Status::PAUSED);
    test(&place, &tasks[0], listener);
    for task in [&tasks[0], &sandbox] {
        // One that has ended is not there to be killed.
        let _ended = task.killed();
        task.ended();
        task.deleted().unwrap();
    }
    place.is_clean();
}

#[test]
fn a_container_that_was_paused_when_its_probe_failed_runs_again() {
    with_a_paused_member(|place, task, listener| {
        drop(listener);
        place.until("ran");
        until("it is not paused any more", || task.status() == Status::RUNNING);
    });
}

#[test]
fn a_paused_container_of_a_pod_ends_when_it_is_killed() {
    with_a_paused_member(|_, task, _listener| {
        task.killed().unwrap();
        assert_eq!(task.ended(), 137);
    });
}
