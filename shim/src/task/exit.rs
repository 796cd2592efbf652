//! The end of a process, told to everyone who waits for it, whenever they ask.

use loment_sandbox::process::Exit;
use tokio::sync::watch;

/// Set once, remembered for ever.
#[derive(Debug)]
pub(crate) struct ExitCell(watch::Sender<Option<Exit>>);

impl ExitCell {
    /// Not ended yet.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The process has ended. A second end is ignored, and `false`: the first one has been told.
    pub(crate) fn set(&self, exit: Exit) -> bool {
        self.0.send_if_modified(|cell| {
            let first = cell.is_none();
            cell.get_or_insert(exit);
            first
        })
    }

    /// The end, if it has come.
    pub(crate) fn get(&self) -> Option<Exit> {
        *self.0.borrow()
    }

    /// Waits for the end.
    pub(crate) async fn wait(&self) -> Exit {
        let mut receiver = self.0.subscribe();
        loop {
            if let Some(exit) = *receiver.borrow_and_update() {
                return exit;
            }
            // The sender lives in `self`, so this cannot fail; were it to, waiting is the honest answer.
            if receiver.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
