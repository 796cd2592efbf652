//! Through which containerd a pod was made. One machine may have several, and one state directory is enough for all of them:
//! what containerd A runs is not lost because containerd B does not know it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The file in a pod's directory with containerd's socket.
const FILE: &str = "containerd";

/// Notes containerd's socket in a pod's directory, which exists.
pub(crate) fn note(directory: &Path, address: &Path) -> anyhow::Result<()> {
    let path = directory.join(FILE);
    fs::write(&path, resolved(address).as_os_str().as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// Whether a pod with this directory is for the containerd with this socket to judge. One without a note, of before there
/// were notes, is for any.
pub(crate) fn is_of(directory: &Path, address: &Path) -> bool {
    let noted = fs::read_to_string(directory.join(FILE)).unwrap_or_default();
    let noted = noted.trim_end();
    noted.is_empty() || Path::new(noted) == address || Path::new(noted) == resolved(address)
}

/// Without links: `/var/run` leads to `/run`.
fn resolved(address: &Path) -> PathBuf {
    fs::canonicalize(address).unwrap_or_else(|_| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::Scratch;

    #[test]
    fn a_pod_is_for_the_containerd_that_made_it_by_whichever_name_and_one_without_a_note_for_any() {
        let scratch = Scratch::new("keeper");
        let (here, other, link) = (scratch.0.join("a.sock"), scratch.0.join("b.sock"), scratch.0.join("link.sock"));
        fs::write(&here, "").unwrap();
        std::os::unix::fs::symlink(&here, &link).unwrap();
        assert!(is_of(&scratch.0, &here) && is_of(&scratch.0, &other));
        note(&scratch.0, &link).unwrap();
        assert!(is_of(&scratch.0, &here) && is_of(&scratch.0, &link) && !is_of(&scratch.0, &other));
        // It does not run at present.
        fs::remove_file(&here).unwrap();
        assert!(is_of(&scratch.0, &fs::canonicalize(&scratch.0).unwrap().join("a.sock")));
    }
}
