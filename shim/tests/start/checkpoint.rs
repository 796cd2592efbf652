//! Checkpoint and restore with the CRIU of the machine: what `LOMENT_CRIU` names, or what is in `PATH`. One that does
//! not work on its kernel is as good for what is said then. Where `LOMENT_TEST_CRIU` is set, it has to work.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::LazyLock,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{CheckpointTaskRequest, PauseRequest, Status},
    shim::oci::CheckpointOptions,
    ttrpc,
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use protobuf::{Message, well_known_types::any::Any};
use serde_json::{Value, json};

use crate::{
    Place, clean_up, skipped, sleep,
    task::{Task, patience, slowness},
};

/// Counts aloud what comes back from a server of its own, over one connection, and never ends. The
/// connection is IPv4's throughout: one that is mapped into IPv6 has not gone on with CRIU 3.17.
const COUNTS_OVER_TCP: &str = "busybox ip link set lo up; busybox mkfifo /there /back; \
    busybox nc -l -p 700 127.0.0.1 -e /bin/busybox cat & \
    until busybox grep -q ':02BC [0-9A-F]*:0000 0A' /proc/net/tcp; do busybox sleep 0.02; done; \
    busybox nc 127.0.0.1 700 < /there > /back & \
    exec 3> /there 4< /back; n=0; \
    while :; do n=$((n+1)); echo $n >&3; read -r back <&4; echo $back; busybox sleep 0.02; done";

/// Counts aloud and never ends.
const COUNTS: &str = "n=0; while :; do n=$((n+1)); echo $n; busybox sleep 0.02; done";

/// Where CRIU keeps what it has found out about the kernel, and whether that was there before these tests.
const CACHE: &str = "/run/criu.kdat";
static HAD_A_CACHE: LazyLock<bool> = LazyLock::new(|| Path::new(CACHE).exists());

/// Leaves the machine as it was found. CRIU makes it again when it needs it.
pub(crate) fn forget_cache() {
    if !*HAD_A_CACHE {
        let _ = fs::remove_file(CACHE);
    }
}

/// Whether CRIU works here; says so if it does not.
fn criu_works() -> bool {
    let _had = *HAD_A_CACHE;
    let program = std::env::var_os("LOMENT_CRIU").unwrap_or_else(|| "criu".into());
    let output = Command::new(&program).arg("check").output();
    forget_cache();
    let works = output.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        let why =
            output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).into());
        let why = format!("no container is brought back: {} check: {}", program.display(), why.trim());
        assert!(std::env::var_os("LOMENT_TEST_CRIU").is_none(), "{why}");
        skipped(&why);
    }
    works
}

impl Task {
    fn checkpoint(&self, images: &Path, options: CheckpointOptions) -> ttrpc::Result<()> {
        fs::create_dir_all(images).unwrap();
        let options = Any {
            type_url: "containerd.runc.v1.CheckpointOptions".into(),
            value: options.write_to_bytes().unwrap(),
            ..Any::default()
        };
        let (id, path) = (self.id.clone(), images.display().to_string());
        let options = Some(options).into();
        let request = CheckpointTaskRequest { id, path, options, ..CheckpointTaskRequest::default() };
        self.client.checkpoint(patience(), &request).map(drop)
    }

    fn running(place: &Place) -> Self {
        let mut task = place.task(false, COUNTS);
        task.create.stdout = place.logger();
        task.created().unwrap();
        task.started().unwrap();
        place.counts_beyond(0);
        task
    }

    /// Makes it and lets it count for a while.
    fn counting(&self, place: &Place) {
        self.created().unwrap();
        self.started().unwrap();
        place.counts_beyond(5);
    }

    /// Ends it with a checkpoint, deletes it, and has the next create take that.
    fn put_away(&mut self, place: &Place, options: CheckpointOptions) {
        self.checkpoint(&place.images(), CheckpointOptions { exit: true, ..options }).unwrap();
        self.ended();
        self.deleted().unwrap();
        self.create.checkpoint = place.images().display().to_string();
    }

