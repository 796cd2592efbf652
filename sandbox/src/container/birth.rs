//! Cloning a child, and what becomes of it if it is not wanted after all.

use std::{
    cell::OnceCell,
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use loment_cgroups::{Cgroup, Entry, Layout};
use loment_sys::pidfd;
use nix::{errno::Errno, poll::PollTimeout, sched::CloneFlags};

use super::{Extras, Io};
use crate::{
    Error, Result,
    channel::{self, ParentEnd, Report},
    child::{Birth, Join},
    error::{self, Context},
    namespace::{self, Visit},
    plan::{
        namespaces::{NEWTIME, Namespaces},
        process::ProcessPlan,
    },
    process::{Other, Process, wait_for_end},
    ready,
    record::{self, Record},
};

/// A child that has not yet become what it was made for. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Nascent {
    /// Builds what the process waits for. Dropped before it: as a member of its pid namespace it has to be reaped before
    /// the first process of that can be.
    builder: Option<Unfinished>,
    process: Unfinished,
    channel: ParentEnd,
}

/// A process that is killed and reaped unless it is taken.
#[derive(Debug)]
struct Unfinished(Option<Process>);

impl Nascent {
    fn new(process: Process, channel: ParentEnd) -> Self {
        Self { process: Unfinished(Some(process)), channel, builder: None }
    }

    /// What the process needs is made by another one.
    pub(super) fn built_by(self, builder: (i32, OwnedFd)) -> Self {
        Self { builder: Some(Unfinished(Some(Process::new(builder)))), ..self }
    }

    /// The next thing that the child has to say. Waits for it, unless the channel is readable.
    pub(super) fn report(&self) -> Result<Report> {
        self.channel.receive()
    }

    /// Lets a child that waits for hooks go on.
    pub(super) fn go_on(&self) -> Result<()> {
        self.channel.open_gate()
    }

    /// Kills and reaps it, before it is dropped.
    pub(super) fn end(&self) {
        if let Some(builder) = &self.builder {
            builder.end();
        }
        self.process.end();
    }

    /// Waits for a report or for its end; whether it is a report. While this process has the child's end of the channel
    /// too, the end of the stream does not tell.
    fn has_reported(&self) -> Result<bool> {
        let Some(process) = &self.process.0 else { return Ok(false) };
        let [has_reported, _] = ready::wait([self.channel.as_fd(), process.as_fd()], PollTimeout::NONE)
            .at("wait for", "the container's process")?;
        Ok(has_reported)
    }

    /// It is what it was made for: the process, which nothing kills any more.
    pub(super) fn into_process(self) -> Result<(Process, ParentEnd)> {
        let Self { mut process, channel, builder: _done } = self;
        let process = process.0.take().ok_or(Errno::ESRCH).at("take over", "the container's process")?;
        Ok((process, channel))
    }

    /// For its container, which may have to end it.
    pub(super) fn other(&self) -> Option<Other> {
        self.process.0.as_ref().map(Process::other)
    }

    /// Its pid, and its pidfd once more.
    pub(super) fn by_descriptor(&self) -> Result<(i32, OwnedFd)> {
        let process = self.process.0.as_ref().ok_or(Errno::ESRCH).at("examine", "the container's process")?;
        Ok((process.pid(), process.try_clone_pidfd()?))
    }

    pub(super) fn channel(&self) -> &ParentEnd {
        &self.channel
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.0.as_ref().map_or(0, Process::pid)
    }

    /// No report, so something killed it: say what the kernel says.
    pub(super) fn died_silently(&self) -> Error {
        let Some(process) = &self.process.0 else { return Error::invalid("process", "", "is gone") };
        match process.end() {
            Ok(exit) => {
                let reason = format!("ended with status {} before it was set up", exit.code);
                let error = Error::invalid("process", process.pid(), reason);
                if exit.code == 128 + nix::libc::SIGKILL as u32 {
                    return error.hint("was the memory limit too low to begin in?");
                }
                error
            }
            Err(error) => error,
        }
    }
}

