//! A program of the host that serves a container: a logger, say. Started like everything else here, by clone3(2) from
//! one thread, so that its pidfd is there from the beginning.

use std::{
    convert::Infallible,
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use loment_cgroups::Entry;
use loment_sys::{clone, fd, signal};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sched::{CloneFlags, setns},
    sys::{
        prctl,
        stat::{Mode, umask},
    },
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve, setsid},
};

use crate::{
    Error, Result,
    channel::{self, ChildEnd, ParentEnd, Report},
    child::enter_cgroups,
    error::{self, Context},
    process::Process,
};

/// A program and what it is given.
#[derive(Debug)]
pub struct Helper<'a> {
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments after the program's own name.
    pub arguments: Vec<String>,
    /// `KEY=value`: all of its environment.
    pub environment: Vec<String>,
    /// What it gets as descriptors 3, 4, 5 and so on. Nothing else of the caller's is open in it.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Its standard input; `None` is /dev/null.
    pub input: Option<BorrowedFd<'a>>,
    /// Its standard output and error; `None` is /dev/null.
    pub output: Option<BorrowedFd<'a>>,
    /// The network namespace that it runs in; `None` is the caller's.
    pub network: Option<BorrowedFd<'a>>,
    /// The cgroup that it runs in; `None` is the caller's.
    pub cgroup: Option<&'a Entry>,
}

/// A helper on its way: readable (as a descriptor) when it has been executed or could not be. Dropped unfinished it is
/// killed and reaped.
#[derive(Debug)]
pub struct Starting {
    process: Option<Process>,
    channel: ParentEnd,
    program: PathBuf,
}

impl Helper<'_> {
    /// Clones the process that becomes the program.
    pub fn start(self) -> Result<Starting> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).at("open", "/dev/null")?;
        let (channel, child) = channel::pair()?;
        let words = Words::new(&self)?;
        let directory = self.cgroup.and_then(Entry::directory);
        let born = clone::clone3(0, directory, || {
            let error = match become_program(&self, &words, &null, &child) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            child.failed(&error);
            1
        });
        let process = Process::new(error::born(born, "clone a process for", self.program.display())?);
        Ok(Starting { process: Some(process), channel, program: self.program })
    }
}

impl Starting {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// Waits until the program has been executed. It is the caller's from then on.
    pub fn finish(mut self) -> Result<Process> {
        match self.channel.receive()? {
            Report::Failed(error) => Err(error),
            // Its end, if it has one already, is for the caller to find.
            _ => self.process.take().ok_or(Errno::ESRCH).at("take over", self.program.display()),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // An error means that it is gone.
        if let Some(process) = &self.process {
            let _ = process.end();
        }
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// What execve(2) takes, made before the clone: whatever can fail for want of input fails in the parent.
struct Words {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Words {
    fn new(helper: &Helper<'_>) -> Result<Self> {
        let text = |text: &str| {
            CString::new(text).map_err(|_| Error::invalid("program", helper.program.display(), "is given a NUL"))
        };
        let program = text(path(&helper.program)?)?;
        let arguments = helper.arguments.iter().map(|word| text(word)).collect::<Result<Vec<_>>>()?;
        let environment = helper.environment.iter().map(|word| text(word)).collect::<Result<_>>()?;
        Ok(Self { arguments: [vec![program.clone()], arguments].concat(), program, environment })
    }
}

fn path(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|_| path.is_absolute());
    text.ok_or_else(|| Error::invalid("program", path.display(), "is not an absolute path"))
}

/// What runs in the child.
fn become_program(helper: &Helper<'_>, words: &Words, null: &OwnedFd, channel: &ChildEnd) -> Result<Infallible> {
    let what = "the helper";
    helper.cgroup.map_or(Ok(()), enter_cgroups)?;
    if let Some(network) = helper.network {
        setns(network, CloneFlags::CLONE_NEWNET).at("enter", "the network of the pod")?;
    }
    signal::reset().at("reset", "signals")?;
    // A signal to the caller's process group is not for it.
    setsid().at("begin a session for", what)?;
    umask(Mode::from_bits_truncate(0o022));
    // The shim forbids itself huge pages, and a program would inherit that.
    prctl::set_thp_disable(false).at("allow huge pages for", what)?;
    let output = helper.output.unwrap_or(null.as_fd());
    dup2_stdin(helper.input.unwrap_or(null.as_fd())).at("connect", what)?;
    dup2_stdout(output).at("connect", what)?;
    dup2_stderr(output).at("connect", what)?;
    let channel = fd::pass(&helper.descriptors, channel.as_fd()).map(ChildEnd::over).at("connect", what)?;
    let Err(errno) = execve(&words.program, &words.arguments, &words.environment);
    // The end that the caller has is closed by now.
    channel.failed(&Error::os("execute", helper.program.display(), errno));
    clone::exit_now(127)
}
