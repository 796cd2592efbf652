//! Signals: the first ends a run at its next request and lets it remove what it made; a second one ends the program.

use std::{cell::Cell, fmt, future::Future, pin::pin, process};

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether somebody has asked for the end.
#[derive(Debug, Default)]
pub struct Stop(Cell<Option<i32>>);

/// The error of a run that a signal has ended, and that has removed what it made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(i32);

impl Interrupted {
    #[cfg(test)]
    pub(crate) fn by(signal: i32) -> Self {
        Self(signal)
    }

    /// The exit status that a shell expects: 128 and the signal's number.
    pub fn status(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(1)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by signal {}", self.0)
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
/// Errors: those of `work`; [`Interrupted`], also when the signal came too late for `work` to see it; signals cannot be
/// listened for.
pub async fn attend<T>(stop: &Stop, notice: impl Fn(), work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = Signals::listen()?;
    let mut work = pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            number = signals.next() => match stop.0.get() {
                None => {
                    stop.0.set(Some(number));
                    notice();
                }
                Some(_) => process::exit(i32::from(Interrupted(number).status())),
            },
        }
    };
    // The runtime tells of a signal when it looks for news, which may not have been since it came.
    tokio::task::yield_now().await;
    if let Some(number) = signals.next().now_or_never() {
        stop.0.set(stop.0.get().or(Some(number)));
    }
    done.and_then(|done| stop.check().map(|()| done))
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::{Signal, raise};

    use super::*;

    #[test]
    fn a_signal_in_the_last_moment_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stop = Stop::default();
        let work = async {
            // On this thread, so that it has come before the work is done.
            raise(Signal::SIGHUP).unwrap();
            Ok(())
        };
        let done = runtime.block_on(attend(&stop, || (), work));
        let error = done.unwrap_err();
        assert_eq!(error.downcast_ref::<Interrupted>(), Some(&Interrupted(Signal::SIGHUP as i32)), "{error:#}");
        assert!(runtime.block_on(attend(&Stop::default(), || (), async { Ok(()) })).is_ok());
    }
}
