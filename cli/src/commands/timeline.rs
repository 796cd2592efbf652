//! `loment timeline`: what happened to a pod when, as a chart; also of a pod that is gone.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{events, print};
use crate::args::Global;
use crate::chart::{Chart, svg, terminal as drawing};
use crate::error::Said;
use crate::kept::history;
use crate::pod::Happening;
use crate::print::{show, table, terminal};
use crate::session::Session;
use crate::{lower, resource};

const EXAMPLES: &str = "\
Examples:
  # What happened to a pod, as a chart
  loment timeline web

  # The same as a picture
  loment timeline web --svg web.svg

  # Every step with its time, as text or as JSON
  loment timeline web -o lines
  loment timeline web -o json

  # Pods that were deleted within the last day, and one of them
  loment timeline --list
  loment timeline web";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Timeline {
    /// Pod, as in "web" or "pod/web"; of several that are gone, the one that went last
    #[arg(required_unless_present = "list")]
    pod: Option<String>,
    /// The pods that were deleted within the last day
    #[arg(long)]
    list: bool,
    /// Write a picture into this file ("-" is standard output)
    #[arg(long, conflicts_with = "list", value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Columns of the chart [default: those of the terminal, at most 120]
    #[arg(long, value_parser = clap::value_parser!(u16).range(40..=1000))]
    width: Option<u16>,
    /// How to print it
    #[arg(short, long)]
    output: Option<TimelineOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TimelineOutput {
    /// Every step on a line of its own
    Lines,
    /// The steps as a list
    Json,
}

pub(crate) async fn run(global: &Global, args: &Timeline) -> anyhow::Result<()> {
    if args.list {
        return list(global, args.output);
    }
    let name = resource::name(args.pod.as_deref().unwrap_or_default())?;
    let (pod, steps, is_there) = read(global, &name).await?;
    match args.output {
        Some(TimelineOutput::Lines) => {
            let width = pod.spec.iter().flat_map(lower::containers).map(|container| container.name.len()).max();
            let width = width.unwrap_or_default().max(name.len() + "pod/".len());
            return steps.iter().try_for_each(|step| print(&events::line(step, &name, width)));
        }
        Some(TimelineOutput::Json) => return print(&show::json(&steps.iter().map(json).collect())?),
        None => {}
    }
    let chart = Chart::of(&pod, &steps, is_there.then(Timestamp::now));
    match &args.svg {
        Some(file) if file.as_os_str() == "-" => print(&svg::draw(&chart)),
        Some(file) => fs::write(file, svg::draw(&chart)).with_context(|| format!("write {}", file.display())),
        None => {
            let width = args.width.map_or_else(terminal_width, usize::from);
            print(&drawing::draw(&chart, width, terminal::has_color()))
        }
    }
}

/// The pod of this name, what happened to it, and whether it is there still. For a pod that is gone nobody is asked: it
/// can be read when containerd is down, too.
async fn read(global: &Global, name: &str) -> anyhow::Result<(Pod, Vec<Happening>, bool)> {
    let session = Session::open(global).await;
    let namespace = global.namespace.as_deref().unwrap_or("default");
    let unreachable = match &session {
        Ok(session) => match session.find(namespace, name).await? {
            Some(found) => return Ok((found.pod.clone(), history::timeline(session, &found).await?, true)),
            None => None,
        },
        Err(error) => Some(format!("{error:#}")),
    };
    let all = history::list(&global.state_dir);
    match all.iter().rfind(|gone| (gone.namespace.as_str(), gone.name.as_str()) == (namespace, name)) {
        Some(gone) => {
            let (pod, steps) = gone.read()?;
            Ok((pod, steps, false))
        }
        None => Err(match unreachable {
            Some(error) => Said::one(format!("error: {error}")).into(),
            None => Said::pod_not_found(name).into(),
        }),
    }
}

fn list(global: &Global, output: Option<TimelineOutput>) -> anyhow::Result<()> {
    let mut all = history::list(&global.state_dir);
    all.retain(|gone| global.namespace.as_ref().is_none_or(|wanted| *wanted == gone.namespace));
    if output == Some(TimelineOutput::Json) {
        return print(&show::json(&all.iter().map(of_gone).collect())?);
    }
    let mut rows = vec![["NAMESPACE", "NAME", "PHASE", "DELETED"].map(str::to_owned).to_vec()];
    let now = Timestamp::now().as_second();
    for gone in &all {
        let ago = format!("{} ago", table::age((now - gone.deleted.as_second()).max(0)));
        rows.push(vec![gone.namespace.clone(), gone.name.clone(), gone.phase(), ago]);
    }
    match rows.len() {
        1 => super::note("No pod was deleted within the last day."),
        _ => print(&table::render(&rows))?,
    }
    Ok(())
}

fn of_gone(gone: &history::Gone) -> serde_json::Value {
    serde_json::json!({
        "namespace": gone.namespace,
        "name": gone.name,
        "phase": gone.phase(),
        "deleted": gone.deleted.to_string(),
    })
}

fn json(step: &Happening) -> serde_json::Value {
    serde_json::json!({
        "time": step.at.to_string(),
        "sinceStart": step.since_start.as_secs_f64(),
        "container": step.container,
        "attempt": step.attempt,
        "reason": step.reason,
        "message": step.message,
    })
}

fn terminal_width() -> usize {
    const WIDEST: usize = 120;
    let columns = terminal::columns().unwrap_or(100);
    columns.clamp(40, WIDEST)
}
