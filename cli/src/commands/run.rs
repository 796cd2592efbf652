//! `loment run`: a pod made, followed until it ends, and removed; its outcome is the command's.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use loment_cri::v1::{ContainerFilter, ContainerState};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::delete::{self, Grace};
use super::{create, events, note, print_bytes};
use crate::args::{Filenames, Global};
use crate::error::ExitWith;
use crate::logs::crilog::Reader;
use crate::lower;
use crate::manifest::files;
use crate::pod::{self, Happening};
use crate::print::terminal;
use crate::print::view::View;
use crate::session::{Found, Session};

const EXAMPLES: &str = "\
Examples:
  # Run a pod to its end: its logs and what happens to it are shown, and it is removed
  loment run -f job.yaml && echo it has succeeded

  # Only the logs, of a pod that stays afterwards
  loment run -f job.yaml --quiet --keep

The exit code is 0 when the pod has succeeded, and else that of the app container that failed first. Ctrl-C deletes the
pod, within its grace.";

/// How often the logs are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);
/// How long containerd may take to notice the end of a container and to have written its log.
const SETTLES: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    #[command(flatten)]
    filenames: Filenames,
    /// Leave the pod there when it has ended, or when it is interrupted
    #[arg(long, conflicts_with = "rm")]
    keep: bool,
    /// Remove the pod when it has ended (this is what is done without --keep)
    #[arg(long)]
    rm: bool,
    /// Only the logs, not what happens to the pod
    #[arg(short, long)]
    quiet: bool,
    /// The container's name before each line of its log
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    prefix: bool,
}

/// How following a pod has ended.
#[derive(Debug, PartialEq)]
enum End {
    /// The pod has come to its end, with this status.
    Over(Value),
    /// Somebody else has removed it.
    Gone,
    /// A signal has come.
    Interrupted(u8),
}

pub(crate) async fn run(global: &Global, args: &Run) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let made = create::create(global, files::read_all(&args.filenames, "run")?, &args.filenames, None).await?;
    let session = Session::open(global).await?;
    let mut pods = Vec::new();
    for pod in &made {
        pods.extend(session.find(lower::namespace(pod), lower::name(pod)).await?);
    }
    let all = async {
        let mut ends = Vec::new();
        // Beside each other: what one writes is shown when it writes it, not when the one before it has ended.
        let followers: Vec<_> = pods.iter().map(|found| follow(&session, found, args, pods.len() > 1)).collect();
        for follower in join(followers).await {
            ends.push(follower?);
        }
        anyhow::Ok(ends)
    };
    let ends = tokio::select! {
        ends = all => ends?,
        _ = interrupt.recv() => vec![End::Interrupted(130)],
        _ = terminate.recv() => vec![End::Interrupted(143)],
    };
    let interrupted = ends.iter().any(|end| matches!(end, End::Interrupted(_)));
    for found in &pods {
        if args.keep {
            note(&format!("pod/{} is kept", found.name()));
        } else if session.again(found).await?.is_some() {
            if interrupted {
                note(&format!("deleting pod/{}", found.name()));
            }
            delete::delete(&session, found, Grace::Pod)
                .await
                .with_context(|| format!("delete pod {:?}", found.name()))?;
        }
    }
    let codes = ends.iter().zip(made.iter()).map(|(end, pod)| code(end, pod));
    match codes.into_iter().find(|code| *code != 0) {
        None => Ok(()),
        Some(code) => Err(ExitWith(code).into()),
    }
}

/// Waits for all of them at the same time.
async fn join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        match futures.iter().all(|(_, output)| output.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// The exit code that stands for a pod's end.
fn code(end: &End, pod: &Pod) -> u8 {
    let status = match end {
        End::Interrupted(code) => return *code,
        End::Gone => return 1,
        End::Over(status) => status,
    };
    if status["phase"] == "Succeeded" {
        return 0;
    }
    let apps: Vec<&str> = pod.spec.iter().flat_map(|spec| &spec.containers).map(|app| app.name.as_str()).collect();
    let place = |entry: &Value| apps.iter().position(|name| entry["name"] == **name);
    let ended = |kind: &str| {
        let entries = status[kind].as_array().into_iter().flatten();
        let failed = entries.filter_map(|entry| {
            let end = &entry["state"]["terminated"];
            let code = end["exitCode"].as_u64().filter(|code| *code != 0)?;
            // Times are of the whole second: among equals the pod's order decides.
            Some(((end["finishedAt"].as_str().unwrap_or("~").to_owned(), place(entry)), code))
        });
        failed.min_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, code)| code)
    };
    let code = ended("containerStatuses").or_else(|| ended("initContainerStatuses")).unwrap_or(1);
    u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1)
}

