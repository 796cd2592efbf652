//! `loment gc`: what is left of pods and containers on this machine, listed and removed.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{note, print};
use crate::args::Global;
use crate::error::{ExitWith, Said};
use crate::leaks::finding::{Finding, Thing, Verdict, or_dash};
use crate::leaks::look::Places;
use crate::leaks::remove::Removal;
use crate::leaks::survey::Survey;
use crate::leaks::usage::{self, Usage};
use crate::leaks::{self};
use crate::print::{show, table};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  # What is left of pods that are gone; nothing is changed. The exit code is 2 if there is anything
  loment gc --dry-run

  # The same with ids, with what is told beside it, and with what containerd and the shims use
  loment gc --dry-run -o wide

  # Remove it: after asking, or without a terminal
  loment gc
  loment gc --force";

/// How `--dry-run`, or a removal that was not wanted, ends when something is left.
const LEFT: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Gc {
    /// List what is left, and change nothing: ends with 0 when nothing is, and with 2 when something is
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// Remove it without asking
    #[arg(short, long)]
    force: bool,
    /// How to print it
    #[arg(short, long)]
    output: Option<GcOutput>,
    /// Print also how many descriptors and how much memory containerd and each shim have
    #[arg(long)]
    usage: bool,
    /// containerd's state directory [default: the one that CRI tells, or /run/containerd]
    #[arg(long, value_name = "DIR")]
    containerd_state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum GcOutput {
    Wide,
    Json,
}

pub(crate) async fn run(global: &Global, args: &Gc) -> anyhow::Result<()> {
    if let Some(namespace) = &global.namespace {
        return Err(whole_machine(namespace).into());
    }
    if !args.dry_run && !args.force && !std::io::stdin().is_terminal() {
        let line = "error: standard input is no terminal to ask on: use --force to remove what is left, or --dry-run to list it";
        return Err(Said::one(line).into());
    }
    let session = Session::open(global).await?;
    let places = Places::of(&session, args.containerd_state.as_deref()).await?;
    let (mut leftovers, mut told, survey) = look(&session, &places).await?;
    let is_wide = args.output == Some(GcOutput::Wide);
    let used = if args.usage || is_wide { usage::read(&survey) } else { Vec::new() };
    let is_json = args.output == Some(GcOutput::Json);
    if !is_json {
        print(&text(&leftovers, &told, &used, is_wide))?;
    }
    let is_wanted = !leftovers.is_empty() && !args.dry_run && (args.force || confirmed(leftovers.len())?);
    let mut results = Vec::new();
    if is_wanted {
        results = Removal::begin(&session, &places).await?.all(&leftovers).await;
        // What was kept by a container that containerd knew can be told now.
        if leftovers.iter().any(|one| matches!(one.thing, Thing::Container { .. })) {
            let (mut more, still_told, _) = look(&session, &places).await?;
            more.retain(|one| !leftovers.iter().any(|other| other.thing == one.thing));
            if !is_json && !more.is_empty() {
                print(&text(&more, &[], &[], is_wide))?;
            }
            results.extend(Removal::begin(&session, &places).await?.all(&more).await);
            leftovers.extend(more);
            told = still_told;
        }
    }
    if is_json {
        print(&show::json(&document(&leftovers, &results, &told, &used))?)?;
    }
    if !is_wanted {
        return if leftovers.is_empty() { Ok(()) } else { Err(ExitWith(LEFT).into()) };
    }
    summary(&leftovers, &results, is_json)
}

/// What is left is often of nobody's namespace any more: one that is named would be taken for a limit that is none.
fn whole_machine(namespace: &str) -> Said {
    Said::one(format!(
        "error: gc looks at the whole machine, and not at one namespace: leave --namespace={namespace} out (loment gc --dry-run \
         lists what it would remove, with the namespace of each)"
    ))
}

/// The leftovers, what is told beside them, and all that was seen.
async fn look(session: &Session, places: &Places) -> anyhow::Result<(Vec<Finding>, Vec<Finding>, Survey)> {
    let (findings, survey) = leaks::find(session, places).await?;
    let (leftovers, told) = findings.into_iter().partition(Finding::is_leftover);
    Ok((leftovers, told, survey))
}

/// Asks; an answer that is not yes is no.
fn confirmed(number: usize) -> anyhow::Result<bool> {
    let mut out = std::io::stderr().lock();
    write!(out, "Remove {}? [y/N] ", counted(number)).and_then(|()| out.flush()).context("ask on standard error")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

fn counted(number: usize) -> String {
    if number == 1 { "1 leftover".to_owned() } else { format!("{number} leftovers") }
}

/// What became of the removal. What could not be removed is told with its reason, and ends the command with 1.
fn summary(leftovers: &[Finding], results: &[anyhow::Result<()>], is_json: bool) -> anyhow::Result<()> {
    let failed: Vec<String> = leftovers
        .iter()
        .zip(results)
        .filter_map(|(one, result)| {
            let error = result.as_ref().err()?;
            Some(format!("error: {} {} is not removed: {error:#}", one.thing.kind(), one.thing.object()))
        })
        .collect();
    if !is_json {
        print(&format!("{} removed\n", counted(leftovers.len() - failed.len())))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    failed.iter().for_each(|line| note(line));
    note("Run \"loment gc\" again when the reason is gone.");
    Err(ExitWith(1).into())
}

fn text(leftovers: &[Finding], told: &[Finding], used: &[Usage], is_wide: bool) -> String {
    let mut text = String::new();
    if leftovers.is_empty() {
        text.push_str("Nothing is left\n");
    } else {
        text.push_str(&table::render(&rows(leftovers, is_wide)));
    }
    if !told.is_empty() {
        text.push_str("\nLeft alone:\n");
        text.push_str(&table::render(&rows(told, is_wide)));
    }
    if !used.is_empty() {
        text.push('\n');
        text.push_str(&table::render(&used_rows(used)));
    }
    text
}

fn rows(findings: &[Finding], is_wide: bool) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mut header = words(&["POD", "CONTAINER", "KIND", "OBJECT"]);
    if is_wide {
        header.extend(words(&["ID", "BY"]));
    }
    header.push("WHY".to_owned());
    let row = |one: &Finding| {
        let owner = &one.owner;
        let mut row = vec![owner.pod(), or_dash(&owner.pod.container), one.thing.kind().to_owned(), one.thing.object()];
        if is_wide {
            row.extend([or_dash(&owner.id), or_dash(owner.by)]);
        }
        row.push(match &one.verdict {
            Verdict::Remove => one.why.clone(),
            Verdict::Keep(reason) => format!("{}; {reason}", one.why),
        });
        row
    };
    std::iter::once(header).chain(findings.iter().map(row)).collect()
}

fn used_rows(used: &[Usage]) -> Vec<Vec<String>> {
    let header = ["POD", "PID", "NAME", "DESCRIPTORS", "MEMORY(KiB)"].map(str::to_owned).to_vec();
    let row = |one: &Usage| {
        vec![
            one.pod.clone(),
            one.pid.to_string(),
            one.name.clone(),
            one.descriptors.to_string(),
            one.memory_kib.to_string(),
        ]
    };
    std::iter::once(header).chain(used.iter().map(row)).collect()
}

/// As docs/leaks.md says it.
fn document(leftovers: &[Finding], results: &[anyhow::Result<()>], told: &[Finding], used: &[Usage]) -> Value {
    let leftover = |(number, one): (usize, &Finding)| {
        let mut object = one.json();
        object["removed"] = json!(results.get(number).is_some_and(Result::is_ok));
        object["error"] =
            json!(results.get(number).and_then(|one| one.as_ref().err()).map(|error| format!("{error:#}")));
        object
    };
    let usage = |one: &Usage| {
        json!({
            "pid": one.pid, "name": one.name, "pod": one.pod,
            "descriptors": one.descriptors, "memoryKiB": one.memory_kib,
        })
    };
    json!({
        "leftovers": leftovers.iter().enumerate().map(leftover).collect::<Vec<_>>(),
        "leftAlone": told.iter().map(Finding::json).collect::<Vec<_>>(),
        "usage": used.iter().map(usage).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::leaks::finding::Owner;

    fn found(pid: i32, verdict: Verdict) -> Finding {
        let why = "containerd knows none of its containers".to_owned();
        Finding { thing: Thing::Shim { pid, start_time: 1 }, owner: Owner::default(), why, verdict }
    }

    #[test]
    fn a_namespace_is_no_limit_and_is_refused() {
        use clap::Parser as _;
        let arguments = crate::args::Arguments::try_parse_from(["loment", "gc", "-n", "shop", "--force"]).unwrap();
        let crate::args::Verb::Gc(args) = &arguments.verb else { panic!() };
        let runtime = crate::runtime::new().unwrap();
        let refused = runtime.block_on(run(&arguments.global, args)).unwrap_err();
        assert!(refused.to_string().starts_with("error: gc looks at the whole machine"), "{refused}");
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in
            [("y\n", true), ("YES\n", true), ("", false), ("\n", false), ("n\n", false), ("yeah\n", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_is_left_alone_is_told_apart_from_what_is_left() {
        let text = text(&[found(7, Verdict::Remove)], &[found(8, Verdict::Keep("another's".into()))], &[], false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "-     -           shim   7        containerd knows none of its containers");
        assert_eq!((lines[2], lines[3]), ("", "Left alone:"));
        assert!(lines[5].ends_with("containers; another's"), "{text}");
        assert_eq!(super::text(&[], &[], &[], false), "Nothing is left\n");
    }

    #[test]
    fn what_is_not_removed_is_told_with_its_reason_and_ends_the_command_with_1() {
        let leftovers = [found(7, Verdict::Remove), found(8, Verdict::Remove)];
        let results = [Ok(()), Err(anyhow!("it is frozen"))];
        let error = summary(&leftovers, &results, true).unwrap_err();
        assert_eq!(crate::error::status_of(&error), 1);
        let document = document(&leftovers, &results, &[], &[]);
        let removed: Vec<&Value> =
            document["leftovers"].as_array().unwrap().iter().map(|one| &one["removed"]).collect();
        assert_eq!(removed, [&json!(true), &json!(false)]);
        assert_eq!(document["leftovers"][1]["error"], "it is frozen");
        summary(&leftovers, &[Ok(()), Ok(())], true).unwrap();
    }
}
