//! `loment uninstall`: what `loment install` has written, taken back.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use loment_cri::v1::PodSandbox;
use serde_json::json;

use super::Format;
use super::which::Which;
use crate::args::Global;
use crate::commands::print;
use crate::error::Said;
use crate::print::show;
use crate::session::Session;
use crate::setup::apply::{self, Undo, undoing};
use crate::setup::found::{Kind, Source};
use crate::setup::record::{self, Record};
use crate::setup::restart;

const EXAMPLES: &str = "\
Examples:
  # What would be taken back; nothing is changed
  loment uninstall --dry-run

  # Take it back and start containerd again
  loment uninstall --restart

What others have added to the same files since stays. Where what was added cannot be told apart any more, nothing is touched.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    which: Which,
    /// Print what would be taken back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Start containerd again, so that it forgets the runtime class. Pods go on
    #[arg(long)]
    restart: bool,
    /// What starts containerd again, as a line for /bin/sh; implies --restart
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// Also when there are pods with the runtime class: without their shim's program they cannot be removed cleanly
    #[arg(long)]
    force: bool,
    /// That nothing is installed is no mistake
    #[arg(long)]
    ignore_not_found: bool,
    /// How to print it
    #[arg(short, long)]
    output: Option<Format>,
}

pub(crate) async fn run(global: &Global, args: &Uninstall) -> anyhow::Result<()> {
    args.which.enter_host()?;
    let kind = args.which.kind.map(Kind::name);
    let handler = &global.runtime_handler;
    let records = record::all(&global.state_dir)?;
    let Some(record) = record::choose(records, kind, handler)? else {
        let line = format!(
            "error: {} has no record of an installation of {handler:?}: nothing was installed, or with another --state-dir or \
             --runtime-handler",
            global.state_dir.display()
        );
        return if args.ignore_not_found { print("nothing is installed\n") } else { Err(Said::one(line).into()) };
    };
    let kind = kind_of(&record)?;
    let global = &args.which.global(global, kind);
    if !args.force {
        check_unused(global).await?;
    }
    // Decided before anything is touched: all, or nothing.
    let undo = match &record.change {
        Some(change) => undoing(change, Source::read(&change.path)?.text.as_deref()).map_err(anyhow::Error::msg)?,
        None => Undo::Nothing,
    };
    let restart = args.restart_command.clone().or_else(|| restart::command(kind));
    let is_wanted = args.restart || args.restart_command.is_some();
    if !args.dry_run {
        if let Some(change) = &record.change {
            apply::undo(change, &record.directories)?;
        }
        if is_wanted {
            let command = restart.as_deref().context(
                "the configuration is as it was, but nothing is known that starts containerd again (no systemd): name it with \
                 --restart-command, and run this again",
            )?;
            restart::run(command)?;
        }
        record
            .programs
            .iter()
            .filter(|path| !is_shared(global, &record, path))
            .try_for_each(|path| apply::remove(path))?;
        record::remove(&global.state_dir, &record)?;
    }
    let done =
        Done { record: &record, undo: &undo, restart, restarted: is_wanted && !args.dry_run, dry_run: args.dry_run };
    print(&if args.output.is_some() { done.json()? } else { done.text() })
}

fn kind_of(record: &Record) -> anyhow::Result<Kind> {
    let all = [Kind::Containerd, Kind::K3s, Kind::Rke2, Kind::Microk8s];
    all.into_iter()
        .find(|kind| kind.name() == record.kind)
        .with_context(|| format!("the record names {:?}", record.kind))
}

/// Whether another installation uses the same program.
fn is_shared(global: &Global, own: &Record, path: &PathBuf) -> bool {
    let all = record::all(&global.state_dir).unwrap_or_default();
    all.iter().any(|other| other != own && other.programs.contains(path))
}

/// Refuses while containerd has pods of the class. One that does not answer has none that run.
async fn check_unused(global: &Global) -> anyhow::Result<()> {
    let Ok(session) = Session::open(global).await else { return Ok(()) };
    let Ok(pods) = session.client.list_pod_sandboxes(None).await else { return Ok(()) };
    let users: Vec<String> =
        pods.iter().filter(|pod| pod.runtime_handler == global.runtime_handler).map(name).collect();
    if let [first, others @ ..] = users.as_slice() {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        bail!("pod {first}{more} has the runtime class {:?}: delete it first, or use --force", global.runtime_handler);
    }
    Ok(())
}

fn name(pod: &PodSandbox) -> String {
    pod.metadata.as_ref().map_or_else(|| pod.id.clone(), |metadata| format!("{}/{}", metadata.namespace, metadata.name))
}

struct Done<'a> {
    record: &'a Record,
    undo: &'a Undo,
    restart: Option<String>,
    restarted: bool,
    dry_run: bool,
}

impl Done<'_> {
    fn how(&self) -> &'static str {
        match self.undo {
            Undo::Nothing => "unchanged",
            Undo::Remove => "removed",
            Undo::Write(_) => "restored",
        }
    }

    fn json(&self) -> anyhow::Result<String> {
        let change = self.record.change.iter().map(|change| json!({ "path": change.path, "how": self.how() }));
        let programs = self.record.programs.iter().map(|path| json!({ "path": path, "how": "removed" }));
        show::json(&json!({
            "dryRun": self.dry_run,
            "handler": self.record.handler,
            "kind": self.record.kind,
            "changes": change.chain(programs).collect::<Vec<_>>(),
            "restart": { "command": self.restart, "done": self.restarted },
        }))
    }

    fn text(&self) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        let mut text = String::new();
        if let Some(change) = &self.record.change {
            let path = change.path.display();
            text.push_str(&match self.undo {
                Undo::Nothing => format!("{path} has nothing of it any more\n"),
                _ => format!("{path} {would}{}\n", self.how()),
            });
        }
        for path in &self.record.programs {
            text.push_str(&format!("{} {would}removed\n", path.display()));
        }
        let restart = self.restart.as_deref().unwrap_or("restart it as it is started here");
        if !self.restarted {
            text.push_str(&format!("containerd forgets the runtime class when it starts again: {restart}\n"));
        }
        text
    }
}
