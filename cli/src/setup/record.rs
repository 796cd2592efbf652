//! What an installation has done, kept so that it can be undone exactly.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::apply;
use super::plan::Change;

/// The layout of the record.
const SCHEMA: u32 = 1;

/// One installation: of one runtime class in one containerd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) schema: u32,
    /// As [`super::found::Kind::name`] names it.
    pub(crate) kind: String,
    pub(crate) handler: String,
    /// containerd's configuration.
    pub(crate) config: PathBuf,
    pub(crate) change: Option<Change>,
    /// Directories that were made, outermost first.
    pub(crate) directories: Vec<PathBuf>,
    /// Programs that were put into place.
    pub(crate) programs: Vec<PathBuf>,
}

impl Record {
    pub(crate) fn new(kind: &str, handler: &str, config: &Path) -> Self {
        Record {
            schema: SCHEMA,
            kind: kind.to_owned(),
            handler: handler.to_owned(),
            config: config.to_owned(),
            change: None,
            directories: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// Notes the directories that are made for a file, outermost first. Those that another installation has made for it are
    /// this one's too: the last of them removes them.
    pub(crate) fn makes_room_for(&mut self, path: &Path, others: &[&Record]) {
        let of_others = others.iter().flat_map(|other| &other.directories).filter(|one| path.starts_with(one));
        self.directories.extend(of_others.cloned().chain(apply::missing_directories(path)));
        self.directories.sort();
        self.directories.dedup();
    }

    fn name(&self) -> String {
        format!("{}-{}.json", self.kind, self.handler)
    }
}

/// Where records are, below the state directory.
fn directory(state: &Path) -> PathBuf {
    state.join("installed")
}

/// Held while an installation is changed: two at a time would plan from what the other is just changing. What is locked is
/// the directory above the state, which is there before and afterwards.
pub(crate) fn lock(state: &Path) -> anyhow::Result<File> {
    let directory = state.ancestors().skip(1).find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
    let file = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another `loment install` or `loment uninstall` is just running: wait for its end, and run this again"
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", directory.display())),
    }
}

/// Writes the record: before anything is done, so that whatever is cut short can be undone.
pub(crate) fn write(state: &Path, record: &Record) -> anyhow::Result<()> {
    let path = directory(state).join(record.name());
    let text = serde_json::to_string_pretty(record).context("write the record as JSON")?;
    apply::replace(&path, format!("{text}\n").as_bytes(), 0o600)
}

/// Removes it, and the directories if nothing else is in them.
pub(crate) fn remove(state: &Path, record: &Record) -> anyhow::Result<()> {
    let directory = directory(state);
    apply::remove(&directory.join(record.name()))?;
    let _not_empty = fs::remove_dir(&directory).and_then(|()| fs::remove_dir(state));
    Ok(())
}

/// All records.
pub(crate) fn all(state: &Path) -> anyhow::Result<Vec<Record>> {
    let directory = directory(state);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", directory.display())),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> anyhow::Result<Record> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let record: Record = serde_json::from_str(&text)
        .map_err(|error| anyhow!("read {}: {error}; the configuration has to be mended by hand", path.display()))?;
    if record.schema != SCHEMA {
        bail!("{} was written by another version of loment (schema {}): use that one", path.display(), record.schema);
    }
    Ok(record)
}

/// The record that is meant.
pub(crate) fn choose(records: Vec<Record>, kind: Option<&str>, handler: &str) -> anyhow::Result<Option<Record>> {
    let mut fitting: Vec<Record> = records
        .into_iter()
        .filter(|record| record.handler == handler && kind.is_none_or(|kind| record.kind == kind))
        .collect();
    if fitting.len() > 1 {
        let kinds: Vec<&str> = fitting.iter().map(|record| record.kind.as_str()).collect();
        bail!("{handler:?} is installed in several containerds ({}): say in which with --kind", kinds.join(", "));
    }
    Ok(fitting.pop())
}
