//! The terminal of a process, from the container's own devpts.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use loment_sys::{mount, terminal};
use nix::{
    fcntl::OFlag,
    sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs},
};

use super::root::{Links, Root};
use crate::{Error, Result, error::Context};

/// Both sides of a terminal.
#[derive(Debug)]
pub(crate) struct Console {
    /// The side of whoever reads and writes for the user.
    pub(crate) master: OwnedFd,
    /// The side of the process.
    pub(crate) slave: OwnedFd,
}

impl Console {
    /// Opens a fresh one. Nothing is opened by the name of a terminal: an image could have put something else there
    /// (CVE-2025-52565).
    pub(crate) fn open(root: &Root, size: Option<(u16, u16)>) -> Result<Self> {
        let path = Path::new("dev/pts/ptmx");
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let master = root.open(path, Links::Refuse, flags).map_err(|errno| {
            Error::os("open a terminal at", path.display(), errno).hint("a terminal needs a devpts mount on /dev/pts")
        })?;
        if fstatfs(&master).at("examine", path.display())?.filesystem_type() != DEVPTS_SUPER_MAGIC {
            return Err(Error::invalid("process.terminal", path.display(), "is not a devpts"));
        }
        let fd = master.as_fd();
        terminal::unlock(fd).at("unlock", "the terminal")?;
        let slave = terminal::peer(fd).at("open the other side of", "the terminal")?;
        if let Some((width, height)) = size.filter(|size| *size != (0, 0)) {
            terminal::resize(fd, width, height).at("set the size of", "the terminal")?;
        }
        Ok(Self { master, slave })
    }

    /// Shows the terminal as /dev/console.
    pub(crate) fn bind(&self, root: &Root) -> Result<()> {
        let place = root.make_file(Path::new("dev/console"), Links::Refuse)?;
        mount::clone_tree(self.slave.as_fd(), c"", false)
            .and_then(|copy| mount::attach(copy.as_fd(), place.as_fd()))
            .at("mount the terminal on", "/dev/console")
    }

    /// Makes it the controlling terminal of this session.
    pub(crate) fn control(&self) -> Result<BorrowedFd<'_>> {
        terminal::make_controlling(self.slave.as_fd()).at("take control of", "the terminal")?;
        Ok(self.slave.as_fd())
    }
}
