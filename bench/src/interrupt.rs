//! Signals: the first ends a run at its next request and lets it remove what it made; a second one ends the program.

use std::{cell::Cell, fmt, future::Future, pin::pin, process};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether somebody has asked for the end.
#[derive(Debug, Default)]
pub struct Stop(Cell<Option<i32>>);

/// The error of a run that a signal has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(i32);

impl Interrupted {
    /// The exit status that a shell expects: 128 and the signal's number.
    pub fn status(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by signal {}: what was made is removed", self.0)
    }
}

impl std::error::Error for Interrupted {}

impl Stop {
    /// Goes on unless the end was asked for.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |signal| Err(Interrupted(signal).into()))
    }
}

/// Runs `work` to its end and listens for SIGINT, SIGTERM and SIGHUP meanwhile. The first one sets `stop` and is told to
/// `notice`; `work` is not dropped, because a request that nobody awaits leaves things behind. The second one ends the
/// program at once.
///
/// Errors: those of `work`; signals cannot be listened for.
pub async fn attend<T>(stop: &Stop, notice: impl Fn(), work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = Signals::listen()?;
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            number = signals.next() => match stop.0.get() {
                None => {
                    stop.0.set(Some(number));
                    notice();
                }
                Some(_) => process::exit(i32::from(Interrupted(number).status())),
            },
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}
