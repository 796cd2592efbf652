//! A pod that the shim runs itself, by requests.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use containerd_shim_protos::api::CreateTaskRequest;
use serde_json::json;

use crate::{
    Place,
    task::{Task, slowness},
};

impl Place {
    /// The sandbox of a pod with these app containers, and a task for each, none of them created. `pod` is what the
    /// containers have beside their names. Every container runs `script`, and sees the place's directory as `/data`.
    fn pod(&self, containers: &[&str], pod: serde_json::Value, script: &str) -> (Task, Vec<Task>) {
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

    fn until(&self, file: &str) -> PathBuf {
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
fn the_first_start_of_a_pod_that_is_all_there_starts_all_of_it() {
    let place = Place::new();
    let (sandbox, tasks) = place.pod(&["one", "two"], json!({}), "touch /data/ran-$NAME");
    for task in &tasks {
        let name = task.id.rsplit('-').next().unwrap().to_owned();
        task.change(|spec| spec["process"]["env"].as_array_mut().unwrap().push(json!(format!("NAME={name}"))));
    }
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    tasks.iter().for_each(|task| task.created().unwrap());
    // The client that would have started the second one is gone.
    tasks[0].started().unwrap();
    place.until("ran-one");
    place.until("ran-two");
    assert_eq!(tasks[0].ended(), 0);
    // That it has ended is told when it has been started.
    tasks[1].started().unwrap();
    assert_eq!(tasks[1].ended(), 0);
    removed(&[&tasks[0], &tasks[1], &sandbox]);
}

#[test]
fn a_start_before_the_pod_is_all_there_starts_one_container() {
    let place = Place::new();
    let (sandbox, tasks) = place.pod(&["one", "two"], json!({}), "touch /data/ran; sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    tasks[0].created().unwrap();
    tasks[0].started().unwrap();
    fs::remove_file(place.until("ran")).unwrap();
    tasks[1].created().unwrap();
    tasks[1].started().unwrap();
    place.until("ran");
    removed(&[&tasks[0], &tasks[1], &sandbox]);
}
