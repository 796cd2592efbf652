//! `loment why`: the one cause that keeps a pod from going on.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::print;
use crate::args::Global;
use crate::error::Said;
use crate::kept::history;
use crate::print::show;
use crate::print::view::View;
use crate::session::Session;
use crate::{resource, why};

const EXAMPLES: &str = "\
Examples:
  # What a pod is waiting for, and when it is tried next
  loment why web

  # The same for a program
  loment why web -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Why {
    /// Pod, as in "web", "pod web" or "pod/web"
    #[arg(required = true)]
    pod: Vec<String>,
    /// How to print it
    #[arg(short, long)]
    output: Option<WhyOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhyOutput {
    Json,
}

pub(crate) async fn run(global: &Global, args: &Why) -> anyhow::Result<()> {
    let names = resource::names_or_all(&args.pod)?;
    let [name] = names.as_slice() else { return Err(Said::one("error: why explains one pod").into()) };
    let session = Session::open(global).await?;
    let found = session.pod(name).await?;
    let timeline = history::timeline(&session, &found).await.unwrap_or_default();
    let Some(view) = View::of(&session, &found).await? else { return Err(Said::pod_not_found(name).into()) };
    let now = Timestamp::now();
    let cause = why::cause(&view, &timeline, now);
    match args.output {
        Some(WhyOutput::Json) => print(&show::json(&cause.object(&view, now))?),
        None => print(&format!("{}\n", cause.sentences(now))),
    }
}
