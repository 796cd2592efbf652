//! Containers written to disk and brought back, by CRIU.
//!
//! CRIU is run as a command: its command line has been stable for many years, and needs neither its message format nor a
//! second process to talk to. It is a child of the runtime's, and so is the init that it restores
//! (`--restore-sibling`): its end is awaited as that of any other container's.

mod criu;
mod dump;
mod external;
mod images;
mod restore;

use std::path::PathBuf;

pub use self::{
    criu::{Criu, Running},
    restore::Restorable,
};

#[cfg(feature = "fuzzing")]
/// What lies beside images, as the fuzz targets read it.
pub(crate) fn read_for_fuzzing(bytes: &[u8]) {
    let _outside = serde_json::from_slice::<images::Outside>(bytes);
    let _mounts = std::str::from_utf8(bytes).map(|text| images::mounts(text).len());
}

/// What a checkpoint is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Directory of the images; it exists.
    pub images: PathBuf,
    /// Directory for CRIU's log and temporary files; made if it does not exist.
    pub work: PathBuf,
    /// Whether the container is to end with it.
    pub exit: bool,
    /// Keep connections of TCP that are open.
    pub open_tcp: bool,
    /// Allow sockets whose other end is outside.
    pub external_unix_sockets: bool,
    /// Keep locks of files.
    pub file_locks: bool,
    /// Kinds of namespaces that are restored empty: CRIU knows `net`.
    pub empty_namespaces: Vec<String>,
}