    /// Brings it back, and it counts on.
    fn brought_back(&self, place: &Place) {
        let counted = place.count();
        self.created().unwrap();
        self.started().unwrap();
        place.counts_beyond(counted);
    }

    /// Ends it and looks for what it has left.
    fn ended_and_deleted(&self, place: &Place) {
        self.killed().unwrap();
        self.ended();
        self.deleted().unwrap();
        place.has_nothing_left();
    }
}

/// A process with namespaces that others join, as a pod's sandbox has.
struct Sandbox(Child);

impl Sandbox {
    const KINDS: [(&str, &str); 3] = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];

    fn new() -> Self {
        let mut command = Command::new("unshare");
        let child = command.args(["--net", "--ipc", "--uts", "sleep", "1000"]).spawn().unwrap();
        let sandbox = Self(child);
        let own = fs::read_link("/proc/self/ns/uts").unwrap();
        while fs::read_link(sandbox.path("uts")).unwrap() == own {
            sleep(Duration::from_millis(1));
        }
        sandbox
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    /// Its namespaces for a specification, with new ones of the other kinds.
    fn namespaces(&self) -> Value {
        let joined = Self::KINDS.map(|(kind, name)| json!({ "type": kind, "path": self.path(name) }));
        Value::Array([&joined[..], &["pid", "mount"].map(|kind| json!({ "type": kind }))].concat())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        clean_up(|| {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        });
    }
}

#[test]
fn a_container_of_a_pod_comes_back_into_the_pods_namespaces() {
    if !criu_works() {
        return;
    }
    let (place, then, now) = (Place::new(), Sandbox::new(), Sandbox::new());
    let mut task = place.task(false, COUNTS);
    task.create.stdout = place.logger();
    task.change(|spec| spec["linux"]["namespaces"] = then.namespaces());
    task.counting(&place);
    task.put_away(&place, CheckpointOptions::default());
    // Another sandbox, as after the end of the node.
    task.change(|spec| spec["linux"]["namespaces"] = now.namespaces());
    task.brought_back(&place);
    for (_, kind) in Sandbox::KINDS {
        let of_container = fs::read_link(format!("/proc/{}/ns/{kind}", task.pid())).unwrap();
        assert_eq!(of_container, fs::read_link(now.path(kind)).unwrap());
    }
    task.ended_and_deleted(&place);
    place.has_counted_without_a_gap();
}

/// CRIU before 3.19 loses it.
#[test]
fn what_comes_back_has_no_new_privileges_or_does_not_come_back() {
    if !criu_works() {
        return;
    }
    let place = Place::new();
    let mut task = place.task(false, COUNTS);
    task.create.stdout = place.logger();
    task.change(|spec| spec["process"]["noNewPrivileges"] = json!(true));
    task.counting(&place);
    task.put_away(&place, CheckpointOptions::default());
    task.created().unwrap();
    match task.started() {
        Ok(()) => {
            let status = fs::read_to_string(format!("/proc/{}/status", task.pid())).unwrap();
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
            task.ended_and_deleted(&place);
        }
        refused => {
            let error = message(refused);
            assert!(error.contains("process.noNewPrivileges") && error.contains("3.19"), "{error}");
            task.deleted().unwrap();
            place.has_nothing_left();
        }
    }
}

impl Place {
    /// Who writes down what the container says.
    fn logger(&self) -> String {
        let script = self.directory.join("logger");
        fs::write(&script, "exec 5>&-\nexec busybox cat <&3 >>\"$2\"\n").unwrap();
        format!("binary:///bin/busybox?sh={}&log={}", script.display(), self.directory.join("log").display())
    }

    /// What it has counted so far.
    fn counted(&self) -> Vec<u64> {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        // The last line may be half there.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn count(&self) -> u64 {
        self.counted().last().copied().unwrap_or_default()
    }

