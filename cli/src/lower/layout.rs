//! Where a pod's files are.

use std::path::{Path, PathBuf};

use anyhow::bail;
use k8s_openapi::api::core::v1::{Pod, Volume};

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

    /// The directories of a pod that was found: in a list of containerd's, on the disk. They are removed as a whole, so what
    /// they are named after is not believed.
    ///
    /// Errors: its uid, name or namespace is no part of a path.
    pub(crate) fn kept(pod: &Pod, state: &Path, logs: &Path) -> anyhow::Result<Self> {
        if !is_plain(pod) {
            let (namespace, name, uid) = (namespace(pod), name(pod), uid(pod));
            bail!(
                "pod {name:?} in namespace {namespace:?} with uid {uid:?} is not named as `loment create` names pods"
            );
        }
        Ok(Self::of(pod, state, logs))
    }

    /// Directory that holds what a volume contains.
    pub(crate) fn volume(&self, volume: &str) -> PathBuf {
        self.directory.join("volumes").join(volume)
    }

    /// Where the content of a volume is: in the pod's directory, or where the machine has it.
    pub(crate) fn source(&self, volume: &Volume) -> PathBuf {
        match &volume.host_path {
            Some(source) => PathBuf::from(&source.path),
            None => self.volume(&volume.name),
        }
    }

    /// Where the part of a volume is bind mounted that is the container's mount of this number.
    pub(crate) fn pin(&self, container: &str, index: usize) -> PathBuf {
        self.directory.join("volume-subpaths").join(container).join(index.to_string())
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

/// The rule of docs/security.md: an id becomes a part of paths.
pub(crate) fn is_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    text.len() <= 255 && text.bytes().all(is_plain) && text.bytes().next().is_some_and(|first| first != b'.')
}

/// Whether a pod's uid, name and namespace can stand for a file each.
pub(crate) fn is_plain(pod: &Pod) -> bool {
    [uid(pod), name(pod), namespace(pod)].into_iter().all(is_id)
}

/// A path as the runtime takes it.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_path() {
        for id in ["a", "a.b", "_x", "0f+1-2", &"f".repeat(64)] {
            assert!(is_id(id), "{id}");
        }
        for bad in ["", ".", "..", ".a", "a/b", "../x", "a b", "a\n", "ä", &"f".repeat(256)] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }
}