async fn follow(session: &Session, found: &Found, args: &Run, several: bool) -> anyhow::Result<End> {
    let mut logs = Logs::of(found, args.prefix, several);
    let mut happens = Box::pin(happens(session, found, args.quiet));
    let over = loop {
        tokio::select! {
            over = &mut happens => break over?,
            () = tokio::time::sleep(LOOK) => logs.print_new()?,
        }
    };
    if over {
        settle(session, found, &mut logs).await?;
        if let Some(view) = View::of(session, found).await? {
            return Ok(End::Over(view.status));
        }
    }
    logs.print_new()?;
    note(&format!("error: pod {:?} was deleted before it had ended", found.name()));
    Ok(End::Gone)
}

/// Shows what happens to a pod until it has ended (true) or is gone.
async fn happens(session: &Session, found: &Found, quiet: bool) -> anyhow::Result<bool> {
    let mut watch = pod::watch(session, found).await?;
    let names = found.pod.spec.iter().flat_map(lower::containers).map(|container| container.name.len());
    let width = names.chain([found.name().len() + "pod/".len()]).max().unwrap_or_default();
    let dim = terminal::has_color_on_stderr();
    loop {
        let mut news = match watch.next(WAIT).await {
            Ok(news) => news,
            Err(_) if session.find(found.namespace(), found.name()).await?.is_none() => return Ok(false),
            Err(error) => return Err(error),
        };
        let over = news.iter().any(events::may_be_last) && events::has_ended(session, found).await;
        if over {
            // What has come while it was asked whether there is more to come.
            news.extend(watch.next(Duration::ZERO).await.unwrap_or_default());
        }
        let is_shown = |one: &&Happening| !quiet && !["Created", "Armed"].contains(&one.reason.as_str());
        for happening in news.iter().filter(is_shown) {
            let line = events::line(happening, found.name(), width);
            let line = line.trim_end();
            note(&if dim { format!("\x1b[2m{line}\x1b[0m") } else { line.to_owned() });
        }
        if over {
            return Ok(true);
        }
    }
}

