//! What is left of a pod after its deletion, for a day: its timeline, its last status and its record, in
//! `<state>/history/<namespace>_<name>_<uid>`.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use loment_shim::pod::names::{STATUS, TIMELINE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pod::{self, Happening};
use crate::print::view;
use crate::session::{Found, Session};

/// How long it is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const RECORD: &str = "pod.json";

/// A pod that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// When its files were put away.
    pub(crate) deleted: Timestamp,
    directory: PathBuf,
}

/// An entry of a timeline as it stands in a file: the fields of the Pod service's `Entry`.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(alias = "atUnixNanos")]
    at_unix_nanos: i64,
    #[serde(alias = "sinceStartNanos", default)]
    since_start_nanos: u64,
    #[serde(default)]
    container: String,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    warning: bool,
}

impl From<Line> for Happening {
    fn from(line: Line) -> Self {
        Happening {
            at: Timestamp::from_nanosecond(line.at_unix_nanos.into()).unwrap_or_default(),
            since_start: Duration::from_nanos(line.since_start_nanos),
            container: Some(line.container).filter(|name| !name.is_empty()),
            attempt: line.attempt,
            reason: line.reason,
            message: line.message,
            warning: line.warning,
        }
    }
}

impl From<&Happening> for Line {
    fn from(happening: &Happening) -> Self {
        Line {
            at_unix_nanos: i64::try_from(happening.at.as_nanosecond()).unwrap_or(i64::MAX),
            since_start_nanos: u64::try_from(happening.since_start.as_nanos()).unwrap_or(u64::MAX),
            container: happening.container.clone().unwrap_or_default(),
            attempt: happening.attempt,
            reason: happening.reason.clone(),
            message: happening.message.clone(),
            warning: happening.warning,
        }
    }
}

/// What has happened to a pod: what its shim tells, or has written down before it went.
pub(crate) async fn timeline(session: &Session, found: &Found) -> anyhow::Result<Vec<Happening>> {
    let error = match pod::timeline(session, found).await {
        Ok(timeline) => return Ok(timeline),
        Err(error) => error,
    };
    match found.directory().map(read_timeline) {
        Some(Ok(Some(written))) => Ok(written),
        _ => Err(error),
    }
}

/// Puts away what tells of a pod that is about to be removed, and removes what was kept long enough. Nothing of it is
/// worth to keep a pod for: what cannot be kept is lost.
pub(crate) async fn keep(session: &Session, found: &Found) -> anyhow::Result<()> {
    let state = &session.global.state_dir;
    prune(&state.join("history"), SystemTime::now());
    let timeline = timeline(session, found).await.unwrap_or_default();
    let status = match view::View::of(session, found).await {
        Ok(Some(view)) => view.status,
        _ => Value::Null,
    };
    write(&state.join("history"), &found.pod, &timeline, &status)
}

fn write(history: &Path, pod: &Pod, timeline: &[Happening], status: &Value) -> anyhow::Result<()> {
    let (namespace, name, uid) = (crate::lower::namespace(pod), crate::lower::name(pod), crate::lower::uid(pod));
    let directory = history.join(format!("{namespace}_{name}_{uid}"));
    // Its environment may hold what only root should read.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.with_context(|| format!("make directory {}", directory.display()))?;
    let mut lines = String::new();
    for happening in timeline {
        lines.push_str(&serde_json::to_string(&Line::from(happening)).context("write the timeline as JSON")?);
        lines.push('\n');
    }
    let json = |value: serde_json::Result<String>| value.context("write the pod as JSON");
    let files = [
        (TIMELINE, lines),
        (STATUS, json(serde_json::to_string(status))?),
        (RECORD, json(serde_json::to_string(pod))?),
    ];
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Removes what is older than a day. What cannot be removed is tried again by the next command.
fn prune(history: &Path, now: SystemTime) {
    for entry in fs::read_dir(history).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        if written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > KEPT)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The pods that are gone, the one that went last at the end.
pub(crate) fn list(state: &Path) -> Vec<Gone> {
    let history = state.join("history");
    prune(&history, SystemTime::now());
    let entries = fs::read_dir(&history).into_iter().flatten().flatten();
    let mut all: Vec<Gone> = entries.filter_map(|entry| gone(&entry.path())).collect();
    all.sort_by_key(|gone| gone.deleted);
    all
}

fn gone(directory: &Path) -> Option<Gone> {
    let mut parts = directory.file_name()?.to_str()?.split('_');
    let (namespace, name, _uid) = (parts.next()?.to_owned(), parts.next()?.to_owned(), parts.next()?);
    let deleted = Timestamp::try_from(fs::metadata(directory).ok()?.modified().ok()?).ok()?;
    Some(Gone { namespace, name, deleted, directory: directory.to_path_buf() })
}

impl Gone {
    /// The pod, and what happened to it.
    pub(crate) fn read(&self) -> anyhow::Result<(Pod, Vec<Happening>)> {
        let path = self.directory.join(RECORD);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let pod = serde_json::from_slice(&text).with_context(|| format!("read the pod in {}", path.display()))?;
        let timeline = read_timeline(&self.directory)?;
        Ok((pod, timeline.ok_or_else(|| anyhow!("{} holds no timeline", self.directory.display()))?))
    }

    /// The last phase that was seen.
    pub(crate) fn phase(&self) -> String {
        let text = fs::read(self.directory.join(STATUS)).unwrap_or_default();
        let status: Value = serde_json::from_slice(&text).unwrap_or_default();
        status["phase"].as_str().unwrap_or("Unknown").to_owned()
    }
}

/// The timeline in a directory. A last line that was cut off by a crash is left out, as is one of a later form.
fn read_timeline(directory: &Path) -> anyhow::Result<Option<Vec<Happening>>> {
    let path = directory.join(TIMELINE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
            Ok(Some(lines.map(Happening::from).collect()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn happening(reason: &str) -> Happening {
        Happening {
            at: "2026-05-01T10:00:01.25Z".parse().unwrap(),
            since_start: Duration::from_millis(1250),
            container: Some("app".into()),
            attempt: 2,
            reason: reason.into(),
            message: "in words".into(),
            warning: true,
        }
    }

    #[test]
    fn a_pod_that_is_gone_is_told_of_for_a_day() {
        let state = std::env::temp_dir().join(format!("loment-history-{}", std::process::id()));
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "x", "uid": "u-1" } })).unwrap();
        let timeline = [happening("Started"), Happening { container: None, ..happening("PhaseChanged") }];
        write(&state.join("history"), &pod, &timeline, &json!({ "phase": "Failed" })).unwrap();
        let all = list(&state);
        let [gone] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((gone.namespace.as_str(), gone.name.as_str(), gone.phase().as_str()), ("x", "web", "Failed"));
        assert_eq!(gone.read().unwrap(), (pod, timeline.to_vec()));
        prune(&state.join("history"), SystemTime::now() + KEPT + Duration::from_secs(60));
        assert!(list(&state).is_empty());
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out() {
        let directory = std::env::temp_dir().join(format!("loment-cut-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let line = "{\"index\":0,\"atUnixNanos\":5,\"sinceStartNanos\":7,\"reason\":\"Started\",\"container\":\"a\"}";
        fs::write(directory.join(TIMELINE), format!("{line}\n{}", line.get(..20).unwrap())).unwrap();
        let read = read_timeline(&directory).unwrap().unwrap();
        assert_eq!((read.len(), read[0].since_start), (1, Duration::from_nanos(7)));
        fs::remove_dir_all(&directory).unwrap();
    }
}
