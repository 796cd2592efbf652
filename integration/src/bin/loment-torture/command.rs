//! Its arguments, and what it does by them.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use loment_integration::{
    Choice, Lab, Options,
    gate::TRACEE,
    in_lab,
    torture::{
        load::{self, Amount},
        rounds::{self, Kind, Settings},
    },
};

/// Torments pods on a containerd of its own, and says what is left after each time. Fails where anything is.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Kills a process in the middle of each operation: shim, holder, init, containerd, client
    Kills(Rounds),
    /// Has a system call of the shim or its children fail in the middle of each operation
    Faults(Rounds),
    /// Has much done at once and for long, and looks for what grows
    Load {
        /// Thousands of containers and minutes instead of half a minute
        #[arg(long)]
        long: bool,
    },
}

#[derive(Debug, Args)]
struct Rounds {
    /// How many
    #[arg(long, default_value_t = 50)]
    count: u64,
    /// What they are drawn from; the time when it is not given. It is printed
    #[arg(long)]
    seed: Option<u64>,
    /// The number of the first one: with --count 1 one round is done again
    #[arg(long, default_value_t = 0)]
    first: u64,
}

pub(crate) fn main() -> ExitCode {
    let Arguments { choice, verb } = Arguments::parse();
    let options = tracee().map(|tracee| Options { choice, tracee: Some(tracee), ..Options::default() });
    match options {
        Ok(options) => in_lab(options, |lab| match verb {
            Verb::Kills(rounds) => run(lab, Kind::Kills, &rounds),
            Verb::Faults(rounds) => run(lab, Kind::Faults, &rounds),
            Verb::Load { long } => put(lab, if long { Amount::LONG } else { Amount::SHORT }),
        }),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// It is beside this program.
fn tracee() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find the own program")?;
    Ok(own.with_file_name(TRACEE))
}

fn run(lab: &Lab, kind: Kind, wanted: &Rounds) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = wanted.seed.unwrap_or(now.as_secs());
    let settings = Settings { kind, seed, first: wanted.first, count: wanted.count };
    let mut out = io::stdout();
    writeln!(out, "seed {seed}").context("print")?;
    let report = rounds::run(lab, settings, &mut out)?;
    writeln!(out, "{report}").context("print")?;
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn put(lab: &Lab, amount: Amount) -> Result<ExitCode> {
    let mut out = io::stdout();
    let wrong = load::run(lab, amount, &mut out)?;
    writeln!(out, "grew, hung, was forgotten or left behind: {}", wrong.len()).context("print")?;
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
