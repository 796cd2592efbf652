//! The outcome of a run as pictures: SVG without anything from elsewhere, in the colours of a light or a dark page.

mod bars;
mod canvas;
mod distributions;
mod lines;
mod waterfall;

use anyhow::Result;

pub(crate) use canvas::escape;

use crate::report::Report;

/// A picture.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Stem of a file's name.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// How it is to be read.
    pub description: String,
    /// The document.
    pub svg: String,
}

/// All pictures that the figures of a run allow.
///
/// Errors: none that are known of; drawing goes to memory.
pub fn charts(report: &Report) -> Result<Vec<Chart>> {
    let all = [
        bars::phases(report)?,
        distributions::draw(report)?,
        lines::at_once(report)?,
        lines::present(report)?,
        bars::memory(report)?,
    ];
    let traced = report.handlers.iter().map(|handler| waterfall::draw(report, &handler.name));
    let traced = traced.collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().chain(traced).flatten().collect())
}
