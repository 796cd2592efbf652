//! The signals that a session with a process in a container knows.

use anyhow::Context as _;
use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Those that end a session, and the one that tells of another size of the terminal.
pub(crate) struct Signals(Vec<(i32, Signal)>);

impl Signals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let known = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGWINCH];
        let listen = |number: i32| Ok((number, signal(SignalKind::from_raw(number)).context("wait for signals")?));
        Ok(Self(known.into_iter().map(listen).collect::<anyhow::Result<_>>()?))
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
