//! Removing a cgroup and those that a container has made below it.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use crate::{Error, Result, dir::Dir, occupants, tree};

/// How long [`remove`] waits for processes that are dying: a killed process leaves its cgroup within a few hundred
/// microseconds, one that writes out a big core or tears down much memory within some hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Tries once. The hierarchies in which it still stands are left in `roots`.
pub(crate) fn try_remove(roots: &mut Vec<&Dir>, path: &Path) -> Result<()> {
    let mut failure = None;
    roots.retain(|root| match remove_one(root, path) {
        Ok(()) => false,
        Err(e) if is_busy(&e) => true,
        Err(e) => {
            failure.get_or_insert(failed(root, path, e));
            true
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Removes `path` below each of `roots`, waiting a bounded time for processes that are dying.
pub(crate) fn remove(mut roots: Vec<&Dir>, path: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        try_remove(&mut roots, path)?;
        let Some(root) = roots.first() else { return Ok(()) };
        if Instant::now() >= deadline {
            let cause = match occupants::describe(roots.iter().copied(), path) {
                Some(occupants) => io::Error::new(io::ErrorKind::ResourceBusy, occupants),
                None => Errno::EBUSY.into(),
            };
            return Err(failed(root, path, cause).hint(
                "whoever is in it has been killed if it could be found, and ends when it can, or belongs to somebody else, \
                 who has to move it; then delete again",
            ));
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes `path` where nothing is in it, neither a process nor another cgroup; false when it still stands somewhere.
pub(crate) fn remove_if_empty<'a>(roots: impl Iterator<Item = &'a Dir>, path: &Path) -> Result<bool> {
    let mut gone = true;
    for root in roots {
        match root.remove_dir(path) {
            Ok(_) => {}
            Err(e) if is_busy(&e) => gone = false,
            Err(e) => return Err(failed(root, path, e)),
        }
    }
    Ok(gone)
}

fn failed(root: &Dir, path: &Path, cause: io::Error) -> Error {
    Error::new("remove cgroup", root.path().join(path).display(), cause)
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EBUSY as i32)
}

/// EBUSY says that processes or other cgroups are in it; only then it is worth a look below.
fn remove_one(root: &Dir, path: &Path) -> io::Result<()> {
    match root.remove_dir(path) {
        Err(e) if is_busy(&e) => {}
        done => return done.map(drop),
    }
    if let Some(dir) = Dir::open_below(root, path)? {
        tree::remove_below(dir.as_fd())?;
    }
    root.remove_dir(path).map(drop)
}
