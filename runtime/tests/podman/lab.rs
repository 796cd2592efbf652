//! A podman that shares nothing with one that the machine may have.

use std::{
    fs,
    ops::Deref,
    process::{Command, Stdio},
};

use nix::mount::{MntFlags, umount2};

use crate::engine::{Engine, Ground, eventually};

/// What podman writes to besides its own directories; covered here.
const COVERED: [&str; 4] = ["/run", "/var/lib/containers", "/var/lib/cni", "/etc/cni"];

pub(crate) struct Lab {
    ground: Ground,
}

impl Deref for Lab {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { ground: Ground::of("podman") };
        lab.enter(&COVERED);
        lab.configure();
        lab.call(&["import", &lab.make_image(), "busybox"]).ok();
        lab
    }

    /// podman raises limits as far as the kernel allows, for which a test machine may lack CAP_SYS_RESOURCE.
    fn configure(&self) {
        let text = "[containers]\ndefault_ulimits = [\"nofile=512:1024\", \"nproc=1024:1024\"]\n";
        fs::write(self.directory.join("containers.conf"), text).unwrap();
    }

    /// Everything that makes a container makes its cgroup below this run's.
    fn parent_of(&self, verb: &str, rest: &[&str]) -> Vec<String> {
        let in_pod = rest.contains(&"--pod");
        match verb {
            "run" | "create" if !in_pod => vec![format!("--cgroup-parent={}", self.cgroups)],
            _ => Vec::new(),
        }
    }

    /// Everything that podman has made goes away; what has not is told.
    pub(crate) fn end(&self) {
        self.call(&["pod", "rm", "--all", "--force", "--time", "0"]).ok();
        self.call(&["rm", "--all", "--force", "--time", "0"]).ok();
        let containers = fs::read_dir("/run/loment").into_iter().flatten().flatten().count();
        eventually("the end of podman's monitors", || {
            let mine = self.directory.to_str().unwrap();
            !processes().iter().any(|line| line.contains("conmon") && line.contains(mine))
        });
        self.remove_cgroups();
        // What is still mounted below goes with this process's mount namespace.
        umount2(&self.directory, MntFlags::MNT_DETACH).unwrap();
        self.remove_directory();
        assert_eq!(containers, 0, "podman has deleted every container, and the runtime knows of none");
    }
}

impl Engine for Lab {
    const REMOVE: &'static [&'static str] = &["rm", "--force", "--time", "0"];
    const MISSING: &'static str = "podman must be installed: scripts/install-deps";

    fn command(&self, args: &[&str]) -> Command {
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
}

/// The command lines of all processes.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}
