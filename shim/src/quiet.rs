//! What the shim does when nothing has changed for a while: it gives back the memory that the changes took.

use std::{convert::Infallible, time::Duration};

use loment_sys::memory;
use tokio::sync::Notify;

/// How long nothing must have changed: longer than the steps of a pod's start are apart.
const QUIET: Duration = Duration::from_secs(1);

/// Knows that something has changed.
#[derive(Default)]
pub(crate) struct Quiet(Notify);

impl Quiet {
    /// Something has changed.
    pub(crate) fn disturb(&self) {
        self.0.notify_one();
    }

    /// Gives back memory once after each time of changes, for ever.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            self.0.notified().await;
            while tokio::time::timeout(QUIET, self.0.notified()).await.is_ok() {}
            memory::shrink();
        }
    }
}
