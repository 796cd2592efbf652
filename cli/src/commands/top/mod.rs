//! `loment top`: what pods and their containers use, once or again and again.

mod show;

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::print;
use crate::args::Global;
use crate::error::Said;
use crate::print::table;
use crate::resource;
use crate::select::selector::Labels;
use crate::session::Session;
use crate::usage::{self, PodUse, Which};
pub(crate) use show::bytes;
use show::{Columns, compared, document, rows, sort};

const EXAMPLES: &str = "\
Examples:
  # All pods of the namespace, refreshed until it is interrupted
  loment top

  # Those with a label, in all namespaces
  loment top -A -l app=web

  # Two pods, once, the one that uses most memory first
  loment top web db --once --sort-by memory

  # For a program
  loment top -A -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    /// Pods, as in "web" or "pod/web" [default: all of the namespace]
    #[arg(value_name = "POD")]
    pub(crate) pods: Vec<String>,
    /// Pods whose labels are like this, as in "app=web,tier in (a,b),!old"
    #[arg(short = 'l', long, conflicts_with = "pods", value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Pods of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Show the containers of each pod, as is always done
    #[arg(long)]
    pub(crate) containers: bool,
    /// Leave the line with the names of the columns out
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// Print it once and end, as is done without a terminal
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two readings, from which rates are made [default: 2 on a terminal, else 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    pub(crate) interval: Option<u32>,
    /// What comes first: the largest, or the first name
    #[arg(long, value_enum, default_value_t = SortBy::Name)]
    pub(crate) sort_by: SortBy,
    /// How to print it; implies --once
    #[arg(short, long)]
    pub(crate) output: Option<TopOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    Name,
    Cpu,
    Memory,
    Pids,
    Io,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TopOutput {
    Json,
}

impl Top {
    fn columns(&self) -> Columns {
        Columns { namespaces: self.all_namespaces, names: !self.no_headers }
    }
}

pub(crate) async fn run(global: &Global, args: &Top) -> anyhow::Result<()> {
    let names = resource::names_or_all(&args.pods)?;
    let labels = args.selector.as_deref().map(Labels::parse).transpose();
    let labels = labels.map_err(|error| Said::one(format!("error: {error}")))?;
    let session = Session::open(global).await?;
    let namespace = (!args.all_namespaces).then_some(session.namespace.as_str());
    let which = Which { namespace, names: &names, labels: labels.as_ref() };
    let before = usage::read(&session, which).await?;
    if let Some(missing) = names.iter().find(|name| !before.iter().any(|pod| pod.name == **name)) {
        return Err(Said::pod_not_found(missing).into());
    }
    let once = args.once || args.output.is_some() || !std::io::stdout().is_terminal();
    let pause = Duration::from_secs(args.interval.map_or(if once { 1 } else { 2 }, u64::from));
    if !once {
        return watch(&session, which, args, pause, before).await;
    }
    tokio::time::sleep(pause).await;
    let mut now = compared(&before, usage::read(&session, which).await?);
    sort(&mut now, args.sort_by);
    match args.output {
        Some(TopOutput::Json) => print(&crate::print::show::json(&document(&now))?),
        None => print(&table::render(&rows(&now, args.columns()))),
    }
}

/// The alternate screen of a terminal, until it is dropped.
struct Screen;

impl Screen {
    fn enter() -> anyhow::Result<Self> {
        print("\x1b[?1049h\x1b[?25l")?;
        Ok(Self)
    }

    /// Shows as much of the lines as there is room for.
    fn show(&self, lines: &str) -> anyhow::Result<()> {
        // A terminal that does not know its size is one of the usual size.
        let (width, height) = loment_sys::terminal::size(std::io::stdout().as_fd())
            .ok()
            .filter(|(width, height)| *width > 0 && *height > 0)
            .unwrap_or((80, 24));
        let cut = |line: &str| line.chars().take(usize::from(width)).collect::<String>();
        let lines: Vec<String> = lines.lines().take(usize::from(height)).map(cut).collect();
        // Over the old lines, so that nothing flickers.
        print(&format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing.
        let _ = print("\x1b[?25h\x1b[?1049l");
    }
}

async fn watch(
    session: &Session,
    which: Which<'_>,
    args: &Top,
    pause: Duration,
    mut before: Vec<PodUse>,
) -> anyhow::Result<()> {
    let listen = |kind| signal(kind).context("wait for signals");
    let (mut interrupt, mut end) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let screen = Screen::enter()?;
    loop {
        let now = usage::read(session, which).await?;
        let mut shown = compared(&before, now.clone());
        sort(&mut shown, args.sort_by);
        let containers: usize = shown.iter().map(|shown| shown.containers.len()).sum();
        let clock = Timestamp::now().strftime("%H:%M:%S");
        let head = format!(
            "{clock} UTC   pods {}   containers {containers}   every {} s   Ctrl-C ends\n\n",
            shown.len(),
            pause.as_secs()
        );
        screen.show(&(head + &table::render(&rows(&shown, args.columns()))))?;
        before = now;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = interrupt.recv() => return Ok(()),
            _ = end.recv() => return Ok(()),
        }
    }
}
