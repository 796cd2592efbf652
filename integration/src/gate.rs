//! Where an invocation of the shim waits until somebody watches it.
//!
//! containerd finds `loment-tracee` where it looks for the shim. That asks at a socket, and when somebody is there it waits
//! for the answer; then it becomes the shim. Without anybody it becomes the shim at once.

use std::{
    env,
    ffi::OsString,
    io::{self, Read as _, Write as _},
    os::unix::{
        fs::symlink,
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::Pid,
};

use crate::{isolate::LAB_DIR, programs::SHIM};

/// The name of the program that waits.
pub const TRACEE: &str = "loment-tracee";

/// The directory where containerd finds it under the shim's name.
const DIRECTORY: &str = "gate";

/// The socket in it.
const SOCKET: &str = "socket";

/// Puts the program that waits where a lab looks for the shim first. Returns the directory.
pub(crate) fn place(tracee: &Path) -> Result<PathBuf> {
    let directory = Path::new(LAB_DIR).join(DIRECTORY);
    std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let link = directory.join(SHIM);
    symlink(tracee, &link).with_context(|| format!("link {} to {}", link.display(), tracee.display()))?;
    Ok(directory)
}

/// Whoever watches.
#[derive(Debug)]
pub struct Gate(UnixListener);

impl Gate {
    /// Opens for business.
    pub fn open() -> Result<Self> {
        let path = socket();
        let listener = UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
        listener.set_nonblocking(true).context("make the gate's socket non-blocking")?;
        Ok(Self(listener))
    }

    /// Who waits now, if anybody does.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let (stream, _) = self.0.accept().ok()?;
        let peer = getsockopt(&stream, PeerCredentials).ok()?;
        Some(Waiting { pid: Pid::from_raw(peer.pid()), stream })
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Who comes now finds nobody; and who waits sees the end.
        let _gone = std::fs::remove_file(socket());
    }
}

/// An invocation that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) pid: Pid,
    stream: UnixStream,
}

impl Waiting {
    /// Lets it become the shim.
    pub(crate) fn pass(mut self) {
        // One that is gone needs no answer.
        let _gone = self.stream.write_all(b".");
    }
}

fn socket() -> PathBuf {
    Path::new(LAB_DIR).join(DIRECTORY).join(SOCKET)
}

/// Waits at the gate if there is one, and becomes the shim. Returns only what went wrong.
pub fn pass() -> io::Error {
    if let Ok(mut stream) = UnixStream::connect(socket()) {
        let _answer_or_end = stream.read(&mut [0]);
    }
    let Some(shim) = behind() else {
        return io::Error::other("find the shim behind the gate in PATH: it is not there");
    };
    Command::new(shim).args(env::args_os().skip(1)).exec()
}

/// The shim that would be found without this program.
fn behind() -> Option<PathBuf> {
    let path: OsString = env::var_os("PATH")?;
    let here = Path::new(LAB_DIR).join(DIRECTORY);
    env::split_paths(&path).filter(|directory| *directory != here).map(|one| one.join(SHIM)).find(|file| file.is_file())
}
