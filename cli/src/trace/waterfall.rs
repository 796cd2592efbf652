//! A trace as bars below each other.

use super::{Part, Span, Start, Trace};

/// What the names of phases may take.
const NAME: usize = 32;
/// What a time takes.
const TIME: usize = 8;

/// Draws the starts as lines of at most `width` columns. All bars have the same scale.
pub(crate) fn draw(trace: &Trace, width: usize, color: bool) -> String {
    let columns = width.saturating_sub(NAME + TIME + 6).max(10);
    let parts = || trace.starts.iter().flat_map(|start| start.parts.iter().map(move |part| (start, part)));
    let longest = parts().map(|(_, part)| part.nanos()).max().unwrap_or_default().max(1);
    let mut text = format!("pod {}/{}: milliseconds\n", trace.namespace, trace.pod);
    for (start, part) in parts() {
        text.push_str(&title(start, part, trace.from()));
        for span in &part.spans {
            text.push_str(&line(span, part.from, Scale { longest, columns }, color));
        }
    }
    text.push_str("\n█ the shim  ▒ the process that it makes\n");
    text
}

#[derive(Clone, Copy)]
struct Scale {
    longest: u64,
    columns: usize,
}

impl Scale {
    fn column(self, nanos: u64) -> usize {
        let column = u128::from(nanos) * self.columns as u128 / u128::from(self.longest);
        usize::try_from(column).unwrap_or(self.columns).min(self.columns)
    }
}

fn title(start: &Start, part: &Part, first: u64) -> String {
    let name: String = format!("{}: {}", start.title(), part.name).chars().take(NAME + 1).collect();
    let after = millis(part.from.saturating_sub(first));
    format!("\n{name:<width$}{:>TIME$}   after {after}\n", millis(part.nanos()), width = NAME + 2)
}

fn line(span: &Span, first: u64, scale: Scale, color: bool) -> String {
    let from = scale.column(span.from.saturating_sub(first)).min(scale.columns - 1);
    // Even the shortest is seen.
    let until = scale.column(span.to.saturating_sub(first)).max(from + 1);
    let (cell, code) = if span.by_child { ("▒", "36") } else { ("█", "32") };
    let bar = cell.repeat(until - from);
    let bar = if color { format!("\x1b[{code}m{bar}\x1b[0m") } else { bar };
    let name: String = span.phase.chars().take(NAME - 1).collect();
    format!("  {name:<NAME$}{:>TIME$}  {}{bar}\n", millis(span.to - span.from), " ".repeat(from))
}

fn millis(nanos: u64) -> String {
    let micros = nanos.saturating_add(500) / 1000;
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_where_the_time_went() {
        let mut trace = super::super::tests::trace();
        trace.starts.truncate(3);
        let expected = "\
pod default/web: milliseconds

shim: begin                          1.000   after 0.000
  bind socket                        1.000  ████

sandbox: create                      2.000   after 5.000
  wait for child                     2.000  ████████

app: create                          4.000   after 15.000
  read spec                          1.000  ████
  be born                            2.000      ▒▒▒▒▒▒▒▒
  wait for child                     3.000      ████████████

app: start                           2.000   after 25.000
  open gate                          1.000  ████
  load filter and execute            1.000      ████

█ the shim  ▒ the process that it makes
";
        assert_eq!(draw(&trace, 62, false), expected);
    }

    #[test]
    fn nothing_is_wider_than_it_may_be() {
        let mut trace = super::super::tests::trace();
        trace.starts[2].name = "a".repeat(63);
        for width in [60, 80, 200] {
            let text = draw(&trace, width, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
        }
    }

    #[test]
    fn a_pod_without_starts_is_drawn() {
        let mut trace = super::super::tests::trace();
        trace.starts.clear();
        assert!(draw(&trace, 80, true).starts_with("pod default/web"));
    }

    #[test]
    fn times_are_rounded_to_microseconds() {
        assert_eq!([0, 499, 500, 1_499, 1_234_567].map(millis), ["0.000", "0.000", "0.001", "0.001", "1.235"]);
    }
}
