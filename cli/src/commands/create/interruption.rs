//! Signals to a command that makes pods.

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::commands::note;

/// SIGINT and SIGTERM, heard between two steps: one that is given up half way could be finished by containerd after it
/// has been taken back. The second signal ends the command where it is.
pub(super) struct Interruption {
    signal: watch::Receiver<Option<&'static str>>,
}

impl Interruption {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let (news, signal) = watch::channel(None);
        tokio::spawn(async move {
            for first in [true, false] {
                let name = tokio::select! {
                    _ = interrupt.recv() => "interrupted",
                    _ = terminate.recv() => "terminated",
                };
                if !first {
                    note("error: stopped at once; `loment delete` removes what is left");
                    std::process::exit(1);
                }
                let _heard = news.send(Some(name));
            }
        });
        Ok(Self { signal })
    }

    pub(super) async fn came(&self) {
        let mut signal = self.signal.clone();
        if signal.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        match *self.signal.borrow() {
            None => Ok(()),
            Some(name) => Err(anyhow!("{name}; what had been made is removed")),
        }
    }
}
