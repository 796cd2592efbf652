//! What must be known of a container to clean up after a shim that was killed: in the bundle, before there is anything of
//! it. As long as it has no process the record names its cgroup only.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use loment_cgroups::{Cgroup, Layout};
use loment_sys::pidfd;
use nix::{errno::Errno, libc::SIGKILL};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    error::Context,
    process::{Process, start_time, wait_for_end},
};

/// Name of the file in the bundle.
const NAME: &str = "loment.json";
/// Its name before it is whole.
const UNFINISHED: &str = ".loment.json";

/// A container, as far as it has to be found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the container.
    pub id: String,
    /// Its init.
    pub pid: i32,
    /// When init started, in clock ticks since boot: the pid may belong to another process by now.
    pub start_time: u64,
    /// Its cgroup, below every hierarchy.
    pub cgroup: PathBuf,
}

/// What [`sweep`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The record, if there was one and this sweep has removed it: without it there is nothing to do.
    pub record: Option<Record>,
    /// Whether init was still alive, and was killed.
    pub killed: bool,
}

impl Record {
    /// Of a container that has no process yet.
    pub(crate) fn of_nobody(id: &str, cgroup: &Path) -> Self {
        Self { id: id.to_owned(), pid: 0, start_time: 0, cgroup: cgroup.to_owned() }
    }

    /// Its init, if it has not ended. (One that has ended and that nobody has reaped yet has ended.)
    pub fn init(&self) -> Result<Option<Process>> {
        let pidfd = match pidfd::open(self.pid) {
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            answer => answer.at("find process", self.pid)?,
        };
        // Read after the pidfd was opened: if this is our process then so is the one behind the pidfd.
        if start_time(self.pid).ok() != Some(self.start_time) {
            return Ok(None);
        }
        Ok(Some(Process::new((self.pid, pidfd))).filter(|process| !process.has_ended()))
    }

    pub(crate) fn of(id: String, pid: i32, cgroup: &Path) -> Result<Self> {
        Ok(Self { id, pid, start_time: start_time(pid)?, cgroup: cgroup.to_owned() })
    }
}

/// Writes the record: whoever reads it sees all of it or none. It is not synced to disk, because no process that it
/// names survives what would lose it.
pub(crate) fn write(bundle: &Path, record: &Record) -> Result<()> {
    let path = bundle.join(NAME);
    let unfinished = bundle.join(UNFINISHED);
    let text = serde_json::to_vec(record)
        .map_err(|error| Error::invalid("record", path.display(), format!("cannot be written: {error}")))?;
    let written = std::fs::write(&unfinished, text).at("write", unfinished.display());
    let written = written.and_then(|()| std::fs::rename(&unfinished, &path).at("write", path.display()));
    if written.is_err() {
        // A disk that is full has taken its name, and a part of it.
        let _missing = std::fs::remove_file(&unfinished);
    }
    written.map_err(|error| {
        error.hint("the record of a container is kept where its bundle is: is that full, or read-only?")
    })
}

/// The record of a bundle, if there is one.
pub fn read(bundle: &Path) -> Result<Option<Record>> {
    let path = bundle.join(NAME);
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::invalid("record", path.display(), format!("cannot be understood: {error}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path.display(), &error)),
    }
}

/// Removes the record; one that is gone is removed. Whether this has removed it.
pub(crate) fn forget(bundle: &Path) -> Result<bool> {
    let path = bundle.join(NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true).at("remove", path.display()),
    }
}

/// Kills what is left of the container of `bundle`, and no other, and does not wait for its end: [`sweep`] does.
///
/// # Errors
/// Its record cannot be read.
pub fn strike(bundle: &Path) -> Result<()> {
    let Some(record) = read(bundle)? else { return Ok(()) };
    if let Some(process) = record.init()? {
        process.signal(SIGKILL)?;
    }
    Ok(Cgroup::open(&Layout::detect()?, &record.cgroup)?.kill()?)
}

/// Ends whatever is left of the container of `bundle`, and no other: kills its init and its cgroup, removes the
/// cgroup. For a container that was deleted in the ordinary way there is no record, and nothing to do.
pub fn sweep(bundle: &Path) -> Result<Swept> {
    // Whoever was killed while it wrote has left it, and nothing else that is not on record.
    let _missing = std::fs::remove_file(bundle.join(UNFINISHED));
    let Some(record) = read(bundle)? else { return Ok(Swept::default()) };
    let killed = kill(&record)?;
    let cgroup = Cgroup::open(&Layout::detect()?, &record.cgroup)?;
    cgroup.kill()?;
    cgroup.remove_with_parent()?;
    // Two may have been asked at the same time, of whom one runs the hooks.
    let is_ours = forget(bundle)?;
    Ok(Swept { record: is_ours.then_some(record), killed })
}

/// Kills init if it is still the process that the record means.
fn kill(record: &Record) -> Result<bool> {
    let Some(process) = record.init()? else { return Ok(false) };
    if !process.signal(SIGKILL)? {
        return Ok(false);
    }
    wait_for_end(process.as_fd()).at("wait for process", record.pid)?;
    Ok(true)
}
