//! Between a parent and the child that becomes a container's process: the child reports, the parent opens the gate.
//!
//! One pair of sequenced-packet sockets, both ends close-on-exec. The child sends one report, "ready" or an error. If
//! another process clones it, that one reports its pidfd before; if there are hooks for the runtime to run, it asks
//! for them before and waits for the same answer as at its gate. After "ready" its end is closed by execve(2), so that
//! the end of the stream says that the program runs. The parent sends one byte, "go". If the parent dies its end
//! closes, and a child that waits at its gate leaves.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use loment_sys::socket;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};

use crate::{Error, Result, error::Context};

const BORN: u8 = b'B';
const READY: u8 = b'R';
const FAILED: u8 = b'E';
const HOOKS: u8 = b'H';
const GO: u8 = b'G';

/// Longest report: an error message that is longer is cut.
const LONGEST: usize = 8 << 10;

/// What a child has said.
#[derive(Debug)]
pub(crate) enum Report {
    /// A carrier has cloned the process that this is about; its pidfd.
    Born(OwnedFd),
    /// It is ready, and this is the other end of its terminal.
    Ready(Option<OwnedFd>),
    /// It has made everything but its root, and waits until hooks of the runtime have run.
    Hooks,
    /// It failed.
    Failed(Error),
    /// It has closed its end: it has been executed, or it died.
    Closed,
}

/// The parent's end, readable when there is a report.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

/// A fresh channel.
pub(crate) fn pair() -> Result<(ParentEnd, ChildEnd)> {
    let (parent, child) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .at("make a channel to", "the container's process")?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl ParentEnd {
    /// The end of somebody who opens the gate of a container that another process has made.
    pub(crate) fn over(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// The next report; waits for it.
    pub(crate) fn receive(&self) -> Result<Report> {
        let mut buffer = [0; LONGEST];
        let (length, descriptor) = match socket::receive(self.0.as_fd(), &mut buffer) {
            Err(nix::errno::Errno::ECONNRESET) => return Ok(Report::Closed),
            answer => answer.at("receive a report from", "the container's process")?,
        };
        Ok(match buffer.get(..length).and_then(<[u8]>::split_first) {
            None => Report::Closed,
            Some((&BORN, _)) => descriptor.map_or(Report::Closed, Report::Born),
            Some((&READY, _)) => Report::Ready(descriptor),
            Some((&HOOKS, _)) => Report::Hooks,
            Some((_, text)) => Report::Failed(Error::from_bytes(text)),
        })
    }

    /// Opens the gate. A child that has died in the meantime is no error here: its exit tells.
    pub(crate) fn open_gate(&self) -> Result<()> {
        self.open_gate_with(None)
    }

    /// The same, with something that the child needs from now on.
    pub(crate) fn open_gate_with(&self, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        match socket::send(self.0.as_fd(), &[GO], descriptor) {
            Err(nix::errno::Errno::EPIPE) => Ok(()),
            answer => answer.map(drop).at("open the gate of", "the container's process"),
        }
    }

    /// Lets the child see that nobody listens any more.
    pub(crate) fn hang_up(&self) {
        // An error means that the child is gone.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

impl AsFd for ParentEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ChildEnd {
    /// Says that the process has been cloned.
    pub(crate) fn born(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        socket::send(self.0.as_fd(), &[BORN], Some(pidfd)).map(drop).at("report to", "the parent")
    }

    /// The end of a child whose gate is opened by another process than its maker, or the same end under another number.
    pub(crate) fn over(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// Says that this process is ready; hands over the other end of its terminal.
    pub(crate) fn ready(&self, terminal: Option<BorrowedFd<'_>>) -> Result<()> {
        socket::send(self.0.as_fd(), &[READY], terminal).map(drop).at("report to", "the parent")
    }

    /// Asks for the hooks of the runtime.
    pub(crate) fn ask_for_hooks(&self) -> Result<()> {
        socket::send(self.0.as_fd(), &[HOOKS], None).map(drop).at("report to", "the parent")
    }

    /// Says what went wrong. Nothing is left to be done when the parent cannot be told either.
    pub(crate) fn failed(&self, error: &Error) {
        let mut message = vec![FAILED];
        message.extend(error.to_bytes());
        message.truncate(LONGEST);
        let _ = socket::send(self.0.as_fd(), &message, None);
    }

    /// Waits until the gate is opened; false when the parent is gone.
    pub(crate) fn wait_at_gate(&self) -> bool {
        self.pass_gate().is_some()
    }

    /// [`ChildEnd::wait_at_gate`], with what comes from whoever opens the gate.
    pub(crate) fn pass_gate(&self) -> Option<Option<OwnedFd>> {
        match socket::receive(self.0.as_fd(), &mut [0; 8]) {
            Ok((1.., descriptor)) => Some(descriptor),
            _ => None,
        }
    }
}

impl AsFd for ChildEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The end of whoever builds something for a process.
#[derive(Debug)]
pub(crate) struct Giver(OwnedFd);

/// The end of that process.
#[derive(Debug)]
pub(crate) struct Taker(OwnedFd);

/// A channel for descriptors between two children of one parent.
pub(crate) fn handover() -> Result<(Giver, Taker)> {
    let (giver, taker) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .at("make a channel between", "the container's processes")?;
    Ok((Giver(giver), Taker(taker)))
}

impl Giver {
    pub(crate) fn give(&self, descriptor: BorrowedFd<'_>) -> Result<()> {
        socket::send(self.0.as_fd(), &[GO], Some(descriptor)).map(drop).at("hand over to", "the container's process")
    }
}

impl Taker {
    /// Waits for the next descriptor; `None` when the giver is gone, and its own report says why.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        socket::receive(self.0.as_fd(), &mut [0; 8]).ok()?.1
    }
}

impl AsFd for Giver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Taker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_with_its_terminal() {
        let (parent, child) = pair().unwrap();
        child.ready(Some(child.as_fd())).unwrap();
        assert!(matches!(parent.receive().unwrap(), Report::Ready(Some(_))));
    }

    #[test]
    fn a_child_sees_that_its_parent_is_gone() {
        let (parent, child) = pair().unwrap();
        drop(parent);
        assert!(!child.wait_at_gate());
    }

    #[test]
    fn the_end_of_the_child_is_not_a_report() {
        let (parent, child) = pair().unwrap();
        drop(child);
        assert!(matches!(parent.receive().unwrap(), Report::Closed));
        parent.open_gate().unwrap();
    }

    #[test]
    fn a_long_error_is_cut_and_still_an_error() {
        let (parent, child) = pair().unwrap();
        child.failed(&Error::invalid("field", "x".repeat(20_000), "is too long"));
        assert!(matches!(parent.receive().unwrap(), Report::Failed(_)));
    }
}