impl AsFd for Nascent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Unfinished {
    fn end(&self) {
        // An error means that it is gone.
        if let Some(process) = &self.0 {
            let _ = process.end();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.end();
    }
}

/// A cgroup that is removed unless it is kept, and the record of the container with it.
#[derive(Debug)]
pub(crate) struct FreshCgroup {
    cgroup: Option<Cgroup>,
    bundle: PathBuf,
}

impl FreshCgroup {
    /// Makes the cgroup of the container `id`. It is on record before it is there: whenever this process is killed,
    /// [`record::sweep`] finds what it has made.
    pub(crate) fn make(layout: &Layout, id: &str, path: &Path, bundle: PathBuf) -> Result<Self> {
        record::write(&bundle, &Record::of_nobody(id, &Cgroup::path_of(path)?))?;
        match Cgroup::claim(layout, path) {
            Ok(cgroup) => Ok(Self { cgroup: Some(cgroup), bundle }),
            Err(error) => {
                let is_anothers = error.cause.kind() == ErrorKind::ResourceBusy;
                // It may have been there before, left by an attempt that could not remove it. What is another's must not be
                // swept.
                if is_anothers || Cgroup::open(layout, path).is_ok_and(|left| left.directories().next().is_none()) {
                    let _ = record::forget(&bundle);
                }
                Err(error.into())
            }
        }
    }

    pub(crate) fn get(&self) -> Result<&Cgroup> {
        self.cgroup.as_ref().ok_or(Errno::ENOENT).at("use", "the container's cgroup")
    }

    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// The cgroup, which stays, and the bundle.
    pub(crate) fn keep(mut self) -> Result<(Cgroup, PathBuf)> {
        let cgroup = self.cgroup.take().ok_or(Errno::ENOENT).at("use", "the container's cgroup")?;
        Ok((cgroup, std::mem::take(&mut self.bundle)))
    }

    /// Removes it before it is dropped.
    pub(crate) fn take_back(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            // Mostly nobody is in it, and that is found out without a descriptor, of which there may be none left. The error
            // that brought us here is the one to be told.
            let removed = match cgroup.try_remove_with_parent() {
                Ok(true) => Ok(()),
                // What of this container was in it has been ended.
                _ if !cgroup.is_own() => cgroup.remove_with_parent(),
                _ => cgroup.kill().and_then(|()| cgroup.remove_with_parent()),
            };
            // One that does not empty stays on record, for who comes after it.
            if removed.is_ok() {
                let _ = record::forget(&self.bundle);
            }
        }
    }
}

