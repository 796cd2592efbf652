//! Faults of the machine around a shim, and what every test of one needs. For each: what is asked for ends with an error
//! that says what to do, or goes on without; the shim answers all the while; nothing half-made is left; and when the fault
//! is over the same works.

#[path = "faults_cgroup.rs"]
mod cgroup;
#[path = "faults_clock.rs"]
mod clock;
#[path = "faults_descriptors.rs"]
mod descriptors;
#[path = "faults_disk.rs"]
mod disk;
#[path = "faults_events.rs"]
mod events;
#[path = "faults_memory.rs"]
mod memory;
#[path = "faults_pids.rs"]
mod pids;
#[path = "faults_recovery.rs"]
mod recovery;
#[path = "faults_streams.rs"]
mod streams;
#[path = "faults_wrap.rs"]
mod wrap;

use std::{
    fs,
    path::{Path, PathBuf},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{
        ConnectRequest, CreateTaskRequest, DeleteRequest, ExecProcessRequest, KillRequest, StartRequest, StateRequest,
        WaitRequest,
    },
    protobuf::well_known_types::any::Any,
    shim_sync::{Client, TaskClient},
    ttrpc,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    Place, clean_up,
    task::{Task, patience, slowness},
};

/// In the environment of a test that has been run again in namespaces of its own: what makes it different from others.
pub(crate) const INSIDE: &str = "LOMENT_TEST_INSIDE";

/// What a container runs that is to be ended.
const SLEEP: &str = "exec busybox sleep 1000";

/// Waits until it is so, as long as a slow machine may take.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20) * slowness();
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to it that {what}");
        sleep(Duration::from_millis(2));
    }
}

/// A refusal with its words.
#[track_caller]
fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> String {
    match answer.expect_err("this cannot be") {
        ttrpc::Error::RpcStatus(status) => status.message,
        other => panic!("the shim does not answer: {other}"),
    }
}

fn of_process<T>(pid: i32, file: &str, read: impl FnOnce(&str) -> T) -> Option<T> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok().map(|text| read(&text))
}

/// Has cgroups below this one counted for a controller, where that has to be said: on cgroup v2.
fn enable(cgroup: &Path, controller: &str) {
    let control = cgroup.join("cgroup.subtree_control");
    if control.exists() {
        fs::write(control, controller).unwrap();
    }
}

/// A cgroup of a controller's, for what the test limits. What is in it in the end goes back to the top.
struct Limit(PathBuf);

impl Limit {
    fn new(place: &Place, controller: &str) -> Self {
        let top = PathBuf::from("/sys/fs/cgroup");
        let top = if top.join(controller).exists() { top.join(controller) } else { top };
        enable(&top, &format!("+{controller}"));
        let directory = top.join(format!("limit-{}", place.id));
        fs::create_dir(&directory).unwrap();
        Self(directory)
    }

    fn write(&self, file: &str, value: impl AsRef<str>) {
        fs::write(self.0.join(file), value.as_ref()).unwrap();
    }

    fn take(&self, pid: i32) {
        self.write("cgroup.procs", pid.to_string());
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        clean_up(|| {
            let parent = self.0.parent().unwrap().join("cgroup.procs");
            for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap().lines() {
                // It may have ended.
                let _gone = fs::write(&parent, pid);
            }
            until("the limit's cgroup is empty", || fs::remove_dir(&self.0).is_ok());
        });
    }
}

/// Whether it is there and has not ended.
fn lives(pid: i32) -> bool {
    of_process(pid, "stat", |stat| !stat.contains(") Z ") && !stat.contains(") X ")).unwrap_or(false)
}

/// Every process with the one that has to reap it.
fn processes() -> Vec<(i32, i32)> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok();
    pids.filter_map(|pid: i32| Some((pid, of_process(pid, "stat", parent)??))).collect()
}

fn children(of: i32) -> Vec<i32> {
    processes().into_iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| pid).collect()
}

/// What a process has open.
fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let mut all: Vec<_> = all
        .filter_map(|entry| Some((number(&entry)?, fs::read_link(entry.path()).ok()?.display().to_string())))
        .collect();
    all.sort();
    all
}

impl Place {
    /// A new connection to the shim.
    fn client(&self) -> TaskClient {
        TaskClient::new(Client::connect(&format!("unix://{}", self.socket().display())).unwrap())
    }

    fn shim(&self) -> i32 {
        let (shims, parents) = (self.shims(), processes());
        // Who has not become a container's process yet looks like it, and is its child.
        let is_child = |pid: &i32| parents.iter().any(|(child, parent)| child == pid && shims.contains(parent));
        let mut shims = shims.iter().filter(|pid| !is_child(pid));
        *shims.next().expect("there is no shim")
    }

    /// Another container of the same shim, in a bundle of its own.
    fn sibling(&self, task: &Task, name: &str) -> Task {
        let bundle = self.directory.join(format!("bundle-{name}"));
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        fs::copy(Path::new(&task.create.bundle).join("config.json"), bundle.join("config.json")).unwrap();
        let (id, bundle) = (format!("{}-{name}", self.id), bundle.display().to_string());
        let create = CreateTaskRequest { id: id.clone(), bundle, ..task.create.clone() };
        let sibling = Task { client: self.client(), id, create };
        sibling.change(|spec| spec["linux"]["cgroupsPath"] = json!(format!("/{}", sibling.id)));
        sibling
    }

