//! An installation carried out and taken back. Each step can be the last one before a kill or a loss of power: the record is
//! written before what it tells of, and everything that it tells of can be taken back when only a part was done.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use super::apply;
use super::found::{self, Found, Kind};
use super::plan::{Change, Plan};
use super::programs::Program;
use super::record::{self, Record};

/// Puts the programs that are missing, then makes the change: a class that names a program which is not there yet would fail
/// pods.
///
/// # Errors
/// A file cannot be written, or containerd's program does not see what was written; the change is taken back then.
pub(crate) fn carry_out(
    state: &Path,
    found: &Found,
    handler: &str,
    plan: &Plan,
    programs: &mut [Program],
    missing: &[PathBuf],
) -> anyhow::Result<()> {
    let kind = found.kind.name();
    let all = record::all(state)?;
    let others: Vec<&Record> =
        all.iter().filter(|one| (one.kind.as_str(), one.handler.as_str()) != (kind, handler)).collect();
    // One that another installation has put there is used by this one too: the last of them takes it away.
    let is_kept = |path: &PathBuf| missing.contains(path) || others.iter().any(|other| other.programs.contains(path));
    let kept: Vec<PathBuf> = programs.iter().map(|program| program.to.clone()).filter(is_kept).collect();
    let mut record = record::choose(all.clone(), Some(kind), handler)?
        .unwrap_or_else(|| Record::new(kind, handler, &found.main.path));
    for path in kept {
        record.makes_room_for(&path, &others);
        if !record.programs.contains(&path) {
            record.programs.push(path);
        }
    }
    if let Some(change) = &plan.change {
        take_back_earlier(&mut record)?;
        record.makes_room_for(&change.path, &others);
        record.change = Some(change.clone());
        found.main.path.clone_into(&mut record.config);
    }
    if record.programs.is_empty() && record.change.is_none() {
        return Ok(());
    }
    record::write(state, &record)?;
    let mut puts = programs.iter_mut().filter(|program| missing.contains(&program.to));
    puts.try_for_each(Program::put)?;
    match &plan.change {
        Some(change) => change_and_check(state, found, change, record),
        None => Ok(()),
    }
}

/// What an earlier installation has written is not read any more, else there would be nothing to change: k3s with another
/// version of containerd has another template.
fn take_back_earlier(record: &mut Record) -> anyhow::Result<()> {
    let Some(earlier) = &record.change else { return Ok(()) };
    apply::undo(earlier)
        .with_context(|| format!("take back what an earlier installation has written to {}", earlier.path.display()))?;
    record.change = None;
    Ok(())
}

fn change_and_check(state: &Path, found: &Found, change: &Change, mut record: Record) -> anyhow::Result<()> {
    apply::apply(change)
        .map_err(|error| anyhow!("{error:#}; `loment uninstall` takes away the programs that were put into place"))?;
    let Err(error) = check(found, &record.handler) else { return Ok(()) };
    apply::undo(change).context("take back what containerd does not read")?;
    record.change = None;
    record::write(state, &record)?;
    Err(error.context("the change is taken back"))
}

/// Lets containerd's own program read what was written: it has to see the class, and all that it saw before.
fn check(found: &Found, handler: &str) -> anyhow::Result<()> {
    let (Kind::Containerd, Some(program)) = (found.kind, &found.program) else { return Ok(()) };
    let seen = found::dump(program, &found.main.path)?;
    if !seen.handlers.contains_key(handler) {
        bail!("containerd does not see the runtime class {handler:?} in {}", found.main.path.display());
    }
    let before = found.dump.iter().flat_map(|dump| &dump.handlers);
    for (name, old) in before {
        if seen.handlers.get(name) != Some(old) {
            bail!("containerd would see another runtime class {name:?} than before");
        }
    }
    Ok(())
}

/// The programs of an installation that no other one uses.
pub(crate) fn own_programs(state: &Path, own: &Record) -> anyhow::Result<Vec<PathBuf>> {
    let all = record::all(state)?;
    let is_used = |path: &PathBuf| all.iter().any(|other| other != own && other.programs.contains(path));
    Ok(own.programs.iter().filter(|path| !is_used(path)).cloned().collect())
}

/// Takes back what is left when the change is undone: the programs, the directories that were made, the record.
pub(crate) fn clear(state: &Path, record: &Record, programs: &[PathBuf]) -> anyhow::Result<()> {
    programs.iter().try_for_each(|path| apply::remove(path))?;
    apply::remove_directories(&record.directories)?;
    record::remove(state, record)
}
