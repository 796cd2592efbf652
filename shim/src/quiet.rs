//! What the shim does when it has had nothing to do for a while: it gives back the memory that its work took.

use std::{convert::Infallible, time::Duration};

use loment_sys::memory;
use tokio::sync::Notify;

/// How long there must have been nothing to do: longer than the steps of a pod's start are apart.
const QUIET: Duration = Duration::from_secs(1);

/// Knows that there is something to do.
#[derive(Default)]
pub(crate) struct Quiet(Notify);

impl Quiet {
    /// Somebody has asked for something, or something has changed.
    pub(crate) fn disturb(&self) {
        self.0.notify_one();
    }

    /// Gives back memory once after each time of work, for ever.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            self.0.notified().await;
            while tokio::time::timeout(QUIET, self.0.notified()).await.is_ok() {}
            memory::shrink();
        }
    }
}
