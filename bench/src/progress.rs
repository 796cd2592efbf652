//! How far a run is: a bar on the terminal, where there is one.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar. Without a terminal nothing is drawn.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// For so many pods.
    pub(crate) fn new(pods: u64) -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(pods), target);
        if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:30} {pos}/{len} pods  {elapsed}, {eta} to go") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// What is done now.
    pub(crate) fn phase(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// One more pod has lived.
    pub(crate) fn pod(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
