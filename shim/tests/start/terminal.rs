//! Terminals whose output goes elsewhere than into a fifo. containerd's own client offers this of newer versions only.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, DeleteRequest, StartRequest, WaitRequest},
    shim_sync::{Client, TaskClient},
    ttrpc::context::{self, Context},
};
use serde_json::json;

use crate::{Place, sleep};

const BUSYBOX: &str = "/bin/busybox";

fn patience() -> Context {
    context::with_duration(Duration::from_secs(30))
}

impl Place {
    /// Writes a bundle whose process says two words at a terminal.
    fn bundle(&self) -> String {
        let bundle = self.directory.join("bundle");
        fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
        fs::copy(BUSYBOX, bundle.join("rootfs/bin/busybox")).unwrap();
        let mount = |target: &str, kind: &str| json!({ "destination": target, "type": kind, "source": kind });
        let kinds = ["pid", "mount", "ipc", "uts"].map(|kind| json!({ "type": kind }));
        let spec = json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": {
                "terminal": true, "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
                "args": ["/bin/busybox", "sh", "-c", "busybox tty; echo said"],
            },
            "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"), mount("/dev/pts", "devpts")],
            "linux": { "namespaces": kinds, "cgroupsPath": format!("/{}", self.id) },
        });
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        bundle.display().to_string()
    }

    /// Runs a container to its end with its terminal's output there.
    fn run_at_a_terminal(&self, stdout: &str) {
        let (bundle, id) = (self.bundle(), self.id.clone());
        self.started("");
        let address = format!("unix://{}", self.socket().display());
        let client = TaskClient::new(Client::connect(&address).unwrap());
        let create = CreateTaskRequest {
            id: id.clone(),
            bundle,
            terminal: true,
            stdout: stdout.to_owned(),
            ..CreateTaskRequest::default()
        };
        client.create(patience(), &create).unwrap();
        client.start(patience(), &StartRequest { id: id.clone(), ..StartRequest::default() }).unwrap();
        let end = client.wait(patience(), &WaitRequest { id: id.clone(), ..WaitRequest::default() }).unwrap();
        client.delete(patience(), &DeleteRequest { id, ..DeleteRequest::default() }).unwrap();
        assert_eq!(end.exit_status, 0);
    }
}

#[test]
fn a_terminals_output_may_be_appended_to_a_file() {
    let place = Place::new();
    let log = place.directory.join("terminal.log");
    fs::write(&log, "before\r\n").unwrap();
    place.run_at_a_terminal(&format!("file://{}", log.display()));
    assert_eq!(fs::read_to_string(log).unwrap(), "before\r\n/dev/pts/0\r\nsaid\r\n");
}

#[test]
fn a_terminals_output_may_go_to_a_logger_which_finds_its_end() {
    let place = Place::new();
    let (script, log) = (place.directory.join("logger"), place.directory.join("log"));
    let text = "#!/bin/sh\nexec 5>&-\ncat <&3 >\"$2\"\ncat <&4 >>\"$2\"\necho end >>\"$2\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    place.run_at_a_terminal(&format!("binary://{}?log={}", script.display(), log.display()));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&log).is_ok_and(|text| text.ends_with("end\n")) {
        assert!(Instant::now() < deadline, "the logger did not find the end: {:?}", fs::read_to_string(&log));
        sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_to_string(log).unwrap(), "/dev/pts/0\r\nsaid\r\nend\n");
}
