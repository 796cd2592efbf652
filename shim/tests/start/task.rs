//! A client of the shim's Task service, and bundles for it.

use std::{fs, time::Duration};

use containerd_shim_protos::{
    api::{
        CreateTaskRequest, DeleteRequest, DeleteResponse, KillRequest, Mount, PauseRequest, StartRequest, StateRequest,
        Status, WaitRequest,
    },
    shim_sync::{Client, TaskClient},
    ttrpc::{
        self,
        context::{self, Context},
    },
};
use serde_json::{Value, json};

use crate::Place;

const BUSYBOX: &str = "/bin/busybox";

/// How many times slower than a real machine this one is, as an emulated one.
pub(crate) fn slowness() -> u32 {
    std::env::var("LOMENT_TEST_SLOWNESS").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// For a request that does something.
pub(crate) fn patience() -> Context {
    context::with_duration(Duration::from_secs(30) * slowness())
}

/// A shim's container, by requests.
pub(crate) struct Task {
    pub(crate) client: TaskClient,
    pub(crate) id: String,
    pub(crate) create: CreateTaskRequest,
}

impl Place {
    /// Starts a shim, with a bundle for a shell script. `terminal` is whether it has one.
    pub(crate) fn task(&self, terminal: bool, script: &str) -> Task {
        let id = self.id.clone();
        let bundle = self.directory.join("bundle");
        let source = self.directory.join("image");
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::create_dir_all(source.join("bin")).unwrap();
        crate::copy_program(BUSYBOX, source.join("bin/busybox"));
        fs::write(bundle.join("config.json"), spec(&id, terminal, script).to_string()).unwrap();
        self.started("");
        let client = TaskClient::new(Client::connect(&format!("unix://{}", self.socket().display())).unwrap());
        let rootfs = Mount {
            type_: "bind".into(),
            source: source.display().to_string(),
            options: vec!["rbind".into(), "rw".into()],
            ..Mount::default()
        };
        let (bundle, rootfs) = (bundle.display().to_string(), vec![rootfs]);
        let create = CreateTaskRequest { id: id.clone(), bundle, rootfs, terminal, ..CreateTaskRequest::default() };
        Task { client, id, create }
    }
}

fn spec(id: &str, terminal: bool, script: &str) -> Value {
    let mount = |target: &str, kind: &str| json!({ "destination": target, "type": kind, "source": kind });
    let kinds = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": {
            "terminal": terminal, "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
            "args": ["/bin/busybox", "sh", "-c", script],
        },
        "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/dev/pts", "devpts")],
        "linux": { "namespaces": kinds, "cgroupsPath": format!("/{id}"), "maskedPaths": ["/proc/keys"] },
    })
}

impl Task {
    /// Changes its specification.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = std::path::Path::new(&self.create.bundle).join("config.json");
        let mut spec = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut spec);
        fs::write(path, spec.to_string()).unwrap();
    }

    pub(crate) fn created(&self) -> ttrpc::Result<()> {
        self.client.create(patience(), &self.create).map(drop)
    }

    pub(crate) fn started(&self) -> ttrpc::Result<()> {
        let request = StartRequest { id: self.id.clone(), ..StartRequest::default() };
        self.client.start(patience(), &request).map(drop)
    }

    pub(crate) fn killed(&self) -> ttrpc::Result<()> {
        let request = KillRequest { id: self.id.clone(), signal: 9, ..KillRequest::default() };
        self.client.kill(patience(), &request).map(drop)
    }

    pub(crate) fn paused(&self) -> ttrpc::Result<()> {
        let request = PauseRequest { id: self.id.clone(), ..PauseRequest::default() };
        self.client.pause(patience(), &request).map(drop)
    }

    /// Waits for its end; answers with its exit status.
    pub(crate) fn ended(&self) -> u32 {
        let request = WaitRequest { id: self.id.clone(), ..WaitRequest::default() };
        self.client.wait(patience(), &request).unwrap().exit_status
    }

    pub(crate) fn deleted(&self) -> ttrpc::Result<DeleteResponse> {
        self.client.delete(patience(), &DeleteRequest { id: self.id.clone(), ..DeleteRequest::default() })
    }

    pub(crate) fn pid(&self) -> u32 {
        let request = StateRequest { id: self.id.clone(), ..StateRequest::default() };
        self.client.state(patience(), &request).unwrap().pid
    }

    pub(crate) fn status(&self) -> Status {
        let request = StateRequest { id: self.id.clone(), ..StateRequest::default() };
        self.client.state(patience(), &request).unwrap().status()
    }
}
