//! The pod's status and timeline on disk, for whoever asks when the shim is gone: `status.json` (`v1.PodStatus`, replaced
//! as a whole) and `timeline.jsonl` (an entry of the Pod service in each line, appended) in the pod's directory. Nothing
//! is written where that does not exist.
//!
//! Writing waits a moment for more to come, and is done by a child: no container waits for a disk. What a disk does not
//! take is written when it does.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use loment_sandbox::{Error, errand::Errand, lifecycle::status::PodStatus};
use serde_json::json;
use tokio::sync::watch;

use super::{
    api::Entry,
    host::Host,
    names::{STATUS, TIMELINE},
    place,
};
use crate::{failure::Result, task::ready::readable};

/// How long news waits for more.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long after a failure it is tried again, if nothing happens before.
const AGAIN: Duration = Duration::from_secs(1);
/// A timeline that is longer than this loses its first part.
const LONGEST: u64 = 4 << 20;
/// What is kept of it then.
const KEPT: usize = 1 << 20;

/// How long the last words of a pod may take to be written down.
const WRITING: Duration = Duration::from_secs(2);

/// What there is to be written.
struct News {
    /// `None`: as it was.
    status: Option<String>,
    lines: String,
}

/// What another shim has left of the pod: its last status, and how many entries its timeline has.
pub(super) fn saved(directory: &Path) -> Option<(PodStatus, u64)> {
    let text = place::read(directory, STATUS)?;
    match serde_json::from_str(&text) {
        Ok(status) => Some((status, begun(directory))),
        Err(error) => {
            log::warn!("pod: its status of before cannot be read: {error}");
            None
        }
    }
}

/// How many entries a timeline has that another shim has begun.
fn begun(directory: &Path) -> u64 {
    let last = place::read(directory, TIMELINE).unwrap_or_default();
    entries(&last)
}

/// The same of the text of a timeline.
pub(super) fn entries(timeline: &str) -> u64 {
    let last = timeline.lines().next_back().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    last.and_then(|entry| Some(entry["index"].as_u64()?.saturating_add(1))).unwrap_or_default()
}

/// Writes as long as the pod's shim lives.
pub(super) async fn keep(host: Arc<Host>, directory: PathBuf) {
    let mut steps = host.steps().subscribe();
    let (mut next, mut last, mut is_behind) = (host.first_entry(), 0, false);
    // Whoever starts the pod is not to wait for the first writing either.
    loop {
        tokio::select! {
            changed = steps.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if is_behind => {}
        }
        tokio::select! {
            () = tokio::time::sleep(TOGETHER) => {}
            () = host.in_a_hurry() => {}
        }
        let step = *steps.borrow_and_update();
        let entries = host.described(next);
        let beyond = entries.last().map_or(next, |entry| entry.index + 1);
        let status = host.status().ok();
        let hash = status.as_ref().map_or(last, digest);
        let news = News { status: status.filter(|_| hash != last), lines: entries.iter().map(line).collect() };
        let written = match news.status.is_some() || !news.lines.is_empty() {
            true => write(directory.clone(), news).await,
            false => Ok(()),
        };
        match &written {
            Ok(()) => (next, last) = (beyond, hash),
            // Once, not each second.
            Err(failure) if !is_behind => log::warn!("pod: {failure} (it is written when that can be)"),
            Err(_) => {}
        }
        is_behind = written.is_err();
        // Nobody waits for a disk that refuses.
        host.has_written(step);
    }
}

impl Host {
    /// Counts what has happened.
    pub(super) fn steps(&self) -> &watch::Sender<u64> {
        &self.steps
    }

    /// Everything up to this step is on disk.
    pub(super) fn has_written(&self, step: u64) {
        self.written.send_replace(step);
    }

    /// Returns when somebody waits for what there is to be written.
    pub(super) async fn in_a_hurry(&self) {
        self.hurry.notified().await;
    }

    /// Waits, not for ever, until what has happened is on disk.
    pub(crate) async fn write_down(&self) {
        if self.directory().is_none() {
            return;
        }
        let step = *self.steps.borrow();
        let mut written = self.written.subscribe();
        self.hurry.notify_one();
        let done = written.wait_for(|written| *written >= step);
        if tokio::time::timeout(WRITING, done).await.is_err() {
            log::warn!("pod: its status was not written down within {WRITING:?}");
        }
    }
}

fn digest(text: &String) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// An entry as a line, with the names of the Pod service's fields.
fn line(entry: &Entry) -> String {
    let line = json!({
        "index": entry.index,
        "at_unix_nanos": entry.at_unix_nanos,
        "since_start_nanos": entry.since_start_nanos,
        "container": entry.container,
        "attempt": entry.attempt,
        "reason": entry.reason,
        "message": entry.message,
        "warning": entry.warning,
    });
    format!("{line}\n")
}

async fn write(directory: PathBuf, news: News) -> Result<()> {
    let mut errand = Errand::fetch("write down the pod's status", move || {
        let written = place::open(&directory).and_then(|opened| {
            let here = place::path_of(&opened);
            replace(&here, news.status.as_deref()).and_then(|()| append(&here, &news.lines))
        });
        match written {
            // The pod is another client's, or is being deleted.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io("write down the pod's status in", directory.display(), &error)),
            Ok(()) => Ok(Vec::new()),
        }
    })?;
    loop {
        readable(&errand).await?;
        if errand.advance()? {
            return Ok(());
        }
    }
}

fn replace(directory: &Path, status: Option<&str>) -> std::io::Result<()> {
    let Some(status) = status else { return Ok(()) };
    put(&directory.join(STATUS), status.as_bytes())
}

/// Replaces a file as a whole.
fn put(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_added_extension("new");
    let file = place::carefully().write(true).create(true).truncate(true).open(&fresh);
    let written = file.and_then(|mut file| file.write_all(text)).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // It would take up what room there is.
        let _missing = fs::remove_file(&fresh);
    }
    written
}

fn append(directory: &Path, lines: &str) -> std::io::Result<()> {
    let path = directory.join(TIMELINE);
    let mut file = place::carefully().create(true).append(true).open(&path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(lines.as_bytes()) {
        // A disk that has no more room may have taken a part, which is written again.
        file.set_len(before)?;
        return Err(error);
    }
    if file.metadata()?.len() <= LONGEST {
        return Ok(());
    }
    let text = fs::read(&path)?;
    let from = text.len().saturating_sub(KEPT);
    let from = text[from..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| from + end + 1);
    put(&path, &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_that_is_too_long_loses_its_first_part() {
        let directory = std::env::temp_dir().join(format!("loment-chronicle-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let entry = |index| line(&Entry { index, message: "x".repeat(1000), ..Entry::default() });
        assert_eq!(begun(&directory), 0);
        let lines: String = (0..5000).map(entry).collect();
        append(&directory, &lines).unwrap();
        let kept = fs::read_to_string(directory.join(TIMELINE)).unwrap();
        assert!(kept.len() <= KEPT && kept.len() > KEPT - 2000, "{}", kept.len());
        assert!(kept.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert_eq!(begun(&directory), 5000);
        append(&directory, &entry(5000)).unwrap();
        assert_eq!(begun(&directory), 5001);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(append(&directory, "x").unwrap_err().kind(), ErrorKind::NotFound);
    }
}
