//! `loment logs`: what containers have written, from their log files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use loment_cri::v1::ContainerState;
use loment_shim::client::ExecId;
use serde_json::Value;

use super::{choose_container, note, note_default};
use crate::args::Global;
use crate::crilog::LogFile;
use crate::error::{ExitWith, Said, lines_of};
use crate::lives::{self, Choice, Window};
use crate::logprint::{Printer, Style};
use crate::pick::nothing_found;
use crate::selector::Labels;
use crate::session::{Found, Session};
use crate::{duration, lower, pod, resource, target};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How many lines there are of each container of pods that were selected by their labels.
const SELECTED: i64 = 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # What the default container of pod web has written
  loment logs web
  # And what it goes on to write, through its restarts, beginning with the last 20 lines
  loment logs -f --tail=20 web
  # What it wrote before it was started again
  loment logs -p web
  # All containers of all pods with a label, each line with its origin
  loment logs -l app=web --all-containers --prefix
  # What container app has written within the last five minutes
  loment logs web -c app --since=5m --timestamps")]
pub(crate) struct Logs {
    /// Pod, as in "web" or "pod/web"
    pub(crate) pod: Option<String>,
    /// Container [default: what the pod's annotation names, or the first app container]
    #[arg(value_name = "CONTAINER")]
    pub(crate) positional: Option<String>,
    /// Container [default: what the pod's annotation names, or the first app container]
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// All containers of the pod
    #[arg(long)]
    pub(crate) all_containers: bool,
    /// Pods whose labels are like this, as in "app=web,tier in (a,b)"
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// What was written before the container was started again
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// Only so many lines, the last ones; -1 is all [default: -1, with a selector 10]
    #[arg(long, allow_hyphen_values = true, value_name = "LINES")]
    pub(crate) tail: Option<i64>,
    /// Only what is not older than this, as in "5m"
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) since: Option<Duration>,
    /// Only what was written at this time or later, as in "2026-05-01T10:00:00Z"
    #[arg(long, value_name = "TIME")]
    pub(crate) since_time: Option<Timestamp>,
    /// Only so many bytes of each log
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "BYTES")]
    pub(crate) limit_bytes: Option<u64>,
    /// The time before each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Pod and container before each line
    #[arg(long)]
    pub(crate) prefix: bool,
    /// How many logs may be followed at once
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    pub(crate) max_log_requests: usize,
    /// Go on with the other logs when there is none of a container
    #[arg(long)]
    pub(crate) ignore_errors: bool,
}

pub(crate) async fn run(global: &Global, args: &Logs) -> anyhow::Result<()> {
    check(args)?;
    let session = Session::open(global).await?;
    let sources = sources(&session, args).await?;
    if args.follow && sources.len() > args.max_log_requests {
        bail!(
            "you are attempting to follow {} log streams, but maximum allowed concurrency is {}, use \
             --max-log-requests to increase the limit",
            sources.len(),
            args.max_log_requests
        );
    }
    let style = |source: &Source| Style {
        timestamps: args.timestamps,
        prefix: if args.prefix {
            format!("[pod/{}/{}] ", source.found.name(), source.container)
        } else {
            String::new()
        },
        limit: args.limit_bytes,
        among_others: args.follow && sources.len() > 1,
    };
    let show = async |source: &Source| match source.show(&session, args, Printer::new(style(source))).await {
        Err(error) if args.ignore_errors && !error.is::<ExitWith>() => {
            note(&lines_of(&error));
            Ok(())
        }
        shown => shown,
    };
    if args.follow {
        return try_join_all(sources.iter().map(show)).await.map(drop);
    }
    for source in &sources {
        show(source).await?;
    }
    Ok(())
}

