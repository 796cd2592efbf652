//! Removes what [`super::judge`] has called a leftover. Whatever it is, it is looked at once more right before: that it is
//! still the same thing, and that containerd has not learnt of its id meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use loment_cgroups::{Cgroup, Layout};
use loment_sandbox::record;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::finding::{Finding, Thing};
use super::look::{Places, known};
use super::survey::{Names, is_id};
use super::{cni, mounts, places, processes};
use crate::commands::note;
use crate::disk;
use crate::kept::remains;
use crate::session::Session;

/// What is needed to remove anything.
pub(crate) struct Removal<'a> {
    session: &'a Session,
    places: &'a Places,
    known: BTreeMap<String, BTreeMap<String, Names>>,
    program: Option<PathBuf>,
}

impl<'a> Removal<'a> {
    /// Asks containerd once more.
    pub(crate) async fn begin(session: &'a Session, places: &'a Places) -> anyhow::Result<Self> {
        Ok(Self { session, places, known: known(session).await?, program: program() })
    }

    /// Removes all of them, which are in their order, and answers with what became of each.
    pub(crate) async fn all(&self, leftovers: &[Finding]) -> Vec<anyhow::Result<()>> {
        let mut results = Vec::with_capacity(leftovers.len());
        let (shims, rest) = leftovers.split_at(leftovers.partition_point(|one| one.thing.rank() == 0));
        for shim in shims {
            results.push(self.remove(shim).await);
        }
        // What is recorded in bundles is cleaned up as containerd would have the shim do it. What this removes is found
        // removed when its turn comes, and what it cannot remove is told there too.
        for one in rest {
            if let Thing::Bundle { path, inode, namespace, id } = &one.thing
                && self.is_gone(one).is_ok()
                && let Err(error) = self.delete(path, *inode, namespace, id)
            {
                note(&format!("Warning: {error:#}"));
            }
        }
        for one in rest {
            results.push(self.remove(one).await);
        }
        results
    }

    /// Removes one of them.
    ///
    /// Errors: it is still there, with the reason.
    async fn remove(&self, finding: &Finding) -> anyhow::Result<()> {
        self.is_gone(finding)?;
        match &finding.thing {
            Thing::Shim { pid, start_time } | Thing::Process { pid, start_time, .. } => end(*pid, *start_time),
            Thing::Mount { id, at, .. } => unmount(*id, at, &self.session.global.state_dir.join("pods")),
            Thing::Attachment { path, inode, .. } => match is_same(path, *inode)? {
                true => cni::release(path, &self.places.plugins),
                false => Ok(()),
            },
            Thing::Network { path, inode } => unname(path, *inode),
            Thing::Interface { name } => gone_with_its_peer(name),
            Thing::Cgroup { path } => remove_cgroup(path),
            Thing::Socket { path, inode } => remove_socket(path, *inode),
            Thing::Bundle { path, inode, namespace, id } => self.remove_bundle(path, *inode, namespace, id),
            Thing::Kept { part, path, inode } => self.remove_kept(finding, part, path, *inode).await,
        }
    }

    /// That containerd still knows nothing of it: an id may be used again.
    fn is_gone(&self, finding: &Finding) -> anyhow::Result<()> {
        let id = &finding.owner.id;
        if !id.is_empty() && self.known.values().any(|all| all.contains_key(id)) {
            bail!("containerd knows {id} now: nothing is done to it");
        }
        Ok(())
    }

