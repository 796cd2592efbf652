//! What the trackers of other shims tell of, and needs no containerd to be seen. Each test is named after its number there:
//! docs/faults-of-others.md.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, net::UnixStream},
    },
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use containerd_shim_protos::api::{CreateTaskRequest, Status};
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

use crate::{
    Place,
    task::{Task, patience, slowness},
};

/// The fifo that containerd makes in a bundle for the shim's log.
struct Log(PathBuf);

impl Log {
    fn new(place: &Place) -> Self {
        let path = place.directory.join("bundle/log");
        mkfifo(&path, Mode::from_bits_truncate(0o700)).unwrap();
        Self(path)
    }

    /// Opens it as containerd does.
    fn open(&self) -> File {
        File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&self.0).unwrap()
    }
}

/// What is in the fifo now.
fn taken(mut log: &File) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => text.extend_from_slice(&buffer[..size]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits until there are so many bytes in the fifo.
fn until_filled(log: &File, bytes: usize) {
    let deadline = Instant::now() + Duration::from_secs(20) * slowness();
    loop {
        let size = loment_sys::fd::unread(log.as_fd()).unwrap();
        if size >= bytes {
            return;
        }
        assert!(Instant::now() < deadline, "there are {size} bytes in the log, not {bytes}");
        sleep(Duration::from_millis(5));
    }
}

/// A number in KiB of /proc/PID/status.
fn kib(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What processor time a process has used. proc_pid_stat(5)
fn used(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    // USER_HZ is 100 on every architecture that Linux still has.
    Duration::from_millis(ticks * 10)
}

fn shim_of(place: &Place) -> i32 {
    match place.shims().as_slice() {
        [shim] => *shim,
        shims => panic!("one shim is there, not {shims:?}"),
    }
}

fn runs_to_its_end(task: &Task) {
    task.created().unwrap();
    task.started().unwrap();
    assert_eq!(task.status(), Status::RUNNING);
    task.killed().unwrap();
    assert_eq!(task.ended(), 137);
    task.deleted().unwrap();
}

/// There the shim was gone after a Create, and nobody had said why. Its panic went where its standard error went.
#[test]
fn rust_extensions_115_a_create_that_fails_says_why_and_the_shim_lives_on() {
    let place = Place::new();
    let task = place.task(false, "exec sleep 1000");
    let shim = shim_of(&place);
    let mut create = task.create.clone();
    create.rootfs[0].source = "/no/such/image".into();
    let said = task.client.create(patience(), &create).unwrap_err().to_string();
    assert!(said.contains("/no/such/image") && said.contains("No such file"), "{said}");
    task.change(|spec| spec["linux"]["namespaces"] = serde_json::json!([{"type": "nonsense"}]));
    let said = task.created().unwrap_err().to_string();
    assert!(said.contains("nonsense"), "{said}");
    task.change(|spec| spec["linux"]["namespaces"] = serde_json::json!([{"type": "pid"}, {"type": "mount"}]));
    runs_to_its_end(&task);
    assert_eq!(shim_of(&place), shim);
}

#[test]
fn rust_extensions_115_a_shim_that_has_to_end_at_once_says_why_in_containerds_log() {
    let place = Place::new();
    let log = Log::new(&place).open();
    let task = place.task(false, "true");
    let shim = shim_of(&place);
    let limit = (kib(shim, "VmSize") + 256) << 10;
    let limited = Command::new("prlimit").args([format!("--pid={shim}"), format!("--as={limit}")]).status().unwrap();
    assert!(limited.success(), "{limited}");
    // A request of 3 MiB, which is allowed, for a shim that cannot have them.
    let request = CreateTaskRequest { id: "x".repeat(3 << 20), ..task.create.clone() };
    assert!(task.client.create(patience(), &request).is_err());
    place.gone();
    let said = taken(&log);
    assert!(said.contains("memory allocation of 3"), "its log is {said:?}");
}

/// Sends frames of a type that there is not, without content: a line of the log for each, when the shim logs all.
fn annoy(place: &Place, times: usize) {
    // ttrpc's PROTOCOL.md: length, stream, type, flags.
    const FRAME: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0];
    UnixStream::connect(place.socket()).unwrap().write_all(&FRAME.repeat(times)).unwrap();
}

/// There a shim wrote a line for each SIGPIPE, which was another SIGPIPE, when containerd had gone and with it the reader
/// of its log; and one whose log nobody read waited for room in it.
#[test]
fn rust_extensions_240_a_log_that_nobody_reads_keeps_nobody_waiting() {
    let mut place = Place::new();
    place.flags = vec!["-debug"];
    let fifo = Log::new(&place);
    let log = fifo.open();
    let task = place.task(false, "exec sleep 1000");
    let shim = shim_of(&place);
    annoy(&place, 1500);
    // A pipe holds 64 KiB, less what is lost at the ends of its pages: pipe(7).
    until_filled(&log, 60 << 10);
    annoy(&place, 100);
    runs_to_its_end(&task);

    drop(log);
    annoy(&place, 100);
    runs_to_its_end(&task);
    let (begun, before) = (Instant::now(), used(shim));
    sleep(Duration::from_millis(500) * slowness());
    let (passed, spent) = (begun.elapsed(), used(shim) - before);
    assert!(spent * 2 < passed, "with nothing to do it has used {spent:?} of {passed:?}");

    let log = fifo.open();
    annoy(&place, 10);
    until_filled(&log, 10 * "level=error".len());
    assert!(taken(&log).contains("level=error"), "who comes back to the log finds other things in it");
    runs_to_its_end(&task);
    assert_eq!(shim_of(&place), shim);
}
