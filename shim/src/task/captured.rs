//! A child whose output is kept and that nobody outside the shim knows of: a program that the shim runs in a container
//! for itself, or one beside it.

use std::{fs::File, future::Future, io::Read as _, os::fd::OwnedFd, sync::Arc};

use loment_sandbox::{
    container::{Executing, Io},
    process::{Exit, Process},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::signal::{Signal, killpg},
    unistd::{Pid, fchown, pipe2},
};

use super::{Task, end, ready::readable};
use crate::{
    failure::{Failure, Result},
    shim::Shim,
    spec,
};

/// As much of the output is kept as the kubelet keeps of a probe's.
pub(crate) const KEPT: usize = 10 << 10;

/// How often a pipe is read before others have their turn.
const ROUNDS: u32 = 16;

/// How a child ended, and what it said.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Its end.
    pub(crate) exit: Exit,
    /// Standard output and error, as they came; no more than [`KEPT`].
    pub(crate) output: Vec<u8>,
}

/// Both ends of a pipe for the output: the first does not block.
pub(crate) fn pipe() -> Result<(File, OwnedFd)> {
    let made = pipe2(OFlag::O_CLOEXEC);
    let (reader, writer) = made.map_err(|errno| Failure::io("make", "a pipe", &errno.into()))?;
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| Failure::io("prepare", "a pipe", &errno.into()))?;
    Ok((reader.into(), writer))
}

/// A pid that nobody takes for an orphan as long as this is kept.
struct Registered(Arc<Shim>, i32);

impl Registered {
    fn new(shim: &Arc<Shim>, pid: i32) -> Self {
        shim.pids.add(pid);
        Self(Arc::clone(shim), pid)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.pids.remove(self.1);
    }
}

/// A child that runs. Dropped before its end it is killed with all that it has begun, and reaped as an orphan.
struct Running {
    process: Process,
    ended: bool,
    _registered: Registered,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Who has been reaped, by its container's end say, has no number any more.
        if self.ended || matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = self.process.signal(libc::SIGKILL) {
            log::warn!("end process {}: {error}", self.process.pid());
        }
        // It has begun a session, and its number is its own until it is reaped. An error means that all are gone.
        let _ = killpg(Pid::from_raw(self.process.pid()), Signal::SIGKILL);
    }
}

/// Waits for the end of a child that `started` comes to, and keeps its output, which is read from `reader`. `pid` is
/// known before it has started. What drops this kills the child.
pub(crate) async fn to_its_end(
    shim: &Arc<Shim>,
    pid: i32,
    reader: File,
    started: impl Future<Output = Result<Process>>,
) -> Result<Captured> {
    let registered = Registered::new(shim, pid);
    let process = started.await?;
    let mut running = Running { process, ended: false, _registered: registered };
    let ending = running.process.ending();
    let mut output = Vec::new();
    loop {
        tokio::select! {
            ended = readable(&ending) => break ended?,
            news = readable(&reader) => news?,
        }
        if !take(&reader, &mut output) {
            // Nobody has the other end any more.
            break readable(&ending).await?;
        }
    }
    take(&reader, &mut output);
    let exit = end::reap("a program of the shim's", || running.process.try_wait()).await;
    running.ended = true;
    Ok(Captured { exit, output })
}

/// Reads what there is, but not for ever what a child writes without end; keeps the beginning. Whether more may come.
fn take(mut reader: &File, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    for _ in 0..ROUNDS {
        match reader.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = KEPT.saturating_sub(output.len()).min(length);
                output.extend_from_slice(&buffer[..room]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    true
}

impl Task {
    /// Runs a program in the container, as confined as the container's own, and waits for its end. Dropped before that,
    /// this kills it.
    ///
    /// # Errors
    /// No program can be run there now, or not this one.
    pub(crate) async fn run_within(&self, command: &[String]) -> Result<Captured> {
        let failed = |failure: Failure| failure.while_doing(format!("exec in container {}", self.plan.id));
        if let Some(why) = self.no_exec_because() {
            return Err(Failure::precondition(format!("exec in container {}: it {why}", self.plan.id)));
        }
        let spec = spec::read(&self.plan.bundle)?;
        let mut process = spec.process().clone().ok_or_else(|| {
            Failure::precondition(format!("exec in container {}: it has no process to be like", self.plan.id))
        })?;
        process.set_args(Some(command.to_vec())).set_terminal(Some(false)).set_console_size(None);
        let (reader, writer) = pipe()?;
        // It may open /dev/stderr again.
        let (uid, gid) = self.io_owner().unwrap_or_else(|| spec::owner(Some(&process)));
        fchown(&writer, Some(uid.into()), Some(gid.into()))
            .map_err(|errno| failed(Failure::io("give a pipe to user", uid, &errno.into())))?;
        let again = writer.try_clone().map_err(|error| Failure::io("copy", "a pipe", &error))?;
        let io = Io::Plain { stdin: None, stdout: Some(again), stderr: Some(writer) };
        let mut executing = self.with_container(|container| Ok(container.exec(&process, io)?))?;
        for warning in executing.take_warnings() {
            log::warn!("exec in container {}: {warning}", self.plan.id);
        }
        to_its_end(&self.shim, executing.pid(), reader, until_executed(executing)).await.map_err(failed)
    }
}

async fn until_executed(mut executing: Executing) -> Result<Process> {
    loop {
        readable(&executing).await?;
        if executing.advance()? {
            return Ok(executing.finish()?.0);
        }
    }
}
