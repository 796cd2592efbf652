//! A sandbox that containerd leaves to the shim, by requests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, ShutdownRequest},
    protobuf::well_known_types::any::Any,
    sandbox_api::{
        CreateSandboxRequest, PingRequest, PlatformRequest, SandboxMetricsRequest, SandboxStatusRequest,
        SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
        WaitSandboxRequest,
    },
    sandbox_sync::SandboxClient,
    ttrpc,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    Place,
    task::{Task, patience},
};

/// A shim with a client for its sandbox, and a task that is one of the pod's containers.
pub(crate) struct Sandbox {
    client: SandboxClient,
    id: String,
    bundle: PathBuf,
    pub(crate) container: Task,
}

impl Place {
    /// Starts a shim for a sandbox, whose container runs `script`.
    pub(crate) fn sandbox(&self, script: &str) -> Sandbox {
        let task = self.task(false, script);
        let bundle = PathBuf::from(&task.create.bundle);
        // containerd gives a sandbox's bundle no specification; and its containers have bundles of their own.
        let own = self.directory.join("bundle-app");
        fs::create_dir_all(own.join("rootfs")).unwrap();
        fs::rename(bundle.join("config.json"), own.join("config.json")).unwrap();
        let id = format!("{}-app", self.id);
        let create = CreateTaskRequest { id: id.clone(), bundle: own.display().to_string(), ..task.create.clone() };
        let container = Task { client: task.client.clone(), id, create };
        container.change(|spec| {
            let of_nobody = |kind: &str, name: &str| json!({"type": kind, "path": format!("/proc/0/ns/{name}")});
            let shared = [("ipc", "ipc"), ("uts", "uts"), ("network", "net")].map(|(kind, name)| of_nobody(kind, name));
            let own = ["pid", "mount"].map(|kind| json!({"type": kind}));
            spec["linux"]["namespaces"] = [&shared[..], &own].concat().into();
            spec["linux"]["cgroupsPath"] = json!(format!("/{}", container.id));
            let shm = json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=65536k"]});
            spec["mounts"].as_array_mut().unwrap().push(shm);
        });
        let client =
            SandboxClient::new(ttrpc::Client::connect(&format!("unix://{}", self.socket().display())).unwrap());
        Sandbox { client, id: self.id.clone(), bundle, container }
    }
}

impl Sandbox {
    pub(crate) fn created(&self) -> ttrpc::Result<()> {
        let (sandbox_id, bundle_path) = (self.id.clone(), self.bundle.display().to_string());
        let request = CreateSandboxRequest { sandbox_id, bundle_path, ..CreateSandboxRequest::default() };
        self.client.create_sandbox(patience(), &request).map(drop)
    }

    pub(crate) fn started(&self) -> ttrpc::Result<StartSandboxResponse> {
        let request = StartSandboxRequest { sandbox_id: self.id.clone(), ..StartSandboxRequest::default() };
        self.client.start_sandbox(patience(), &request)
    }

    fn status(&self) -> SandboxStatusResponse {
        let request =
            SandboxStatusRequest { sandbox_id: self.id.clone(), verbose: true, ..SandboxStatusRequest::default() };
        self.client.sandbox_status(patience(), &request).unwrap()
    }

    fn stopped(&self) -> ttrpc::Result<()> {
        let request = StopSandboxRequest { sandbox_id: self.id.clone(), ..StopSandboxRequest::default() };
        self.client.stop_sandbox(patience(), &request).map(drop)
    }

    fn waited(&self) -> u32 {
        let request = WaitSandboxRequest { sandbox_id: self.id.clone(), ..WaitSandboxRequest::default() };
        self.client.wait_sandbox(patience(), &request).unwrap().exit_status
    }

    fn shut_down(&self) {
        let request = ShutdownSandboxRequest { sandbox_id: self.id.clone(), ..ShutdownSandboxRequest::default() };
        self.client.shutdown_sandbox(patience(), &request).unwrap();
    }

