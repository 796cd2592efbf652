//! A cgroup v1 hierarchy in a container's /sys/fs/cgroup.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use loment_sys::mount;
use nix::{
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
    unistd::symlinkat,
};

/// Makes a directory in a fresh tmpfs and mounts the hierarchy on it; with the links that its name asks for.
pub(super) fn attach(tmpfs: &OwnedFd, name: &Path, part: &OwnedFd) -> nix::Result<()> {
    mkdirat(tmpfs, name, Mode::from_bits_truncate(0o755))?;
    let place = openat(tmpfs, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    mount::attach(part.as_fd(), place.as_fd())?;
    links(name).try_for_each(|link| symlinkat(name, tmpfs, link))
}

/// By what other names a hierarchy is looked for: one with several controllers by each of them, as systemd and runc have it.
fn links(name: &Path) -> impl Iterator<Item = &str> {
    name.to_str().filter(|name| name.contains(',')).into_iter().flat_map(|name| name.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_are_mounted_together_have_a_link_each() {
        assert_eq!(links(Path::new("cpu,cpuacct")).collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        for alone in ["memory", "systemd", "unified"] {
            assert_eq!(links(Path::new(alone)).count(), 0, "{alone}");
        }
    }
}
