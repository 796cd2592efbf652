//! A child of the runtime's that does what may take long, so that the runtime, which is one thread, does not have to
//! wait for it: it has a descriptor that is readable when there is news.
//!
//! An errand speaks through a channel like that of a container's process. Each failure that does not stop it is a
//! report, the last report is "ready"; whatever ends it before that is its failure as a whole.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use loment_sys::{fd, signal};
use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        prctl,
        stat::{Mode, umask},
    },
    unistd::setsid,
};

use crate::{
    Error, Result,
    channel::{self, ChildEnd, ParentEnd, Report},
    error::{self, Context},
    process::{Process, wait_for_end},
};

/// An errand under way: readable (as a descriptor) when there is news of it. When it is dropped it has to stop: it sees
/// that nobody waits for it, and if it does not care it is killed.
#[derive(Debug)]
pub struct Errand {
    what: &'static str,
    process: Process,
    channel: ParentEnd,
    failures: Vec<Error>,
    /// What it has brought back.
    answer: Option<OwnedFd>,
}

impl Errand {
    /// Sends a child to do `work` that may wait for a disk, or take long, and to bring back what it has found out:
    /// [`Errand::answer`]. Nobody tells it to stop: it goes on when this is dropped, until it is killed.
    pub fn fetch(what: &'static str, work: impl FnOnce() -> Result<Vec<u8>>) -> Result<Self> {
        Self::go(what, |_| {
            let found = work()?;
            if found.is_empty() {
                return Ok(None);
            }
            let mut file = File::from(memfd_create(what, MFdFlags::MFD_CLOEXEC).at("keep the answer of", what)?);
            let kept = file.write_all(&found).and_then(|()| file.rewind());
            kept.map_err(|error| Error::io("keep the answer of", what, &error)).map(|()| Some(file.into()))
        })
    }

    /// Sends a child to do `work`. Of the parent it keeps its namespaces and nothing else: no descriptor but the
    /// channel, no signal disposition, no session.
    pub(crate) fn send(what: &'static str, work: impl FnOnce(&ChildEnd) -> Result<()>) -> Result<Self> {
        Self::go(what, |channel| work(channel).map(|()| None))
    }

    fn go(what: &'static str, work: impl FnOnce(&ChildEnd) -> Result<Option<OwnedFd>>) -> Result<Self> {
        let (parent, child) = channel::pair()?;
        let born = loment_sys::clone::clone3(0, None, || match begin(&child).and_then(|()| work(&child)) {
            Ok(answer) => child.ready(answer.as_ref().map(AsFd::as_fd)).map_or(1, |()| 0),
            Err(error) => {
                child.failed(&error);
                1
            }
        });
        let process = Process::new(error::born(born, "clone a process to", what)?);
        Ok(Self { what, process, channel: parent, failures: Vec::new(), answer: None })
    }

    /// Takes one piece of news; true when it was the last. Does not wait when the descriptor is readable, and has to be
    /// asked again only when it is readable again.
    ///
    /// # Errors
    /// What ended the errand before it was done.
    pub fn advance(&mut self) -> Result<bool> {
        match self.channel.receive()? {
            Report::Ready(answer) => {
                self.answer = answer;
                Ok(true)
            }
            Report::Failed(error) => {
                self.failures.push(error);
                Ok(false)
            }
            // It is said last what ended it.
            _ => Err(self.failures.pop().unwrap_or_else(|| {
                Error::failed(self.what, self.process.pid(), "ended before it was done").hint("who has killed it?")
            })),
        }
    }

    /// What one that was sent by [`Errand::fetch`] has brought back, once it is done.
    pub fn answer(&mut self) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        if let Some(answer) = self.answer.take() {
            File::from(answer)
                .read_to_end(&mut found)
                .map_err(|error| Error::io("read the answer of", self.what, &error))?;
        }
        Ok(found)
    }

    /// Waits for its end; answers with what has failed on the way and did not stop it.
    pub fn finish(mut self) -> Result<Vec<Error>> {
        while !self.advance()? {}
        Ok(self.take_failures())
    }

    /// Stops it before it is dropped.
    pub(crate) fn stop(&self) {
        self.channel.hang_up();
        // Errors mean that it is gone. One that takes no notice within a bounded time waits in the kernel.
        let _ = wait_for_end(self.process.as_fd());
        let _ = self.process.end();
    }

    /// What has failed since this was last asked, and did not stop it.
    pub fn take_failures(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.failures)
    }
}

impl AsFd for Errand {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.stop();
    }
}

/// First of all, for what is a copy of the runtime.
fn begin(channel: &ChildEnd) -> Result<()> {
    signal::reset().at("reset", "signals")?;
    prctl::set_dumpable(false).at("close to debuggers", "a process of the runtime")?;
    fd::close_all_except(&[channel.as_fd()]).at("close", "what was inherited")?;
    umask(Mode::from_bits_truncate(0o022));
    // A signal to the runtime's process group is not for this process, whose parent tells it when to stop.
    setsid().at("begin", "a session").map(drop)
}
