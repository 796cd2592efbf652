//! The table of all runs: a column for each version of containerd and each way to make sandboxes, a row for each module of
//! tests, and below it why a test is missing in a column. Pure: from what was read to the text.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::results::{Column, Outcome, Record};

/// A column: what became of its tests, or why there was no run.
pub type Run = (Column, Result<Vec<Record>, Absence>);

/// Why a column was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// It cannot be, for this reason.
    Explained(String),
    /// Nobody knows.
    Forgotten,
}

impl Absence {
    fn why(&self) -> &str {
        match self {
            Self::Explained(why) => why,
            Self::Forgotten => "it has not been run",
        }
    }
}

/// Reasons in their order of appearance; a mark stands for each.
#[derive(Debug, Default)]
struct Reasons(Vec<String>);

impl Reasons {
    /// a, b, ... z, aa, ab, ...
    fn mark(&mut self, why: &str) -> String {
        let found = self.0.iter().position(|known| known == why);
        let index = found.unwrap_or_else(|| {
            self.0.push(why.to_owned());
            self.0.len() - 1
        });
        Self::letters(index)
    }

    fn letters(index: usize) -> String {
        let letter = |number: usize| char::from(b'a' + u8::try_from(number % 26).unwrap_or_default());
        match index / 26 {
            0 => letter(index).to_string(),
            more => format!("{}{}", Self::letters(more - 1), letter(index)),
        }
    }
}

/// The table with its explanations, one line each.
pub fn table(runs: &[Run]) -> String {
    let mut runs: Vec<&Run> = runs.iter().collect();
    runs.sort_by_key(|(column, _)| *column);
    let modules: BTreeSet<&str> =
        runs.iter().flat_map(|(_, run)| records(run)).map(|one| one.module.as_str()).collect();
    let mut reasons = Reasons::default();
    let head = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells = runs.iter().map(|(column, _)| cell(column));
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    let mut rows = vec![
        head("containerd", &|column| column.version.to_string()),
        head("sandboxer", &|column| column.sandboxer.to_string()),
    ];
    for module in &modules {
        let cells = runs.iter().map(|(_, run)| cell(run, |record| record.module == **module, &mut reasons));
        rows.push([(*module).to_owned()].into_iter().chain(cells).collect());
    }
    let totals = runs.iter().map(|(_, run)| cell(run, |_| true, &mut reasons));
    rows.push(["all".to_owned()].into_iter().chain(totals).collect());
    let mut text = aligned(&rows);
    text.push_str("\nA cell: tests that passed, and with +, how many were left out and why.\n");
    for (index, why) in reasons.0.iter().enumerate() {
        let _ = writeln!(text, "  {}: {why}", Reasons::letters(index));
    }
    text
}

/// What is wrong with the runs: tests that failed, and tests or a whole column that is missing without a reason.
pub fn complaints(runs: &[Run]) -> Vec<String> {
    let known: BTreeSet<(&str, &str)> = runs.iter().flat_map(|(_, run)| records(run)).map(name).collect();
    let mut complaints = Vec::new();
    for (column, run) in runs {
        let failed = records(run).iter().filter(|record| matches!(record.outcome, Outcome::Failed(_)));
        complaints.extend(failed.map(|one| format!("{column}: {}::{} failed", one.module, one.case)));
        if let Err(absence @ Absence::Forgotten) = run {
            complaints.push(format!("{column}: {}", absence.why()));
        }
        let Ok(run) = run else { continue };
        let there: BTreeSet<(&str, &str)> = run.iter().map(name).collect();
        let missing = known.difference(&there);
        complaints.extend(missing.map(|(module, case)| format!("{column}: nothing is known of {module}::{case}")));
    }
    complaints
}

fn records(run: &Result<Vec<Record>, Absence>) -> &[Record] {
    run.as_deref().unwrap_or_default()
}

fn name(record: &Record) -> (&str, &str) {
    (&record.module, &record.case)
}

