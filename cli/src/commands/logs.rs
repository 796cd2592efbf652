//! `loment logs`: what a container has written, from its log file.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use loment_cri::v1::ContainerState;
use serde_json::Value;

use super::{choose_container, note_default, print_bytes};
use crate::args::{Global, Logs};
use crate::crilog::{Line, Reader};
use crate::lives::{self, Choice, Window};
use crate::session::{Found, Session};
use crate::{pod, resource};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn run(global: &Global, args: &Logs) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    let named = args.container.as_deref().or(args.positional.as_deref());
    let (container, others) = choose_container(&found.pod, named)?;
    note_default(&container, &others);
    let Some(made) = session.container(&found, &container).await? else {
        bail!("container {container:?} in pod {name:?} is waiting to start: ContainerCreating");
    };
    let window = window(&session, &found, &container, args).await?;
    let status = session.client.container_status(&made.id).await?;
    let path = Path::new(&status.log_path);
    let file = File::open(path).with_context(|| format!("open the log {}", path.display()))?;
    let mut reader = Reader::new(BufReader::new(file));
    let mut printer = Printer { timestamps: args.timestamps, at_start: true };
    for line in reader.last(usize::try_from(args.tail).ok(), &window).context("read the log")? {
        printer.print(&line)?;
    }
    if args.follow && !args.previous {
        follow(&session, &made.id, &mut reader, &mut printer).await?;
    }
    Ok(())
}

/// Which lines are meant: those of the latest attempt or of the one before it. A shim that does not answer can tell
/// nothing about attempts, and then the whole log is meant.
async fn window(session: &Session, found: &Found, container: &str, args: &Logs) -> anyhow::Result<Window> {
    let name = found.name();
    let Ok(timeline) = pod::timeline(session, found).await else { return Ok(Window::default()) };
    let waiting = match pod::status(session, found).await {
        Ok(status) => waiting_for(&status, container),
        Err(_) => None,
    };
    match lives::choose(&timeline, container, args.previous, waiting.is_none()) {
        Choice::Lines(window) => Ok(window),
        // Following a container means to see its first line, whenever it comes.
        Choice::NotStarted if args.follow => Ok(Window::default()),
        Choice::NotStarted => {
            let reason = waiting.unwrap_or_else(|| "ContainerCreating".to_owned());
            bail!("container {container:?} in pod {name:?} is waiting to start: {reason}")
        }
        Choice::NoPrevious => bail!("previous terminated container {container:?} in pod {name:?} not found"),
    }
}

/// Why a container that has never run has not been started yet.
fn waiting_for(status: &Value, container: &str) -> Option<String> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|kind| status[kind].as_array());
    let own = lists.into_iter().flatten().flatten().find(|entry| entry["name"] == container)?;
    if own["lastState"]["terminated"].is_object() {
        return None;
    }
    own["state"]["waiting"]["reason"].as_str().map(str::to_owned)
}

/// Prints what is added to a log until its container has ended.
async fn follow(
    session: &Session,
    container: &str,
    reader: &mut Reader<BufReader<File>>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    loop {
        // Asked before the file is read, so that nothing is missed that was written before the end.
        let state = session.client.container_status(container).await.map(|status| status.state());
        while let Some(line) = reader.next().context("read the log")? {
            printer.print(&line)?;
        }
        match state {
            Ok(ContainerState::ContainerRunning | ContainerState::ContainerCreated) => tokio::time::sleep(LOOK).await,
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

struct Printer {
    timestamps: bool,
    /// Whether the next text begins a line.
    at_start: bool,
}

impl Printer {
    fn print(&mut self, line: &Line) -> anyhow::Result<()> {
        if self.timestamps && self.at_start {
            print_bytes(format!("{} ", line.time).as_bytes())?;
        }
        self.at_start = line.text.last() == Some(&b'\n');
        print_bytes(&line.text)
    }
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
