//! A chart in characters.

use super::{Chart, Row, Sign, Span, What};

/// Draws a chart as lines of at most `width` columns.
pub(crate) fn draw(chart: &Chart, width: usize, color: bool) -> String {
    let label = |row: &Row| if row.role.is_empty() { row.name.clone() } else { format!("{} ({})", row.name, row.role) };
    let labels = chart.rows.iter().map(|row| label(row).chars().count()).chain([3]);
    let margin = labels.max().unwrap_or(3).min(width / 3) + 2;
    let columns = width.saturating_sub(margin + 1).max(10);
    let mut text = format!("{}\n\n", chart.title);
    let mut line = |label: &str, cells: String| {
        let label: String = label.chars().take(margin - 2).collect();
        text.push_str(format!("{label:<margin$}{cells}").trim_end());
        text.push('\n');
    };
    line("", axis(chart, columns));
    line("pod", phases(chart, columns, color));
    for row in &chart.rows {
        line(&label(row), cells(chart, row, columns, color));
    }
    text.push_str(
        "\n░ waits  █ runs  · back-off  ✓ exited with 0  ✗ failed  ▾ signal  △ probe succeeds  ▽ fails  ! warning\n\
         Quiet times are drawn short.\n",
    );
    text
}

fn column(chart: &Chart, at: f64, columns: usize) -> usize {
    let last = columns.saturating_sub(1);
    // Between 0 and the number of columns: nothing is cut off.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let column = (chart.place(at) * last as f64).round() as usize;
    column.min(last)
}

fn axis(chart: &Chart, columns: usize) -> String {
    #[allow(clippy::cast_precision_loss)]
    let last = columns.saturating_sub(1) as f64;
    let mut text = String::new();
    for (place, label) in chart.ticks(9.0 / last) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let at = (place * last).round() as usize;
        // The label at the right edge ends there.
        let length = label.chars().count() + 1;
        let at = at.min(columns.saturating_sub(length));
        let gap = at.saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n(' ', gap));
        text.push('╷');
        text.push_str(&label);
    }
    text
}

/// Each phase stands where it begins, cut off where the next one does. The last one is never cut off: it begins sooner.
fn phases(chart: &Chart, columns: usize, color: bool) -> String {
    let mut placed: Vec<(usize, String, &str)> = Vec::new();
    let mut next = columns;
    for (number, phase) in chart.phases.iter().rev().enumerate() {
        let shown = format!("▏{}", phase.text);
        let mut from = column(chart, phase.from, columns).min(next.saturating_sub(1));
        if number == 0 {
            from = from.min(columns.saturating_sub(shown.chars().count()));
        }
        placed.push((from, shown.chars().take(next - from).collect(), code_of_phase(phase)));
        next = from;
    }
    let (mut text, mut filled) = (String::new(), 0);
    for (from, shown, code) in placed.iter().rev() {
        text.extend(std::iter::repeat_n(' ', from.saturating_sub(filled)));
        text.push_str(&painted(shown, code, color));
        filled = from + shown.chars().count();
    }
    text
}

fn code_of_phase(phase: &Span) -> &'static str {
    match phase.text.as_str() {
        "Succeeded" | "Running" => "32",
        "Failed" => "31",
        _ => "2",
    }
}

fn cells(chart: &Chart, row: &Row, columns: usize, color: bool) -> String {
    let mut cells: Vec<(char, &str)> = vec![(' ', ""); columns];
    for span in &row.spans {
        let (from, until) = (column(chart, span.from, columns), column(chart, span.until, columns));
        let cell = match span.what {
            What::Waits => ('░', "2"),
            What::Runs => ('█', "32"),
            What::BacksOff => ('·', "33"),
            What::Phase => continue,
        };
        // Even the shortest run is seen.
        cells.iter_mut().take(until.max(from + 1)).skip(from).for_each(|slot| *slot = cell);
    }
    // The signs that matter most come last, over the others.
    let mut marks: Vec<_> = row.marks.iter().filter(|mark| mark.sign != Sign::Note).collect();
    marks.sort_by_key(|mark| matches!(mark.sign, Sign::Failed | Sign::Succeeded));
    for mark in marks {
        let cell = match mark.sign {
            Sign::Succeeded => ('✓', "32"),
            Sign::Failed => ('✗', "31"),
            Sign::Signal => ('▾', "35"),
            Sign::Healthy => ('△', "32"),
            Sign::Unhealthy => ('▽', "31"),
            Sign::Warning | Sign::Note => ('!', "33"),
        };
        if let Some(slot) = cells.get_mut(column(chart, mark.at, columns)) {
            *slot = cell;
        }
    }
    let mut text = String::new();
    for run in cells.chunk_by(|a, b| a.1 == b.1) {
        let shown: String = run.iter().map(|(cell, _)| cell).collect();
        text.push_str(&painted(&shown, run.first().map_or("", |(_, code)| code), color));
    }
    text
}

fn painted(text: &str, code: &str, color: bool) -> String {
    if color && !code.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
