//! What came of the rounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    plan::{Deed, Operation, Round},
    rounds::Kind,
};

/// What came of one round.
#[derive(Debug, Clone)]
pub struct Outcome {
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
            write!(f, "\n  WRONG: {wrong}")?;
        }
        Ok(())
    }
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
}

impl Report {
    pub(super) fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed, rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, index: u64, round: Round, outcome: Outcome) {
        self.rounds.push((index, round, outcome));
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.rounds.iter().all(|(.., outcome)| outcome.wrong.is_empty())
    }

    /// How often something was done.
    pub fn struck(&self) -> usize {
        self.rounds.iter().filter(|(.., outcome)| outcome.struck.is_some()).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let struck = self.struck();
        let what = match self.kind {
            Kind::Kills => "kills",
            Kind::Faults => "refused calls",
        };
        let missed = self.rounds.len() - struck;
        let failed = self.rounds.iter().filter(|(.., outcome)| outcome.answer.is_err()).count();
        let again = self.rounds.iter().filter(|(.., outcome)| !outcome.refusals.is_empty()).count();
        let wrong = self.rounds.iter().filter(|(.., outcome)| !outcome.wrong.is_empty()).count();
        writeln!(f, "{struck} {what} (seed {}), {missed} whose moment did not come", self.seed)?;
        for (operation, by_victim) in self.by_operation() {
            let list: Vec<String> = by_victim.iter().map(|(victim, count)| format!("{victim} {count}")).collect();
            writeln!(f, "  {operation}: {}", list.join(", "))?;
        }
        let lost = self.rounds.iter().filter(|(.., outcome)| !outcome.collected.is_empty()).count();
        writeln!(f, "{failed} answered with an error, {again} removed at a later attempt")?;
        writeln!(f, "lost by containerd and collected: {lost}")?;
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
        for (_, round, _) in self.rounds.iter().filter(|(.., outcome)| outcome.struck.is_some()) {
            let whom = match round.deed {
                Deed::Kill(victim) => victim.to_string(),
                Deed::Fail => "calls".to_owned(),
            };
            *counts.entry(round.operation).or_default().entry(whom).or_default() += 1;
        }
        counts
    }
}
