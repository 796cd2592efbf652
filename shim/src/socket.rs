//! A shim's socket: listening on it at most once, whether somebody does, and the end of one that nobody listens on.

use std::{
    fs::{DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, sockopt::PeerCredentials},
};

use crate::{
    address::path,
    departing,
    failure::{Failure, Result},
};

/// Whether a shim answers at `address`.
pub(crate) fn is_served(address: &str) -> Result<bool> {
    Ok(matches!(found(path(address))?, Found::Shim))
}

/// What became of an attempt to listen.
pub(crate) enum Listening {
    /// This process now owns the socket.
    Here(UnixListener),
    /// A shim already answers there.
    Elsewhere,
}

/// Listens at `address`, unless someone already does. A socket that nobody answers was left by a shim that died.
pub(crate) fn listen(address: &str) -> Result<Listening> {
    let path = path(address);
    let failed = |operation: &str, error: &io::Error| Failure::io(operation, path.display(), error);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|e| failed("make directory of", &e))?;
    }
    if path.symlink_metadata().is_ok() && lives(path).map_err(|e| failed("connect to", &e))? {
        return Ok(Listening::Elsewhere);
    }
    let _alone = alone(path).map_err(|e| failed("lock directory of", &e))?;
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if answers(path).map_err(|e| failed("connect to", &e))? {
                return Ok(Listening::Elsewhere);
            }
            remove_socket(path).map_err(|e| failed("remove stale socket", &e))?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let listener = bound.map_err(|e| failed("listen on", &e))?;
    // The directory (0700) already keeps others out; this is for a socket_dir that does not.
    if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(0o600)) {
        let _gone = remove(path);
        return Err(failed("protect", &error));
    }
    Ok(Listening::Here(listener))
}

/// Removes the socket at `address` if nobody listens there any more: its shim was killed. Whether there is a shim that
/// listens. Costs next to nothing when there is no socket.
///
/// # Errors
/// It is not a socket, or cannot be asked or removed.
pub fn remove_stale(address: &str) -> Result<bool> {
    let path = path(address);
    match found(path)? {
        Found::Shim => Ok(true),
        Found::Nothing => Ok(false),
        Found::Stale(_alone) => {
            remove_socket(path).map_err(|e| Failure::io("remove stale socket", path.display(), &e))?;
            Ok(false)
        }
    }
}

/// What is at the path of a socket.
enum Found {
    /// A shim answers.
    Shim,
    /// A socket that nobody answers, which nobody else touches as long as this is kept.
    Stale(Flock<File>),
    Nothing,
}

fn found(path: &Path) -> Result<Found> {
    let failed = |operation: &str, error: &io::Error| Failure::io(operation, path.display(), error);
    if path.symlink_metadata().is_err() {
        return Ok(Found::Nothing);
    }
    if lives(path).map_err(|e| failed("connect to", &e))? {
        return Ok(Found::Shim);
    }
    let alone = alone(path).map_err(|e| failed("lock directory of", &e))?;
    // One that was just beginning answers by now.
    let answers = answers(path).map_err(|e| failed("connect to", &e))?;
    Ok(if answers { Found::Shim } else { Found::Stale(alone) })
}

/// While it is held nobody else takes a name in the directory of `path` or removes a stale one: between bind(2) and
/// listen(2) the socket of a shim that begins refuses like that of one that has died.
fn alone(path: &Path) -> io::Result<Flock<File>> {
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// Whether somebody listens at `path` who is not about to end. Waits for that end, but not for a shim that is too busy to
/// accept.
///
/// # Errors
/// Whether somebody does cannot be told.
pub fn is_answered(path: &Path) -> io::Result<bool> {
    Ok(lives(path)? || answers(path)?)
}

/// Whether somebody answers who is not about to end. Waits until he is gone, if he is: not to be done [`alone`], nobody else
/// could begin meanwhile.
fn lives(path: &Path) -> io::Result<bool> {
    Ok(match listener(path)? {
        Answer::By(pid) => !departing::await_end(pid),
        Answer::BySomebody => true,
        Answer::Nobody => false,
    })
}

fn answers(path: &Path) -> io::Result<bool> {
    Ok(!matches!(listener(path)?, Answer::Nobody))
}

/// Who listens at an address.
enum Answer {
    /// The process with this pid.
    By(i32),
    /// It does not say who it is.
    BySomebody,
    Nobody,
}

fn listener(path: &Path) -> io::Result<Answer> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => {
            let peer = getsockopt(&socket, PeerCredentials)?;
            Ok(if peer.pid() > 0 { Answer::By(peer.pid()) } else { Answer::BySomebody })
        }
        Err(Errno::EAGAIN) => Ok(Answer::BySomebody),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(Answer::Nobody),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a socket, and nothing else: a file that is none refuses connections, too.
fn remove_socket(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(status) if !status.file_type().is_socket() => Err(io::Error::other("it is not a socket")),
        _ => remove(path),
    }
}

/// Removes a socket; one that is gone is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_shim_finds_the_first_and_a_stale_socket_is_replaced() {
        let path = std::env::temp_dir().join(format!("loment-listen-{}/s", std::process::id()));
        let address = format!("unix://{}", path.display());
        let Listening::Here(first) = listen(&address).unwrap() else { panic!("nobody else is there") };
        assert!(matches!(listen(&address).unwrap(), Listening::Elsewhere));
        drop(first);
        assert!(matches!(listen(&address).unwrap(), Listening::Here(_)));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_a_socket_that_nobody_answers_is_removed() {
        let directory = std::env::temp_dir().join(format!("loment-stale-{}", std::process::id()));
        let path = directory.join("s");
        let address = format!("unix://{}", path.display());
        remove_stale(&address).unwrap();
        let Listening::Here(listener) = listen(&address).unwrap() else { panic!("nobody else is there") };
        remove_stale(&address).unwrap();
        assert!(path.exists(), "its shim lives");
        drop(listener);
        remove_stale(&address).unwrap();
        assert!(!path.exists(), "its shim is gone");
        std::fs::write(&path, "a file of somebody's").unwrap();
        assert!(remove_stale(&address).is_err());
        assert!(listen(&address).is_err());
        assert!(path.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
