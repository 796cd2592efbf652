//! The log of one container: which of its lines are meant, and how it goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use loment_cri::v1::ContainerState;
use loment_shim::client::ExecId;
use serde_json::Value;

use crate::error::Said;
use crate::logs::crilog::LogFile;
use crate::logs::lives::{self, Choice, Window};
use crate::logs::printer::Printer;
use crate::pod;
use crate::session::{Found, Session};
use crate::streams::target;

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is asked of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Also what is written from now on.
    pub(crate) follow: bool,
    /// Of the attempt before the latest.
    pub(crate) previous: bool,
    /// Only what was written since then.
    pub(crate) since: Option<Timestamp>,
    /// Only so many lines, the last ones.
    pub(crate) tail: Option<usize>,
}

/// A container whose log is meant.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) found: Found,
    pub(crate) container: String,
}

impl Source {
    /// Prints it.
    pub(crate) async fn show(&self, session: &Session, asked: Asked, mut printer: Printer) -> anyhow::Result<()> {
        let mut window = self.window(session, asked).await?;
        window.from = window.from.max(asked.since);
        let mut made = self.made(session, &self.found).await?;
        if asked.previous {
            let logs = logs_beside(&made.log).with_context(|| format!("read the log {}", made.log.display()))?;
            for log in &logs {
                let mut log = open(log)?;
                if !print(&mut log, asked.tail, &window, &mut printer)? {
                    break;
                }
            }
            return printer.finish();
        }
        let mut log = open(&made.log)?;
        let mut more = print(&mut log, asked.tail, &window, &mut printer)?;
        // One that was made anew, under another image or in another sandbox, goes on with another file.
        while asked.follow && more {
            more = self.follow(session, &made, &mut log, &mut printer).await?;
            let Some(next) = self.successor(session, &made).await? else { break };
            made = next;
            log = open(&made.log)?;
        }
        printer.finish()
    }

    /// Which lines are meant: those of the latest attempt or of the one before it. A shim that does not answer can tell
    /// nothing about attempts, and then the whole log is meant.
    async fn window(&self, session: &Session, asked: Asked) -> anyhow::Result<Window> {
        let (pod, container) = (self.found.name(), &self.container);
        let Ok(timeline) = pod::timeline(session, &self.found).await else { return Ok(Window::default()) };
        let waiting = match pod::status(session, &self.found).await {
            Ok(status) => waiting_for(&status, container),
            Err(_) => None,
        };
        match lives::choose(&timeline, container, asked.previous, waiting.is_none()) {
            Choice::Lines(window) => Ok(window),
            // Following a container means to see its first line, whenever it comes.
            Choice::NotStarted if asked.follow => Ok(Window::default()),
            Choice::NotStarted => Err(self.not_started(waiting.as_deref()).into()),
            Choice::NoPrevious => Err(Said::one(format!(
                "Error from server (BadRequest): previous terminated container {container:?} in pod {pod:?} not found"
            ))
            .into()),
        }
    }

    fn not_started(&self, reason: Option<&str>) -> Said {
        let why = match reason {
            Some("ErrImagePull") => "image can't be pulled",
            Some("ImagePullBackOff") => "trying and failing to pull image",
            reason => reason.unwrap_or("ContainerCreating"),
        };
        let (container, pod) = (&self.container, self.found.name());
        Said::one(format!(
            "Error from server (BadRequest): container {container:?} in pod {pod:?} is waiting to start: {why}"
        ))
    }

    /// The container as it was made last, or its log alone where containerd does not know it any more.
    async fn made(&self, session: &Session, found: &Found) -> anyhow::Result<Made> {
        if let Some(made) = session.container(found, &self.container).await? {
            let log = session.client.container_status(&made.id).await?.log_path.into();
            return Ok(Made { id: Some(made.id), log });
        }
        let logs = self.found.logs().map(|logs| logs.join(&self.container).join("0.log"));
        let last = logs.and_then(|log| logs_beside(&log).ok()?.pop());
        last.map(|log| Made { id: None, log }).ok_or_else(|| self.not_started(None).into())
    }

