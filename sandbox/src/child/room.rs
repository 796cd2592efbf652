//! Room for many mounts: each part of a container's file systems is a descriptor until it has come to its place. A service has
//! 1024 at first, and may have many more.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{Result, error::Context, plan::View};

/// A container with fewer mounts needs nothing: at every limit that there is in practice it has room.
const FEW: usize = 128;
/// Descriptors for each mount, at most, and some for everything else.
const EACH: u64 = 2;
const OTHERS: u64 = 256;

/// While it is there the process may have as many descriptors as it may give itself; then as many as before, for its program.
#[derive(Debug)]
pub(super) struct Room(Option<(u64, u64)>);

impl Room {
    /// Room for the mounts of a view.
    pub(super) fn of(view: &View) -> Result<Self> {
        if view.mounts.len() < FEW {
            return Ok(Self(None));
        }
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).at("read the limit of", "open files")?;
        if soft >= hard || soft > EACH * view.mounts.len() as u64 + OTHERS {
            return Ok(Self(None));
        }
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).at("raise the limit of", "open files")?;
        Ok(Self(Some((soft, hard))))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((soft, hard)) = self.0 {
            // To lower one's own limit is always allowed.
            let _lowered = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
        }
    }
}
