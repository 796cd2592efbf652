//! `loment ns diff`: what two processes share, and what not.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{Output, or_dash};
use crate::commands::print;
use crate::namespaces::kind::{Id, Kind};
use crate::namespaces::look::look;
use crate::namespaces::survey::{Set, Survey};
use crate::namespaces::target::Target;
use crate::print::{show, table};

const EXAMPLES: &str = "\
Examples:
  # Two processes
  loment ns diff 1 4711

  # A sandbox and this machine; two containers of a pod
  loment ns diff lab self
  loment ns diff pod/web/app pod/web/sidecar";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Diff {
    /// A pid, self, a sandbox, pod/NAME or pod/NAME/CONTAINER
    #[arg(value_name = "A")]
    first: String,
    /// The other one
    #[arg(value_name = "B")]
    second: String,
    /// How to print it
    #[arg(short, long)]
    output: Option<Output>,
}

/// How the two namespaces of a kind stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Shared,
    Own,
    /// The second one's was made in the first one's, or in one that was.
    Below,
    /// The other way round.
    Above,
    /// One of them has none of this kind, or it cannot be seen.
    Unknown,
}

impl Verdict {
    fn words(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
            Self::Below => "own, B below A",
            Self::Above => "own, A below B",
            Self::Unknown => "unknown",
        }
    }
}

pub(super) fn run(lab: &Path, namespace: &str, args: &Diff) -> anyhow::Result<()> {
    let (first, second) = (Target::parse(&args.first, namespace)?, Target::parse(&args.second, namespace)?);
    let survey = look(lab, false)?;
    let (first, second) = (first.set(&survey)?, second.set(&survey)?);
    let rows =
        Kind::ALL.map(|kind| (kind, first.get(&kind), second.get(&kind), verdict(&survey, kind, &first, &second)));
    if args.output == Some(Output::Json) {
        let kinds: Vec<Value> = rows
            .iter()
            .map(|(kind, a, b, verdict)| {
                json!({
                    "type": kind.file(), "a": a, "b": b,
                    "shared": *verdict == Verdict::Shared,
                    "relation": verdict.words(),
                })
            })
            .collect();
        return print(&show::json(&json!({ "a": args.first, "b": args.second, "namespaces": kinds }))?);
    }
    let header = vec!["TYPE".to_owned(), args.first.clone(), args.second.clone(), String::new()];
    let rows = rows
        .iter()
        .map(|(kind, a, b, verdict)| vec![kind.to_string(), or_dash(*a), or_dash(*b), verdict.words().to_owned()]);
    print(&table::render(&std::iter::once(header).chain(rows).collect::<Vec<_>>()))
}

fn verdict(survey: &Survey, kind: Kind, first: &Set, second: &Set) -> Verdict {
    let (Some(&a), Some(&b)) = (first.get(&kind), second.get(&kind)) else { return Verdict::Unknown };
    match (a == b, is_below(survey, kind, b, a), is_below(survey, kind, a, b)) {
        (true, ..) => Verdict::Shared,
        (_, true, _) => Verdict::Below,
        (_, _, true) => Verdict::Above,
        _ => Verdict::Own,
    }
}

/// Whether a pid or user namespace was made in another one. They are at most 32 deep; what is read while namespaces come
/// and go may go in circles.
fn is_below(survey: &Survey, kind: Kind, inode: u64, other: u64) -> bool {
    let parent = |inode: &u64| survey.relations.get(&Id { kind, inode: *inode })?.parent;
    std::iter::successors(parent(&inode), parent).take(33).any(|above| above == other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::survey::Relations;

    #[test]
    fn a_namespace_is_shared_own_or_below_the_other() {
        let relation = |inode, parent| (Id { kind: Kind::Pid, inode }, Relations { parent, ..Relations::default() });
        let relations = [relation(1, None), relation(2, Some(1)), relation(3, Some(2)), relation(4, Some(1))];
        let survey = Survey { relations: relations.into(), ..Survey::default() };
        let compare = |a, b| verdict(&survey, Kind::Pid, &[(Kind::Pid, a)].into(), &[(Kind::Pid, b)].into());
        for (a, b, expected) in
            [(2, 2, Verdict::Shared), (1, 3, Verdict::Below), (3, 1, Verdict::Above), (3, 4, Verdict::Own)]
        {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
        assert_eq!(verdict(&survey, Kind::Net, &Set::new(), &Set::new()), Verdict::Unknown);
    }
}
