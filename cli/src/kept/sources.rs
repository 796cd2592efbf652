//! The ConfigMaps and Secrets of a pod, kept with it: what makes it again after a reboot, or a container of it with another
//! image, has no server to ask for them. Only root can read them, and they go with the pod.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::lower::Sources;

const FILE: &str = "sources.json";

/// Keeps them in a pod's directory, which exists.
pub(crate) fn keep(directory: &Path, sources: &Sources) -> anyhow::Result<()> {
    if sources.is_empty() {
        return Ok(());
    }
    let path = directory.join(FILE);
    let text = serde_json::to_vec(sources).context("write ConfigMaps and Secrets as JSON")?;
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&text)).with_context(|| format!("write {}", path.display()))
}

/// Those that were kept; none, if there were none.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Sources> {
    let path = directory.join(FILE);
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("read {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sources::default()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}
