//! Staying with a process in the foreground: passing on signals and a terminal, reaping, and its exit.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use loment_sandbox::process::Process;
use loment_sys::terminal;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
        wait::{Id, WaitPidFlag, waitid, waitpid},
    },
};

use crate::failure::{Context, Failure, Result};

/// Bytes moved at once; a terminal line is at most 4096.
const CHUNK: usize = 4096;

/// Status of a process whose exit somebody else has taken.
const UNKNOWN: u32 = 255;

/// Signals that are for the process, and kept for it from now on.
#[derive(Debug)]
pub(crate) struct Attendant {
    signals: SignalFd,
}

impl Attendant {
    /// To be made before the process, so that no signal is lost in between. With `adopts`, processes whose parent in the
    /// container has ended are reaped here and not left to whoever started this program.
    pub(crate) fn new(adopts: bool) -> Result<Self> {
        let ours =
            [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGURG];
        let set: SigSet = Signal::iterator().filter(|signal| !ours.contains(signal)).collect();
        set.thread_block().at("block", "signals")?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        let signals = signals.at("wait for", "signals")?;
        if adopts {
            prctl::set_child_subreaper(true).at("become parent of", "orphans")?;
        }
        Ok(Self { signals })
    }

    /// Stays until the process has ended; answers with its exit status. `terminal` is copied to and from the standard
    /// streams.
    pub(crate) fn attend(&self, process: &mut Process, terminal: Option<OwnedFd>) -> Result<u32> {
        let mut relay = terminal.map(Relay::new).transpose()?;
        loop {
            let ending = process.ending();
            let mut awaited = vec![
                PollFd::new(ending.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            awaited.extend(relay.as_ref().into_iter().flat_map(Relay::awaited));
            match poll(&mut awaited, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                answer => answer.at("wait for process", process.pid())?,
            };
            let ready: Vec<bool> = awaited.iter().map(|one| one.any().unwrap_or(false)).collect();
            drop(awaited);
            self.pass_on(process, relay.as_ref())?;
            if let Some(relay) = &mut relay {
                relay.copy();
            }
            if ready.first() == Some(&true) {
                if let Some(relay) = &mut relay {
                    relay.drain();
                }
                return Ok(process.try_wait()?.map_or(UNKNOWN, |exit| exit.code));
            }
        }
    }

    fn pass_on(&self, process: &Process, relay: Option<&Relay>) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().at("read", "signals")? {
            match (Signal::try_from(signal.ssi_signo.cast_signed()), relay) {
                (Ok(Signal::SIGCHLD), _) => reap_orphans(process.pid()),
                (Ok(Signal::SIGWINCH), Some(relay)) => relay.resize(),
                // Nobody reads any more: as runc, the process finds out by itself.
                (Ok(Signal::SIGPIPE), _) | (Err(_), _) => {}
                (Ok(signal), _) => drop(process.signal(signal as i32)?),
            }
        }
        Ok(())
    }
}

/// Reaps what has ended, except for the process that is attended: its exit is wanted.
fn reap_orphans(spared: i32) {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        match status.pid() {
            Some(pid) if pid.as_raw() != spared => drop(waitpid(pid, None)),
            _ => return,
        }
    }
}

/// Between a container's terminal and the caller's streams.
#[derive(Debug)]
struct Relay {
    terminal: File,
    /// Read from the caller, and not yet taken by the terminal.
    pending: Vec<u8>,
    input_is_open: bool,
    terminal_is_open: bool,
    _raw: Option<RawMode>,
}

impl Relay {
    fn new(terminal: OwnedFd) -> Result<Self> {
        let flags = fcntl(&terminal, FcntlArg::F_GETFL).map(OFlag::from_bits_retain).at("prepare", "the terminal")?;
        fcntl(&terminal, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).at("prepare", "the terminal")?;
        let relay = Self {
            terminal: terminal.into(),
            pending: Vec::new(),
            input_is_open: true,
            terminal_is_open: true,
            _raw: RawMode::enter()?,
        };
        relay.resize();
        Ok(relay)
    }

    fn awaited(&self) -> Vec<PollFd<'_>> {
        let mut awaited = Vec::new();
        if self.terminal_is_open {
            let writable = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            awaited.push(PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN | writable));
        }
        if self.input_is_open && self.pending.is_empty() {
            awaited.push(PollFd::new(stdin(), PollFlags::POLLIN));
        }
        awaited
    }

    /// Moves what can be moved without waiting for the container.
    fn copy(&mut self) {
        if self.terminal_is_open {
            self.output();
        }
        if self.input_is_open && self.pending.is_empty() && has_input() {
            let mut buffer = [0; CHUNK];
            match nix::unistd::read(stdin(), &mut buffer) {
                Ok(count @ 1..) => self.pending.extend_from_slice(&buffer[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                _ => self.input_is_open = false,
            }
        }
        match self.terminal.write(&self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // It has been hung up.
            Err(_) => self.pending.clear(),
        }
    }

    /// One piece of output; false when there is none now.
    fn output(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        match self.terminal.read(&mut buffer) {
            Ok(count @ 1..) => {
                let mut stdout = std::io::stdout().lock();
                // Nobody may be reading any more; the process must not stop for that.
                let _closed = stdout.write_all(&buffer[..count]).and_then(|()| stdout.flush());
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            // EIO: the last process has closed it.
            Ok(_) | Err(_) => {
                self.terminal_is_open = false;
                false
            }
        }
    }

    /// The rest, when the process has ended.
    fn drain(&mut self) {
        while self.terminal_is_open && self.output() {}
    }

    /// Gives the terminal the caller's size. One that has none leaves it as it is.
    fn resize(&self) {
        if let Ok((width, height)) = terminal::size(stdin()) {
            let _hung_up = terminal::resize(self.terminal.as_fd(), width, height);
        }
    }
}

fn stdin() -> BorrowedFd<'static> {
    static STDIN: std::sync::OnceLock<std::io::Stdin> = std::sync::OnceLock::new();
    STDIN.get_or_init(std::io::stdin).as_fd()
}

fn has_input() -> bool {
    poll(&mut [PollFd::new(stdin(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// The caller's terminal, which leaves everything to the container's; as it was when this is dropped.
#[derive(Debug)]
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Result<Option<Self>> {
        let Ok(before) = tcgetattr(stdin()) else { return Ok(None) };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin(), SetArg::TCSANOW, &raw)
            .map_err(|errno| Failure::io("set the mode of", "the caller's terminal", &errno.into()))?;
        Ok(Some(Self(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _gone = tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}
