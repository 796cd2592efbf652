//! The steps of a removal: each looks at the thing once more, and finds it removed if it is gone.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use loment_cgroups::{Cgroup, Layout};
use loment_sandbox::record;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::{cni, mounts, processes};
use crate::disk;

/// Whether there is still this very file; nothing, if there is none.
pub(super) fn is_same(path: &Path, inode: u64) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.ino() == inode => Ok(true),
        Ok(_) => bail!("{} is another one now: nothing is done to it", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
    }
}

/// With a bundle goes all that is in the cgroup of its record. A process of the machine's that has come there since the last
/// look is none of the container's.
pub(super) fn refuse_strangers(bundle: &Path) -> anyhow::Result<()> {
    let Some(record) = record::read(bundle)? else { return Ok(()) };
    let own = fs::metadata("/proc/self/ns/mnt").context("find the own mount namespace")?.ino();
    for pid in Cgroup::open(&Layout::detect()?, &record.cgroup)?.pids()? {
        let is_inside = fs::metadata(format!("/proc/{pid}/ns/mnt")).is_ok_and(|mounts| mounts.ino() != own);
        if !is_inside && processes::is_strange(pid) {
            bail!("process {pid} has come into the cgroup of {}: nothing is done to it", record.id);
        }
    }
    Ok(())
}

/// Kills a process if it still is the one that was found, and does not wait for its end.
pub(super) fn kill(pid: i32, start_time: u64) -> anyhow::Result<()> {
    let found = record::Record { id: String::new(), pid, start_time, cgroup: PathBuf::new() };
    if let Some(process) = found.init()? {
        process.signal(nix::libc::SIGKILL)?;
    }
    Ok(())
}

/// Kills a process if it still is the one that was found, and waits until it has ended.
pub(super) fn end(pid: i32, start_time: u64) -> anyhow::Result<()> {
    let found = record::Record { id: String::new(), pid, start_time, cgroup: PathBuf::new() };
    let Some(process) = found.init()? else { return Ok(()) };
    process.signal(nix::libc::SIGKILL)?;
    let stuck =
        || anyhow!("process {pid} does not end: it waits in the kernel, or is frozen; look at /proc/{pid}/stack");
    if soon(|| process.has_ended()) { Ok(()) } else { Err(stuck()) }
}

/// Whether something happens within three seconds.
fn soon(has_happened: impl Fn() -> bool) -> bool {
    (0..300).any(|_| {
        let happened = has_happened();
        if !happened {
            std::thread::sleep(Duration::from_millis(10));
        }
        happened
    })
}

pub(super) fn unmount(id: u64, at: &Path, pods: &Path) -> anyhow::Result<()> {
    if mounts::top_at(at) != Some(id) {
        // Another one hides it, and is removed first; or it went with what it was mounted on.
        return Ok(());
    }
    if at.starts_with(pods) {
        // What is mounted in a pod's directory may have a peer elsewhere, which is to stay.
        return disk::unmount(at);
    }
    match umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).with_context(|| format!("unmount {}", at.display())),
    }
}

/// Takes the name of a network namespace away; it goes with it when nobody is in it.
pub(super) fn unname(path: &Path, inode: u64) -> anyhow::Result<()> {
    if !is_same(path, inode)? {
        return Ok(());
    }
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .with_context(|| format!("unmount {}", path.display()))?;
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

/// The kernel takes an end of a pair away with the other one, in its own time.
pub(super) fn gone_with_its_peer(name: &str) -> anyhow::Result<()> {
    if soon(|| !cni::exists(name)) {
        return Ok(());
    }
    Err(anyhow!(
        "its peer is still there: something holds the network namespace; remove it with: ip link delete {name}"
    ))
}

pub(super) fn remove_cgroup(path: &Path) -> anyhow::Result<()> {
    if path.parent() == Some(Path::new("/loment")) {
        return crate::cgroup::remove(&path.to_string_lossy());
    }
    // Never killed as a whole: whoever has come into it meanwhile keeps it.
    Ok(Cgroup::open(&Layout::detect()?, path)?.remove_with_parent()?)
}

pub(super) fn remove_socket(path: &Path, inode: u64) -> anyhow::Result<()> {
    if is_same(path, inode)? && loment_shim::remove_stale(&format!("unix://{}", path.display()))? {
        bail!("somebody listens there now: nothing is done to it");
    }
    Ok(())
}

pub(super) fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::disk::tests::Scratch;

    #[test]
    fn a_process_is_ended_only_if_it_is_the_one_that_was_found() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let start_time = processes::start_time(pid).unwrap();
        end(pid, start_time + 1).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "another process was ended");
        end(pid, start_time).unwrap();
        assert!(child.wait().unwrap().code().is_none());
        end(pid, start_time).unwrap();
    }

    #[test]
    fn a_file_that_was_exchanged_is_left_alone() {
        let scratch = Scratch::new("exchanged-file");
        let path = scratch.0.join("s");
        fs::write(&path, "").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert!(is_same(&path, inode).unwrap());
        assert!(is_same(&path, inode + 1).is_err());
        assert!(unname(&path, inode + 1).is_err() && path.exists());
        fs::remove_file(&path).unwrap();
        assert!(!is_same(&path, inode).unwrap());
    }

    #[test]
    fn a_socket_that_is_listened_on_stays() {
        let scratch = Scratch::new("listened");
        let path = scratch.0.join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let inode = fs::symlink_metadata(&path).unwrap().ino();
        assert!(remove_socket(&path, inode).is_err() && path.exists());
        drop(listener);
        remove_socket(&path, inode).unwrap();
        assert!(!path.exists());
    }
}
