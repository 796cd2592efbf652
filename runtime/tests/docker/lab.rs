//! A dockerd that shares nothing with one that the machine may have.

use std::{
    fs::{self, File},
    ops::Deref,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::SystemTime,
};

use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    engine::{Engine, Ground, eventually},
    way::Way,
};

/// What dockerd and its containerd write to besides the directories that they are given; covered here.
const COVERED: [&str; 3] = ["/run", "/etc/docker", "/opt"];

const MISSING: &str = "dockerd and docker must be installed: scripts/install-deps --tests";

pub(crate) struct Lab {
    ground: Ground,
    pub(crate) way: Way,
    daemon: Mutex<Option<Child>>,
}

impl Deref for Lab {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Lab {
    /// Must be called by the first process of a pid namespace.
    pub(crate) fn new(ground: Ground, way: Way) -> Self {
        let lab = Self { ground, way, daemon: Mutex::new(None) };
        lab.enter(&COVERED);
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).unwrap();
        let configuration = format!(r#"{{"runtimes":{{"loment":{}}}}}"#, lab.way.configuration());
        fs::write(lab.configuration(), configuration).unwrap();
        lab.start_daemon();
        lab.call(&["import", &lab.make_image(), "busybox"]).ok();
        lab
    }

    pub(crate) fn start_daemon(&self) {
        let path = |name: &str| self.directory.join(name);
        let log = File::options().create(true).append(true).open(path("log")).unwrap();
        let mut command = self.program("dockerd");
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        command.arg("--pidfile").arg(path("pid")).args(["--host", &self.socket()]);
        command.arg("--config-file").arg(self.configuration());
        command.args(["--default-runtime", "loment", "--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.args(["--cgroup-parent", &self.cgroups, "--storage-driver", "vfs", "--live-restore"]);
        // A test machine's kernel may lack the modules of iptables; without them ports are carried by docker's proxy.
        command.args(["--iptables=false", "--ip6tables=false"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut daemon = command.spawn().expect(MISSING);
        eventually("dockerd's answer", || {
            if let Some(status) = daemon.try_wait().unwrap() {
                panic!("dockerd has ended with {status}:\n{}", self.daemons_log());
            }
            self.call(&["version"]).status == 0
        });
        *self.daemon.lock().unwrap() = Some(daemon);
    }

    /// Containers go on.
    pub(crate) fn stop_daemon(&self) {
        let mut daemon = self.daemon.lock().unwrap().take().expect("dockerd runs");
        kill(Pid::from_raw(daemon.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = daemon.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.daemons_log());
    }

    fn daemons_log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("daemon.json")
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.directory.join("socket").display())
    }

    /// dockerd finds containerd and the proxy by PATH, and containerd the shim.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("PATH", self.way.path()).env("HOME", &self.directory);
        command
    }

    /// What has happened to a container up to now, a line each.
    #[track_caller]
    pub(crate) fn events(&self, name: &str, format: &str) -> String {
        // Not a duration, which docker counts in seconds.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let container = format!("container={name}");
        let flags = ["--since", "1h", "--until", &until, "--filter", &container, "--format", format];
        self.call(&[&["events"], &flags[..]].concat()).ok()
    }

    /// An empty directory that anyone may write to.
    pub(crate) fn open_directory(&self, name: &str) -> String {
        let path = self.directory.join(name);
        fs::DirBuilder::new().mode(0o777).create(&path).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// How many containers this runtime knows of.
    pub(crate) fn known(&self) -> usize {
        let containers = self.places().into_iter().flat_map(|place| below(&place));
        containers.filter(|container| container.join("loment.json").exists()).count()
    }

    /// Where there is a directory for each container. Which one below its own docker gives a runtime is docker's to say,
    /// and a bundle is in containerd's.
    fn places(&self) -> Vec<PathBuf> {
        let bundles = self.directory.join("exec/containerd/daemon/io.containerd.runtime.v2.task");
        below(&self.directory.join("exec")).chain([bundles]).map(|root| root.join("moby")).collect()
    }

    /// What there is of a container, a phrase each.
    pub(crate) fn traces(&self, id: &str) -> Vec<String> {
        let names_it = |process: &PathBuf| {
            fs::read(process.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(id))
        };
        let processes = below(Path::new("/proc")).filter(names_it).map(|path| format!("process {}", path.display()));
        let cgroup = format!("{}/{id}", &self.cgroups[1..]);
        let hierarchies = below(Path::new("/sys/fs/cgroup")).chain([PathBuf::from("/sys/fs/cgroup")]);
        let cgroups = hierarchies.map(|hierarchy| hierarchy.join(&cgroup)).filter(|cgroup| cgroup.exists());
        let cgroups = cgroups.map(|path| format!("cgroup {}", path.display()));
        let files = self.places().into_iter().map(|place| place.join(id)).filter(|path| path.exists());
        let files = files.map(|path| format!("file {}", path.display()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mounts = mounts.lines().filter(|line| line.contains(id)).map(|line| format!("mount {line}"));
        processes.chain(cgroups).chain(files).chain(mounts).collect()
    }

    /// The cases have removed what they made; the daemon ends, and nothing that it started stays.
    pub(crate) fn end(&self) {
        let left = self.call(&["ps", "--all", "--format", "{{.Names}}"]).ok();
        for name in left.lines() {
            self.remove(name);
        }
        let known = self.known();
        self.stop_daemon();
        assert_eq!(known, 0, "docker has deleted every container, and the runtime knows of none");
    }
}

impl Engine for Lab {
    const REMOVE: &'static [&'static str] = &["rm", "--force", "--volumes"];
    const MISSING: &'static str = MISSING;

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program("docker");
        command.args(["--host", &self.socket()]).args(args).stdin(Stdio::null());
        command
    }
}

fn below(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}
