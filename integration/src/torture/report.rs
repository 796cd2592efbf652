//! What came of the rounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    plan::{Deed, Operation, Round, Victim},
    rounds::Kind,
};

/// Whom a round has hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toll {
    /// Processes that were killed.
    Killed,
    /// The client, which has hung up, or was killed where it is a command.
    HungUp,
    /// A call, which was refused.
    Refused,
    /// Nobody: the moment did not come, or whoever was meant was gone already.
    Missed,
}

impl Toll {
    /// Of a deed, by how many were there to be killed when its moment came, if it came.
    pub(super) fn of(deed: Deed, killed: Option<usize>) -> Self {
        match (deed, killed) {
            (_, None) => Self::Missed,
            (Deed::Fail, Some(_)) => Self::Refused,
            (Deed::Kill(Victim::Client), Some(_)) => Self::HungUp,
            (Deed::Kill(_), Some(0)) => Self::Missed,
            (Deed::Kill(_), Some(_)) => Self::Killed,
        }
    }

    /// What of, as a report counts it.
    fn name(self) -> &'static str {
        match self {
            Self::Killed => "kills",
            Self::HungUp => "clients that hung up",
            Self::Refused => "refused calls",
            Self::Missed => "moments that did not come",
        }
    }
}

/// What came of one round.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Whom it has hit.
    pub toll: Toll,
    /// What was done, if the moment came.
    pub struck: Option<String>,
    /// What the client was answered.
    pub answer: Result<(), String>,
    /// containerd had ended.
    pub containerd_restarted: bool,
    /// System calls that were watched.
    pub calls: u64,
    /// All of the round.
    pub took: Duration,
    /// How often the removal of the pod was refused before it was done, and why.
    pub refusals: Vec<String>,
    /// What containerd had lost, so that no client could remove it, and `loment gc` has.
    pub collected: Vec<String>,
    /// What may not be.
    pub wrong: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.struck {
            Some(struck) => write!(f, "{struck}; ")?,
            None => write!(f, "the moment did not come in {} calls; ", self.calls)?,
        }
        match &self.answer {
            Ok(()) => write!(f, "answered well")?,
            Err(error) => write!(f, "answered: {}", shortened(error))?,
        }
        write!(f, "; {:.1} s", self.took.as_secs_f64())?;
        if !self.refusals.is_empty() {
            write!(f, "; removed at attempt {}", self.refusals.len() + 1)?;
        }
        if !self.collected.is_empty() {
            write!(f, "; collected: {}", self.collected.join(", "))?;
        }
        for wrong in &self.wrong {
            write!(f, "\n  WRONG: {}", indented(wrong))?;
        }
        Ok(())
    }
}

/// A text of several lines, so that those after the first are told from what follows.
pub(super) fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

fn shortened(text: &str) -> String {
    const MOST: usize = 300;
    let text = text.replace('\n', " ");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What came of all.
#[derive(Debug)]
pub struct Report {
    kind: Kind,
    seed: u64,
    rounds: Vec<(u64, Round, Outcome)>,
    aborted: Option<String>,
}

impl Report {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed, rounds: Vec::new(), aborted: None }
    }

    pub(super) fn add(&mut self, index: u64, round: Round, outcome: Outcome) {
        self.rounds.push((index, round, outcome));
    }

    /// There can be no further rounds.
    pub(super) fn abort(&mut self, error: &anyhow::Error) {
        self.aborted = Some(format!("{error:#}"));
    }

    /// Whether all rounds were run, and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.aborted.is_none() && self.rounds.iter().all(|(.., outcome)| outcome.wrong.is_empty())
    }

    /// How often somebody was hit.
    pub fn struck(&self) -> usize {
        self.rounds.iter().filter(|(.., outcome)| outcome.toll != Toll::Missed).count()
    }

    /// How many rounds have hit so, and how many of these have left something.
    fn count(&self, toll: Toll) -> (usize, usize) {
        let meant = || self.rounds.iter().filter(move |(.., outcome)| outcome.toll == toll);
        (meant().count(), meant().filter(|(.., outcome)| !outcome.wrong.is_empty()).count())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tolls: &[Toll] = match self.kind {
            Kind::Kills => &[Toll::Killed, Toll::HungUp, Toll::Missed],
            Kind::Faults => &[Toll::Refused, Toll::Missed],
        };
        let failed = self.rounds.iter().filter(|(.., outcome)| outcome.answer.is_err()).count();
        let again = self.rounds.iter().filter(|(.., outcome)| !outcome.refusals.is_empty()).count();
        let wrong = self.rounds.iter().filter(|(.., outcome)| !outcome.wrong.is_empty()).count();
        // scripts/torture reads these lines, and those of the end.
        for toll in tolls {
            let (times, wrong) = self.count(*toll);
            writeln!(f, "{}: {times}, something left or a panic after {wrong}", toll.name())?;
        }
        for (operation, by_victim) in self.by_operation() {
            let list: Vec<String> = by_victim.iter().map(|(victim, count)| format!("{victim} {count}")).collect();
            writeln!(f, "  {operation}: {}", list.join(", "))?;
        }
        let lost = self.rounds.iter().filter(|(.., outcome)| !outcome.collected.is_empty()).count();
        writeln!(f, "{failed} answered with an error, {again} removed at a later attempt")?;
        writeln!(f, "lost by containerd and collected: {lost}")?;
        if let Some(why) = &self.aborted {
            writeln!(f, "aborted after {} rounds: {}", self.rounds.len(), indented(why))?;
        }
        write!(f, "left something behind or panicked: {wrong}")?;
        for (index, round, _) in self.rounds.iter().filter(|(.., outcome)| !outcome.wrong.is_empty()) {
            write!(f, "\n  round {index}: {round} (again: --seed {} --first {index} --count 1)", self.seed)?;
        }
        Ok(())
    }
}