    /// What containerd runs when a shim has died. Without the program the same is done from here, but for hooks.
    fn delete(&self, bundle: &Path, inode: u64, namespace: &str, id: &str) -> anyhow::Result<()> {
        if !is_same(bundle, inode)? || !is_id(id) {
            return Ok(());
        }
        let Some(program) = &self.program else {
            record::strike(bundle)?;
            record::sweep(bundle)?;
            return Ok(());
        };
        let done = Command::new(program)
            .arg("-namespace")
            .arg(namespace)
            .arg("-address")
            .arg(&self.session.address)
            .args(["-id", id, "-bundle"])
            .arg(bundle)
            .arg("delete")
            .current_dir(bundle)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {} delete", program.display()))?;
        if !done.status.success() {
            bail!("{} delete of {id}: {}", program.display(), String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// With the directory on the disk that containerd keeps for it.
    fn remove_bundle(&self, path: &Path, inode: u64, namespace: &str, id: &str) -> anyhow::Result<()> {
        if !is_same(path, inode)? {
            return Ok(());
        }
        let work = self.places.root.join(places::TASKS).join(namespace).join(id);
        disk::unmount(path)?;
        remove_directory(path)?;
        if is_id(namespace) && is_id(id) {
            disk::unmount(&work)?;
            remove_directory(&work)?;
        }
        Ok(())
    }

    async fn remove_kept(&self, finding: &Finding, part: &str, path: &Path, inode: u64) -> anyhow::Result<()> {
        let pod = &finding.owner.pod;
        match part {
            "logs" if is_same(path, inode)? => remove_directory(path),
            "logs" => Ok(()),
            "pod-removed" => disk::sweep(&self.session.global.state_dir.join("pods")),
            _ => {
                // Taken and let go, the lock is removed too.
                let state = &self.session.global.state_dir;
                let Some(_name) = disk::NameLock::take(state, &pod.namespace, &pod.name)? else {
                    bail!("a command is just making a pod {:?}: run this again when it has ended", pod.name);
                };
                remains::clear(self.session, &pod.namespace, &pod.name).await.map(drop)
            }
        }
    }
}

/// The shim's program: beside this one, or where programs are.
pub(crate) fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    let mut all = own.into_iter().chain(std::env::split_paths(&path)).chain(usual);
    all.find_map(|directory| Some(directory.join(processes::SHIM)).filter(|path| path.is_absolute() && path.is_file()))
}

/// Whether there is still this very file; nothing, if there is none.
fn is_same(path: &Path, inode: u64) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.ino() == inode => Ok(true),
        Ok(_) => bail!("{} is another one now: nothing is done to it", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("look at {}", path.display())),
    }
}

/// Kills a process if it still is the one that was found, and waits until it has ended.
fn end(pid: i32, start_time: u64) -> anyhow::Result<()> {
    let cgroup = PathBuf::new();
    let found = record::Record { id: String::new(), pid, start_time, cgroup };
    let Some(process) = found.init()? else { return Ok(()) };
    process.signal(nix::libc::SIGKILL)?;
    let stuck =
        || anyhow!("process {pid} does not end: it waits in the kernel, or is frozen; look at /proc/{pid}/stack");
    let ended = (0..300).any(|_| {
        let ended = process.has_ended();
        if !ended {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        ended
    });
    if ended { Ok(()) } else { Err(stuck()) }
}

fn unmount(id: u64, at: &Path, pods: &Path) -> anyhow::Result<()> {
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
fn unname(path: &Path, inode: u64) -> anyhow::Result<()> {
    if !is_same(path, inode)? {
        return Ok(());
    }
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .with_context(|| format!("unmount {}", path.display()))?;
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

/// The kernel takes an end of a pair away with the other one, in its own time.
fn gone_with_its_peer(name: &str) -> anyhow::Result<()> {
    let path = Path::new("/sys/class/net").join(name);
    let gone = (0..300).any(|_| {
        let gone = !path.exists();
        if !gone {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        gone
    });
    if gone {
        Ok(())
    } else {
        Err(anyhow!(
            "its peer is still there: something holds the network namespace; remove it with: ip link delete {name}"
        ))
    }
}

fn remove_cgroup(path: &Path) -> anyhow::Result<()> {
    if path.parent() == Some(Path::new("/loment")) {
        return crate::cgroup::remove(&path.to_string_lossy());
    }
    // Never killed as a whole: whoever has come into it meanwhile keeps it.
    Ok(Cgroup::open(&Layout::detect()?, path)?.remove_with_parent()?)
}

fn remove_socket(path: &Path, inode: u64) -> anyhow::Result<()> {
    if is_same(path, inode)? && loment_shim::remove_stale(&format!("unix://{}", path.display()))? {
        bail!("somebody listens there now: nothing is done to it");
    }
    Ok(())
}

fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
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
