//! A podman that shares nothing with one that the machine may have.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const PATIENCE: Duration = Duration::from_secs(60);

const NONE: Option<&str> = None;

/// What podman writes to besides its own directories; covered here.
const COVERED: [&str; 4] = ["/run", "/var/lib/containers", "/var/lib/cni", "/etc/cni"];

pub(crate) struct Lab {
    pub(crate) directory: PathBuf,
    /// Parent of the cgroups of this run.
    pub(crate) cgroups: String,
}

/// What podman has said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// Its output, if it went well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self.out
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let name = format!("loment-podman-{}", std::process::id());
        let lab = Self { directory: std::env::temp_dir().join(&name), cgroups: format!("/{name}") };
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("these tests need root");
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
        fs::create_dir_all(&lab.directory).unwrap();
        for covered in COVERED.into_iter().filter(|path| Path::new(path).is_dir()) {
            mount(Some("tmpfs"), covered, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        }
        fs::create_dir_all("/run/lock").unwrap();
        // Overlay needs a file system that can be its upper layer, which the machine's may not be.
        mount(Some("tmpfs"), &lab.directory, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        loment_sys::net::loopback_up().unwrap();
        lab.configure();
        lab.make_image();
        lab
    }

    /// podman raises limits as far as the kernel allows, for which a test machine may lack CAP_SYS_RESOURCE.
    fn configure(&self) {
        let text = "[containers]\ndefault_ulimits = [\"nofile=512:1024\", \"nproc=1024:1024\"]\n";
        fs::write(self.directory.join("containers.conf"), text).unwrap();
    }

    fn make_image(&self) {
        let root = self.directory.join("image");
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static must be installed");
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(list).unwrap().lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
        let tar = self.directory.join("image.tar");
        assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap().success());
        self.podman(&["import", tar.to_str().unwrap(), "busybox"]).ok();
    }

    /// A podman command up to its own arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        let path = |name: &str| self.directory.join(name);
        command.arg("--root").arg(path("root")).arg("--runroot").arg(path("runroot")).arg("--tmpdir").arg(path("tmp"));
        command.args(["--runtime", env!("CARGO_BIN_EXE_loment-runtime"), "--cgroup-manager", "cgroupfs"]);
        command.args(["--events-backend", "file", "--log-level", "error"]);
        // conmon writes its file `oom` into its working directory.
        command.current_dir(&self.directory);
        command.env("CONTAINERS_CONF", path("containers.conf")).env("HOME", &self.directory).env("TMPDIR", "/tmp");
        let (verb, rest) = args.split_first().unwrap();
        command.arg(verb).args(self.parent_of(verb, rest)).args(rest).stdin(Stdio::null());
        command
    }

    /// Everything that makes a container makes its cgroup below this run's.
    fn parent_of(&self, verb: &str, rest: &[&str]) -> Vec<String> {
        let in_pod = rest.contains(&"--pod");
        match verb {
            "run" | "create" if !in_pod => vec![format!("--cgroup-parent={}", self.cgroups)],
            _ => Vec::new(),
        }
    }

    pub(crate) fn podman(&self, args: &[&str]) -> Answer {
        answer(self.command(args).output().expect("podman must be installed: scripts/install-deps"))
    }

    /// Runs a script in a container that is gone afterwards.
    pub(crate) fn run(&self, flags: &[&str], script: &str) -> Answer {
        let network =
            if flags.iter().any(|flag| flag.starts_with("--network")) { &[][..] } else { &["--network", "none"] };
        self.podman(&[&["run", "--rm"], network, flags, &["busybox", "sh", "-c", script]].concat())
    }

    /// A container that runs in the background.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, flags: &[&str], script: &str) {
        let first = ["run", "--detach", "--name", name, "--network", "none"];
        self.podman(&[&first, flags, &["busybox", "sh", "-c", script]].concat()).ok();
    }

    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, what: &str) -> String {
        self.podman(&["inspect", "--format", &format!("{{{{{what}}}}}"), name]).ok().trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        self.podman(&["rm", "--force", "--time", "0", name]).ok();
    }

    /// Asks again until the answer is right.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, ask: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !ask() {
            assert!(Instant::now() < deadline, "never came: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that podman has made goes away; what has not is told.
    pub(crate) fn end(&self) {
        self.podman(&["pod", "rm", "--all", "--force", "--time", "0"]).ok();
        self.podman(&["rm", "--all", "--force", "--time", "0"]).ok();
        let containers = fs::read_dir("/run/loment").into_iter().flatten().flatten().count();
        self.eventually("the end of podman's monitors", || {
            let mine = self.directory.to_str().unwrap();
            !processes().iter().any(|line| line.contains("conmon") && line.contains(mine))
        });
        self.remove_cgroups();
        // The file systems go with this process's mount namespace.
        let _busy = nix::mount::umount2(&self.directory.join("root/overlay"), nix::mount::MntFlags::MNT_DETACH);
        nix::mount::umount2(&self.directory, nix::mount::MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir(&self.directory).unwrap();
        assert_eq!(containers, 0, "podman has deleted every container, and the runtime knows of none");
    }

    /// podman leaves the cgroups of its monitors, and on v1 those of pods in hierarchies that it does not know.
    fn remove_cgroups(&self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let mine = hierarchy.join(&self.cgroups[1..]);
            if mine.is_dir() {
                remove_tree(&mine);
                self.eventually("the end of the cgroups", || remove_tree(&mine));
            }
        }
    }
}

/// Removes cgroups from below; whether all are gone.
fn remove_tree(directory: &Path) -> bool {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _busy = fs::remove_dir(directory);
    !directory.exists()
}

/// The command lines of all processes.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

pub(crate) fn answer(output: Output) -> Answer {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Answer { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}
