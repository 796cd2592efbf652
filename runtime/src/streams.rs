//! What the caller hands to a process: standard streams, further descriptors, a place for its terminal.

use std::{
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use loment_sandbox::container::Io;
use loment_sys::{fd, socket};
use nix::{
    fcntl::{OFlag, open},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect},
        stat::Mode,
    },
};

use oci_spec::runtime::{BoxBuilder, Process};

use crate::{
    args::Handover,
    failure::{Context, Failure, Result},
    store::write_whole,
};

/// The caller's own standard streams, or a terminal.
pub(crate) fn io(terminal: bool) -> Result<Io> {
    if terminal {
        return Ok(Io::Terminal);
    }
    let own = |stream: std::os::fd::BorrowedFd<'_>| stream.try_clone_to_owned().at("copy", "a standard stream");
    Ok(Io::Plain {
        stdin: Some(own(std::io::stdin().as_fd())?),
        stdout: Some(own(std::io::stdout().as_fd())?),
        stderr: Some(own(std::io::stderr().as_fd())?),
    })
}

/// Refuses a terminal that nobody would hold, and a place for one that is not there.
pub(crate) fn check_terminal(terminal: bool, detached: bool, handover: &Handover) -> Result<()> {
    match (terminal && detached, &handover.console_socket) {
        (true, None) => Err(Failure::new(
            "process.terminal: whoever creates the container leaves at once, and nobody would hold its terminal \
             (give --console-socket, or set terminal to false)",
        )),
        (false, Some(_)) => Err(Failure::new(
            "--console-socket: there is no terminal to be sent there (it takes process.terminal, and create or --detach)",
        )),
        _ => Ok(()),
    }
}

/// Descriptors from 3 on that a program gets.
#[derive(Debug, Default)]
pub(crate) struct Preserved {
    /// How many.
    pub(crate) count: i32,
    /// What the program has to be told of them.
    env: Vec<String>,
}

impl Preserved {
    /// Those of a socket activation, and those that were asked for. To be called before this program opens anything:
    /// what it opens takes the lowest number that is free.
    pub(crate) fn find(handover: &Handover) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let listening: u16 = variable("LISTEN_FDS").and_then(|count| count.parse().ok()).unwrap_or(0);
        let mut env = Vec::new();
        if listening > 0 {
            // As runc says it; it is right where the program has a pid namespace of its own.
            env.extend([format!("LISTEN_FDS={listening}"), "LISTEN_PID=1".to_owned()]);
            env.extend(variable("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
        }
        let count = i32::from(listening) + i32::from(handover.preserve_fds);
        match (3..3 + count).find(|number| !fd::is_open(*number)) {
            None => Ok(Self { count, env }),
            Some(number) => Err(Failure::new(format!(
                "--preserve-fds {}: descriptor {number} is not open ({listening} come with LISTEN_FDS)",
                handover.preserve_fds
            ))),
        }
    }

    /// Tells a program of them.
    pub(crate) fn tell(&self, process: &mut Process) {
        if !self.env.is_empty() {
            let env = process.env().iter().flatten().chain(&self.env).cloned().collect();
            process.set_env(Some(env));
        }
    }
}

/// A terminal that is copied has the size of the caller's from the start, unless the process asks for another.
pub(crate) fn give_size(process: &mut Process) {
    if process.console_size().is_none()
        && let Ok((width, height)) = loment_sys::terminal::size(std::io::stdin().as_fd())
    {
        let size = BoxBuilder::default().width(u64::from(width)).height(u64::from(height)).build();
        process.set_console_size(size.ok());
    }
}

/// Tells the caller what it wants to know of the process, and hands over its terminal.
pub(crate) fn hand_over(handover: &Handover, pid: i32, terminal: Option<&OwnedFd>) -> Result<()> {
    if let (Some(path), Some(terminal)) = (&handover.console_socket, terminal) {
        send_terminal(path, terminal)?;
    }
    match &handover.pid_file {
        Some(path) => write_whole(path, pid.to_string().as_bytes()),
        None => Ok(()),
    }
}

/// Sends a terminal as runc does: one message that carries the descriptor and a name for it.
fn send_terminal(path: &Path, terminal: &OwnedFd) -> Result<()> {
    let stream = socket_at(path).at("connect to console socket", path.display())?;
    socket::send(stream.as_fd(), b"/dev/ptmx", Some(terminal.as_fd()))
        .map(drop)
        .at("send the terminal to", path.display())
}

/// Connects by a short name, because an address has room for 108 bytes only.
fn socket_at(path: &Path) -> nix::Result<OwnedFd> {
    let stream = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let address = UnixAddr::new(format!("/proc/self/fd/{}", place.as_raw_fd()).as_str())?;
    connect(stream.as_raw_fd(), &address)?;
    Ok(stream)
}

/// Prints an answer.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).at("write to", "standard output")
}