    /// What has taken the place of a container that has ended.
    async fn successor(&self, session: &Session, made: &Made) -> anyhow::Result<Option<Made>> {
        let now = session.find(self.found.namespace(), self.found.name()).await?;
        let Some(now) = now.filter(|now| now.pod.metadata.uid == self.found.pod.metadata.uid) else { return Ok(None) };
        match session.container(&now, &self.container).await? {
            Some(next) if Some(&next.id) != made.id.as_ref() => self.made(session, &now).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Prints what is added to a log until its container has ended. Whether more may be printed.
    async fn follow(
        &self,
        session: &Session,
        made: &Made,
        log: &mut LogFile,
        printer: &mut Printer,
    ) -> anyhow::Result<bool> {
        let ended = self.ended(session, made);
        tokio::pin!(ended);
        let mut over = false;
        loop {
            loop {
                while let Some(line) = log.reader().next().context("read the log")? {
                    if !printer.take(&line)? {
                        return Ok(false);
                    }
                }
                if !log.renew().context("read the log")? {
                    break;
                }
            }
            printer.write()?;
            if over {
                return Ok(true);
            }
            tokio::select! {
                ended = &mut ended => {
                    ended?;
                    // Once more: what was written before the end.
                    over = true;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Waits until the container has ended for good and containerd has written all of its log.
    async fn ended(&self, session: &Session, made: &Made) -> anyhow::Result<()> {
        let Some(id) = &made.id else { return Ok(()) };
        if let Ok(shim) = pod::tasks(session, &self.found).await {
            // A shim that is gone tells nothing: then containerd knows.
            let _ = shim.wait(ExecId { container: id, exec: "" }).await;
        }
        loop {
            match session.client.container_status(id).await {
                Ok(status) => match status.state() {
                    ContainerState::ContainerRunning | ContainerState::ContainerCreated => {}
                    _ => return Ok(()),
                },
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A container as containerd has made it.
#[derive(Debug)]
struct Made {
    /// Nothing where containerd does not know it any more.
    id: Option<String>,
    log: PathBuf,
}

fn open(path: &Path) -> anyhow::Result<LogFile> {
    LogFile::open(path).with_context(|| format!("open the log {}", path.display()))
}

/// Prints what there is now. Whether more may be printed.
fn print(log: &mut LogFile, tail: Option<usize>, window: &Window, printer: &mut Printer) -> anyhow::Result<bool> {
    if tail.is_some() {
        for line in log.reader().last(tail, window).context("read the log")? {
            if !printer.take(&line)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    while let Some(line) = log.reader().next().context("read the log")? {
        if line.is_in(window) && !printer.take(&line)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The logs of a container, `0.log`, `1.log` ..., from the first.
fn logs_beside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let number = |path: &Path| path.file_stem()?.to_str()?.parse::<u32>().ok();
    let entries = std::fs::read_dir(path.parent().unwrap_or(Path::new(".")))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut logs: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "log") && number(path).is_some()).collect();
    logs.sort_by_key(|path| number(path));
    Ok(logs)
}

/// Why a container that has never run has not been started yet.
fn waiting_for(status: &Value, container: &str) -> Option<String> {
    let own = target::state_of(status, container)?;
    if own["lastState"]["terminated"].is_object() {
        return None;
    }
    own["state"]["waiting"]["reason"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_waits_only_before_it_has_run() {
        let status = json!({ "containerStatuses": [
            { "name": "new", "state": { "waiting": { "reason": "PodInitializing" } }, "lastState": {} },
            { "name": "again", "state": { "waiting": { "reason": "CrashLoopBackOff" } },
              "lastState": { "terminated": { "exitCode": 1 } } },
            { "name": "running", "state": { "running": {} }, "lastState": {} },
        ]});
        assert_eq!(waiting_for(&status, "new").as_deref(), Some("PodInitializing"));
        assert_eq!(waiting_for(&status, "again"), None);
        assert_eq!(waiting_for(&status, "running"), None);
        assert_eq!(waiting_for(&status, "other"), None);
    }
}
