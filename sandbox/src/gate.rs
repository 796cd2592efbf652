//! A gate that outlives whoever made the container: a socket in a directory of the container's own.
//!
//! A command line that creates a container is gone when another one starts it. So init keeps a listening socket; who
//! starts the container connects, says "go", and hears over the same connection what has failed, or by its end that the
//! program runs. The directory decides who may connect (0700), and init asks once more whose peer it is.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    libc,
    poll::PollTimeout,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket,
            sockopt::PeerCredentials,
        },
    },
};

use crate::{
    Result,
    channel::{ChildEnd, ParentEnd},
    error::Context,
    listener::Place,
    ready,
};

/// Name of the socket.
const NAME: &str = "gate";

/// Makes the gate of the container whose directory this is, for [`crate::container::Extras`].
pub fn make(directory: &Path) -> Result<OwnedFd> {
    let place = open(directory)?;
    let listener = fresh(SockFlag::empty())?;
    let shown = directory.join(NAME);
    bind(listener.as_raw_fd(), &address(&place).at("make a gate at", shown.display())?)
        .and_then(|()| listen(&listener, Backlog::new(4)?))
        .at("make a gate at", shown.display())?;
    Ok(listener)
}

/// Whether somebody stands at the gate of the container whose directory this is. The socket itself is asked: whoever has
/// opened the gate may have been ended before it could take the name away. Never waits: init passes over a visitor
/// without a word, and if it does not even take visitors it has not passed the gate.
pub fn is_closed(directory: &Path) -> bool {
    directory.join(NAME).exists() && !matches!(visit(directory, SockFlag::SOCK_NONBLOCK), Ok(None))
}

/// Says that the gate has been passed; one that is gone has been.
pub(crate) fn forget(directory: &Path) -> Result<()> {
    match std::fs::remove_file(directory.join(NAME)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(crate::Error::io("remove the gate of", directory.display(), &error))
        }
        _ => Ok(()),
    }
}

/// Connects to the init at the gate. `None` when nobody stands there any more.
pub(crate) fn reach(directory: &Path) -> Result<Option<ParentEnd>> {
    Ok(visit(directory, SockFlag::empty())?.map(ParentEnd::over))
}

fn visit(directory: &Path, flags: SockFlag) -> Result<Option<OwnedFd>> {
    let place = open(directory)?;
    let connection = fresh(flags)?;
    let shown = directory.join(NAME);
    match connect(connection.as_raw_fd(), &address(&place).at("reach the gate at", shown.display())?) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
        answer => answer.map(|()| Some(connection)).at("reach the gate at", shown.display()),
    }
}

/// Whoever has opened a gate, as init sees it.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) channel: ChildEnd,
    /// Where to say what the seccomp filter's listener is, if it has one.
    pub(crate) place: Option<Place>,
}

/// Init, once anybody may know of it: it hears of the signals that are to end it.
#[derive(Debug)]
pub(crate) struct Waiting {
    endings: SigSet,
    signals: SignalFd,
}

impl Waiting {
    /// To be called before anyone can know of this process: pid 1 of a namespace loses a signal that it has no handler
    /// for, unless it blocks it. pid_namespaces(7)
    pub(crate) fn prepare() -> Result<Self> {
        let endings = endings();
        endings.thread_block().at("block", "signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&endings, flags).at("wait for", "signals")?;
        Ok(Self { endings, signals })
    }

    /// Waits until somebody opens the gate; answers with the way to them. `parent` is a socket of whoever made this
    /// process: only the same user is let in, by whatever number the user namespace shows it. A signal that ends a
    /// process ends this one.
    pub(crate) fn pass(&self, listener: BorrowedFd<'_>, parent: BorrowedFd<'_>) -> Result<Starter> {
        let user = |socket: BorrowedFd<'_>| {
            getsockopt(&socket, PeerCredentials).map(|peer| peer.uid()).at("ask for the user of", "a socket")
        };
        let maker = user(parent)?;
        let starter = loop {
            if !self.wait_for(listener)? {
                continue;
            }
            let connection = loment_sys::socket::accept(listener).at("accept at", "the gate")?;
            let is_makers = user(connection.as_fd())? == maker;
            let channel = ChildEnd::over(connection);
            // One that has left without a word was ended itself: another one may come.
            if is_makers && let Some(memory) = channel.pass_gate() {
                break Starter { channel, place: memory.map(Place::given).transpose()? };
            }
        };
        self.endings.thread_unblock().at("unblock", "signals")?;
        Ok(starter)
    }

    /// Whether somebody has come.
    fn wait_for(&self, listener: BorrowedFd<'_>) -> Result<bool> {
        let awaited = [listener, self.signals.as_fd()];
        let [has_visitor, _] = ready::wait(awaited, PollTimeout::NONE).at("wait at", "the gate")?;
        if let Ok(Some(signal)) = self.signals.read_signal() {
            loment_sys::clone::exit_now(128 + signal.ssi_signo.cast_signed());
        }
        Ok(has_visitor)
    }
}

/// Signals whose default is the end of a process.
fn endings() -> SigSet {
    let spared = [
        Signal::SIGKILL,
        Signal::SIGSTOP,
        Signal::SIGCONT,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGCHLD,
        Signal::SIGURG,
        Signal::SIGWINCH,
    ];
    Signal::iterator().filter(|signal| !spared.contains(signal)).collect()
}

fn fresh(flags: SockFlag) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC | flags, None)
        .at("make a socket for", "the gate")
}

fn open(directory: &Path) -> Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC);
    options.open(directory).at("open", directory.display())
}

/// A short name for the socket, because an address has room for 108 bytes only.
fn address(place: &File) -> nix::Result<UnixAddr> {
    UnixAddr::new(format!("/proc/self/fd/{}/{NAME}", place.as_raw_fd()).as_str())
}
