//! What the shim does when it has had nothing to do for a while: it gives back the memory that its work took, and where
//! nothing of it runs it looks whether anybody still knows of it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use loment_sys::memory;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{home::Home, shim::Shim};

/// How long there must have been nothing to do: longer than the steps of a pod's start are apart.
const QUIET: Duration = Duration::from_secs(1);
/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(32);

/// Knows that there is something to do.
#[derive(Default)]
pub(crate) struct Quiet(Notify);

impl Quiet {
    /// Somebody has asked for something, or something has changed.
    pub(crate) fn disturb(&self) {
        self.0.notify_one();
    }

    /// Gives back memory once after each time of work, for ever. Then it looks, less and less often, for as long as a look
    /// says that there has to be another one.
    pub(crate) async fn keep(&self, shim: &Arc<Shim>, home: &Home) -> Infallible {
        loop {
            self.0.notified().await;
            let (mut since, mut pause) = (Instant::now(), QUIET);
            loop {
                while timeout(QUIET, self.0.notified()).await.is_ok() {
                    (since, pause) = (Instant::now(), QUIET);
                }
                memory::shrink();
                if !home.look(shim, since.elapsed()).await {
                    break;
                }
                pause = (pause * 2).min(LOOK);
                if timeout(pause - QUIET, self.0.notified()).await.is_ok() {
                    (since, pause) = (Instant::now(), QUIET);
                }
            }
        }
    }
}
