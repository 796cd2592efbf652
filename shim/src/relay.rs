//! Between a terminal and its client's fifos, or a file or a logger. The only output that passes through the shim.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, Interest, unix::AsyncFd},
    net::unix::pipe,
    sync::watch,
};

use crate::{
    failure::{Failure, Result},
    stdio::{Sink, Stdio},
    task::ready,
};

/// Bytes moved at once; a terminal line is at most 4096.
const CHUNK: usize = 4096;

/// A terminal whose output is being copied.
#[derive(Debug)]
pub(crate) struct Relay {
    terminal: Arc<AsyncFd<std::fs::File>>,
    done: watch::Receiver<bool>,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Relay {
    /// Begins to copy between `terminal` and what `stdio` names.
    pub(crate) fn start(terminal: OwnedFd, stdio: &Stdio) -> Result<Self> {
        let failed = |operation: &str, error: &io::Error| Failure::io(operation, "the terminal", error);
        nonblocking(&terminal).map_err(|error| failed("prepare", &error))?;
        let terminal = Arc::new(ready::both_ways(terminal.into()).map_err(|error| failed("watch", &error))?);
        let (finished, done) = watch::channel(false);
        let mut tasks = Vec::new();
        let stdin = &stdio.paths().stdin;
        if !stdin.is_empty() {
            // Opened for both directions, so that it has no end when one client leaves and another comes.
            let fifo = pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(stdin)
                .map_err(|error| Failure::io("open standard input", stdin, &error))?;
            tasks.push(tokio::spawn(input(fifo, Arc::clone(&terminal))).abort_handle());
        }
        let output = stdio.terminal_output()?;
        let source = Arc::clone(&terminal);
        let copy = tokio::spawn(async move {
            if let Err(error) = self::output(&source, output).await {
                log::debug!("copy from a terminal: {error}");
            }
            finished.send_replace(true);
        });
        tasks.push(copy.abort_handle());
        Ok(Self { terminal, done, tasks })
    }

    /// Tells the terminal its size in characters.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        loment_sys::terminal::resize(self.terminal.get_ref().as_fd(), columns, rows)
            .map_err(|errno| Failure::io("resize", "the terminal", &errno.into()))
    }

    /// Waits until the last output has been handed over.
    pub(crate) async fn drained(&self) {
        // An error means that the copying task is gone, so that nothing is left to wait for.
        let mut done = self.done.clone();
        let _gone = done.wait_for(|done| *done).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// From the terminal to the client, until the last process has closed the terminal, which reads as EIO.
async fn output(terminal: &AsyncFd<std::fs::File>, mut sink: Option<Sink>) -> io::Result<()> {
    let mut buffer = Box::new([0; CHUNK]);
    loop {
        let read = terminal.async_io(Interest::READABLE, |mut file| file.read(&mut buffer[..])).await;
        let count = match read {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(sink) = &mut sink {
            sink.write_all(&buffer[..count]).await?;
        }
    }
}

/// From the client to the terminal.
async fn input(mut fifo: pipe::Receiver, terminal: Arc<AsyncFd<std::fs::File>>) {
    let mut buffer = Box::new([0; CHUNK]);
    while let Ok(count @ 1..) = fifo.read(&mut buffer[..]).await {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match terminal.async_io(Interest::WRITABLE, |mut file| file.write(rest)).await {
                Ok(written) => rest = &rest[written..],
                Err(_hung_up) => return,
            }
        }
    }
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
