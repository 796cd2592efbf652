//! What a command is waiting for, on a terminal: one line for each image that is being pulled.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::commands::note;

/// How often a line moves.
const TICK: Duration = Duration::from_millis(120);
/// What is done sooner is not worth a line.
const PATIENCE: Duration = Duration::from_millis(200);

/// The lines. Without a terminal nothing is drawn; what has to be said is said all the same.
#[derive(Clone)]
pub(crate) struct Progress {
    lines: Option<MultiProgress>,
}

/// A line that goes when what it tells of is done.
pub(crate) struct Line {
    bar: Option<ProgressBar>,
    late: Option<tokio::task::JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { lines: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// A pull of this image has begun.
    pub(crate) fn begin(&self, image: &str) -> Line {
        let Some(lines) = self.lines.clone() else { return Line { bar: None, late: None } };
        let bar = ProgressBar::new_spinner().with_message(format!("pulling {image}"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {elapsed}") {
            bar.set_style(style);
        }
        let shown = bar.clone();
        let late = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            lines.add(shown.clone());
            shown.enable_steady_tick(TICK);
        });
        Line { bar: Some(bar), late: Some(late) }
    }

    /// Says something above the lines.
    pub(crate) fn say(&self, text: &str) {
        match &self.lines {
            Some(lines) => lines.suspend(|| note(text)),
            None => note(text),
        }
    }

    /// Takes the lines away.
    pub(crate) fn clear(&self) {
        if let Some(lines) = &self.lines {
            // A terminal that cannot be written to has nothing to be cleared.
            let _ = lines.clear();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(late) = &self.late {
            late.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
