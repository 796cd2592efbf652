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
    poll::{PollFd, PollFlags, PollTimeout, poll},
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
};

/// Name of the socket.
const NAME: &str = "gate";

/// Makes the gate of the container whose directory this is, for [`crate::container::Extras`].
pub fn make(directory: &Path) -> Result<OwnedFd> {
    let place = open(directory)?;
    let listener = fresh()?;
    let shown = directory.join(NAME);
    bind(listener.as_raw_fd(), &address(&place).at("make a gate at", shown.display())?)
        .and_then(|()| listen(&listener, Backlog::new(4)?))
        .at("make a gate at", shown.display())?;
    Ok(listener)
}

/// Whether the container whose directory this is has a gate that nobody has passed yet.
pub fn is_closed(directory: &Path) -> bool {
    directory.join(NAME).exists()
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
    let place = open(directory)?;
    let connection = fresh()?;
    let shown = directory.join(NAME);
    match connect(connection.as_raw_fd(), &address(&place).at("reach the gate at", shown.display())?) {
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
        answer => answer.map(|()| Some(ParentEnd::over(connection))).at("reach the gate at", shown.display()),
    }
}

/// Whoever has opened a gate, as init sees it.
#[derive(Debug)]
pub(crate) struct Starter {
    pub(crate) channel: ChildEnd,
    /// Where to say what the seccomp filter's listener is, if it has one.
    pub(crate) place: Option<Place>,
}

/// Waits, as init, until somebody opens the gate; answers with the way to them. `parent` is a socket of whoever made this
/// process: only the same user is let in, by whatever number the user namespace shows it.
///
/// Signals that end a process end this one, too: as pid 1 of a namespace it would not hear of them otherwise.
/// pid_namespaces(7)
pub(crate) fn pass(listener: BorrowedFd<'_>, parent: BorrowedFd<'_>) -> Result<Starter> {
    let maker = getsockopt(&parent, PeerCredentials).at("ask for", "the maker of the container")?.uid();
    let endings = endings();
    endings.thread_block().at("block", "signals")?;
    let signals =
        SignalFd::with_flags(&endings, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).at("wait for", "signals")?;
    let starter = loop {
        let mut awaited = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(listener, PollFlags::POLLIN)];
        match poll(&mut awaited, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).at("wait at", "the gate"),
        }
        if let Ok(Some(signal)) = signals.read_signal() {
            loment_sys::clone::exit_now(128 + signal.ssi_signo.cast_signed());
        }
        if !awaited[1].any().unwrap_or(false) {
            continue;
        }
        let connection = accept(listener)?;
        let peer = getsockopt(&connection, PeerCredentials).at("ask for", "the starter of the container")?.uid();
        let channel = ChildEnd::over(connection);
        // One that has left without a word was ended itself: another one may come.
        if peer == maker
            && let Some(memory) = channel.pass_gate()
        {
            break Starter { channel, place: memory.map(Place::given).transpose()? };
        }
    };
    endings.thread_unblock().at("unblock", "signals")?;
    Ok(starter)
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

fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loment_sys::socket::accept(listener).at("accept at", "the gate")
}

fn fresh() -> Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).at("make a socket for", "the gate")
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
