//! Lines of a container's log as a user wants them.

use crate::commands::print_bytes;
use crate::logs::crilog::Line;

/// How much is gathered before it is written.
const GATHERED: usize = 64 << 10;

/// What each line looks like, and how many bytes there may be of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Style {
    pub(crate) timestamps: bool,
    /// What stands before each line.
    pub(crate) prefix: String,
    /// Bytes of the log that are printed at most; prefixes do not count.
    pub(crate) limit: Option<u64>,
    /// Whether lines of others come in between, so that only whole ones may be printed.
    pub(crate) among_others: bool,
}

#[derive(Debug)]
pub(crate) struct Printer {
    style: Style,
    left: u64,
    /// Not yet written.
    out: Vec<u8>,
    /// Whether the next text begins a line.
    at_start: bool,
    /// How much of `out` is whole lines.
    whole: usize,
}

impl Printer {
    pub(crate) fn new(style: Style) -> Self {
        let left = style.limit.unwrap_or(u64::MAX);
        Self { style, left, out: Vec::new(), at_start: true, whole: 0 }
    }

    /// Takes the next part of the log. Whether more may come.
    pub(crate) fn take(&mut self, line: &Line) -> anyhow::Result<bool> {
        if self.at_start {
            self.out.extend_from_slice(self.style.prefix.as_bytes());
            if self.style.timestamps {
                self.counted(format!("{} ", line.time).as_bytes());
            }
        }
        self.counted(&line.text);
        self.at_start = line.is_complete();
        if self.at_start {
            self.whole = self.out.len();
        }
        if self.out.len() >= GATHERED {
            self.write()?;
        }
        Ok(self.left > 0)
    }

    fn counted(&mut self, text: &[u8]) {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(text.len());
        self.left -= taken as u64;
        self.out.extend_from_slice(&text[..taken]);
    }

    /// Writes what there is, as far as others' lines allow.
    pub(crate) fn write(&mut self) -> anyhow::Result<()> {
        let end = if self.style.among_others { self.whole } else { self.out.len() };
        self.whole = 0;
        print_bytes(&self.out.drain(..end).collect::<Vec<u8>>())
    }

    /// Writes the rest, which may lack the end of its line.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        print_bytes(&self.out.split_off(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { time: "T".to_owned(), text: text.into() }
    }

    fn gathered(style: Style, lines: &[&str]) -> (String, bool) {
        let mut printer = Printer::new(style);
        let more = lines.iter().all(|text| printer.take(&line(text)).unwrap());
        (String::from_utf8_lossy(&printer.out).into_owned(), more)
    }

    #[test]
    fn prefix_and_time_stand_at_the_beginning_of_a_line_only() {
        let style = Style { timestamps: true, prefix: "[p] ".to_owned(), ..Style::default() };
        assert_eq!(gathered(style, &["be", "gun\n", "next\n"]).0, "[p] T begun\n[p] T next\n");
    }

    #[test]
    fn a_limit_counts_what_is_of_the_log() {
        let style = Style { limit: Some(7), prefix: "[p] ".to_owned(), ..Style::default() };
        assert_eq!(gathered(style.clone(), &["1234\n", "5678\n", "9\n"]), ("[p] 1234\n[p] 56".to_owned(), false));
        assert!(gathered(style, &["1234\n"]).1);
    }

    #[test]
    fn among_others_only_whole_lines_are_written() {
        let mut printer = Printer::new(Style { among_others: true, ..Style::default() });
        printer.take(&line("half")).unwrap();
        printer.write().unwrap();
        assert_eq!(printer.out, b"half");
    }
}
