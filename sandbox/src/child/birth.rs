//! What every child is born with, and what it does with that before it is anything in particular.

use std::{
    cell::OnceCell,
    convert::Infallible,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    sync::Arc,
};

use loment_cgroups::Entry;
use loment_sys::{credentials, fd, signal};
use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::{
        prctl,
        stat::{Mode, umask},
    },
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid},
};

use super::{ambient, console::Console, gather::Cgroups, identity};
use crate::{
    Error, Result,
    channel::{ChildEnd, Taker},
    container::{Extras, Io},
    error::Context,
    gate::{self, Starter},
    listener::Place,
    plan::{Plan, ids::IdMaps},
    trace::Phase,
};

/// What every child needs.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) channel: ChildEnd,
    pub(crate) entry: Entry,
    /// The cgroup's path below every hierarchy.
    pub(crate) cgroup: PathBuf,
    pub(crate) io: Io,
    pub(crate) extras: Extras,
    /// Whoever has opened the gate, if that is not the parent.
    pub(crate) starter: OnceCell<Starter>,
    /// Where init gets what a builder has made for it.
    pub(crate) taker: Option<Taker>,
    /// Where to say what the seccomp filter's listener is, if it has one.
    pub(crate) listener: Option<Arc<Place>>,
}

impl Birth {
    /// Runs a child to its end; what it answers with is its exit status, if it has one and not a program's.
    pub(crate) fn run(&self, child: impl FnOnce(&Self) -> Result<Infallible>) -> i32 {
        match child(self) {
            Ok(never) => match never {},
            Err(error) => {
                self.attendant().failed(&error);
                1
            }
        }
    }

    /// Whoever waits for what this process does: the parent, and when somebody else has opened the gate, that one.
    pub(super) fn attendant(&self) -> &ChildEnd {
        self.starter.get().map_or(&self.channel, |starter| &starter.channel)
    }

    /// Says that this process is ready, and waits until the gate is opened; false when nobody is left who could.
    pub(super) fn wait_at_gate(&self, terminal: Option<BorrowedFd<'_>>) -> Result<bool> {
        let Some(listener) = &self.extras.gate else {
            self.tell_ready(terminal)?;
            let opened = self.channel.wait_at_gate();
            self.reached(Phase::GatePassed);
            return Ok(opened);
        };
        let waiting = gate::Waiting::prepare()?;
        self.tell_ready(terminal)?;
        let starter = waiting.pass(listener.as_fd(), self.channel.as_fd())?;
        Ok(self.starter.set(starter).is_ok())
    }

    /// Says that this process is ready, for its gate or its program.
    pub(super) fn tell_ready(&self, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        self.reached(Phase::Ready);
        self.channel.ready(terminal)
    }

    /// Where to say what the seccomp filter's listener is.
    pub(super) fn listener_place(&self) -> Option<&Place> {
        self.listener.as_deref().or_else(|| self.starter.get()?.place.as_ref())
    }

    /// The first descriptor that its program does not get.
    pub(super) fn first_private(&self) -> RawFd {
        3 + self.extras.preserve
    }

    /// First of all in a process that comes to be in the container: see [`Birth::shed`]; and it enters the cgroups.
    pub(super) fn begin(&self, more: &[BorrowedFd<'_>]) -> Result<()> {
        self.reached(Phase::Born);
        let keep = more.iter().copied().chain(self.entry.tasks().iter().map(|file| file.fd.as_fd()));
        self.shed(&keep.collect::<Vec<_>>())?;
        ambient::forget()?;
        enter_cgroups(&self.entry)?;
        self.reached(Phase::CgroupEntered);
        Ok(())
    }

    /// Notes that a phase of the start is reached.
    pub(super) fn reached(&self, phase: Phase) {
        self.extras.trace.reached(phase);
    }

    /// Nothing of the parent is kept but what this child was given. Its copies of other containers' gates and pipes
    /// would keep those open.
    pub(super) fn shed(&self, more: &[BorrowedFd<'_>]) -> Result<()> {
        signal::reset().at("reset", "signals")?;
        prctl::set_dumpable(false).at("close to debuggers", "the setting-up process")?;
        let mut keep = vec![self.channel.as_fd()];
        keep.extend(more);
        keep.extend([&self.extras.gate, &self.extras.stub].into_iter().flatten().map(AsFd::as_fd));
        if let Io::Plain { stdin, stdout, stderr } = &self.io {
            keep.extend([stdin, stdout, stderr].into_iter().flatten().map(AsFd::as_fd));
        }
        fd::close_from_except(self.first_private(), &keep).at("close", "what was inherited")?;
        umask(Mode::empty());
        // A session of its own: a signal to the shim's process group must not reach the container.
        setsid().at("begin", "a session").map(drop)
    }

    /// For who mounts the cgroup, or makes who does.
    pub(super) fn cgroup_directory(&self) -> Option<BorrowedFd<'_>> {
        self.entry.directory()
    }

    pub(super) fn stub(&self) -> Option<BorrowedFd<'_>> {
        self.extras.stub.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn taker(&self) -> Option<BorrowedFd<'_>> {
        self.taker.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn cgroups(&self, plan: &Plan) -> Cgroups<'_> {
        let has_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP);
        Cgroups { entry: &self.entry, path: &self.cgroup, has_namespace }
    }

    /// Gives the streams to a user of a user namespace, who must be able to open them again, while that takes no
    /// privilege that the process will lose.
    pub(super) fn give_streams(&self, maps: &IdMaps, uid: u32) -> Result<()> {
        let (Io::Plain { stdin, stdout, stderr }, Some(owner)) = (&self.io, maps.users.outside(uid)) else {
            return Ok(());
        };
        let streams: Vec<_> = [stdin, stdout, stderr].into_iter().flatten().map(AsFd::as_fd).collect();
        identity::own_streams(&streams, owner)
    }

    /// Puts the standard streams in place; `null` opens what those are that nobody cares about.
    pub(super) fn connect(
        &self,
        console: Option<&Console>,
        uid: u32,
        null: impl Fn() -> Result<OwnedFd>,
    ) -> Result<()> {
        let name = "standard streams";
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().at("copy", name);
        let stream = |fd: &Option<OwnedFd>| fd.as_ref().map_or_else(&null, |fd| copy(fd.as_fd()));
        let [stdin, stdout, stderr] = match (&self.io, console) {
            (Io::Plain { stdin, stdout, stderr }, _) => [stream(stdin)?, stream(stdout)?, stream(stderr)?],
            (Io::Terminal, Some(console)) => {
                let slave = console.control()?;
                [copy(slave)?, copy(slave)?, copy(slave)?]
            }
            (Io::Terminal, None) => return Err(Error::invalid("process.terminal", "true", "without a terminal")),
        };
        dup2_stdin(stdin).at("connect", name)?;
        dup2_stdout(stdout).at("connect", name)?;
        dup2_stderr(stderr).at("connect", name)?;
        identity::own_standard_streams(uid)
    }

    pub(super) fn new_keyring(&self) -> Result<()> {
        if self.extras.keep_keyring {
            return Ok(());
        }
        match credentials::new_session_keyring() {
            // A kernel without keyrings has no keys to leak.
            Ok(()) | Err(Errno::ENOSYS) => Ok(()),
            Err(errno) => Err(Error::os("join", "a new session keyring", errno)),
        }
    }
}

/// Enters the cgroups that a process has to put itself into.
pub(crate) fn enter_cgroups(entry: &Entry) -> Result<()> {
    entry.tasks().iter().try_for_each(|file| file.enter().at("enter cgroup by", file.path.display()))
}
