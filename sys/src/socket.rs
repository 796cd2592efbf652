//! Messages that carry a descriptor: unix(7), `SCM_RIGHTS`.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, recvmsg, sendmsg},
};

use crate::{Errno, Result};

/// Sends one message, with a descriptor if there is one. A peer that is gone is `EPIPE`, never a signal. Answers with
/// how many of its bytes were taken: on a stream that does not block that may be a part.
pub fn send(socket: BorrowedFd<'_>, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<usize> {
    let raw = descriptor.map(|fd| [fd.as_raw_fd()]);
    let rights: Vec<_> = raw.iter().map(|raw| ControlMessage::ScmRights(raw)).collect();
    let parts = [IoSlice::new(message)];
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}

/// Receives one message into `buffer`; answers with its length, 0 when the peer is gone, and its descriptor
/// (close-on-exec) if it has one.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    loop {
        let mut space = cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => continue,
            answer => answer?,
        };
        let descriptor = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(raw) => raw.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel has just made this descriptor for us; there is room for one only.
        return Ok((message.bytes, descriptor.map(|raw| unsafe { OwnedFd::from_raw_fd(raw) })));
    }
}

/// Accepts a connection; its descriptor is close-on-exec. accept4(2)
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loop {
        match nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            // SAFETY: the kernel has just made this descriptor for us.
            answer => return answer.map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }),
        }
    }
}
