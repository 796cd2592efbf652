//! `loment ns rm`: sandboxes removed.

use std::path::Path;

use clap::Args;

use crate::commands::print;
use crate::error::Said;
use crate::namespaces::lab::Lab;
use crate::namespaces::lab::remove::remove;
use crate::namespaces::target::is_name;

const EXAMPLES: &str = "\
Examples:
  # A sandbox that nobody is in; also one whose making was cut short
  loment ns rm web

  # One that somebody is in: who has processes there of its own is killed, all others keep their namespaces
  loment ns rm --force web";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rm {
    /// Names of sandboxes
    #[arg(required = true, value_name = "NAME")]
    sandboxes: Vec<String>,
    /// Remove them although somebody is in them
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(lab: &Path, args: &Rm) -> anyhow::Result<()> {
    if let Some(wrong) = args.sandboxes.iter().find(|name| !is_name(name)) {
        return Err(
            Said::one(format!("error: {wrong:?} is no name of a sandbox: ls {} has those", lab.display())).into()
        );
    }
    let lab = Lab::at(lab);
    args.sandboxes.iter().try_for_each(|name| {
        remove(&lab, name, args.force)?;
        print(&format!("sandbox/{name} removed\n"))
    })
}
