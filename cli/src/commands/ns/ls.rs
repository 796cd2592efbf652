//! `loment ns ls`: every namespace of this machine.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{Output, note_hidden, or_dash};
use crate::commands::print;
use crate::namespaces::kind::Kind;
use crate::namespaces::look::look;
use crate::namespaces::model::{Holder, Namespace, namespaces};
use crate::namespaces::survey::Survey;
use crate::namespaces::whose;
use crate::print::{show, table};

const EXAMPLES: &str = "\
Examples:
  # All of them
  loment ns ls

  # Networks and user namespaces; also networks that nothing but a forgotten socket keeps
  loment ns ls --type net,user --sockets

  # For a program
  loment ns ls -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// Only those of these kinds
    #[arg(short, long = "type", value_enum, value_delimiter = ',', value_name = "KIND,...")]
    types: Vec<Kind>,
    /// Ask each socket of each process, too, which network it keeps
    #[arg(long)]
    sockets: bool,
    /// How to print it
    #[arg(short, long)]
    output: Option<Output>,
}

pub(super) fn run(lab: &Path, args: &Ls) -> anyhow::Result<()> {
    let survey = look(lab, args.sockets)?;
    note_hidden(&survey);
    let mut all = namespaces(&survey);
    all.retain(|id, _| args.types.is_empty() || args.types.contains(&id.kind));
    if args.output == Some(Output::Json) {
        let list: Vec<Value> = all.values().map(|one| document(&survey, one)).collect();
        return print(&show::json(&json!({ "namespaces": list }))?);
    }
    let header = ["TYPE", "ID", "OWNER", "PROCESSES", "PINS", "DESCRIPTORS", "PID", "NAME", "AGE", "WHOSE"];
    let rows = all.values().map(|one| row(&survey, one));
    print(&table::render(&std::iter::once(header.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>()))
}

fn row(survey: &Survey, one: &Namespace) -> Vec<String> {
    let count = |is_meant: fn(&Holder) -> bool| match one.holders.iter().filter(|holder| is_meant(holder)).count() {
        0 => "-".to_owned(),
        number => number.to_string(),
    };
    let first = oldest(survey, one);
    vec![
        one.id.kind.to_string(),
        one.id.inode.to_string(),
        or_dash(one.relations.and_then(|relations| relations.owner)),
        count(|holder| matches!(holder, Holder::Process(_) | Holder::Thread { .. })),
        count(|holder| matches!(holder, Holder::Pin { .. })),
        count(|holder| matches!(holder, Holder::Descriptor { .. } | Holder::Socket { .. })),
        or_dash(first.map(|(pid, _)| pid)),
        or_dash(first.map(|(_, name)| name)),
        or_dash(one.age.map(|age| table::age(i64::try_from(age).unwrap_or(i64::MAX)))),
        whose_in_words(survey, one),
    ]
}

/// The oldest process by which it is held; of those in it, if there are any.
fn oldest<'a>(survey: &'a Survey, one: &Namespace) -> Option<(i32, &'a str)> {
    let by = |is_meant: &dyn Fn(&Holder) -> bool| {
        let pids: Vec<i32> = one.holders.iter().filter(|holder| is_meant(holder)).filter_map(Holder::pid).collect();
        let mine = survey.processes.iter().filter(|process| pids.contains(&process.pid));
        let first = mine.min_by_key(|process| (process.start_time, process.pid))?;
        Some((first.pid, first.name.as_str()))
    };
    by(&|holder| matches!(holder, Holder::Process(_))).or_else(|| by(&|_| true))
}

/// A namespace that many are in is the machine's.
fn whose_in_words(survey: &Survey, one: &Namespace) -> String {
    if survey.own.get(&one.id.kind) == Some(&one.id.inode) {
        return "this command".to_owned();
    }
    let all = whose::of_holders(survey, &one.holders);
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// As docs/namespaces.md says it.
pub(super) fn document(survey: &Survey, one: &Namespace) -> Value {
    let relations = one.relations.unwrap_or_default();
    json!({
        "type": one.id.kind.file(),
        "inode": one.id.inode,
        "owner": relations.owner,
        "parent": relations.parent,
        "madeByUid": relations.maker,
        "ageSeconds": one.age,
        "whose": whose::of_holders(survey, &one.holders).iter().map(ToString::to_string).collect::<Vec<_>>(),
        "holders": one.holders.iter().map(|holder| held(survey, holder)).collect::<Vec<_>>(),
    })
}

fn held(survey: &Survey, holder: &Holder) -> Value {
    let name = |pid: i32| survey.processes.iter().find(|process| process.pid == pid).map(|one| one.name.as_str());
    let whose = whose::of_holder(survey, holder).map(|whose| whose.to_string());
    let mut held = json!({ "by": holder.kind(), "whose": whose });
    match holder {
        Holder::Kernel => {}
        Holder::Process(pid) | Holder::ForChildren(pid) => {
            held["pid"] = json!(pid);
            held["name"] = json!(name(*pid));
        }
        Holder::Thread { pid, tid } => {
            held["pid"] = json!(pid);
            held["tid"] = json!(tid);
            held["name"] = json!(name(*pid));
        }
        Holder::Descriptor { pid, number } | Holder::Socket { pid, number } => {
            held["pid"] = json!(pid);
            held["descriptor"] = json!(number);
            held["name"] = json!(name(*pid));
        }
        Holder::Pin { at, elsewhere } => {
            held["path"] = json!(at);
            held["inMountsOf"] = json!(elsewhere.as_ref().map(|(pid, _)| pid));
        }
        Holder::Child(id) | Holder::Owned(id) => held["namespace"] = json!(id.to_string()),
    }
    held
}