impl Drop for FreshCgroup {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// Clones a child by way of a carrier, which answers with its pidfd; see [`child::carry`].
pub(super) fn bear_by_carrier(
    pids: Option<BorrowedFd<'_>>,
    birth: &Birth,
    channel: ParentEnd,
    carrier: impl FnOnce() -> i32,
) -> Result<Nascent> {
    let carrier = bear(CloneFlags::empty(), pids, birth, channel, carrier)?;
    if !carrier.has_reported()? {
        return Err(carrier.died_silently());
    }
    match carrier.report()? {
        Report::Failed(error) => Err(error),
        Report::Born(init) => {
            let init = Process::new((pidfd::pid(init.as_fd()).at("find", "the container's process")?, init));
            let Nascent { process: carrier, channel, .. } = carrier;
            // It wakes init and leaves; and nobody sweeps it up before: this process has not come back to its loop.
            if let Some(carrier) = &carrier.0 {
                wait_for_end(carrier.as_fd()).at("wait for", "the carrier of the container's process")?;
            }
            drop(carrier);
            Ok(Nascent::new(init, channel))
        }
        Report::Ready(_) | Report::Hooks | Report::Closed => Err(carrier.died_silently()),
    }
}

/// Clones a child without new namespaces, outside of the container's cgroup.
pub(super) fn bear_outside(pids: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> Result<(i32, OwnedFd)> {
    let _visit = pids.map(Visit::of_children_to).transpose()?;
    error::born(loment_sys::clone::clone3(0, None, child), "clone", "a process that helps to set a container up")
}

/// The two ends of a child that is about to be made.
pub(super) fn prepare(entry: Entry, cgroup: PathBuf, io: Io, extras: Extras) -> Result<(ParentEnd, Birth)> {
    let (parent, child) = channel::pair()?;
    let starter = OnceCell::new();
    Ok((parent, Birth { channel: child, entry, cgroup, io, extras, starter, taker: None, listener: None }))
}

/// Clones a child with new namespaces, inside its v2 cgroup, in the pid namespace `pids`.
pub(super) fn bear(
    new: CloneFlags,
    pids: Option<BorrowedFd<'_>>,
    birth: &Birth,
    channel: ParentEnd,
    child: impl FnOnce() -> i32,
) -> Result<Nascent> {
    Ok(Nascent::new(clone(new, pids, birth, child)?, channel))
}

/// [`bear`] for another process of a container, whose cgroup may have got cgroups below it that have the processes now:
/// `beside` says where (runc #2356).
pub(super) fn bear_another(
    pids: BorrowedFd<'_>,
    birth: &mut Birth,
    channel: ParentEnd,
    child: impl Fn(&Birth) -> i32,
    beside: impl FnOnce() -> Result<Entry>,
) -> Result<Nascent> {
    let bear = |birth: &Birth| clone(CloneFlags::empty(), Some(pids), birth, || child(birth));
    let process = match bear(birth) {
        Err(error) if error.errno() == Some(Errno::EBUSY) => {
            birth.entry = beside()?;
            bear(birth)?
        }
        born => born?,
    };
    Ok(Nascent::new(process, channel))
}

fn clone(new: CloneFlags, pids: Option<BorrowedFd<'_>>, birth: &Birth, child: impl FnOnce() -> i32) -> Result<Process> {
    // Our own mount namespace is left after the parts have been gathered in it, a cgroup namespace is made when the
    // child is in its cgroup.
    let new = new - CloneFlags::CLONE_NEWNS - CloneFlags::CLONE_NEWCGROUP;
    debug_assert!(!new.intersects(CloneFlags::CLONE_NEWUSER | NEWTIME), "these take a carrier");
    let cgroup = birth.entry.directory();
    let _visit = pids.map(Visit::of_children_to).transpose()?;
    let born = loment_sys::clone::clone3(new.bits() as u64, cgroup, child);
    Ok(Process::new(error::born(born, "clone", "the container's process")?))
}

/// Opens the namespaces to be joined; that of pids is the parent's business.
pub(super) fn open_namespaces(namespaces: &Namespaces) -> Result<(Vec<Join>, Option<OwnedFd>)> {
    let mut joins = Vec::with_capacity(namespaces.join.len());
    let mut pids = None;
    // A user namespace is opened with its maps, and joined before all others.
    for (kind, path) in namespaces.join.iter().filter(|(kind, _)| *kind != CloneFlags::CLONE_NEWUSER) {
        let namespace = namespace::open(path)?;
        match *kind {
            CloneFlags::CLONE_NEWPID => pids = Some(namespace),
            kind => joins.push(Join { kind, namespace, path: path.clone() }),
        }
    }
    Ok((joins, pids))
}

/// [`check_labels`] for mounts.
pub(super) fn check_mount_label(label: Option<&std::ffi::CStr>) -> Result<()> {
    match label {
        Some(label) if !Path::new("/sys/fs/selinux/enforce").exists() => {
            let label = label.to_string_lossy();
            Err(Error::invalid("linux.mountLabel", label, "cannot be enforced: this kernel runs no SELinux"))
        }
        _ => Ok(()),
    }
}

/// A label that nobody enforces is worse than an error.
pub(super) fn check_labels(process: &ProcessPlan) -> Result<()> {
    let has = |path: &str| Path::new(path).exists();
    match (&process.apparmor, &process.selinux) {
        (Some(profile), _) if !has("/sys/module/apparmor") => {
            Err(Error::invalid("process.apparmorProfile", profile, "cannot be enforced: this kernel runs no AppArmor"))
        }
        (_, Some(label)) if !has("/sys/fs/selinux/enforce") => {
            Err(Error::invalid("process.selinuxLabel", label, "cannot be enforced: this kernel runs no SELinux"))
        }
        _ => Ok(()),
    }
}