    /// Waits until the container has counted further than that.
    fn counts_beyond(&self, number: u64) {
        let deadline = Instant::now() + Duration::from_secs(20) * slowness();
        while self.count() <= number {
            assert!(Instant::now() < deadline, "it has stopped at {}", self.count());
            sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn has_counted_without_a_gap(&self) {
        let counted = self.counted();
        assert!(counted.iter().copied().eq(1..=counted.len() as u64), "it counted {counted:?}");
    }

    fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    /// Of a container that has been deleted.
    fn has_nothing_left(&self) {
        let rootfs = self.directory.join("bundle/rootfs").display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&rootfs), "its root is mounted still: {mounts}");
        for cgroup in ["", "freezer", "unified"].map(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy)) {
            assert!(!cgroup.join(&self.id).exists(), "{} is left in {}", self.id, cgroup.display());
        }
        assert!(!self.directory.join("bundle/loment.json").exists(), "its record is left");
    }
}

fn message(answer: ttrpc::Result<()>) -> String {
    answer.unwrap_err().to_string()
}

#[test]
fn without_criu_a_checkpoint_says_what_is_missing_and_the_container_lives_on() {
    let mut place = Place::new();
    place.environment.push(("LOMENT_CRIU", "/no/such/criu".into()));
    let task = Task::running(&place);
    let error = message(task.checkpoint(&place.images(), CheckpointOptions::default()));
    assert!(error.contains("/no/such/criu") && error.contains("install CRIU"), "{error}");
    assert_eq!(task.status(), Status::RUNNING);
    place.counts_beyond(place.count());
    task.ended_and_deleted(&place);
}

#[test]
fn a_criu_that_does_not_work_is_told_in_its_own_words_and_the_container_lives_on() {
    if criu_works() {
        return;
    }
    let place = Place::new();
    let task = Task::running(&place);
    let error = message(task.checkpoint(&place.images(), CheckpointOptions::default()));
    assert!(error.contains("criu dump") && error.contains("status 1:") && error.contains("criu check"), "{error}");
    assert!(!error.contains("it left no reason"), "{error}");
    place.counts_beyond(place.count());
    task.ended_and_deleted(&place);
}

#[test]
fn a_checkpoint_that_nobody_can_restore_is_refused_when_it_is_made() {
    let place = Place::new();
    let mut task = place.task(true, "exec busybox sleep 1000");
    task.create.stdout = format!("file://{}", place.directory.join("out").display());
    task.created().unwrap();
    let error = message(task.checkpoint(&place.images(), CheckpointOptions::default()));
    assert!(error.contains("it is not running"), "{error}");
    task.started().unwrap();
    let error = message(task.checkpoint(&place.images(), CheckpointOptions::default()));
    assert!(error.contains("process.terminal"), "{error}");
    task.ended_and_deleted(&place);
}

#[test]
fn what_is_no_checkpoint_is_refused_at_create_and_leaves_nothing() {
    let place = Place::new();
    let mut task = place.task(false, COUNTS);
    for (images, expected) in
        [(place.directory.join("nothing"), "directory"), (place.images(), "that this runtime has made")]
    {
        fs::create_dir_all(place.images()).unwrap();
        task.create.checkpoint = images.display().to_string();
        let error = message(task.created());
        assert!(error.contains(expected) && error.contains(&task.create.checkpoint), "{error}");
        place.has_nothing_left();
    }
    task.change(|spec| spec["linux"]["netDevices"] = json!({ "eth9": {} }));
    let error = message(task.created());
    assert!(error.contains("linux.netDevices eth9") && error.contains("checkpointed"), "{error}");
    place.has_nothing_left();
}

