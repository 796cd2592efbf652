//! Pipes between this command and a process in a container.
//!
//! A pipe has no name in any file system: the shim opens it as a file of this process in `/proc`. However this command
//! ends, nothing of it stays, and whoever reads finds an end.

pub(crate) mod channels;
pub(crate) mod signals;
pub(crate) mod target;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::thread;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::sync::oneshot;

/// How much a pipe is asked to hold; the kernel gives an ordinary user no more than this.
const CAPACITY: i32 = 1 << 20;

/// How much of the input is moved at once.
const CHUNK: usize = 64 << 10;

/// One stream of a process.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) reader: OwnedFd,
    pub(crate) writer: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
        // Less is enough, only slower.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(CAPACITY));
        Ok(Self { reader, writer })
    }

    /// What other processes of the host open to read what is written here.
    pub(crate) fn to_read(&self) -> String {
        path(&self.reader)
    }

    /// What other processes of the host open to write what is read here.
    pub(crate) fn to_write(&self) -> String {
        path(&self.writer)
    }
}

fn path(end: &OwnedFd) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), end.as_raw_fd())
}

/// The end of a copy: what has been wrong with it, if something was.
pub(crate) type Copied = oneshot::Receiver<io::Result<()>>;

/// Copies what is read from `from` to one of this command's own outputs, in a thread: it may be a file, a terminal, or
/// somebody who reads slowly.
pub(crate) fn copy_out(from: OwnedFd, to: impl AsFd) -> anyhow::Result<Copied> {
    let mut to = File::from(to.as_fd().try_clone_to_owned().context("take an output")?);
    let mut from = File::from(from);
    // The kernel moves the pages itself where it can.
    Ok(in_thread(move || io::copy(&mut from, &mut to).map(drop)))
}

/// Copies standard input to `to` until it has an end, or nobody reads it any more. The thread may wait for input that
/// never comes; it ends with this command.
pub(crate) fn copy_in(to: OwnedFd) -> Copied {
    in_thread(move || {
        let mut to = File::from(to);
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => to.write_all(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
}

fn in_thread(copy: impl FnOnce() -> io::Result<()> + Send + 'static) -> Copied {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        // Nobody may wait for it any more.
        let _ = sender.send(copy());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_opened_by_its_path_in_proc_and_ends_with_its_last_writer() {
        let pipe = Pipe::new().unwrap();
        let mut writer = File::options().write(true).open(pipe.to_write()).unwrap();
        let mut reader = File::open(pipe.to_read()).unwrap();
        drop(pipe);
        writer.write_all(b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }
}
