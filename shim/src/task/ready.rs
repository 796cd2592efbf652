//! Waiting for a descriptor without a thread.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::failure::{Failure, Result};

/// A borrowed descriptor, which the event loop asks for by number.
struct Watched<'a>(BorrowedFd<'a>);

impl AsRawFd for Watched<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Puts `inner` into the event loop.
#[expect(
    deprecated,
    reason = "the safe constructor is deprecated for types whose descriptor may change; ours are owned or borrowed"
)]
fn register<T: AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest)
}

/// Puts a file that is read and written without blocking into the event loop.
pub(crate) fn both_ways(file: std::fs::File) -> io::Result<AsyncFd<std::fs::File>> {
    register(file, Interest::READABLE | Interest::WRITABLE)
}

/// Returns when `fd` is readable: a pidfd whose process has ended, a report that has come, an eventfd.
pub(crate) async fn readable(fd: &impl AsFd) -> Result<()> {
    let failed = |error: io::Error| Failure::io("watch", "a descriptor", &error);
    let watched = register(Watched(fd.as_fd()), Interest::READABLE).map_err(failed)?;
    watched.readable().await.map_err(failed)?.retain_ready();
    Ok(())
}
