//! `loment ns why`: what keeps a namespace.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{Output, ls, note_hidden, or_dash};
use crate::commands::print;
use crate::error::Said;
use crate::namespaces::kind::Kind;
use crate::namespaces::look::look;
use crate::namespaces::model::{Holder, Namespace, namespaces};
use crate::namespaces::survey::Survey;
use crate::namespaces::{target, whose};
use crate::print::{show, table};

const EXAMPLES: &str = "\
Examples:
  # By its inode, as loment ns ls has it
  loment ns why 4026532201

  # The network of a process, of a sandbox, of a pod
  loment ns why 4711/net
  loment ns why lab/net
  loment ns why pod/web/net

  # What is mounted there
  loment ns why /run/netns/blue";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Why {
    /// An inode, WHO/KIND (WHO is a pid, self, a sandbox, pod/NAME), or a path
    #[arg(value_name = "ID")]
    id: String,
    /// How to print it
    #[arg(short, long)]
    output: Option<Output>,
}

pub(super) fn run(lab: &Path, namespace: &str, args: &Why) -> anyhow::Result<()> {
    let survey = look(lab, true)?;
    note_hidden(&survey);
    let all = namespaces(&survey);
    let meant = target::namespaces(&args.id, &survey, namespace)?;
    let found: Vec<&Namespace> = meant.iter().filter_map(|id| all.get(id)).collect();
    if found.is_empty() {
        let line = format!("error: no namespace {:?} is on this machine: loment ns ls lists those that are", args.id);
        return Err(Said::one(line).into());
    }
    if args.output == Some(Output::Json) {
        let list: Vec<Value> = found.iter().map(|one| ls::document(&survey, one)).collect();
        return print(&show::json(&json!({ "namespaces": list }))?);
    }
    found.into_iter().try_for_each(|one| print(&text(&survey, one)))
}

fn text(survey: &Survey, one: &Namespace) -> String {
    let owner = one.relations.and_then(|relations| relations.owner);
    let owner = owner.map_or_else(String::new, |owner| format!(", owned by user:[{owner}]"));
    let kept = match one.holders.as_slice() {
        [] => "is kept by nothing that can be seen".to_owned(),
        [_] => "is kept by one thing".to_owned(),
        all => format!("is kept by {} things and ends with the last of them", all.len()),
    };
    let header = ["KEPT BY", "WHICH", "WHOSE", "RELEASED BY"].map(str::to_owned).to_vec();
    let rows = one.holders.iter().map(|holder| row(survey, one.id.kind, holder));
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let table = if one.holders.is_empty() { String::new() } else { table::render(&rows) };
    format!("{}{owner}, {kept}\n{table}", one.id)
}

fn row(survey: &Survey, kind: Kind, holder: &Holder) -> Vec<String> {
    let whose = whose::of_holder(survey, holder);
    vec![holder.kind().to_owned(), which(survey, holder), or_dash(whose.as_ref()), release(survey, kind, holder, whose)]
}

fn which(survey: &Survey, holder: &Holder) -> String {
    let shown = |pid: i32| match survey.processes.iter().find(|process| process.pid == pid) {
        Some(process) => format!("{pid} ({})", process.name),
        None => pid.to_string(),
    };
    match holder {
        Holder::Kernel => "it is the machine's first of its kind".to_owned(),
        Holder::Process(pid) | Holder::ForChildren(pid) => shown(*pid),
        Holder::Thread { pid, tid } => format!("{tid} of {}", shown(*pid)),
        Holder::Descriptor { pid, number } | Holder::Socket { pid, number } => format!("{number} of {}", shown(*pid)),
        Holder::Pin { at, elsewhere: None } => at.display().to_string(),
        Holder::Pin { at, elsewhere: Some((pid, name)) } => format!("{} in the mounts of {pid} ({name})", at.display()),
        Holder::Child(id) | Holder::Owned(id) => id.to_string(),
    }
}

/// What to type, where there is something.
fn release(survey: &Survey, kind: Kind, holder: &Holder, whose: Option<whose::Whose>) -> String {
    match (holder, whose) {
        (Holder::Kernel, _) => "nothing".to_owned(),
        (Holder::Pin { .. }, Some(whose::Whose::Sandbox(name))) => format!("loment ns rm {name}"),
        (Holder::Pin { at, elsewhere: None }, _) => format!("umount {}", at.display()),
        (Holder::Pin { at, elsewhere: Some((pid, _)) }, _) => {
            format!("nsenter --target {pid} --mount umount {}", at.display())
        }
        (Holder::Process(pid), _) if kind == Kind::Pid && is_first(survey, *pid) => {
            format!("kill -KILL {pid}, which ends all others in it")
        }
        (Holder::Child(id) | Holder::Owned(id), _) => format!("its end: loment ns why {}", id.inode),
        (Holder::Descriptor { pid, .. } | Holder::Socket { pid, .. }, _) => format!("closing it, or the end of {pid}"),
        (Holder::Process(pid) | Holder::ForChildren(pid) | Holder::Thread { pid, .. }, _) => {
            format!("the end of {pid}")
        }
    }
}

fn is_first(survey: &Survey, pid: i32) -> bool {
    survey.processes.iter().any(|process| process.pid == pid && process.is_first)
}
