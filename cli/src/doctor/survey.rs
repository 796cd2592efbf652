//! What was seen of the machine and of containerd.

use std::path::PathBuf;

use crate::setup::config::{Config, Version};

#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    pub(crate) is_root: bool,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// Names in /proc/self/ns.
    pub(crate) namespaces: Vec<String>,
    pub(crate) cgroups: Cgroups,
    /// Capabilities that a service started by this process would have: its bounding set, as bits.
    pub(crate) capabilities: u64,
    pub(crate) security: Security,
    /// What seccomp can do with a call: /proc/sys/kernel/seccomp/actions_avail. Empty without seccomp.
    pub(crate) seccomp: Vec<String>,
    /// /proc/sys/user/max_user_namespaces.
    pub(crate) user_namespaces: Option<u64>,
    /// Whether the kernel has overlayfs, or a module of it.
    pub(crate) has_overlay: bool,
    pub(crate) disk: Vec<Disk>,
    /// The handler that is looked at.
    pub(crate) handler: String,
    pub(crate) own_version: String,
    pub(crate) shim: Option<Program>,
    pub(crate) prober: Option<Program>,
    pub(crate) containerd: Containerd,
    pub(crate) cni: Cni,
    /// How many leftovers there are; why they could not be looked for.
    pub(crate) leftovers: Option<Result<usize, String>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cgroups {
    /// `v1`, `hybrid` or `v2`; why none is found.
    pub(crate) layout: Option<Result<&'static str, String>>,
    pub(crate) controllers: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    /// AppArmor is on.
    pub(crate) apparmor: bool,
    /// The program with which containerd loads its profile.
    pub(crate) apparmor_parser: bool,
    /// SELinux, and whether it enforces.
    pub(crate) selinux: Option<bool>,
}

/// A file system that pods need room on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    /// Percent that is free, of bytes and of inodes (100 where it has no inodes to count).
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) is_executable: bool,
    /// As it prints it itself; `None` if it does not run.
    pub(crate) version: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Containerd {
    /// The kind and the release that were found; why none was.
    pub(crate) found: Option<Result<String, String>>,
    pub(crate) version: Option<Version>,
    pub(crate) config_path: PathBuf,
    /// What its files say.
    pub(crate) config: Option<Config>,
    /// The file that `loment install` would write, if it would; why it would refuse to.
    pub(crate) plan: Option<Result<Option<PathBuf>, String>>,
    pub(crate) socket: PathBuf,
    /// The services of which one runs it: `k3s or k3s-agent`.
    pub(crate) units: String,
    /// What the running one answers: its version; why it does not.
    pub(crate) answer: Option<Result<String, String>>,
    /// The runtime classes that the running one knows; why it does not tell them.
    pub(crate) classes: Option<Result<Vec<String>, String>>,
    /// What starts it again.
    pub(crate) restart: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cni {
    pub(crate) plugin_dirs: Vec<PathBuf>,
    pub(crate) plugins: Vec<String>,
    pub(crate) conf_dir: PathBuf,
    /// Configurations that are in it.
    pub(crate) networks: Vec<String>,
}
