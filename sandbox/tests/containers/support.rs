//! What the tests share: bundles made from busybox, a specification like CRI's, and counting what is left.

use std::{
    fs::{self, File},
    io::Read,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use loment_cgroups::Layout;
use loment_sandbox::{
    Error,
    container::{Container, Creating, Io, Request, Role, RootfsMount},
    process::{Exit, Process},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

/// Names of test functions with the functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}

/// Runs a test and compares what it leaves with what it found: descriptors, mounts, children, cgroups.
pub(crate) fn leaves_the_machine_as_found(test: fn()) {
    let before = machine();
    test();
    assert_eq!(machine(), before, "the test must leave the machine as it found it");
}

/// What a test may not change: by name, and what it is.
pub(crate) fn machine() -> [(&'static str, Vec<String>); 4] {
    let names = |path: &str| {
        let mut names: Vec<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let lines = |path: &str| fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect();
    let cgroups = hierarchies().iter().flat_map(|h| names(&format!("{}{}", h.display(), cgroups()))).collect();
    [
        ("descriptors", names("/proc/self/fd")),
        ("mounts", lines("/proc/self/mountinfo")),
        ("children", lines("/proc/thread-self/children")),
        ("cgroups", cgroups),
    ]
}

/// Parent of the cgroups that the tests make: of this process only, because others may run at the same time.
pub(crate) fn cgroups() -> String {
    format!("/loment-test-{}", std::process::id())
}

/// Whether cgroup v2 is all there is.
pub(crate) fn is_unified() -> bool {
    exists("/sys/fs/cgroup/cgroup.controllers")
}

fn hierarchies() -> Vec<PathBuf> {
    match is_unified() {
        true => vec!["/sys/fs/cgroup".into()],
        false => fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()).collect(),
    }
}

/// Where the cgroup `path` has its files of a v1 controller, or all of them.
pub(crate) fn cgroup_directory(controller: &str, path: &str) -> PathBuf {
    let hierarchy = if is_unified() { "" } else { controller };
    Path::new("/sys/fs/cgroup").join(hierarchy).join(path.trim_start_matches('/'))
}

/// The kernel's version: what it cannot do yet is refused, and that is a promise too.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Enters a mount namespace of our own, which nobody else mounts anything in. Before there is another thread.
pub(crate) fn keep_mounts_to_ourselves() {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };
    unshare(CloneFlags::CLONE_NEWNS).expect("the tests of containers need root");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

/// A bundle in a directory of its own, removed with it.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    /// The specification, to be changed by a test.
    pub(crate) spec: Value,
    pub(crate) rootfs: Vec<RootfsMount>,
    pub(crate) role: Role,
}

const APPLETS: &[&str] = &[
    "sh", "ls", "cat", "echo", "sleep", "id", "hostname", "mount", "stat", "readlink", "env", "pwd", "true", "false",
    "kill", "touch", "mkdir", "rm", "test", "stty", "tty", "grep", "sed", "head", "ip", "dd", "wc", "find", "ln",
    "umask", "sync", "ps", "printf", "nproc", "sort", "tr", "tail", "mknod", "umount", "unshare",
];

impl Bundle {
    pub(crate) fn new(script: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("loment-{id}"));
        let rootfs = path.join("rootfs");
        for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "work"] {
            fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static must be installed");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
            .unwrap();
        let spec = spec(&id, script);
        Self { path, id, spec, rootfs: Vec::new(), role: Role::Program }
    }

    pub(crate) fn mount(&mut self, mount: Value) {
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    pub(crate) fn request(&self, io: Io) -> Request {
        Request {
            id: self.id.clone(),
            bundle: self.path.clone(),
            spec: Arc::new(serde_json::from_value(self.spec.clone()).unwrap()),
            rootfs: self.rootfs.clone(),
            io,
            role: self.role,
        }
    }

    pub(crate) fn create(&self, io: Io) -> Result<Container, Error> {
        Creating::begin(self.request(io), &Layout::detect().unwrap())?.finish()
    }

    /// The error of a create that must fail.
    pub(crate) fn refused(&self) -> String {
        match self.create(no_io()) {
            Ok(mut container) => {
                container.delete().unwrap();
                panic!("must be refused")
            }
            Err(error) => error.to_string(),
        }
    }

    /// Creates, runs to the end and deletes; answers with exit code and output.
    pub(crate) fn run(&self) -> (u32, String) {
        let (io, output) = output();
        let mut container = self.create(io).unwrap_or_else(|error| panic!("{error}"));
        let started = container.start().unwrap().finish();
        if let Err(error) = started {
            container.delete().unwrap();
            panic!("{error}");
        }
        let text = read(output);
        let exit = wait(container.init_mut());
        container.delete().unwrap();
        (exit.code, text)
    }

    /// The output of a program that must succeed.
    pub(crate) fn output(&self) -> String {
        let (code, text) = self.run();
        assert_eq!(code, 0, "{text}");
        text
    }

    /// A container that runs its script.
    pub(crate) fn started(&self) -> Running {
        let mut container = self.create(no_io()).unwrap_or_else(|error| panic!("{error}"));
        container.start().unwrap().finish().unwrap_or_else(|error| panic!("{error}"));
        Running(container)
    }
}

/// Cleans up in a destructor. What goes wrong with that fails the test, but not while the test is failing already: a second
/// panic would end the program, with all other tests, and nobody would read the first.
pub(crate) fn clean_up(work: impl FnOnce()) {
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    if let Err(panic) = done
        && !thread::panicking()
    {
        panic::resume_unwind(panic);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        clean_up(|| fs::remove_dir_all(&self.path).unwrap());
        for hierarchy in hierarchies() {
            let _ = fs::remove_dir(hierarchy.join(cgroups().trim_start_matches('/')));
        }
    }
}

/// A kubelet limits them always. Then a directory of cgroup v2 is among the descriptors of a child, also where
/// everything else is v1.
pub(crate) fn limit_huge_pages(bundle: &mut Bundle) {
    if exists("/sys/kernel/mm/hugepages/hugepages-2048kB") {
        bundle.spec["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 0}]);
    }
}

/// A running container that is deleted at the end of a test.
pub(crate) struct Running(pub(crate) Container);

impl Running {
    /// Runs a script in it; answers with exit code and output.
    pub(crate) fn exec(&self, script: &str) -> (u32, String) {
        self.exec_process(json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "user": {}, "env": [PATH]}))
    }

    pub(crate) fn exec_process(&self, process: Value) -> (u32, String) {
        let (io, output) = output();
        let process = serde_json::from_value(process).unwrap();
        let executing = self.0.exec(&process, io).unwrap_or_else(|error| panic!("{error}"));
        let (mut process, _) = executing.finish().unwrap_or_else(|error| panic!("{error}"));
        let text = read(output);
        (wait(&mut process).code, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        clean_up(|| self.0.delete().unwrap());
    }
}

pub(crate) const PATH: &str = "PATH=/bin";

/// Standard streams that nobody looks at.
pub(crate) fn no_io() -> Io {
    Io::Plain { stdin: None, stdout: None, stderr: None }
}

/// Standard output and error into one pipe, and its other end.
pub(crate) fn output() -> (Io, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let stderr = writer.try_clone().unwrap();
    (Io::Plain { stdin: None, stdout: Some(writer.into()), stderr: Some(stderr.into()) }, reader.into())
}

pub(crate) fn read(output: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = File::from(output);
    let mut buffer = [0; 4096];
    // A terminal ends with EIO.
    while let Ok(length @ 1..) = file.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits for the end of a process, as the shim does: by its pidfd.
pub(crate) fn wait(process: &mut Process) -> Exit {
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    process.try_wait().unwrap().expect("a readable pidfd is a process that has ended")
}

pub(crate) fn namespace(pid: impl std::fmt::Display, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}

/// What containerd 1.6 writes for a container of a pod, with a network namespace of its own.
fn spec(id: &str, script: &str) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE"
    ]);
    json!({
        "ociVersion": "1.0.2-dev",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [10]},
            "args": ["/bin/sh", "-c", script],
            "env": [PATH, "HOSTNAME=pod"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "oomScoreAdj": 1000
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "hostname": "pod",
        "linux": {
            "resources": {
                "devices": [
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 136, "access": "rwm"}
                ],
                "cpu": {"shares": 2, "period": 100000}
            },
            "cgroupsPath": format!("{}/{id}", cgroups()),
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}
