//! Counts the instructions of a pod's start, operation by operation, and compares them with the committed figures.
//!
//! The shim runs under callgrind, in a place that is the same each time ([`place`]), on a kernel of which it sees what is
//! the same each time (`counted/`), and is asked for a pod ([`life`]).

mod figures;
mod life;
mod place;

use std::{
    io::Write,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use figures::Figures;

/// The committed figures, from the top directory.
const COMMITTED: &str = "integration/count/figures.txt";
const USAGE: &str = "usage: loment-count [--update | --keep DIRECTORY]   (in the top directory of the sources)";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        let _closed = writeln!(std::io::stderr(), "loment-count: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => compare(&count(None)?),
        ["--keep", directory] => compare(&count(Some(directory))?),
        ["--update"] => update(&count(None)?),
        [INSIDE, shim, ref keep @ ..] => inside(Path::new(shim), keep.first().copied().map(Path::new)),
        _ => bail!(USAGE),
    }
}

fn compare(now: &Figures) -> Result<ExitCode> {
    let committed = std::fs::read_to_string(COMMITTED).with_context(|| format!("read {COMMITTED}"))?;
    let comparison = figures::compare(now, &Figures::parse(&committed)?);
    print!("{}", comparison.text);
    Ok(if comparison.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn update(now: &Figures) -> Result<ExitCode> {
    std::fs::write(COMMITTED, now.write()).with_context(|| format!("write {COMMITTED}"))?;
    print!("{}", now.write());
    Ok(ExitCode::SUCCESS)
}

/// How this program calls itself, for the part that goes on in namespaces of its own.
const INSIDE: &str = "inside";

/// Counts. What callgrind has written is copied to `keep`, for `callgrind_annotate`.
fn count(keep: Option<&str>) -> Result<Figures> {
    let rustc = std::env::var("LOMENT_COUNT_RUSTC").unwrap_or_else(|_| "an unknown compiler".to_owned());
    let valgrind = Command::new("valgrind").arg("--version").output();
    let valgrind = valgrind.context("run valgrind (scripts/install-deps --long installs it)")?;
    let valgrind = String::from_utf8_lossy(&valgrind.stdout).trim().to_owned();
    if let Some(directory) = keep {
        std::fs::create_dir_all(directory).with_context(|| format!("make {directory}"))?;
    }
    let own = std::env::current_exe().context("find this program")?;
    place::leave()?;
    let mut inside = Command::new(&own);
    inside.arg(INSIDE).arg(own.with_file_name("loment-counted-shim")).args(keep).stdout(Stdio::piped());
    let output = inside.spawn().and_then(std::process::Child::wait_with_output).context("go on in new namespaces")?;
    ensure!(output.status.success(), "nothing was counted");
    let counted = Figures::parse(&String::from_utf8(output.stdout)?)?;
    Ok(Figures { tools: vec![rustc, valgrind], ..counted })
}

/// In the new namespaces: makes the place, leads a pod through its life, says what was counted.
fn inside(shim: &Path, keep: Option<&Path>) -> Result<ExitCode> {
    place::make(shim)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lived = runtime.block_on(life::live());
    if let Some(directory) = keep {
        // Under the name of the operation.
        for part in lived.iter().flatten() {
            std::fs::copy(&part.output, directory.join(part.name.replace([' ', ','], "-")))
                .with_context(|| format!("copy to {}", directory.display()))?;
        }
    }
    let count = |part: &life::Part| Ok((part.name.to_owned(), figures::read_total(&part.output)?));
    let operations = lived?.iter().map(count).collect::<Result<_>>()?;
    print!("{}", Figures { tools: Vec::new(), operations }.write());
    Ok(ExitCode::SUCCESS)
}
