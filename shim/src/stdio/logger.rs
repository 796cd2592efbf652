//! A logger: a program that takes what a process writes (`binary://` and `binary-v2://`).
//!
//! It reads standard output from descriptor 3 and standard error from 4, and says on 5 that it is ready. It serves a
//! container for as long as that may write, all attempts of it; then it finds the end of both streams and ends by
//! itself. One that does not is told to by SIGTERM when its container is deleted, and killed when it does not listen.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use loment_sandbox::{
    helper::Helper,
    process::{Exit, Process},
};
use nix::{
    fcntl::OFlag,
    libc,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{sync::watch, time::timeout};

use super::output::{Program, Readiness};
use crate::{
    failure::{Failure, Result},
    shim::Shim,
    task::ready::readable,
};

/// How long a logger may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// How long one may take to end by itself once nothing more can come, before it is told to.
const ENDING: Duration = Duration::from_secs(2);
/// Between SIGTERM and SIGKILL: as in containerd's own shim, ten seconds to clean up and some to spare.
const TERMINATING: Duration = Duration::from_secs(12);
/// From the kernel's `include/linux/sched.h`: the process is ending.
const PF_EXITING: u64 = 0x4;

/// A logger that is ready. Dropping it tells it to end.
#[derive(Debug)]
pub(super) struct Logger {
    /// Whether it is to end.
    told: watch::Sender<bool>,
    gone: watch::Receiver<bool>,
}

impl Logger {
    /// Starts `program` for the process `id` with the read ends of its streams, and waits until it is ready.
    pub(super) async fn start(shim: &Arc<Shim>, program: &Program, id: &str, streams: [impl AsFd; 2]) -> Result<Self> {
        let failed = |failure: Failure| failure.while_doing(format!("start the logger of {id}"));
        let (ready, says_ready) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .map_err(|errno| failed(Failure::io("make", "its ready pipe", &errno.into())))?;
        // Its own end is one that it may wait on.
        let says_ready = super::for_child(says_ready.into())?;
        let [stdout, stderr] = &streams;
        let helper = Helper {
            program: program.path.clone(),
            arguments: program.arguments.clone(),
            environment: vec![format!("CONTAINER_ID={id}"), format!("CONTAINER_NAMESPACE={}", shim.events.namespace())],
            descriptors: vec![stdout.as_fd(), stderr.as_fd(), says_ready.as_fd()],
            input: None,
            output: None,
            network: None,
            cgroup: None,
        };
        let starting = helper.start().map_err(|error| failed(error.into()))?;
        drop(says_ready);
        let pid = starting.pid();
        shim.pids.add(pid);
        let executed = readable(&starting).await.and_then(|()| Ok(starting.finish()?));
        let process = executed.map_err(|failure| {
            shim.pids.remove(pid);
            failed(failure)
        })?;
        let mut process = Watched { shim: Arc::clone(shim), process };
        let outcome = timeout(READY, until_ready(&mut process.process, &ready, program.readiness)).await;
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure::unknown(format!("it was not ready within {READY:?}: {}", program.readiness.wanted())))
        });
        if let Err(failure) = outcome {
            process.signal_all();
            process.reap().await;
            return Err(failed(failure.while_doing(program.path.display())));
        }
        let (told, tell) = watch::channel(false);
        let (has_gone, gone) = watch::channel(false);
        tokio::spawn(process.see_off(id.to_owned(), tell, has_gone));
        Ok(Self { told, gone })
    }

    /// Nothing more can come: it is to end.
    pub(super) fn end(&self) {
        self.told.send_replace(true);
    }

    /// Waits until it has ended.
    pub(super) async fn gone(&self) {
        // An error means that nobody watches it any more.
        let mut gone = self.gone.clone();
        let _gone = gone.wait_for(|gone| *gone).await;
    }
}

impl Readiness {
    /// What a logger has to do.
    fn wanted(self) -> &'static str {
        match self {
            Self::Closes => "a logger of binary:// closes its descriptor 5 when it is ready",
            Self::Writes => "a logger of binary-v2:// writes a byte to its descriptor 5 when it is ready",
        }
    }
}

/// Waits for what the logger says on its ready pipe.
async fn until_ready(process: &mut Process, ready: &OwnedFd, readiness: Readiness) -> Result<()> {
    readable(ready).await?;
    let said = nix::unistd::read(ready, &mut [0]).unwrap_or_default();
    let is_ready = match readiness {
        Readiness::Writes => said > 0,
        // The pipe of one that has ended was closed, too: the kernel closes a process's descriptors after it has
        // marked it as ending.
        Readiness::Closes => !is_ending(process.pid()),
    };
    if is_ready {
        return Ok(());
    }
    if !is_ending(process.pid()) {
        return Err(Failure::unknown(format!("it closed its descriptor 5 without a word: {}", readiness.wanted())));
    }
    readable(&process.ending()).await?;
    let how = match process.try_wait()? {
        Some(Exit { code, .. }) => format!("it ended with status {code}"),
        None => "it ended".to_owned(),
    };
    Err(Failure::unknown(format!("{how} before it was ready: {}", readiness.wanted())))
}

/// Whether a child that nobody has reaped is ending or has ended. proc_pid_stat(5), `flags`
fn is_ending(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may contain anything: fields are counted from its closing parenthesis.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let flags = fields.split_ascii_whitespace().nth(6).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// A logger's process among the children that are watched.
struct Watched {
    shim: Arc<Shim>,
    process: Process,
}

impl Watched {
    /// Waits for the end of the logger, and sees to it that it comes once it has been asked for.
    async fn see_off(mut self, id: String, mut tell: watch::Receiver<bool>, gone: watch::Sender<bool>) {
        let ending = self.process.ending();
        tokio::select! {
            _ = readable(&ending) => log::warn!(
                "the logger of {id} has ended; what is written from now on waits, and so does its writer when the pipe \
                 is full"
            ),
            // An error means that whoever would have told it is gone.
            _ = tell.wait_for(|told| *told) => {}
        }
        let _leaving = self.shim.loggers.one();
        if timeout(ENDING, readable(&ending)).await.is_err() {
            log::warn!("the logger of {id} goes on when nothing more can come: it is told to end");
            self.signal(libc::SIGTERM);
            if timeout(TERMINATING, readable(&ending)).await.is_err() {
                log::warn!("the logger of {id} did not end within {TERMINATING:?} of SIGTERM: it is killed");
                self.signal_all();
            }
        }
        self.reap().await;
        gone.send_replace(true);
    }

    fn signal(&self, signal: i32) {
        if let Err(error) = self.process.signal(signal) {
            log::warn!("end a logger: {error}");
        }
    }

    /// Kills it with the processes that it has begun, which are in its process group. The number is its own until it is
    /// reaped.
    fn signal_all(&self) {
        self.signal(libc::SIGKILL);
        // An error means that all are gone.
        let _ = killpg(Pid::from_raw(self.process.pid()), Signal::SIGKILL);
    }

    /// Waits until it has ended, and reaps it.
    async fn reap(&mut self) {
        if let Err(failure) = readable(&self.process.ending()).await {
            log::error!("watch a logger: {failure}");
        }
        if let Err(error) = self.process.try_wait() {
            log::error!("reap a logger: {error}");
        }
        self.shim.pids.remove(self.process.pid());
    }
}