/// What cannot be meant together.
fn check(args: &Logs) -> anyhow::Result<()> {
    if args.pod.is_some() == args.selector.is_some() {
        bail!(match args.pod {
            Some(_) => "only a selector (-l) or a POD name is allowed",
            None =>
                "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument \
                 for the logs command",
        });
    }
    if args.container.is_some() && args.positional.is_some() {
        bail!("only one of -c or an inline [CONTAINER] arg is allowed");
    }
    if let Some(container) = args.container.as_ref().or(args.positional.as_ref()).filter(|_| args.all_containers) {
        bail!("--all-containers=true should not be specified with container name {container}");
    }
    if args.since.is_some() && args.since_time.is_some() {
        bail!("at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if args.tail.is_some_and(|lines| lines < -1) {
        bail!("--tail must be greater than or equal to -1");
    }
    Ok(())
}

/// A container whose log is meant.
#[derive(Debug)]
struct Source {
    found: Found,
    container: String,
}

async fn sources(session: &Session, args: &Logs) -> anyhow::Result<Vec<Source>> {
    let pods = match (&args.pod, &args.selector) {
        (Some(word), _) => vec![session.pod(&resource::name(word)?).await?],
        (None, selector) => {
            let labels = Labels::parse(selector.as_deref().unwrap_or_default()).map_err(|why| anyhow!(why))?;
            let mut pods = session.pods(Some(&session.namespace)).await?;
            pods.retain(|found| labels.match_labels(found.pod.metadata.labels.as_ref()));
            if pods.is_empty() {
                note(&nothing_found(Some(&session.namespace)));
            }
            pods
        }
    };
    let mut sources = Vec::new();
    for found in pods {
        if args.all_containers {
            let names: Vec<String> =
                found.pod.spec.iter().flat_map(lower::containers).map(|container| container.name.clone()).collect();
            sources.extend(names.into_iter().map(|container| Source { found: found.clone(), container }));
            continue;
        }
        let named = args.container.as_deref().or(args.positional.as_deref());
        let (container, others) = choose_container(&found.pod, named)?;
        note_default(&container, &others);
        sources.push(Source { found, container });
    }
    Ok(sources)
}

impl Source {
    async fn show(&self, session: &Session, args: &Logs, mut printer: Printer) -> anyhow::Result<()> {
        let mut window = self.window(session, args).await?;
        let since = args.since.and_then(|since| Timestamp::now().checked_sub(since).ok()).or(args.since_time);
        window.from = window.from.max(since);
        let tail = args.tail.unwrap_or(if args.selector.is_some() { SELECTED } else { -1 });
        let tail = usize::try_from(tail).ok();
        let mut made = self.made(session, &self.found).await?;
        if args.previous {
            let logs = logs_beside(&made.log).with_context(|| format!("read the log {}", made.log.display()))?;
            for log in &logs {
                let mut log = open(log)?;
                if !print(&mut log, tail, &window, &mut printer)? {
                    break;
                }
            }
            return printer.finish();
        }
        let mut log = open(&made.log)?;
        let mut more = print(&mut log, tail, &window, &mut printer)?;
        // One that was made anew, under another image or in another sandbox, goes on with another file.
        while args.follow && more {
            more = self.follow(session, &made, &mut log, &mut printer).await?;
            let Some(next) = self.successor(session, &made).await? else { break };
            made = next;
            log = open(&made.log)?;
        }
        printer.finish()
    }

    /// Which lines are meant: those of the latest attempt or of the one before it. A shim that does not answer can tell
    /// nothing about attempts, and then the whole log is meant.
    async fn window(&self, session: &Session, args: &Logs) -> anyhow::Result<Window> {
        let (pod, container) = (self.found.name(), &self.container);
        let Ok(timeline) = pod::timeline(session, &self.found).await else { return Ok(Window::default()) };
        let waiting = match pod::status(session, &self.found).await {
            Ok(status) => waiting_for(&status, container),
            Err(_) => None,
        };
        match lives::choose(&timeline, container, args.previous, waiting.is_none()) {
            Choice::Lines(window) => Ok(window),
            // Following a container means to see its first line, whenever it comes.
            Choice::NotStarted if args.follow => Ok(Window::default()),
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
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::args::{Arguments, Verb};

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

    #[test]
    fn what_cannot_be_meant_together_is_refused() {
        let checked = |words: &[&str]| {
            let words = [&["loment", "logs"], words].concat();
            let Ok(Arguments { verb: Verb::Logs(args), .. }) = Arguments::try_parse_from(&words) else {
                panic!("{words:?} is not understood")
            };
            check(&args).map_err(|error| error.to_string())
        };
        for fine in [
            ["web"].as_slice(),
            &["web", "app"],
            &["-l", "a=b", "--all-containers", "--prefix"],
            &["-f", "web", "-c", "app", "--tail=-1", "--since=5m", "--timestamps"],
            &["web", "--since-time", "2026-05-01T10:00:00+02:00"],
        ] {
            assert_eq!(checked(fine), Ok(()), "{fine:?}");
        }
        for (words, said) in [
            ([].as_slice(), "POD or TYPE/NAME is a required argument"),
            (&["web", "-l", "a=b"], "only a selector (-l) or a POD name is allowed"),
            (&["web", "app", "-c", "app"], "only one of -c or an inline [CONTAINER] arg is allowed"),
            (&["web", "-c", "app", "--all-containers"], "should not be specified with container name app"),
            (&["web", "--since=1s", "--since-time=2026-05-01T10:00:00Z"], "at most one of"),
            (&["web", "--tail=-2"], "--tail must be greater than or equal to -1"),
        ] {
            assert!(checked(words).unwrap_err().contains(said), "{words:?}");
        }
    }
}
