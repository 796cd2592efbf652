//! What a pod tells its containers about itself in files: they follow its record. Variables and parts of volumes that are
//! mounted alone keep what they were given.

use std::fs::File;

use anyhow::Context as _;

use crate::lower::env::{Addresses, Scope};
use crate::lower::layout::Layout;
use crate::lower::volumes;
use crate::session::{Found, Session};
use crate::{disk, host, record, sources};

/// Writes the files anew that tell of a pod's labels and annotations, as its record says now. Of two commands that change
/// a pod at the same time the last one to come writes what is newest: each reads the record when its turn is.
pub(crate) fn volumes(session: &Session, found: &Found) -> anyhow::Result<()> {
    let Some(directory) = found.directory() else { return Ok(()) };
    let lock = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    lock.lock().with_context(|| format!("lock {}", directory.display()))?;
    let Some(pod) = record::read(directory, found.uid())? else { return Ok(()) };
    let layout = Layout {
        directory: directory.to_path_buf(),
        ..Layout::of(&pod, &session.global.state_dir, &session.global.log_dir)
    };
    let (host, sources) = (host::read(), sources::read(directory)?);
    let scope = Scope { pod: &pod, sources: &sources, addresses: &Addresses::default(), host: &host };
    disk::refresh(&volumes::refresh(scope, &layout)?)
}