    /// Kills the shim.
    fn bereave(&self) {
        let shim = self.shim();
        kill(Pid::from_raw(shim), Signal::SIGKILL).unwrap();
        until("a killed shim is gone", || !lives(shim));
    }

    /// Where the container's cgroup is, in each hierarchy, and what containers beside it have.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let below = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == self.id.as_str() || name.starts_with(&format!("{}-", self.id))
        };
        let list =
            |hierarchy: PathBuf| fs::read_dir(hierarchy).into_iter().flatten().flatten().map(|entry| entry.path());
        below.chain([top.to_owned()]).flat_map(list).filter(is_ours).collect()
    }

    /// Nothing is left of any container of this place: no cgroup, no mount, no record, no child of its shim.
    #[track_caller]
    fn is_clean(&self) {
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = format!("{}/", self.directory.display());
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&root) && line.contains("/rootfs ")).collect();
        assert!(left.is_empty(), "mounts are left: {left:?}");
        let bundles = fs::read_dir(&self.directory).unwrap().flatten().map(|entry| entry.path());
        for bundle in bundles.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("bundle")) {
            for record in ["loment.json", ".loment.json"] {
                assert!(!bundle.join(record).exists(), "{record} is left in {}", bundle.display());
            }
        }
        for shim in self.shims() {
            until("the shim has no child left", || children(shim).is_empty());
        }
    }
}

impl Task {
    /// The same container, by a connection of its own.
    fn again(&self, place: &Place) -> Self {
        Self { client: place.client(), id: self.id.clone(), create: self.create.clone() }
    }

    fn exec_added(&self, exec: &str, script: &str) -> ttrpc::Result<()> {
        let process = json!({
            "cwd": "/", "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"], "args": ["/bin/busybox", "sh", "-c", script],
        });
        let spec = Any { value: process.to_string().into_bytes(), ..Any::default() };
        let (id, exec_id) = (self.id.clone(), exec.to_owned());
        let request = ExecProcessRequest { id, exec_id, spec: Some(spec).into(), ..ExecProcessRequest::default() };
        self.client.exec(patience(), &request).map(drop)
    }

    fn exec_started(&self, exec: &str) -> ttrpc::Result<i32> {
        let request = StartRequest { id: self.id.clone(), exec_id: exec.into(), ..StartRequest::default() };
        self.client.start(patience(), &request).map(|answer| answer.pid.cast_signed())
    }

    fn exec_ended(&self, exec: &str) -> u32 {
        let request = WaitRequest { id: self.id.clone(), exec_id: exec.into(), ..WaitRequest::default() };
        self.client.wait(patience(), &request).unwrap().exit_status
    }

    fn exec_deleted(&self, exec: &str) -> ttrpc::Result<()> {
        let request = DeleteRequest { id: self.id.clone(), exec_id: exec.into(), ..DeleteRequest::default() };
        self.client.delete(patience(), &request).map(drop)
    }

    fn exec_killed(&self, exec: &str) -> ttrpc::Result<()> {
        let (id, exec_id) = (self.id.clone(), exec.to_owned());
        let request = KillRequest { id, exec_id, signal: 9, ..KillRequest::default() };
        self.client.kill(patience(), &request).map(drop)
    }

    /// Runs a further process to its end.
    fn exec(&self, exec: &str, script: &str) -> ttrpc::Result<u32> {
        self.exec_added(exec, script)?;
        let code = self.exec_started(exec).map(|_| self.exec_ended(exec));
        self.exec_deleted(exec)?;
        code
    }

    /// Whether the shim answers for it: State, which may say that there is none, and Connect.
    fn is_answered(&self) {
        let request = StateRequest { id: self.id.clone(), ..StateRequest::default() };
        match self.client.state(patience(), &request) {
            Ok(_) | Err(ttrpc::Error::RpcStatus(_)) => {}
            Err(error) => panic!("State is not answered: {error}"),
        }
        let request = ConnectRequest { id: self.id.clone(), ..ConnectRequest::default() };
        self.client.connect(patience(), &request).expect("Connect is not answered");
    }

    /// Does `work`, and asks the shim for this container by another connection all the while. Answers also how often it was
    /// answered before the work was done.
    fn while_answered<T: Send>(&self, place: &Place, work: impl FnOnce() -> T + Send) -> (T, usize) {
        let asking = self.again(place);
        thread::scope(|scope| {
            let worker = scope.spawn(work);
            let mut answers = 0;
            loop {
                asking.is_answered();
                if worker.is_finished() {
                    return (worker.join().unwrap(), answers);
                }
                answers += 1;
                sleep(Duration::from_millis(2));
            }
        })
    }

    /// Runs to a started container.
    fn run(&self) -> ttrpc::Result<()> {
        self.created()?;
        self.started()
    }

    /// Kills it, and takes it away.
    #[track_caller]
    fn removed(&self) {
        let _ended = self.killed();
        self.ended();
        self.deleted().unwrap();
    }
}
