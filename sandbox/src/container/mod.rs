//! A container: created with its init waiting at a gate, started by opening the gate.

mod birth;
mod creating;
mod exec;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use loment_cgroups::Cgroup;
use nix::{libc::SIGKILL, sys::personality::Persona};
use oci_spec::runtime::{LinuxResources, Spec};

pub use self::{creating::Creating, exec::Executing};
use crate::{
    Result,
    channel::{ParentEnd, Report},
    child::Inhabited,
    error::Context,
    plan::process::ProcessPlan,
    process::{Other, Process},
    record,
    seccomp::Filter,
};

/// What Create is asked for.
#[derive(Debug)]
pub struct Request {
    /// Name of the container, unique in its namespace.
    pub id: String,
    /// Absolute path of the bundle: relative paths of the spec start here.
    pub bundle: PathBuf,
    /// What to create.
    pub spec: Arc<Spec>,
    /// Mounts that make the root file system, in order, as containerd gives them. Empty: `root.path` of the spec as
    /// it stands.
    pub rootfs: Vec<RootfsMount>,
    /// What the process reads and writes.
    pub io: Io,
    /// Whether a program is run or namespaces are held.
    pub role: Role,
}

/// One of containerd's mounts (`types.Mount`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// `overlay`, `bind`, …
    pub kind: String,
    /// Source path or device.
    pub source: String,
    /// Where below the root it goes; empty for the root itself.
    pub target: String,
    /// Options as mount(8) takes them.
    pub options: Vec<String>,
}

/// What the container's first process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The program of the spec.
    Program,
    /// Nothing but a holder of the pod's namespaces: no root file system is made and nothing is executed; as pid 1
    /// of a shared pid namespace it reaps. It ends, with status 0, on SIGTERM or SIGINT.
    Holder,
}

/// Standard input, output and error of a process.
#[derive(Debug)]
pub enum Io {
    /// Descriptors; `None` is /dev/null.
    Plain {
        /// Standard input.
        stdin: Option<OwnedFd>,
        /// Standard output.
        stdout: Option<OwnedFd>,
        /// Standard error.
        stderr: Option<OwnedFd>,
    },
    /// A terminal from the container's own devpts; its other end is handed to the caller.
    Terminal,
}

/// A container that exists: init at its gate, running, or ended.
///
/// Dropping it ends nothing, because a container outlives the shim that lost it: [`Container::delete`] does.
#[derive(Debug)]
pub struct Container {
    bundle: PathBuf,
    role: Role,
    init: Process,
    cgroup: Cgroup,
    /// The gate, until it has been opened.
    gate: Option<ParentEnd>,
    terminal: Option<OwnedFd>,
    defaults: Defaults,
    /// What was executed in it, as long as somebody can ask for the exit.
    others: Mutex<Vec<Other>>,
}

/// What a process of the container has unless it says otherwise.
#[derive(Debug, Clone)]
struct Defaults {
    process: Arc<ProcessPlan>,
    personality: Option<Persona>,
    filter: Option<Arc<Filter>>,
    inhabited: Inhabited,
}

impl Container {
    /// Its init process.
    pub fn init(&self) -> &Process {
        &self.init
    }

    /// Its init process, to be reaped.
    pub fn init_mut(&mut self) -> &mut Process {
        &mut self.init
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The caller's end of the terminal, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Opens the gate.
    ///
    /// # Errors
    /// It has been opened before.
    pub fn start(&mut self) -> Result<Starting> {
        let gate = self.gate.take().ok_or(nix::errno::Errno::EALREADY).at("start process", self.init.pid())?;
        gate.open_gate()?;
        Ok(Starting { channel: gate })
    }

    /// Begins another process in the container's namespaces and cgroup. What `process` leaves open (capabilities,
    /// limits, `noNewPrivileges`, `oomScoreAdj`) is as for the container's init; the container's seccomp profile
    /// applies.
    pub fn exec(&self, process: &oci_spec::runtime::Process, io: Io) -> Result<Executing> {
        Executing::begin(self, process, io)
    }

    /// Stops every process of the container.
    pub fn pause(&self) -> Result<()> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets stopped processes run again.
    pub fn resume(&self) -> Result<()> {
        Ok(self.cgroup.thaw()?)
    }

    /// User and group of the host that one of the container's stands for.
    pub fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let maps = self.defaults.inhabited.maps.as_ref();
        maps.map_or((uid, gid), |maps| maps.outside(uid, gid).unwrap_or((uid, gid)))
    }

