//! A pod that the shim runs itself, by requests.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use containerd_shim_protos::api::{CreateTaskRequest, Status};
use serde_json::json;

use crate::{
    Place,
    task::{Task, slowness},
};

impl Place {
    /// The sandbox of a pod with these app containers, and a task for each, none of them created. `pod` is what the
    /// containers have beside their names. Every container runs `script`, and sees the place's directory as `/data`.
    pub(crate) fn pod(&self, containers: &[&str], pod: serde_json::Value, script: &str) -> (Task, Vec<Task>) {
        let sandbox = self.task(false, script);
        let list: Vec<_> = containers
            .iter()
            .map(|name| {
                let mut container = pod.clone();
                container["name"] = json!(name);
                container
            })
            .collect();
        let manifest = json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": "Never", "containers": list}});
        sandbox.change(|spec| {
            spec["annotations"] = json!({
                "io.kubernetes.cri.container-type": "sandbox",
                "io.loment.pod.manifest": manifest.to_string(),
            });
        });
        let tasks = containers.iter().map(|name| self.member(&sandbox, name)).collect();
        (sandbox, tasks)
    }

    /// Has the pod of a sandbox keep its files in a directory, which is made as `loment create` makes it.
    pub(crate) fn keep(sandbox: &Task, directory: &Path) {
        let uid = "5b8a";
        fs::write(directory.join("pod.json"), json!({"metadata": {"uid": uid}}).to_string()).unwrap();
        sandbox.change(|spec| {
            let annotations = &mut spec["annotations"];
            let mut manifest: serde_json::Value =
                serde_json::from_str(annotations["io.loment.pod.manifest"].as_str().unwrap()).unwrap();
            manifest["metadata"]["uid"] = json!(uid);
            annotations["io.loment.pod.manifest"] = json!(manifest.to_string());
            annotations["io.loment.pod.directory"] = json!(directory.display().to_string());
        });
    }

    fn member(&self, sandbox: &Task, name: &str) -> Task {
        let bundle = self.directory.join(format!("bundle-{name}"));
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::copy(Path::new(&sandbox.create.bundle).join("config.json"), bundle.join("config.json")).unwrap();
        let id = format!("{}-{name}", self.id);
        let bundle = bundle.display().to_string();
        let create = CreateTaskRequest { id: id.clone(), bundle, ..sandbox.create.clone() };
        let task = Task { client: sandbox.client.clone(), id, create };
        task.change(|spec| {
            spec["annotations"] = json!({ "io.loment.container.name": name });
            spec["linux"]["cgroupsPath"] = json!(format!("/{}", task.id));
            let data = json!({
                "destination": "/data", "type": "bind", "source": self.directory.display().to_string(),
                "options": ["rbind"],
            });
            spec["mounts"].as_array_mut().unwrap().push(data);
        });
        task
    }

    pub(crate) fn until(&self, file: &str) -> PathBuf {
        let (path, deadline) = (self.directory.join(file), Instant::now() + Duration::from_secs(20) * slowness());
        while !path.exists() {
            assert!(Instant::now() < deadline, "nobody has written {file}");
            sleep(Duration::from_millis(5));
        }
        path
    }
}

/// Removes what there is of a pod.
fn removed(tasks: &[&Task]) {
    for task in tasks {
        // One that has ended is not there to be killed.
        let _ended = task.killed();
        task.ended();
        task.deleted().unwrap();
    }
}

#[test]
fn a_container_runs_when_it_has_been_started_and_every_end_is_told_once() {
    let place = Place::new();
    let (sandbox, tasks) = place.pod(&["one", "two"], json!({}), "touch /data/ran; exec sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    tasks.iter().for_each(|task| task.created().unwrap());
    for task in &tasks {
        task.started().unwrap();
        fs::remove_file(place.until("ran")).unwrap();
    }
    removed(&[&tasks[0], &tasks[1], &sandbox]);
}

#[test]
fn a_container_that_is_killed_before_it_is_started_has_ended() {
    let place = Place::new();
    let (sandbox, tasks) = place.pod(&["one", "two"], json!({}), "touch /data/ran; exec sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    tasks.iter().for_each(|task| task.created().unwrap());
    // containerd does so when it was killed itself between Create and Start.
    tasks[0].killed().unwrap();
    assert_eq!(tasks[0].ended(), 137);
    tasks[0].deleted().unwrap();
    // One that nobody has killed is deleted at once.
    tasks[1].deleted().unwrap();
    assert!(!place.directory.join("ran").exists(), "it has run");
    removed(&[&sandbox]);
}

#[test]
fn a_probe_that_takes_a_program_which_is_missing_says_so_and_changes_nothing() {
    let place = Place::new();
    let liveness = json!({"httpGet": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1});
    let (sandbox, tasks) = place.pod(&["one"], json!({"livenessProbe": liveness}), "exec sleep 1000");
    Place::keep(&sandbox, &place.directory);
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    tasks[0].created().unwrap();
    tasks[0].started().unwrap();
    let timeline = place.until("timeline.jsonl");
    let deadline = Instant::now() + Duration::from_secs(20) * slowness();
    loop {
        let text = fs::read_to_string(&timeline).unwrap();
        if text.contains("loment-prober is missing") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(20));
    }
    assert_eq!(tasks[0].status(), Status::RUNNING);
    removed(&[&tasks[0], &sandbox]);
}