/// Of some tests of a run: how many passed, failed, and were left out for each reason.
fn cell(run: &Result<Vec<Record>, Absence>, is_meant: impl Fn(&Record) -> bool, reasons: &mut Reasons) -> String {
    let run = match run {
        Ok(run) => run,
        Err(absence) => return format!("-{}", reasons.mark(absence.why())),
    };
    let meant: Vec<&Record> = run.iter().filter(|record| is_meant(record)).collect();
    let count = |is_it: &dyn Fn(&Outcome) -> bool| meant.iter().filter(|record| is_it(&record.outcome)).count();
    let passed = count(&|outcome| *outcome == Outcome::Passed);
    let failed = count(&|outcome| matches!(outcome, Outcome::Failed(_)));
    let mut text = passed.to_string();
    if failed > 0 {
        let _ = write!(text, " {failed} FAILED");
    }
    let mut whys: Vec<&str> = Vec::new();
    for record in &meant {
        if let Outcome::LeftOut(why) = &record.outcome
            && !whys.contains(&why.as_str())
        {
            whys.push(why);
        }
    }
    for why in whys {
        let number = count(&|outcome| matches!(outcome, Outcome::LeftOut(known) if known == why));
        let _ = write!(text, " +{number}{}", reasons.mark(why));
    }
    if meant.is_empty() { "?".to_owned() } else { text }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |index: usize| rows.iter().filter_map(|row| Some(row.get(index)?.len())).max().unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(index, cell)| format!("{cell:<width$}", width = width(index)));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Sandboxer, Version};

    fn column(minor: u32, sandboxer: Sandboxer) -> Column {
        Column { version: Version::new(1, minor), sandboxer }
    }

    fn record(name: &str, outcome: Outcome) -> Record {
        let (module, case) = name.split_once("::").expect("a module and a case");
        Record { module: module.to_owned(), case: case.to_owned(), outcome }
    }

    fn left_out(why: &str) -> Outcome {
        Outcome::LeftOut(why.to_owned())
    }

    #[test]
    fn each_column_counts_and_each_hole_has_its_reason() {
        let full = vec![record("exec::a", Outcome::Passed), record("exec::b", Outcome::Passed)];
        let some = vec![record("exec::a", Outcome::Failed("no".to_owned())), record("exec::b", left_out("it cannot"))];
        let runs = [
            (column(7, Sandboxer::Podsandbox), Ok(some)),
            (column(6, Sandboxer::Podsandbox), Ok(full)),
            (column(6, Sandboxer::Shim), Err(Absence::Explained("it has none".to_owned()))),
        ];
        let expected = "containerd  1.6         1.6   1.7\n\
                        sandboxer   podsandbox  shim  podsandbox\n\
                        exec        2           -a    0 1 FAILED +1b\n\
                        all         2           -a    0 1 FAILED +1b\n\
                        \n\
                        A cell: tests that passed, and with +, how many were left out and why.\n  \
                          a: it has none\n  \
                          b: it cannot\n";
        assert_eq!(table(&runs), expected);
    }

    #[test]
    fn a_failure_and_a_hole_without_a_reason_are_complained_of() {
        let full = vec![record("exec::a", Outcome::Passed), record("exec::b", left_out("it cannot"))];
        let some = vec![record("exec::a", Outcome::Failed("no".to_owned()))];
        let runs = [
            (column(6, Sandboxer::Podsandbox), Ok(full)),
            (column(6, Sandboxer::Shim), Err(Absence::Explained("it has none".to_owned()))),
            (column(7, Sandboxer::Podsandbox), Ok(some)),
            (column(7, Sandboxer::Shim), Err(Absence::Forgotten)),
        ];
        let expected = [
            "containerd 1.7, podsandbox: exec::a failed",
            "containerd 1.7, podsandbox: nothing is known of exec::b",
            "containerd 1.7, shim: it has not been run",
        ];
        assert_eq!(complaints(&runs), expected);
        assert!(complaints(&runs[..2]).is_empty());
    }

    #[test]
    fn there_is_a_mark_for_any_number_of_reasons() {
        let marks = [0, 25, 26, 27, 52].map(Reasons::letters);
        assert_eq!(marks, ["a", "z", "aa", "ab", "ba"]);
    }
}