    /// Whether the pod's shared memory is mounted.
    fn has_memory(&self) -> bool {
        let place = self.bundle.join("shm").display().to_string();
        fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|line| line.split(' ').nth(4) == Some(&place))
    }

    /// Runs the container in a file that it writes `/data` to.
    fn output(&self, place: &Place) -> String {
        let data = json!({
            "destination": "/data", "type": "bind", "source": place.directory.display().to_string(), "options": ["rbind"],
        });
        self.container.change(|spec| spec["mounts"].as_array_mut().unwrap().push(data));
        self.container.created().unwrap();
        self.container.started().unwrap();
        assert_eq!(self.container.ended(), 0);
        self.container.deleted().unwrap();
        fs::read_to_string(place.directory.join("out")).unwrap()
    }
}

fn code(error: &ttrpc::Error) -> ttrpc::Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_sandbox_goes_through_its_life_without_a_process() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    sandbox.created().unwrap();
    assert_eq!(sandbox.status().state, "SANDBOX_NOTREADY");
    assert_eq!(code(&sandbox.created().unwrap_err()), ttrpc::Code::ALREADY_EXISTS);
    let started = sandbox.started().unwrap();
    assert_eq!(started.pid, 0);
    let status = sandbox.status();
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_READY", 0));
    assert_eq!(status.created_at, started.created_at);
    let info: Value = serde_json::from_str(&status.info["info"]).unwrap();
    assert_eq!(info["processStatus"], "running");
    assert_eq!(code(&sandbox.started().unwrap_err()), ttrpc::Code::FAILED_PRECONDITION);
    let ping = PingRequest { sandbox_id: sandbox.id.clone(), ..PingRequest::default() };
    sandbox.client.ping_sandbox(patience(), &ping).unwrap();
    let platform = PlatformRequest { sandbox_id: sandbox.id.clone(), ..PlatformRequest::default() };
    let platform = sandbox.client.platform(patience(), &platform).unwrap().platform.unwrap();
    assert!(platform.os == "linux" && !platform.architecture.is_empty(), "{platform}");
    sandbox.stopped().unwrap();
    sandbox.stopped().expect("more than once is once");
    assert_eq!((sandbox.waited(), sandbox.status().state.as_str()), (0, "SANDBOX_NOTREADY"));
    assert!(sandbox.status().exited_at.is_some() && !sandbox.has_memory());
    sandbox.shut_down();
    place.gone();
    place.deleted();
}

#[test]
fn what_a_sandbox_tells_of_itself_is_what_a_newer_containerd_gives_to_its_containers() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    sandbox.created().unwrap();
    let spec = sandbox.started().unwrap().spec.unwrap();
    assert_eq!(spec.type_url, "types.containerd.io/opencontainers/runtime-spec/1/Spec");
    let spec: Value = serde_json::from_slice(&spec.value).unwrap();
    for kind in ["network", "ipc", "uts"] {
        let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
        let found = namespaces.iter().find(|one| one["type"] == kind).expect(kind);
        assert!(fs::metadata(found["path"].as_str().unwrap()).is_ok(), "{found}");
    }
    for mount in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev/shm"] {
        let found = spec["mounts"].as_array().unwrap().iter().find(|one| one["destination"] == mount).expect(mount);
        assert!(Path::new(found["source"].as_str().unwrap()).exists(), "{found}");
    }
    sandbox.shut_down();
    place.gone();
}

