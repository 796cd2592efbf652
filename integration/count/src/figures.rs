//! Figures: read from callgrind's output, kept in a file, compared.

use std::{fmt::Write, path::Path};

use anyhow::{Context, Result};

/// Growth that is let pass, in per cent: room for a line or two. The counts themselves do not vary.
const GROWTH: u64 = 2;
/// The same where another compiler than that of the committed figures has made the shim: it divides the work otherwise
/// among functions. The mistakes that are looked for, a specification read or a filter compiled twice, cost a quarter of
/// a Create and more.
const GROWTH_ELSEWHERE: u64 = 15;

/// What was counted, with what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Versions of compiler and valgrind.
    pub(crate) tools: Vec<String>,
    /// Operations and their instructions, in the order of a pod's life.
    pub(crate) operations: Vec<(String, u64)>,
}

/// Reads what callgrind has counted in all.
pub(crate) fn read_total(output: &Path) -> Result<u64> {
    let text = std::fs::read(output).with_context(|| format!("read {}", output.display()))?;
    total(&String::from_utf8_lossy(&text)).with_context(|| format!("{} has no sum", output.display()))
}

fn total(text: &str) -> Option<u64> {
    let sum = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")))?;
    sum.trim().parse().ok()
}

impl Figures {
    /// As [`Figures::parse`] reads it.
    pub(crate) fn write(&self) -> String {
        let mut text = String::from(
            "# Instructions of each operation, outside of the kernel. Written by scripts/count --update.\n",
        );
        text.extend(self.tools.iter().map(|tool| format!("with {tool}\n")));
        text.extend(self.operations.iter().map(|(name, count)| format!("{count:>9}  {name}\n")));
        text
    }

    /// Reads the committed ones.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut figures = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some(tool) = line.strip_prefix("with ") {
                figures.tools.push(tool.to_owned());
                continue;
            }
            let (count, name) = line.trim_start().split_once("  ").with_context(|| format!("no figure: {line:?}"))?;
            let count = count.parse().with_context(|| format!("no figure: {line:?}"))?;
            figures.operations.push((name.to_owned(), count));
        }
        Ok(figures)
    }

    fn of(&self, name: &str) -> Option<u64> {
        self.operations.iter().find(|(other, _)| other == name).map(|(_, count)| *count)
    }
}

/// Figures beside the committed ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// To be printed.
    pub(crate) text: String,
    /// Whether something has grown by more than is let pass, or is missing on one side.
    pub(crate) failed: bool,
}

/// Compares.
pub(crate) fn compare(now: &Figures, committed: &Figures) -> Comparison {
    let same_tools = now.tools == committed.tools;
    let limit = if same_tools { GROWTH } else { GROWTH_ELSEWHERE };
    let mut text = format!("{:<48} {:>12} {:>10} {:>8}\n", "operation", "instructions", "committed", "change");
    let (mut grown, mut changed) = (Vec::new(), false);
    for (name, count) in &now.operations {
        let before = committed.of(name);
        changed |= before != Some(*count);
        let Some(before) = before else {
            let _ = writeln!(text, "{name:<48} {count:>12} {:>10}", "-");
            grown.push(name);
            continue;
        };
        let change = (*count as f64 / before as f64 - 1.0) * 100.0;
        let _ = writeln!(text, "{name:<48} {count:>12} {before:>10} {change:>+7.2}%");
        if count * 100 > before * (100 + limit) {
            grown.push(name);
        }
    }
    grown.extend(committed.operations.iter().map(|(name, _)| name).filter(|name| now.of(name).is_none()));
    if !same_tools {
        let _ = writeln!(
            text,
            "\nCounted with {}, committed with {}: not the same program, so {limit} % of growth is let pass.",
            now.tools.join(" and "),
            committed.tools.join(" and ")
        );
    }
    let failed = !grown.is_empty();
    for name in grown {
        let _ = writeln!(text, "\n{name}: grown by more than {limit} %, or not counted on both sides.");
    }
    if changed && same_tools {
        let _ = writeln!(text, "\nWhere the change is meant: scripts/count --update, and commit the figures with it.");
    }
    Comparison { text, failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(tool: &str, counts: &[(&str, u64)]) -> Figures {
        let operations = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Figures { tools: vec![tool.to_owned()], operations }
    }

    #[test]
    fn figures_are_read_as_they_were_written() {
        let figures = figures("rustc 1.95.0", &[("start", 211_910), ("Kill container, and its end", 7)]);
        assert_eq!(Figures::parse(&figures.write()).unwrap(), figures);
        assert!(Figures::parse("start").is_err());
    }

    #[test]
    fn growth_beyond_the_tolerance_fails_and_less_is_told() {
        let committed = figures("a", &[("start", 1000)]);
        let with = |count| compare(&figures("a", &[("start", count)]), &committed);
        assert!(with(1021).failed);
        assert!(with(1021).text.contains("start: grown"));
        assert!(!with(1020).failed);
        assert!(with(900).text.contains("--update"));
        assert!(!with(900).failed);
        assert!(!with(1000).text.contains("--update"));
    }

    #[test]
    fn another_compiler_has_more_room() {
        let committed = figures("a", &[("start", 1000)]);
        let with = |count| compare(&figures("b", &[("start", count)]), &committed);
        assert!(!with(1150).failed);
        assert!(with(1151).failed);
        assert!(with(1000).text.contains("not the same program"));
    }

    #[test]
    fn what_is_counted_on_one_side_only_fails() {
        let (one, two) = (figures("a", &[("start", 1)]), figures("a", &[("start", 1), ("Exec", 1)]));
        assert!(compare(&one, &two).failed);
        assert!(compare(&two, &one).failed);
    }

    #[test]
    fn a_sum_is_found_in_what_callgrind_writes() {
        assert_eq!(total("events: Ir\nsummary: 21\n\nfn=(1) a\n"), Some(21));
        assert_eq!(total("events: Ir\nfn=(1) a\n\ntotals: 7\n"), Some(7));
        assert_eq!(total(""), None);
    }
}
