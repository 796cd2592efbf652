//! `loment install` and `loment uninstall`: this project's runtime class, given to containerd and taken back.

mod again;
#[cfg(test)]
mod deploy_tests;
mod show;
mod trial;
pub(crate) mod uninstall;
pub(crate) mod which;

use std::fs::File;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::print;
use crate::args::Global;
use crate::session::Session;
use crate::setup::carry_out::carry_out;
use crate::setup::found::{self, Places};
use crate::setup::plan::{self, Wanted};
use crate::setup::{programs, record, restart};
use again::Again;
use show::Shown;
use which::Which;

const EXAMPLES: &str = "\
Examples:
  # What would be written, and where; nothing is changed
  loment install --dry-run

  # Install it, start containerd again and start a pod
  loment install --restart

  # In k3s, under another name, with sandboxes of the shim's own
  loment install --kind k3s --runtime-handler fast --sandboxer shim --restart

  # The RuntimeClass for a cluster alone
  loment install --dry-run -o json | jq .runtimeClass

`loment uninstall` takes back what was written. For all nodes of a cluster: docs/install.md";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Install {
    #[command(flatten)]
    which: Which,
    /// Print what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    again: Again,
    /// Who makes a pod's sandbox: containerd, or the shim (containerd 2.1 and later)
    #[arg(long, value_enum, default_value_t = Sandboxer::Podsandbox)]
    sandboxer: Sandboxer,
    /// Where the shim and its prober are put
    #[arg(long, default_value = "/usr/local/bin", value_name = "DIR")]
    bin_dir: PathBuf,
    /// Start no pod at the end
    #[arg(long)]
    no_pod: bool,
    /// Image of that pod; it has to run by itself [default: the pause image that containerd is configured with]
    #[arg(long)]
    image: Option<String>,
    /// How to print it
    #[arg(short, long)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sandboxer {
    Podsandbox,
    Shim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
}

pub(crate) async fn run(global: &Global, args: &Install) -> anyhow::Result<()> {
    let bin_dir = args.which.machine.absolute(&args.bin_dir)?;
    let mut programs = programs::beside_this(&bin_dir)?;
    args.which.machine.enter_host()?;
    let _lock = alone("install", args.dry_run, global)?;
    let found = found::find(&Places::default(), &args.which.hints(global)?)?;
    let global = &args.which.machine.global(global, found.kind);
    let wanted = Wanted {
        handler: global.runtime_handler.clone(),
        sandboxes_of_shim: args.sandboxer == Sandboxer::Shim,
        runtime_path: programs::path_to_name(&bin_dir),
    };
    let plan = plan::plan(&found, &wanted)?;
    let mut missing = Vec::new();
    for program in &mut programs {
        if !program.is_there()? {
            missing.push(program.to.clone());
        }
    }
    let mut shown = Shown::new(&found, &wanted, &plan, missing.clone());
    shown.restart = args.again.command(found.kind);
    shown.dry_run = args.dry_run;
    if !args.dry_run {
        carry_out(&global.state_dir, &found, &wanted.handler, &plan, &mut programs, &missing)?;
        // On every node of a cluster this is run again and again: one that knows the class is left alone.
        let is_known = plan.change.is_none() && running(global, false).await?.is_some();
        shown.restarted = !is_known && args.again.carry_out(shown.restart.as_deref())?;
        let session = running(global, shown.restarted).await?;
        shown.is_known = session.is_some();
        if let Some(session) = session.filter(|_| !args.no_pod) {
            let image = args.image.clone().or_else(|| found.dump?.sandbox_image);
            shown.trial = Some(trial::run(&session, image.as_deref(), !wanted.sandboxes_of_shim).await?);
        }
    }
    print(&if args.output.is_some() { shown.json()? } else { shown.text()? })
}

/// What may change files of the system: root, and one at a time. Who only looks needs neither.
fn alone(command: &str, dry_run: bool, global: &Global) -> anyhow::Result<Option<File>> {
    if dry_run {
        return Ok(None);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("loment {command} writes files of the system and is not run as root: run \"sudo loment {command}\"");
    }
    record::lock(&global.state_dir).map(Some)
}

/// The containerd that knows the class: after a restart it has to, else it may not know it yet.
async fn running(global: &Global, restarted: bool) -> anyhow::Result<Option<Session>> {
    if restarted {
        return restart::known(global, &global.runtime_handler).await.map(Some);
    }
    let Ok(session) = Session::open(global).await else { return Ok(None) };
    let names = restart::handlers(&session).await.unwrap_or_default();
    Ok(names.contains(&global.runtime_handler).then_some(session))
}
