//! What a client, a file or a stranger can do to a shim that none of them means well: a clear refusal, nothing half made, and a
//! shim that goes on.

#[path = "hostile/frames.rs"]
mod frames;
#[path = "hostile/names.rs"]
mod names;
#[path = "hostile/peers.rs"]
mod peers;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/specs.rs"]
mod specs;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, DeleteRequest, StateRequest},
    protobuf::Message as _,
    ttrpc::{
        self, Code,
        proto::{Request, Response},
    },
};

use crate::{
    Place,
    task::{Task, patience, slowness},
};

/// Header of a frame: four bytes of length, four of the stream, its type, its flags.
const HEADER: usize = 10;
const REQUEST: u8 = 1;
const TASK: &str = "containerd.task.v2.Task";

/// What there is of a shim and by it: what must be the same afterwards.
#[derive(Debug, PartialEq, Eq)]
struct Census {
    processes: BTreeSet<i32>,
    descriptors: usize,
    cgroups: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    mounts: usize,
}

impl Census {
    fn of(place: &Place, shim: i32) -> Self {
        let children = |pid: i32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let mut processes: BTreeSet<i32> = place.shims().into_iter().collect();
        processes.extend(children(shim).split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        let mount = place.directory.display().to_string();
        let mounts = fs::read_to_string(format!("/proc/{shim}/mountinfo")).unwrap();
        let mut files = BTreeSet::new();
        walk(&place.directory.join("bundle"), &mut files);
        Self {
            processes,
            descriptors: fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count(),
            cgroups: cgroups(&place.id),
            files,
            mounts: mounts.lines().filter(|line| line.contains(&mount)).count(),
        }
    }
}

/// Everything below a directory, without following what leads out of it.
fn walk(directory: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), found);
        }
        found.insert(entry.path());
    }
}

/// Cgroups at the top of any hierarchy, and those of containers that name none, that belong to this place.
fn cgroups(id: &str) -> BTreeSet<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path()).chain([top.to_owned()]);
    let tops = hierarchies.flat_map(|hierarchy| [hierarchy.join("loment"), hierarchy]);
    let all = tops.flat_map(|top| fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path()));
    all.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(id))).collect()
}

/// A shim with nothing in it yet, and a client that means well.
struct Victim {
    task: Task,
    shim: i32,
    before: Census,
    // Goes last, and takes everything away.
    place: Place,
}

impl Victim {
    fn new() -> Self {
        let place = Place::new();
        let task = place.task(false, "exec sleep 1000");
        let [shim] = place.shims()[..] else { panic!("one shim") };
        // What a shim opens once, it has opened then.
        live(&task);
        let before = Census::of(&place, shim);
        Self { task, shim, before, place }
    }

    /// The shim is the same, and so is all that it has, as soon as what is closed has been closed.
    fn is_unharmed(&self) {
        let deadline = Instant::now() + Duration::from_secs(20) * slowness();
        loop {
            self.answers();
            let now = Census::of(&self.place, self.shim);
            if now == self.before {
                return;
            }
            assert!(Instant::now() < deadline, "before: {:#?}\nnow: {now:#?}", self.before);
            sleep(Duration::from_millis(20));
        }
    }

    /// The shim answers its client.
    fn answers(&self) {
        let request = StateRequest { id: "nobody".into(), ..StateRequest::default() };
        assert_eq!(code(&self.task.client.state(patience(), &request).unwrap_err()), Code::NOT_FOUND);
    }

    /// The container is created, and taken away again: the shim can do what it is for.
    fn still_works(&self) {
        live(&self.task);
        self.is_unharmed();
    }

    /// Creates the container, which fails; what is said, of which nothing may be left.
    fn refusal_of(&self, create: &CreateTaskRequest) -> (Code, String) {
        let error = self.task.client.create(patience(), create).unwrap_err();
        let delete = DeleteRequest { id: create.id.clone(), ..DeleteRequest::default() };
        assert_eq!(code(&self.task.client.delete(patience(), &delete).unwrap_err()), Code::NOT_FOUND);
        self.is_unharmed();
        match error {
            ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
            other => panic!("{other}"),
        }
    }

    fn connect(&self) -> Raw {
        let stream = UnixStream::connect(self.place.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20) * slowness())).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20) * slowness())).unwrap();
        Raw { stream, next: 1 }
    }

    /// Bytes of memory that the shim has in use.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.shim)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }
}

/// A container's whole life.
fn live(task: &Task) {
    task.created().unwrap();
    task.started().unwrap();
    task.killed().unwrap();
    task.ended();
    task.deleted().unwrap();
}

fn code(error: &ttrpc::Error) -> Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("{other}"),
    }
}

/// How many descriptors a process may have: `SOFT:HARD`, of which one may be left as it is.
fn limit_descriptors(pid: i32, limits: &str) {
    let status = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limits}")]).status();
    assert!(status.unwrap().success());
}

/// A connection whose bytes are one's own.
struct Raw {
    stream: UnixStream,
    next: u32,
}

impl Raw {
    /// Sends a request and waits for its answer.
    fn ask(&mut self, service: &str, method: &str, payload: Vec<u8>) -> io::Result<Response> {
        let request = Request { service: service.into(), method: method.into(), payload, ..Request::default() };
        let stream = self.next;
        self.next += 2;
        self.send(&frame(stream, REQUEST, 0, &request.write_to_bytes().unwrap()))?;
        self.answer()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next answer, to whatever it is.
    fn answer(&mut self) -> io::Result<Response> {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body)?;
        Response::parse_from_bytes(&body).map_err(io::Error::other)
    }
}

fn frame(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&header(length, stream, kind, flags)[..], payload].concat()
}

fn header(length: u32, stream: u32, kind: u8, flags: u8) -> [u8; HEADER] {
    let ([a, b, c, d], [e, f, g, h]) = (length.to_be_bytes(), stream.to_be_bytes());
    [a, b, c, d, e, f, g, h, kind, flags]
}
