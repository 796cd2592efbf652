//! What the commands that ask others run in: one thread.

use std::io;
use std::os::unix::net::UnixStream;

use tokio::runtime::{Builder, Runtime};

/// Makes it.
///
/// # Errors
/// There are not enough descriptors. The library ends with a panic where the ones for signals are missing, so that as many as
/// it takes are tried before.
pub(crate) fn new() -> io::Result<Runtime> {
    let spare = [UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?];
    drop(spare);
    Builder::new_current_thread().enable_all().build()
}