/// Its images are none: whatever CRIU there is fails.
#[test]
fn a_restore_that_fails_is_told_at_start_and_the_container_can_be_deleted() {
    let place = Place::new();
    let mut task = place.task(false, COUNTS);
    fs::create_dir_all(place.images()).unwrap();
    fs::write(place.images().join("loment-checkpoint.json"), r#"{"streams":[],"masks":[]}"#).unwrap();
    task.create.checkpoint = place.images().display().to_string();
    task.created().unwrap();
    assert_eq!(task.status(), Status::CREATED);
    assert!(place.directory.join("bundle/rootfs/bin/busybox").exists(), "nobody could put files into its root");
    let error = message(task.started());
    assert!(error.contains("restore container") && error.contains("criu restore"), "{error}");
    assert_eq!(task.deleted().unwrap().exit_status, 137);
    place.has_nothing_left();

    // One that is never started.
    task.created().unwrap();
    task.killed().unwrap();
    assert_eq!((task.ended(), task.status()), (137, Status::STOPPED));
    task.deleted().unwrap();
    place.has_nothing_left();
}

#[test]
fn a_stream_of_another_kind_than_it_was_is_refused() {
    let place = Place::new();
    let mut task = place.task(false, COUNTS);
    fs::create_dir_all(place.images()).unwrap();
    let stream = r#"{"name":"file[1:1]","kind":"fifo"}"#;
    let text = format!(r#"{{"streams":[{stream}],"masks":[]}}"#);
    fs::write(place.images().join("loment-checkpoint.json"), text).unwrap();
    task.create.checkpoint = place.images().display().to_string();
    let error = message(task.created());
    assert!(error.contains("standard input: was a fifo") && error.contains("nothing now"), "{error}");
    place.has_nothing_left();
}

#[test]
fn a_container_runs_on_after_its_checkpoint_or_ends_with_it_and_is_brought_back() {
    if !criu_works() {
        return;
    }
    let place = Place::new();
    let mut task = Task::running(&place);
    let running = place.directory.join("running");
    let work = place.directory.join("work");
    let options = CheckpointOptions { work_path: work.display().to_string(), ..CheckpointOptions::default() };
    task.checkpoint(&running, options).unwrap();
    assert!(work.join("dump.log").exists(), "its log is not where it was asked for");
    place.counts_beyond(place.count());
    // As containerd's own client does it: stopped before.
    let pause = PauseRequest { id: task.id.clone(), ..PauseRequest::default() };
    task.client.pause(patience(), &pause).unwrap();
    let options = CheckpointOptions { exit: true, file_locks: true, ..CheckpointOptions::default() };
    task.checkpoint(&place.images(), options).unwrap();
    assert_eq!(task.ended(), 137);
    task.deleted().unwrap();
    place.has_nothing_left();
    assert!(!place.directory.join("bundle/criu-work").exists());

    task.create.checkpoint = place.images().display().to_string();
    task.brought_back(&place);
    assert_eq!(task.status(), Status::RUNNING);
    task.ended_and_deleted(&place);
    // It has gone on from where it was, and nothing of what it said is lost between its two lives and their loggers.
    place.has_counted_without_a_gap();
}

#[test]
fn an_open_connection_is_kept_if_that_is_asked_for_and_otherwise_told() {
    if !criu_works() {
        return;
    }
    let place = Place::new();
    let mut task = place.task(false, COUNTS_OVER_TCP);
    task.create.stdout = place.logger();
    task.change(|spec| {
        let able = ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"];
        spec["process"]["capabilities"] = json!({ "bounding": able, "permitted": able, "effective": able });
    });
    task.counting(&place);
    let error = message(task.checkpoint(&place.directory.join("refused"), CheckpointOptions::default()));
    assert!(error.contains("onnected TCP socket"), "{error}");
    place.counts_beyond(place.count());
    task.put_away(&place, CheckpointOptions { open_tcp: true, ..CheckpointOptions::default() });
    task.brought_back(&place);
    task.ended_and_deleted(&place);
    place.has_counted_without_a_gap();
}

/// As from another client: its fifos, say, are for more people.
#[test]
fn a_stream_may_have_other_permissions_than_it_had_if_criu_is_new_enough_for_it() {
    if !criu_works() {
        return;
    }
    let place = Place::new();
    let fifo = place.directory.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let _reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let mut task = place.task(false, "exec busybox sleep 1000");
    task.create.stdout = fifo.display().to_string();
    task.created().unwrap();
    task.started().unwrap();
    task.put_away(&place, CheckpointOptions::default());
    fs::set_permissions(&fifo, fs::Permissions::from_mode(0o722)).unwrap();
    task.created().unwrap();
    match task.started() {
        Ok(()) => assert_eq!(task.status(), Status::RUNNING),
        Err(error) => assert!(error.to_string().contains("unrecognized option '--skip-file-rwx-check'"), "{error}"),
    }
    task.ended_and_deleted(&place);
}