    /// Changes limits, all of them or none.
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        Ok(self.cgroup.update(resources)?)
    }

    /// Sends a signal to every process of the container. `Ok(false)` when there is none.
    pub fn signal_all(&self, signal: i32) -> Result<bool> {
        let pids = self.cgroup.pids()?;
        if signal == SIGKILL {
            // Forks that race it are killed too.
            self.cgroup.kill()?;
            return Ok(!pids.is_empty());
        }
        let mut any = false;
        for pid in pids {
            match loment_sys::pidfd::open(pid).and_then(|fd| loment_sys::pidfd::send_signal(fd.as_fd(), signal)) {
                Ok(()) => any = true,
                Err(nix::errno::Errno::ESRCH) => {}
                Err(errno) => return Err(crate::Error::os(format!("send signal {signal} to process"), pid, errno)),
            }
        }
        Ok(any)
    }

    /// Kills what is left and removes the cgroup, within a bounded time. Idempotent. The root file system goes with its
    /// last process: it was never mounted anywhere else.
    pub fn delete(&mut self) -> Result<()> {
        self.kill()?;
        self.cgroup.remove_with_parent()?;
        record::forget(&self.bundle)
    }

    /// [`Container::delete`] without waiting: false while something of the container is still ending. To be asked again.
    pub fn try_delete(&mut self) -> Result<bool> {
        let gone = self.try_end_attempt()? && self.cgroup.try_remove_with_parent()?;
        if gone {
            record::forget(&self.bundle)?;
        }
        Ok(gone)
    }

    /// Ends this attempt at running the container: kills what is left, and keeps the cgroup with what it has counted
    /// for the next [`Creating::begin`] of the same container.
    pub fn end_attempt(&mut self) -> Result<()> {
        self.kill()
    }

    /// [`Container::end_attempt`] without waiting: false while a process is still ending. To be asked again.
    pub fn try_end_attempt(&mut self) -> Result<bool> {
        self.cgroup.kill()?;
        let others = self.others.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut failure = None;
        others.retain(|other| {
            let ended = other.try_end().unwrap_or_else(|error| {
                failure.get_or_insert(error);
                false
            });
            !ended
        });
        let others_ended = others.is_empty();
        match failure {
            Some(error) => return Err(error),
            None if !(self.init.try_end()? && others_ended) => return Ok(false),
            None => {}
        }
        self.gate = None;
        Ok(true)
    }

    fn kill(&mut self) -> Result<()> {
        self.cgroup.kill()?;
        // As pid 1 of its namespace init waits in the kernel until all the others have been reaped.
        for other in self.others.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            other.end()?;
        }
        // It is signalled once more: the cgroup may be gone.
        self.init.end()?;
        // Not before: one that waits at its gate would leave by itself, and with another status.
        self.gate = None;
        Ok(())
    }

    fn remember(&self, process: Option<Other>) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(Other::is_owned);
        others.extend(process);
    }
}

/// A start under way: readable when the program has been executed or has failed to be.
#[derive(Debug)]
pub struct Starting {
    channel: ParentEnd,
}

impl Starting {
    /// Waits until the program has been executed. (One that was killed at this very moment counts as executed: its
    /// exit tells.)
    pub fn finish(self) -> Result<()> {
        match self.channel.receive()? {
            Report::Failed(error) => Err(error),
            Report::Born(_) | Report::Ready(_) | Report::Closed => Ok(()),
        }
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
