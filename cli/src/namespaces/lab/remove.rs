//! A sandbox removed, whole or not.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use loment_sys::pidfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::kind::{Id, Kind};
use super::super::look::{is_first_of_its, set};
use super::{Lab, pinned, unmount};
use crate::error::Said;
use crate::leaks::processes::pids;

/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process in a namespace of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    pid: i32,
    name: String,
    /// It keeps the pid namespace, and no more.
    is_holder: bool,
}

/// Removes it. Who is still in it keeps its namespaces; in a pid namespace everybody is killed. So `force` is needed
/// when there is somebody.
pub(crate) fn remove(lab: &Lab, name: &str, force: bool) -> anyhow::Result<()> {
    let directory = lab.directory(name);
    if fs::symlink_metadata(&directory).is_err() {
        let root = directory.parent().unwrap_or(&directory).display();
        return Err(
            Said::one(format!("error: there is no sandbox {name:?}: ls {root} has those that there are")).into()
        );
    }
    let _turn = lab.lock()?;
    let ids = pinned(&directory);
    let all = members(&ids);
    let others: Vec<String> =
        all.iter().filter(|one| !one.is_holder).map(|one| format!("{} ({})", one.pid, one.name)).collect();
    if !others.is_empty() && !force {
        let line = format!(
            "error: sandbox {name:?} is in use by {}: end that first, or loment ns rm --force {name}",
            others.join(", ")
        );
        return Err(Said::one(line).into());
    }
    for holder in all.iter().filter(|one| one.is_holder) {
        end(holder, &ids)?;
    }
    clear(&directory)?;
    lab.close()
}

/// Unmounts and removes all that is in a sandbox's directory, and the directory.
pub(super) fn clear(directory: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read {}", directory.display()))?,
    };
    for entry in entries {
        let path = entry.with_context(|| format!("read {}", directory.display()))?.path();
        unmount(&path)?;
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    fs::remove_dir(directory).with_context(|| format!("remove {}", directory.display()))
}

/// Everybody but this command who is in one of these namespaces.
fn members(ids: &[Id]) -> Vec<Member> {
    let mut found = Vec::new();
    for pid in pids().filter(|pid| u32::try_from(*pid) != Ok(std::process::id())) {
        let directory = format!("/proc/{pid}");
        let of = set(&Path::new(&directory).join("ns"));
        // One that has ended and is not waited for: it has its users and its pid, and nothing else any more.
        if !of.contains_key(&Kind::Mount) {
            continue;
        }
        let is_in = |id: &&Id| of.get(&id.kind) == Some(&id.inode);
        if ids.iter().any(|id| is_in(&id)) {
            let name = fs::read_to_string(format!("{directory}/comm")).unwrap_or_default().trim_end().to_owned();
            let is_here = ids.iter().filter(is_in).any(|id| id.kind == Kind::Pid);
            found.push(Member { pid, name, is_holder: is_here && is_first_of_its(pid) });
        }
    }
    found
}

/// Kills the first process of the pid namespace, and with it all others there, and waits until it is gone.
fn end(holder: &Member, ids: &[Id]) -> anyhow::Result<()> {
    let Ok(process) = pidfd::open(holder.pid) else { return Ok(()) };
    // The pid may be another one's by now; that of a pidfd is not.
    if !members(ids).contains(holder) {
        return Ok(());
    }
    let what = || format!("end process {}, which keeps the pid namespace", holder.pid);
    pidfd::send_signal(process.as_fd(), nix::sys::signal::Signal::SIGKILL as i32).with_context(what)?;
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE).context("wait")?;
    if poll(&mut ended, timeout).with_context(what)? == 0 {
        bail!("{}: it was killed and is still there after {} s; is it in the kernel?", what(), PATIENCE.as_secs());
    }
    Ok(())
}
