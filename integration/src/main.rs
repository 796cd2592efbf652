//! `loment-lab`: a containerd of one's own for as long as a command runs.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use loment_integration::{Choice, Lab, Options, in_lab};

/// Starts a private containerd that knows the runtime class `loment`, with offline images, and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// containerd logs all that it does, to /run/loment-lab/containerd.log inside the lab
    #[arg(long)]
    debug: bool,
    /// Where a machine has both versions of cgroups, the lab sees v1 alone: crun runs on no machine with both
    #[arg(long)]
    legacy_cgroups: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a command in the lab and returns its exit code.
    ///
    /// The command finds containerd through CONTAINERD_ADDRESS (ctr, nerdctl) and CONTAINER_RUNTIME_ENDPOINT (crictl,
    /// loment). It sees the machine's files; what it writes to /run and /var goes with the lab.
    Run {
        /// The command with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let Arguments { debug, legacy_cgroups, choice, verb } = Arguments::parse();
    let options = Options { debug, legacy_cgroups, choice, tracee: None };
    match verb {
        Verb::Run { command } => in_lab(options, |lab| run(lab, &command)),
    }
}

fn run(lab: &Lab, command: &[String]) -> anyhow::Result<ExitCode> {
    let (program, words) = command.split_first().context("a command is needed")?;
    let status = lab.command(program).args(words).status().with_context(|| format!("run {program}"))?;
    Ok(exit_code(status))
}

/// As a shell does it: 128 and the signal's number for a command that a signal ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
