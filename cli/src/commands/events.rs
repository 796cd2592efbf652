//! `loment events`: what has happened to pods, as kubectl lists it, or line by line with precise times.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::{note, print};
use crate::args::Global;
use crate::error::Said;
use crate::kept::history;
use crate::occurrences::{self, Occurrence};
use crate::pod::{self, Happening};
use crate::print::output::Output;
use crate::print::table;
use crate::select::changes::Changes;
use crate::select::selector::Labels;
use crate::session::{Found, Session};
use crate::{lower, resource};

const EXAMPLES: &str = "\
Examples:
  # What has happened to the pods of the namespace
  loment events

  # To one pod, and what happens from now on
  loment events --for pod/web --watch

  # Only what is a warning
  loment events --types=Warning

  # Every step of a pod with precise times, until it has ended
  loment events web --timeline --follow";

/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Events {
    /// Pod, as in "web" or "pod/web" [default: all of the namespace]
    pod: Option<String>,
    /// The same as POD
    #[arg(long = "for", value_name = "POD", conflicts_with = "pod")]
    for_pod: Option<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    watch: bool,
    /// The same as --watch; with --timeline until the pod has finished
    #[arg(short, long)]
    follow: bool,
    /// Every step line by line, with the time of the day (UTC) and the time since the pod's start
    #[arg(long)]
    timeline: bool,
    /// Only events of these types
    #[arg(long, value_delimiter = ',', value_name = "Normal,Warning")]
    types: Vec<String>,
    /// Of pods whose labels are like this, as in "app=web"
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with_all = ["pod", "for_pod", "timeline"])]
    selector: Option<String>,
    /// Of pods of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// wide, yaml, json, name, jsonpath=TEMPLATE, custom-columns=SPEC ...
    #[arg(short, long)]
    output: Option<String>,
    /// Leave the line with the names of the columns out
    #[arg(long)]
    no_headers: bool,
}

pub(crate) async fn run(global: &Global, args: &Events) -> anyhow::Result<()> {
    let named = args.pod.as_deref().or(args.for_pod.as_deref()).map(resource::name).transpose()?;
    let output = Output::parse(args.output.as_deref())?;
    if let Some(kind) = args.types.iter().find(|kind| !is_type(kind)) {
        return Err(Said::one(format!("error: valid --types are Normal or Warning, not {kind:?}")).into());
    }
    let session = Session::open(global).await?;
    match (args.timeline, named) {
        (true, Some(name)) => steps(&session, &name, args.follow || args.watch).await,
        (true, None) => Err(Said::one("error: --timeline needs the name of a pod").into()),
        (false, named) => list(&session, args, named.as_deref(), &output).await,
    }
}

fn is_type(kind: &str) -> bool {
    ["normal", "warning"].contains(&kind.to_lowercase().as_str())
}

/// An event and the pod that it is of.
type Event = (Found, Occurrence);

async fn list(session: &Session, args: &Events, named: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let mut changes = Changes::new(session);
    // How often each event had occurred when it was last printed.
    let mut printed: HashMap<(String, Timestamp, String, String), u32> = HashMap::new();
    let mut widths = Vec::new();
    let mut headers = !args.no_headers;
    let mut is_first = true;
    let labels = Labels::parse(args.selector.as_deref().unwrap_or_default());
    let labels = labels.map_err(|error| Said::one(format!("error: {error}")))?;
    loop {
        let mut pods = pods(session, args, named).await?;
        pods.retain(|found| labels.match_labels(found.pod.metadata.labels.as_ref()));
        let mut news: Vec<Event> = Vec::new();
        for event in events(session, &pods, args).await {
            let (found, one) = &event;
            let key = (found.uid().to_owned(), one.first, one.reason.clone(), one.message.clone());
            if printed.insert(key, one.count) != Some(one.count) {
                news.push(event);
            }
        }
        let table = matches!(output, Output::Table | Output::Wide);
        match said(table, news.is_empty(), is_first) {
            Saying::Table => {
                print(&rows(&news, args.all_namespaces, headers, &mut widths))?;
                headers = false;
            }
            Saying::Objects => {
                let objects = news.iter().map(|(found, one)| one.object(&found.pod)).collect();
                print(&output.print(objects, false, headers)?)?;
            }
            Saying::NothingFound => note(&match args.all_namespaces {
                true => "No events found.".to_owned(),
                false => format!("No events found in {} namespace.", session.namespace),
            }),
            Saying::Nothing => {}
        }
        is_first = false;
        if !(args.watch || args.follow) {
            return Ok(());
        }
        changes.next(&pods, None).await;
    }
}

/// What is printed in a round of looking.
#[derive(Debug, PartialEq, Eq)]
enum Saying {
    Table,
    Objects,
    /// That there is nothing yet: to people, and once.
    NothingFound,
    Nothing,
}

fn said(is_table: bool, is_empty: bool, is_first: bool) -> Saying {
    match (is_table, is_empty) {
        (true, false) => Saying::Table,
        (false, false) => Saying::Objects,
        (_, true) if !is_first => Saying::Nothing,
        (true, true) => Saying::NothingFound,
        // Who reads it by a program gets an empty list.
        (false, true) => Saying::Objects,
    }
}

async fn pods(session: &Session, args: &Events, named: Option<&str>) -> anyhow::Result<Vec<Found>> {
    match named {
        Some(name) => Ok(session.find(&session.namespace, name).await?.into_iter().collect()),
        None => session.pods((!args.all_namespaces).then_some(session.namespace.as_str())).await,
    }
}