/// Prints the rest of the logs: all of a container is there once containerd says that it has exited.
async fn settle(session: &Session, found: &Found, logs: &mut Logs) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLES;
    loop {
        let filter = ContainerFilter { pod_sandbox_id: found.sandbox.id.clone(), ..ContainerFilter::default() };
        let containers = session.client.list_containers(Some(filter)).await.unwrap_or_default();
        // Asked before the files are read, so that nothing is missed that was written before the end.
        logs.print_new()?;
        if containers.iter().all(|one| one.state() == ContainerState::ContainerExited) || Instant::now() >= deadline {
            return logs.finish();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The log files of a pod's containers.
struct Logs {
    followed: Vec<Followed>,
}

struct Followed {
    directory: PathBuf,
    prefix: String,
    files: HashMap<PathBuf, Tail>,
    at_start: bool,
}

struct Tail {
    inode: u64,
    reader: Reader<BufReader<File>>,
}

impl Logs {
    fn of(found: &Found, prefix: bool, several: bool) -> Self {
        let colors = ["36", "33", "32", "35", "34", "96", "93", "92"];
        let names = found.pod.spec.iter().flat_map(lower::containers).map(|container| container.name.clone());
        let directory = found.logs().unwrap_or(Path::new("/nonexistent"));
        let followed = names.enumerate().map(|(number, name)| {
            let shown = if several { format!("[{}/{name}]", found.name()) } else { format!("[{name}]") };
            let color = colors.get(number % colors.len()).filter(|_| terminal::has_color());
            let shown = color.map_or_else(|| shown.clone(), |color| format!("\x1b[{color}m{shown}\x1b[0m"));
            Followed {
                directory: directory.join(&name),
                prefix: if prefix { format!("{shown} ") } else { String::new() },
                files: HashMap::new(),
                at_start: true,
            }
        });
        Logs { followed: followed.collect() }
    }

    fn print_new(&mut self) -> anyhow::Result<()> {
        self.followed.iter_mut().try_for_each(Followed::print_new)
    }

    /// The last line of a container may have no end.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.print_new()?;
        self.followed.iter_mut().filter(|log| !log.at_start).try_for_each(|log| {
            log.at_start = true;
            print_bytes(b"\n")
        })
    }
}

impl Followed {
    fn print_new(&mut self) -> anyhow::Result<()> {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        paths.sort_by_key(|path| number(path));
        for path in paths {
            print_bytes(&self.news(&path)?)?;
        }
        Ok(())
    }

    /// What is new in a file, with the prefix before each line.
    fn news(&mut self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let (mut text, mut at_start) = (Vec::new(), self.at_start);
        let inode = fs::metadata(path).map(|metadata| metadata.ino()).unwrap_or_default();
        let known = self.files.remove(path);
        let mut tails = Vec::new();
        // A file that was put in the place of another one (a log that is rotated) is read after the rest of that one.
        let replaced = known.as_ref().is_none_or(|tail| tail.inode != inode);
        tails.extend(known);
        if replaced && let Ok(file) = File::open(path) {
            tails.push(Tail { inode, reader: Reader::new(BufReader::new(file)) });
        }
        for tail in &mut tails {
            while let Some(line) = tail.reader.next().context("read a log")? {
                if at_start {
                    text.extend(self.prefix.as_bytes());
                }
                at_start = line.text.last() == Some(&b'\n');
                text.extend(line.text);
            }
        }
        self.at_start = at_start;
        self.files.extend(tails.pop().map(|tail| (path.to_path_buf(), tail)));
        Ok(text)
    }
}

fn number(path: &Path) -> u64 {
    path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code_of(status: Value) -> u8 {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "b" }, { "name": "a" }] } });
        code(&End::Over(status), &serde_json::from_value(pod).unwrap())
    }

    fn ended(name: &str, code: u64, at: &str) -> Value {
        json!({ "name": name, "state": { "terminated": { "exitCode": code, "finishedAt": at } } })
    }

    #[test]
    fn the_exit_code_is_that_of_the_app_that_failed_first() {
        let apps = |apps: Vec<Value>| json!({ "phase": "Failed", "containerStatuses": apps });
        assert_eq!(code_of(json!({ "phase": "Succeeded", "initContainerStatuses": [ended("s", 137, "1")] })), 0);
        assert_eq!(
            code_of(apps(vec![ended("a", 3, "2026-05-01T10:00:02Z"), ended("b", 4, "2026-05-01T10:00:01Z")])),
            4
        );
        assert_eq!(
            code_of(apps(vec![ended("a", 3, "2026-05-01T10:00:01Z"), ended("b", 4, "2026-05-01T10:00:01Z")])),
            4
        );
        assert_eq!(
            code_of(apps(vec![ended("a", 0, "2026-05-01T10:00:01Z"), ended("b", 5, "2026-05-01T10:00:09Z")])),
            5
        );
        let init = json!({ "phase": "Failed", "initContainerStatuses": [ended("i", 7, "1")],
            "containerStatuses": [{ "name": "a", "state": { "waiting": {} } }] });
        assert_eq!(code_of(init), 7);
        assert_eq!(code_of(json!({ "phase": "Failed" })), 1);
        assert_eq!(code(&End::Interrupted(130), &Pod::default()), 130);
    }

    #[test]
    fn a_log_that_was_rotated_is_read_to_its_end_and_goes_on_in_the_new_file() {
        let directory = std::env::temp_dir().join(format!("loment-run-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("0.log");
        let mut log =
            Followed { directory: directory.clone(), prefix: "> ".to_owned(), files: HashMap::new(), at_start: true };
        fs::write(&path, "2026-05-01T10:00:00Z stdout F one\n").unwrap();
        assert_eq!(log.news(&path).unwrap(), b"> one\n");
        let first = log.files[&path].inode;
        fs::rename(&path, directory.join("0.log.old")).unwrap();
        fs::write(&path, "2026-05-01T10:00:01Z stdout F two\n2026-05-01T10:00:02Z stdout P begun").unwrap();
        assert_eq!(log.news(&path).unwrap(), b"> two\n");
        assert_ne!(log.files[&path].inode, first);
        assert!(log.at_start, "an entry without its end has not been read");
        fs::remove_dir_all(&directory).unwrap();
    }
}