#[test]
fn a_container_is_in_the_namespaces_and_has_the_files_of_its_sandbox() {
    let place = Place::new();
    let script = "{ busybox readlink /proc/self/ns/ipc; busybox cat /etc/hosts; busybox stat -c %a /dev/shm; \
         busybox df -k /dev/shm | busybox awk 'NR==2{print $2}'; } > /data/out";
    let sandbox = place.sandbox(script);
    sandbox.created().unwrap();
    let spec: Value = serde_json::from_slice(&sandbox.started().unwrap().spec.unwrap().value).unwrap();
    let ipc = spec["linux"]["namespaces"].as_array().unwrap().iter().find(|one| one["type"] == "ipc").unwrap();
    let ipc = fs::read_link(ipc["path"].as_str().unwrap()).unwrap().display().to_string();
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    assert_eq!(sandbox.output(&place), format!("{ipc}\n{hosts}1777\n65536\n"));
    sandbox.shut_down();
    place.gone();
}

#[test]
fn metrics_of_a_sandbox_are_its_containers() {
    let place = Place::new();
    let sandbox = place.sandbox("busybox sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    sandbox.container.created().unwrap();
    sandbox.container.started().unwrap();
    let request = SandboxMetricsRequest { sandbox_id: sandbox.id.clone(), ..SandboxMetricsRequest::default() };
    let metrics = sandbox.client.sandbox_metrics(patience(), &request).unwrap().metrics.unwrap();
    let data: Any = metrics.data.unwrap();
    assert!(metrics.id == sandbox.id && data.type_url.starts_with("io.containerd.cgroups.v"), "{data}");
    assert!(!data.value.is_empty());
    sandbox.shut_down();
    place.gone();
}

#[test]
fn a_sandbox_ends_with_the_containers_that_nobody_has_deleted() {
    let place = Place::new();
    let sandbox = place.sandbox("busybox sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    sandbox.container.created().unwrap();
    sandbox.container.started().unwrap();
    let pid = sandbox.container.pid();
    // A client of tasks does not decide about a sandbox.
    sandbox.container.client.shutdown(patience(), &ShutdownRequest::default()).unwrap();
    sandbox.stopped().unwrap();
    assert_eq!(sandbox.container.ended(), 137);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let refused = sandbox.container.created().unwrap_err();
    assert!(matches!(code(&refused), ttrpc::Code::ALREADY_EXISTS | ttrpc::Code::FAILED_PRECONDITION), "{refused}");
    sandbox.shut_down();
    place.gone();
}

#[test]
fn a_sandbox_that_cannot_be_made_leaves_nothing() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    let (sandbox_id, bundle_path) = (sandbox.id.clone(), sandbox.bundle.display().to_string());
    let request = CreateSandboxRequest { sandbox_id, bundle_path, ..CreateSandboxRequest::default() };
    let refused = |change: &dyn Fn(&mut CreateSandboxRequest)| {
        let mut request = request.clone();
        change(&mut request);
        sandbox.client.create_sandbox(patience(), &request).unwrap_err()
    };
    let strange = Any { type_url: "example/Other".into(), ..Any::default() };
    assert_eq!(
        code(&refused(&|request| request.options = Some(strange.clone()).into())),
        ttrpc::Code::INVALID_ARGUMENT
    );
    assert_eq!(code(&refused(&|request| request.sandbox_id = "../x".into())), ttrpc::Code::INVALID_ARGUMENT);
    assert_eq!(code(&refused(&|request| request.bundle_path = "relative".into())), ttrpc::Code::INVALID_ARGUMENT);
    refused(&|request| request.netns_path = "/nowhere".into());
    // A file is in the way of the last of what is made.
    fs::write(sandbox.bundle.join("shm"), "").unwrap();
    refused(&|_| ());
    assert!(!sandbox.has_memory());
    sandbox.shut_down();
    place.gone();
}

#[test]
fn a_shim_that_was_killed_leaves_no_shared_memory_after_delete() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    assert!(sandbox.has_memory());
    let [shim] = place.shims()[..] else { panic!("one shim") };
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    place.gone();
    place.deleted();
    assert!(!sandbox.has_memory());
}

