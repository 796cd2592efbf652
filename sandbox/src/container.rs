//! A container: created with its init waiting at a gate, started by opening the gate.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use loment_cgroups::{Cgroup, Layout};
use oci_spec::runtime::Spec;

use crate::{Result, process::Process};

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
    /// of a shared pid namespace it reaps.
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

/// A container whose init has been cloned and is setting itself up. Readable (as a descriptor) when it has something
/// to say.
#[derive(Debug)]
pub struct Creating {}

impl Creating {
    /// Begins: makes the cgroup, clones init into its namespaces. Returns while init is still setting itself up.
    pub fn begin(_request: Request, _layout: &Layout) -> Result<Self> {
        todo!()
    }

    /// Waits until init stands at its gate. On error everything that was made is undone.
    pub fn finish(self) -> Result<Container> {
        todo!()
    }
}

impl AsFd for Creating {
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}

/// A container that exists: init at its gate, running, or ended.
#[derive(Debug)]
pub struct Container {}

impl Container {
    /// Its init process.
    pub fn init(&self) -> &Process {
        todo!()
    }

    /// Its init process, to be reaped.
    pub fn init_mut(&mut self) -> &mut Process {
        todo!()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        todo!()
    }

    /// The caller's end of the terminal, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        todo!()
    }

    /// Opens the gate.
    pub fn start(&mut self) -> Result<Starting> {
        todo!()
    }

    /// Begins another process in the container's namespaces and cgroup.
    pub fn exec(&self, _process: &oci_spec::runtime::Process, _io: Io) -> Result<Executing> {
        todo!()
    }

    /// Kills what is left and removes cgroup and mounts. Idempotent.
    pub fn delete(&mut self) -> Result<()> {
        todo!()
    }
}

/// A start under way: readable when the program has been executed or has failed to be.
#[derive(Debug)]
pub struct Starting {}

impl Starting {
    /// Waits until the program has been executed.
    pub fn finish(self) -> Result<()> {
        todo!()
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}

/// An exec under way: readable when the program has been executed or has failed to be.
#[derive(Debug)]
pub struct Executing {}

impl Executing {
    /// Waits until the program has been executed; with a terminal, its other end comes with the process.
    pub fn finish(self) -> Result<(Process, Option<OwnedFd>)> {
        todo!()
    }
}

impl AsFd for Executing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
