//! `loment logs`: what containers have written, from their log files.

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{choose_container, note, note_default};
use crate::args::Global;
use crate::error::{ExitWith, lines_of};
use crate::logs::printer::{Printer, Style};
use crate::logs::source::{Asked, Source};
use crate::print::duration;
use crate::select::pick::nothing_found;
use crate::select::selector::Labels;
use crate::session::Session;
use crate::{lower, resource};

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
    let tail = args.tail.unwrap_or(if args.selector.is_some() { SELECTED } else { -1 });
    let asked = Asked {
        follow: args.follow,
        previous: args.previous,
        since: args.since.and_then(|since| Timestamp::now().checked_sub(since).ok()).or(args.since_time),
        tail: usize::try_from(tail).ok(),
    };
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
    let show = async |source: &Source| match source.show(&session, asked, Printer::new(style(source))).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Verb};
    use clap::Parser as _;

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
