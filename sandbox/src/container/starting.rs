//! A container on the way from its gate to its program, and the hooks for the time after that.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::agent::HandOver;
use crate::{
    Error, Result,
    channel::{ParentEnd, Report},
    errand::Errand,
    hooks::ContainerHooks,
};

/// A start under way: readable (as a descriptor) when there is news of it.
#[derive(Debug)]
pub struct Starting {
    channel: ParentEnd,
    pid: i32,
    /// The listener of its seccomp filter, until the agent has it.
    listener: Option<HandOver>,
    /// Those that are still to be run.
    hooks: Option<Arc<ContainerHooks>>,
    /// The hooks that are run when the program has been executed.
    errand: Option<Errand>,
    failures: Vec<Error>,
}

impl Starting {
    /// Of the container whose init is `pid`, and whose gate has been opened through `channel`.
    pub(super) fn new(
        channel: ParentEnd,
        pid: i32,
        listener: Option<HandOver>,
        hooks: Option<Arc<ContainerHooks>>,
    ) -> Self {
        Self { channel, pid, listener, hooks, errand: None, failures: Vec::new() }
    }

    /// Takes one piece of news; true when it was the last: the program has been executed and the `poststart` hooks have
    /// run. (A program that was killed at this very moment counts as executed: its exit tells.) Does not wait when the
    /// descriptor is readable, and has to be asked again only when it is readable again.
    pub fn advance(&mut self) -> Result<bool> {
        if let Some(listener) = &mut self.listener {
            if listener.advance(&self.channel)? {
                self.listener = None;
            }
            return Ok(false);
        }
        if self.errand.is_some() {
            return Ok(self.hear_of_hooks());
        }
        match self.channel.receive()? {
            Report::Failed(error) => Err(error),
            Report::Born(_) | Report::Ready(_) | Report::Hooks | Report::Closed => {
                let sent = self.hooks.take().map_or(Ok(None), |hooks| hooks.send_poststart(self.pid));
                self.errand = self.unless_failed(sent).flatten();
                Ok(self.errand.is_none())
            }
        }
    }

    /// Whether the program has been executed and hooks are waited for.
    pub fn runs_hooks(&self) -> bool {
        self.errand.is_some()
    }

    /// Whether the hooks after the start are done. What befalls them does not befall the program, which runs.
    fn hear_of_hooks(&mut self) -> bool {
        let Some(errand) = &mut self.errand else { return true };
        let done = errand.advance();
        self.failures.extend(errand.take_failures());
        self.unless_failed(done).unwrap_or(true)
    }

    fn unless_failed<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.failures.push(error)).ok()
    }

    /// What has failed since this was last asked and did not stop the start: `poststart` hooks.
    pub fn take_failures(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.failures)
    }

    /// Waits for the end of the start.
    pub fn finish(mut self) -> Result<()> {
        while !self.advance()? {}
        Ok(())
    }
}

impl AsFd for Starting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let errand = self.errand.as_ref().map_or(self.channel.as_fd(), AsFd::as_fd);
        self.listener.as_ref().map_or(errand, AsFd::as_fd)
    }
}