impl Report {
    /// How often whom.
    fn by_operation(&self) -> BTreeMap<Operation, BTreeMap<String, usize>> {
        let mut counts: BTreeMap<Operation, BTreeMap<String, usize>> = BTreeMap::new();
        for (_, round, _) in self.rounds.iter().filter(|(.., outcome)| outcome.toll != Toll::Missed) {
            let whom = match round.deed {
                Deed::Kill(victim) => victim.to_string(),
                Deed::Fail => "calls".to_owned(),
            };
            *counts.entry(round.operation).or_default().entry(whom).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::torture::plan::Moment;

    fn round(deed: Deed) -> Round {
        Round { operation: Operation::Exec, moment: Moment::Call(1), deed }
    }

    fn outcome(toll: Toll, wrong: &[&str]) -> Outcome {
        Outcome {
            toll,
            struck: None,
            answer: Ok(()),
            containerd_restarted: false,
            calls: 1,
            took: Duration::ZERO,
            refusals: Vec::new(),
            collected: Vec::new(),
            wrong: wrong.iter().map(|&one| one.to_owned()).collect(),
        }
    }

    #[test]
    fn who_hangs_up_and_who_was_gone_already_is_not_killed() {
        let kill = |victim, killed| Toll::of(Deed::Kill(victim), killed);
        assert_eq!(kill(Victim::Both, Some(1)), Toll::Killed);
        assert_eq!(kill(Victim::Client, Some(0)), Toll::HungUp);
        assert_eq!([kill(Victim::Shim, Some(0)), kill(Victim::Client, None)], [Toll::Missed; 2]);
        assert_eq!(Toll::of(Deed::Fail, Some(0)), Toll::Refused);
    }

    #[test]
    fn a_report_counts_each_kind_with_what_it_has_left() {
        let mut report = Report::new(Kind::Kills, 5);
        report.add(0, round(Deed::Kill(Victim::Shim)), outcome(Toll::Killed, &["a mount\na cgroup"]));
        report.add(1, round(Deed::Kill(Victim::Shim)), outcome(Toll::Killed, &[]));
        report.add(2, round(Deed::Kill(Victim::Client)), outcome(Toll::HungUp, &[]));
        let said = report.to_string();
        let begin = "kills: 2, something left or a panic after 1\n\
                     clients that hung up: 1, something left or a panic after 0\n\
                     moments that did not come: 0, something left or a panic after 0\n";
        assert!(said.starts_with(begin), "{said}");
        assert!(said.contains("\nleft something behind or panicked: 1\n"), "{said}");
        assert!(!report.is_clean());
    }

    #[test]
    fn a_report_that_was_aborted_says_so_and_is_not_clean() {
        let mut report = Report::new(Kind::Faults, 5);
        report.add(0, round(Deed::Fail), outcome(Toll::Refused, &[]));
        assert!(report.is_clean());
        report.abort(&anyhow!("containerd does not start:\nno memory"));
        assert!(!report.is_clean());
        let said = report.to_string();
        assert!(said.contains("\naborted after 1 rounds: containerd does not start:\n    no memory\n"), "{said}");
    }

    #[test]
    fn what_is_wrong_is_one_thing_however_many_lines_it_has() {
        let said = outcome(Toll::Killed, &["left:\n  a\n", "panicked"]).to_string();
        let unindented = said.lines().filter(|line| line.starts_with("  WRONG")).count();
        assert_eq!((unindented, said.lines().count()), (2, 4), "{said}");
    }
}
