//! `loment describe`: all that there is to know of a pod, for people.

use clap::Args;

use super::{note, print};
use crate::args::Global;
use crate::error::{ExitWith, Said};
use crate::kept::history;
use crate::print::view::View;
use crate::select::pick::{Wanted, Which, nothing_found};
use crate::session::{Found, Session};
use crate::{describe, occurrences};

const EXAMPLES: &str = "\
Examples:
  # One pod; several whose names begin alike
  loment describe pod web
  loment describe pods we

  # All pods of the namespace, or those with a label
  loment describe pods
  loment describe pods -l app=web

  # Without its events
  loment describe pod web --show-events=false";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Describe {
    /// "pods", "pod NAME ..." or "pod/NAME ..."; the beginning of names will do
    #[arg(value_name = "RESOURCE")]
    what: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Whether to show events
    #[arg(
        long,
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    show_events: bool,
}

pub(crate) async fn run(global: &Global, args: &Describe) -> anyhow::Result<()> {
    let wanted = args.which.wanted(global, &args.what, "describe")?;
    let session = Session::open(global).await?;
    let picked = wanted.pick(&session).await?;
    let mut pods = picked.pods;
    let mut missing = Vec::new();
    for name in picked.missing {
        match beginning_with(&session, &wanted, &name).await? {
            alike if alike.is_empty() => missing.push(name),
            alike => pods.extend(alike),
        }
    }
    let mut texts = Vec::new();
    for view in View::of_all(&session, &pods).await? {
        let timeline = history::timeline(&session, &view.found).await.unwrap_or_default();
        texts.push(describe::pod(&view, &occurrences::of(&view.found.pod, &timeline), args.show_events));
    }
    if !texts.is_empty() {
        print(&texts.join("\n\n"))?;
    } else if missing.is_empty() {
        note(&nothing_found(wanted.namespace(&session)));
    }
    missing.iter().for_each(|name| note(&Said::pod_not_found(name).to_string()));
    if missing.is_empty() { Ok(()) } else { Err(ExitWith(1).into()) }
}

/// The pods whose names begin like this.
async fn beginning_with(session: &Session, wanted: &Wanted, name: &str) -> anyhow::Result<Vec<Found>> {
    let mut all = session.pods(wanted.namespace(session)).await?;
    all.retain(|found| found.name().starts_with(name));
    Ok(all)
}
