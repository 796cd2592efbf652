//! Where a pod's files are.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::{name, namespace, uid};

/// The directories of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Volumes, the hosts file, termination messages: `<state>/pods/<uid>`.
    pub(crate) directory: PathBuf,
    /// Logs: `<logs>/<namespace>_<name>_<uid>`.
    pub(crate) logs: PathBuf,
    /// Seccomp profiles of the machine's administrator: `<state>/seccomp`.
    pub(crate) seccomp: PathBuf,
}

impl Layout {
    /// The directories of `pod` below the program's state and log directories.
    pub(crate) fn of(pod: &Pod, state: &Path, logs: &Path) -> Self {
        Layout {
            directory: state.join("pods").join(uid(pod)),
            logs: logs.join(format!("{}_{}_{}", namespace(pod), name(pod), uid(pod))),
            seccomp: state.join("seccomp"),
        }
    }

    /// Directory that holds what a volume contains.
    pub(crate) fn volume(&self, volume: &str) -> PathBuf {
        self.directory.join("volumes").join(volume)
    }

    /// The pod's `/etc/hosts`.
    pub(crate) fn hosts(&self) -> PathBuf {
        self.directory.join("etc-hosts")
    }

    /// File that a container leaves its last words in.
    pub(crate) fn termination_log(&self, container: &str) -> PathBuf {
        self.directory.join("containers").join(container).join("termination-log")
    }

    /// Directory of a container's logs.
    pub(crate) fn container_logs(&self, container: &str) -> PathBuf {
        self.logs.join(container)
    }
}

/// A path as the runtime takes it.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
