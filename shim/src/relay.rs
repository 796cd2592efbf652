//! Between a terminal and its client's fifos, or a file or a logger. The only output that passes through the shim.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Arc, Mutex},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncReadExt, Interest, unix::AsyncFd},
    net::unix::pipe,
    sync::{Notify, watch},
};

use crate::{
    failure::{Failure, Result},
    stdio::{Sink, Stdio},
    task::ready,
};

/// The way to a terminal, and what happens to it while it is used.
#[derive(Debug)]
struct Line {
    /// Nothing after a hang-up: the kernel hangs up when its last descriptor is closed.
    terminal: Mutex<Option<Arc<Terminal>>>,
    /// The client will write no more than it can write through the end that it has now.
    closing: Notify,
    /// The client has gone.
    hung_up: Notify,
}

/// Bytes moved at once; a terminal line is at most 4096.
const CHUNK: usize = 4096;

type Terminal = AsyncFd<std::fs::File>;

/// A terminal whose output is being copied.
#[derive(Debug)]
pub(crate) struct Relay {
    line: Arc<Line>,
    done: watch::Receiver<bool>,
    tasks: Vec<tokio::task::AbortHandle>,
}

impl Relay {
    /// Begins to copy between `terminal` and what `stdio` names.
    pub(crate) fn start(terminal: OwnedFd, stdio: &Stdio) -> Result<Self> {
        let failed = |operation: &str, error: &io::Error| Failure::io(operation, "the terminal", error);
        nonblocking(&terminal).map_err(|error| failed("prepare", &error))?;
        let terminal = Arc::new(ready::both_ways(terminal.into()).map_err(|error| failed("watch", &error))?);
        let line = Arc::new(Line {
            terminal: Mutex::new(Some(Arc::clone(&terminal))),
            closing: Notify::new(),
            hung_up: Notify::new(),
        });
        let (finished, done) = watch::channel(false);
        let mut tasks = Vec::new();
        let stdin = &stdio.paths().stdin;
        if !stdin.is_empty() {
            // Opened for both directions, so that it has no end when one client leaves and another comes.
            let fifo = pipe::OpenOptions::new()
                .read_write(true)
                .open_receiver(stdin)
                .map_err(|error| Failure::io("open standard input", stdin, &error))?;
            tasks.push(tokio::spawn(input(fifo, Arc::clone(&terminal), Arc::clone(&line))).abort_handle());
        }
        let output = stdio.terminal_output()?;
        let of_task = Arc::clone(&line);
        let copy = tokio::spawn(async move {
            tokio::select! {
                copied = self::output(&terminal, output) => {
                    if let Err(error) = copied {
                        log::debug!("copy from a terminal: {error}");
                    }
                }
                () = of_task.hung_up.notified() => {}
            }
            finished.send_replace(true);
        });
        tasks.push(copy.abort_handle());
        Ok(Self { line, done, tasks })
    }

    /// Tells the terminal its size in characters.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let Some(terminal) = crate::lock(&self.line.terminal).clone() else { return Ok(()) };
        loment_sys::terminal::resize(terminal.get_ref().as_fd(), columns, rows)
            .map_err(|errno| Failure::io("resize", "the terminal", &errno.into()))
    }

    /// The client will not open its input again. A client that has it open now is one that ties the terminal to itself:
    /// when it has gone, the terminal hangs up, and its shell ends as when a line is cut. One that has closed it before
    /// it says so has only said all that it had to say, and the process lives on.
    pub(crate) fn close_input(&self) {
        self.line.closing.notify_one();
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
async fn input(mut fifo: pipe::Receiver, terminal: Arc<Terminal>, line: Arc<Line>) {
    let mut buffer = Box::new([0; CHUNK]);
    let mut tied = None;
    loop {
        let count = tokio::select! {
            read = fifo.read(&mut buffer[..]) => read.unwrap_or(0),
            () = line.closing.notified(), if tied.is_none() => {
                let Ok(reader) = only_reading(&fifo) else { return };
                fifo = reader;
                tied = Some(has_writer(&fifo));
                continue;
            }
        };
        if count == 0 {
            break;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match terminal.async_io(Interest::WRITABLE, |mut file| file.write(rest)).await {
                Ok(written) => rest = &rest[written..],
                Err(_hung_up) => return,
            }
        }
    }
    if tied == Some(true) {
        drop(crate::lock(&line.terminal).take());
        line.hung_up.notify_one();
    }
}

/// The same fifo without its other end: it has an end once its last client has closed it.
fn only_reading(fifo: &pipe::Receiver) -> io::Result<pipe::Receiver> {
    pipe::OpenOptions::new().open_receiver(format!("/proc/self/fd/{}", fifo.as_raw_fd()))
}

/// Whether somebody could still write into what is read here. It must have been opened while there was a writer: before
/// its first one a fifo does not say that it has none. fifo(7)
fn has_writer(reader: &pipe::Receiver) -> bool {
    let mut asked = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let answered = poll(&mut asked, PollTimeout::ZERO);
    answered.is_ok() && asked[0].revents().is_none_or(|events| !events.contains(PollFlags::POLLHUP))
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
