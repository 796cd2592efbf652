//! `loment-matrix`: prints what became of every test on every version of containerd and in both sandbox modes.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Parser;
use loment_integration::{
    Sandboxer, Version,
    matrix::{self, Absence, Run},
    results::{self, Column},
};

/// Prints the matrix (containerd version x sandbox mode x module of tests) with each hole explained. Fails where a test has
/// failed or is missing without a reason.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Directory with the results of each run (LOMENT_TEST_RESULTS)
    results: PathBuf,
    /// Directory where scripts/containerds unpacks, and says why it could not
    containerds: PathBuf,
}

fn main() -> ExitCode {
    let done = Arguments::try_parse().map_err(anyhow::Error::from).and_then(|arguments| run(&arguments));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let mut runs: Vec<Run> =
        results::read_all(&arguments.results)?.into_iter().map(|(column, records)| (column, Ok(records))).collect();
    runs.extend(without(&runs, absent(&arguments.containerds)?));
    let complaints = matrix::complaints(&runs);
    let mut out = io::stdout().lock();
    write!(out, "{}", matrix::table(&runs)).context("print")?;
    for complaint in &complaints {
        writeln!(out, "{complaint}").context("print")?;
    }
    Ok(complaints.is_empty())
}

/// The columns that were not run, with the reason: of versions that were, and of those that could not be had.
fn without(runs: &[Run], absent: Vec<(Version, String)>) -> Vec<Run> {
    let there: Vec<Column> = runs.iter().map(|(column, _)| *column).collect();
    let mut versions: Vec<Version> = there.iter().map(|column| column.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let both = |version, otherwise: Absence| {
        [Sandboxer::Podsandbox, Sandboxer::Shim].map(|sandboxer| {
            let why = sandboxer.complaint(version).map_or_else(|| otherwise.clone(), Absence::Explained);
            (Column { version, sandboxer }, Err(why))
        })
    };
    let of_those_there = versions.into_iter().flat_map(|version| both(version, Absence::Forgotten));
    let of_the_absent = absent.into_iter().flat_map(|(version, why)| both(version, Absence::Explained(why)));
    of_those_there.chain(of_the_absent).filter(|(column, _)| !there.contains(column)).collect()
}

/// Versions that could not be had, by the files in which that is said. `2` is the first of them that is tested.
fn absent(directory: &Path) -> Result<Vec<(Version, String)>> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(version) = name.strip_suffix(".absent") else { continue };
        let version = version.parse().or_else(|_| format!("{version}.1").parse()).map_err(anyhow::Error::msg)?;
        let why = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        found.push((version, why.trim().to_owned()));
    }
    Ok(found)
}
