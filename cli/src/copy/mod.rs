//! Files into and out of a container, without any program of its image.
//!
//! One thread reads a tree and another writes it. Each holds on to directories by descriptor: what a container exchanges
//! for a symbolic link meanwhile leads nobody out of it, nor into another place of this machine (CVE-2018-1002100,
//! CVE-2019-1002101, CVE-2019-11246, CVE-2019-11249, CVE-2019-11251). Links are copied as links, and never followed below
//! what was named.

pub(crate) mod enclosure;
pub(crate) mod fresh;
pub(crate) mod place;
pub(crate) mod read;
pub(crate) mod spec;
pub(crate) mod write;

use std::ffi::OsString;

/// What one thread tells the other, depth first.
#[derive(Debug)]
pub(crate) enum Item {
    /// A directory; what follows is in it.
    Enter { name: OsString, meta: Meta },
    /// The end of the directory.
    Leave,
    /// A file; its content follows.
    File { name: OsString, meta: Meta },
    /// A part of the file's content.
    Data(Vec<u8>),
    /// The end of the file.
    End,
    /// A symbolic link.
    Link { name: OsString, target: OsString, meta: Meta },
}

/// Whose something is, and who may do what with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How many parts may be on their way between the two threads.
pub(crate) const ON_THEIR_WAY: usize = 16;
