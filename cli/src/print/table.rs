//! kubectl's plain tables, and its way to write how long something took.

/// Columns, each as wide as its widest cell, three blanks apart.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    render_below(rows, &mut Vec::new())
}

/// The same for rows that come below others: the columns are at least as wide as they were there.
pub(crate) fn render_below(rows: &[Vec<String>], widths: &mut Vec<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0).max(widths.len());
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count() + 3).max();
    widths.resize(columns, 0);
    for (column, known) in widths.iter_mut().enumerate() {
        *known = (*known).max(width(column).unwrap_or(0));
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths.iter()).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// Text whose lines have cells that end at a tab: a cell is as wide as the widest one of the lines around it that have a
/// cell there, and two blanks. Text behind the last tab of a line is no cell. (Go's tabwriter, which describe is made of.)
pub(crate) fn elastic(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let cell = |line: usize, column: usize| {
        let cells: &Vec<&str> = lines.get(line)?;
        (column + 1 < cells.len()).then(|| cells.get(column).map_or(0, |cell| cell.chars().count()))
    };
    let mut aligned = String::new();
    for (number, cells) in lines.iter().enumerate() {
        for (column, text) in cells.iter().enumerate() {
            aligned.push_str(text);
            let above = (0..number).rev().map_while(|line| cell(line, column));
            let below = (number..lines.len()).map_while(|line| cell(line, column));
            let Some(width) = cell(number, column).and_then(|_| above.chain(below).max()) else { continue };
            aligned.extend(std::iter::repeat_n(' ', width + 2 - text.chars().count()));
        }
        aligned.push('\n');
    }
    aligned
}

/// `95s`, `5m10s`, `47h`, `3d4h`: two units where the first alone says too little.
pub(crate) fn age(seconds: i64) -> String {
    let two = |first: i64, unit: &str, second: i64, smaller: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_three_blanks_apart() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let table = render(&[row(["NAME", "READY", "STATUS"]), row(["http-go", "1/1", "Running"])]);
        assert_eq!(table, "NAME      READY   STATUS\nhttp-go   1/1     Running\n");
    }

    #[test]
    fn cells_are_aligned_with_those_of_the_lines_around_them() {
        let text = "Name:\tweb\nNamespace:\tdefault\nlist:\n  a:\tb\n  State:\tx\ty\n";
        assert_eq!(elastic(text), "Name:       web\nNamespace:  default\nlist:\n  a:      b\n  State:  x  y\n");
    }

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (310, "5m10s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 300, "3h5m"),
            (8 * 3600 + 300, "8h"),
            (47 * 3600, "47h"),
            (76 * 3600, "3d4h"),
            (30 * 86400, "30d"),
            (800 * 86400, "2y70d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(age(seconds), expected, "{seconds}");
        }
    }
}
