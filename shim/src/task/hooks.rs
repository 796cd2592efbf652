//! What is done around a container's life and has no say in it: hooks whose failure is a warning.

use loment_sandbox::{container::Starting, errand::Errand};

use super::{Task, ready::readable};
use crate::failure::{Failure, Result};

impl Task {
    /// Waits until the program has been executed, and its `poststart` hooks with it.
    pub(super) async fn started(&self, mut starting: Starting) -> Result<()> {
        loop {
            tokio::select! {
                news = readable(&starting) => news?,
                () = self.killed.notified(), if starting.runs_hooks() => {
                    if self.plan.member.is_some() {
                        // In its pod it has run, and its exit tells how it ended.
                        return Ok(());
                    }
                    let id = &self.plan.id;
                    return Err(Failure::precondition(format!("start container {id}: it was killed while its hooks ran")));
                }
            }
            let done = starting.advance();
            for failure in starting.take_failures() {
                log::warn!("start container {}: {failure}", self.plan.id);
            }
            if done? {
                return Ok(());
            }
        }
    }

    /// Does what is left to be done when the container is gone: `poststop` hooks, and the end of a root file system that
    /// was mounted for hooks.
    pub(super) async fn clear_up(&self, errand: Option<Errand>) -> Result<()> {
        match errand {
            Some(errand) => run(errand, &self.plan.id).await,
            None => Ok(()),
        }
    }
}

/// Waits for the end of an errand for `container`. What did not stop it is a warning.
pub(super) async fn run(mut errand: Errand, container: &str) -> Result<()> {
    loop {
        readable(&errand).await?;
        let done = errand.advance();
        for failure in errand.take_failures() {
            log::warn!("clear up after container {container}: {failure}");
        }
        if done? {
            return Ok(());
        }
    }
}