async fn events(session: &Session, pods: &[Found], args: &Events) -> Vec<Event> {
    let mut all = Vec::new();
    for found in pods {
        // A pod whose shim is gone and has left nothing behind has no events, and hides nobody else's.
        let timeline = history::timeline(session, found).await.unwrap_or_default();
        all.extend(occurrences::of(&found.pod, &timeline).into_iter().map(|one| (found.clone(), one)));
    }
    all.retain(|(_, one)| args.types.is_empty() || args.types.iter().any(|kind| kind.eq_ignore_ascii_case(one.kind())));
    all.sort_by_key(|(_, one)| one.last);
    all
}

fn rows(news: &[Event], namespaces: bool, headers: bool, widths: &mut Vec<usize>) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    if headers {
        let header = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
        let first = namespaces.then_some("NAMESPACE");
        rows.push(first.into_iter().chain(header).map(str::to_owned).collect());
    }
    let now = Timestamp::now();
    for (found, one) in news {
        let object = format!("Pod/{}", found.name());
        let row = [one.age(now), one.kind().to_owned(), one.reason.clone(), object, one_line(&one.message)];
        let first = namespaces.then(|| found.namespace().to_owned());
        rows.push(first.into_iter().chain(row).collect());
    }
    table::render_below(&rows, widths)
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', " ")
}

/// Prints every step of a pod, and with `follow` goes on until it has ended.
pub(super) async fn steps(session: &Session, name: &str, follow: bool) -> anyhow::Result<()> {
    let found = session.pod(name).await?;
    let names = found.pod.spec.iter().flat_map(lower::containers).map(|container| container.name.len());
    let width = names.chain([name.len() + "pod/".len()]).max().unwrap_or_default();
    if !follow {
        let all = history::timeline(session, &found).await?;
        return all.iter().try_for_each(|happening| print(&line(happening, name, width)));
    }
    let mut watch = pod::watch(session, &found).await?;
    loop {
        let news = match watch.next(WAIT).await {
            Ok(news) => news,
            // Somebody deleted the pod, and its shim with it: then this is the end that was waited for.
            Err(_) if session.find(found.namespace(), name).await?.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        for happening in &news {
            print(&line(happening, name, width))?;
        }
        if news.iter().any(may_be_last) && has_ended(session, &found).await {
            // What has come while it was asked whether there is more to come.
            let rest = watch.next(Duration::ZERO).await.unwrap_or_default();
            return rest.iter().try_for_each(|happening| print(&line(happening, name, width)));
        }
    }
}

pub(super) fn may_be_last(happening: &Happening) -> bool {
    ["PhaseChanged", "Exited", "Discarded", "Failed"].contains(&happening.reason.as_str())
}

/// Whether nothing will happen any more: the pod has come to its final phase and none of its containers runs.
pub(super) async fn has_ended(session: &Session, found: &Found) -> bool {
    let Ok(status) = pod::status(session, found).await else { return false };
    is_over(&status)
}

fn is_over(status: &Value) -> bool {
    let runs = |kind: &str| {
        let containers = status[kind].as_array().into_iter().flatten();
        containers.into_iter().any(|container| container["state"]["running"].is_object())
    };
    let phase = status["phase"].as_str().unwrap_or_default();
    ["Succeeded", "Failed"].contains(&phase) && !runs("initContainerStatuses") && !runs("containerStatuses")
}

/// `10:00:01.250    +1.250s  web      started`: the time of the day (UTC), the time since the pod's start, who, what.
pub(super) fn line(happening: &Happening, pod: &str, width: usize) -> String {
    let clock = happening.at.strftime("%H:%M:%S%.3f");
    let since = format!("+{}.{:03}s", happening.since_start.as_secs(), happening.since_start.subsec_millis());
    let who = happening.container.clone().unwrap_or_else(|| format!("pod/{pod}"));
    let attempt = match (happening.attempt, &happening.container) {
        (attempt @ 1.., Some(_)) => format!(" (attempt {})", attempt + 1),
        _ => String::new(),
    };
    format!("{clock}  {since:>9}  {who:<width$}  {}{attempt}\n", happening.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_when_who_and_what() {
        let happening = Happening {
            at: "2026-05-01T10:00:01.25Z".parse().unwrap(),
            since_start: Duration::from_millis(1250),
            container: Some("init".into()),
            attempt: 2,
            reason: "Exited".into(),
            message: "exited with code 1".into(),
            warning: true,
        };
        assert_eq!(line(&happening, "web", 7), "10:00:01.250    +1.250s  init     exited with code 1 (attempt 3)\n");
        let of_pod = Happening { container: None, attempt: 0, message: "the pod is Failed".into(), ..happening };
        assert_eq!(line(&of_pod, "web", 7), "10:00:01.250    +1.250s  pod/web  the pod is Failed\n");
    }

    #[test]
    fn a_round_without_news_says_so_once() {
        let rounds = |is_table: bool| [true, false, false].map(|is_first| said(is_table, true, is_first));
        assert_eq!(rounds(true), [Saying::NothingFound, Saying::Nothing, Saying::Nothing]);
        assert_eq!(rounds(false), [Saying::Objects, Saying::Nothing, Saying::Nothing]);
        assert_eq!([true, false].map(|is_table| said(is_table, false, false)), [Saying::Table, Saying::Objects]);
    }

    #[test]
    fn a_pod_is_over_when_its_last_sidecar_has_ended_too() {
        let sidecar = |state: Value| json!({ "phase": "Succeeded", "initContainerStatuses": [{ "state": state }] });
        assert!(!is_over(&sidecar(json!({ "running": {} }))));
        assert!(is_over(&sidecar(json!({ "terminated": { "exitCode": 0 } }))));
        assert!(!is_over(&json!({ "phase": "Running" })));
    }
}