/// With Task v3 a client asks for the sandbox alone, and may have removed the bundles of its containers by then.
#[test]
fn after_the_death_of_a_shim_delete_ends_the_containers_of_its_sandbox() {
    let place = Place::new();
    let sandbox = place.sandbox("busybox sleep 1000");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    sandbox.container.created().unwrap();
    sandbox.container.started().unwrap();
    let pid = sandbox.container.pid();
    let [shim] = place.shims()[..] else { panic!("one shim") };
    kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
    place.gone();
    fs::remove_dir_all(&sandbox.container.create.bundle).unwrap();
    place.deleted();
    let has_ended = fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
    assert!(has_ended, "process {pid} of the container is still there");
    let cgroups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|hierarchy| hierarchy.path());
    let left: Vec<_> =
        cgroups.map(|hierarchy| hierarchy.join(&sandbox.container.id)).filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_container_that_is_deleted_is_forgotten_where_the_shim_was_started() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    sandbox.created().unwrap();
    sandbox.started().unwrap();
    sandbox.container.created().unwrap();
    let members = sandbox.bundle.join("members");
    assert_eq!(fs::read_dir(&members).unwrap().count(), 1);
    sandbox.container.started().unwrap();
    sandbox.container.ended();
    sandbox.container.deleted().unwrap();
    assert_eq!(fs::read_dir(&members).unwrap().count(), 0);
    sandbox.shut_down();
    place.gone();
}

/// CRI hands all of the pod's annotations to who makes the sandbox, and to containers only those that the class lets through.
#[test]
fn a_manifest_that_the_administrator_does_not_let_through_runs_nothing() {
    let place = Place::new();
    let sandbox = place.sandbox("true");
    let (sandbox_id, bundle_path) = (sandbox.id.clone(), sandbox.bundle.display().to_string());
    // Its app would wait for what is never created.
    let manifest = json!({"metadata": {"name": "p"}, "spec": {
        "initContainers": [{"name": "first"}], "containers": [{"name": "app"}],
    }});
    let annotations = [("io.loment.pod.manifest".to_owned(), manifest.to_string())].into();
    let request = CreateSandboxRequest { sandbox_id, bundle_path, annotations, ..CreateSandboxRequest::default() };
    sandbox.client.create_sandbox(patience(), &request).unwrap();
    sandbox.started().unwrap();
    sandbox.container.change(|spec| spec["annotations"] = json!({"io.loment.container.name": "app"}));
    sandbox.container.created().unwrap();
    sandbox.container.started().unwrap();
    assert_eq!(sandbox.container.ended(), 0);
    sandbox.container.deleted().unwrap();
    sandbox.shut_down();
    place.gone();
}

#[test]
fn shared_memory_is_unmounted_also_when_the_bundle_has_been_renamed() {
    let place = Place::new();
    let sandbox = place.sandbox("exec sleep 1000");
    sandbox.created().unwrap();
    let mounted =
        || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&format!("{}/", place.directory.display()));
    assert!(mounted(), "there is no shared memory");
    // containerd that gives a sandbox up renames its bundle before it removes it.
    let renamed = place.directory.join(".bundle");
    fs::rename(&sandbox.bundle, &renamed).unwrap();
    sandbox.shut_down();
    assert!(!mounted(), "the shared memory is still mounted");
    fs::rename(&renamed, &sandbox.bundle).unwrap();
}

#[test]
fn a_shim_that_is_still_about_to_end_is_not_taken_for_one_that_lives() {
    for _ in 0..10 {
        let place = Place::new();
        let sandbox = place.sandbox("exec sleep 1000");
        sandbox.created().unwrap();
        sandbox.started().unwrap();
        let (socket, shims) = (place.socket(), place.shims());
        kill(Pid::from_raw(shims[0]), Signal::SIGKILL).unwrap();
        // containerd asks for the cleaning when its connection has ended: before the shim's namespaces have.
        while sandbox.client.ping_sandbox(patience(), &PingRequest::default()).is_ok() {}
        place.deleted();
        assert!(!socket.exists(), "its socket is still there");
    }
}
