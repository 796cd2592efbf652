//! Changes carried out and taken back.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::config::Config;
use super::found::Source;
use super::plan::{Change, RUNTIME_TYPE, Way};

/// Carries a change out.
///
/// # Errors
/// The file cannot be written, or is not what it was when the change was planned.
pub(crate) fn apply(change: &Change) -> anyhow::Result<()> {
    let current = Source::read(&change.path)?.text;
    if current.is_none() && change.path.is_symlink() {
        // The file would take the link's place, and nothing would bring that back.
        bail!("{} is a link to a file that is not there: make that, or remove the link", change.path.display());
    }
    match (change.way, current) {
        (Way::Created, None) => replace(&change.path, change.text.as_bytes(), 0o644),
        (Way::Appended, Some(old)) => replace(&change.path, format!("{old}{}", change.text).as_bytes(), 0o644),
        (Way::Created, Some(_)) => {
            bail!("{} has just been made by somebody else: run this again", change.path.display())
        }
        (Way::Appended, None) => {
            bail!("{} has just been removed by somebody else: run this again", change.path.display())
        }
    }
}

/// Directories that have to be made for a file, outermost first.
pub(crate) fn missing_directories(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1).take_while(|directory| !directory.exists());
    let mut missing: Vec<PathBuf> = above.map(Path::to_owned).collect();
    missing.reverse();
    missing
}

/// What undoes a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undo {
    /// It is undone already.
    Nothing,
    Remove,
    Write(String),
}

/// Decides how a change is undone in a file as it is now. What others have added meanwhile stays.
///
/// # Errors
/// The file was changed so that what was added cannot be told apart any more.
pub(crate) fn undoing(change: &Change, current: Option<&str>) -> Result<Undo, String> {
    let path = change.path.display();
    match (change.way, current) {
        (_, None) => Ok(Undo::Nothing),
        (Way::Created, Some(text)) if text == change.text => Ok(Undo::Remove),
        (Way::Created, Some(text)) if !mentions(text, change) => Ok(Undo::Nothing),
        (Way::Created, Some(text)) => cut(text, change).map(Undo::Write).ok_or_else(|| format!(
            "{path} was made by `loment install` and has been changed since: remove the runtime class from it (or the whole file) by \
             hand, and run this again"
        )),
        (Way::Appended, Some(text)) => match text.matches(change.text.as_str()).count() {
            1 => Ok(Undo::Write(text.replacen(&change.text, "", 1))),
            0 if !mentions(text, change) => Ok(Undo::Nothing),
            _ => Err(format!(
                "what `loment install` has added to {path} has been changed since: remove it by hand (between \"# Begin of what `loment \
                 install` has added\" and \"# End of it\"), and run this again"
            )),
        },
    }
}

/// A file that was made, and that others have written in since, without the class: its tables go as they were written, with
/// the version above them staying for what others have added. Nothing, if they are not there as they were written.
fn cut(text: &str, change: &Change) -> Option<String> {
    let at = change.text.find("\n[").map_or(0, |at| at + 1);
    let tables = change.text.get(at..).filter(|tables| tables.starts_with('['))?;
    let (before, after) = text.split_once(tables).filter(|(_, after)| !after.contains(tables))?;
    // What follows belongs to the last table, unless it begins another one.
    let mut lines = after.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let is_whole = before.is_empty() || before.ends_with('\n');
    let cut = format!("{before}{after}");
    (is_whole && lines.next().is_none_or(|line| line.starts_with('[')) && !mentions(&cut, change)).then_some(cut)
}

/// Whether the class that was added is still in the text: in its table as it was written, or in another one that somebody has
/// made of it (`containerd config migrate` moves the class to another plugin's table).
fn mentions(text: &str, change: &Change) -> bool {
    let headers = change.text.lines().filter(|line| line.starts_with('[') && !line.contains("runtimes.runc]"));
    let headers: Vec<&str> = headers.collect();
    let names = headers.iter().filter_map(|header| header.trim_end_matches(']').rsplit('.').next());
    let names: Vec<&str> = names.collect();
    let is_ours = |config: &Config| {
        let mut ours = config.handlers.iter().filter(|(_, handler)| handler.runtime_type == RUNTIME_TYPE);
        ours.any(|(name, _)| names.contains(&name.as_str()))
    };
    text.lines().any(|line| headers.contains(&line.trim())) || Config::parse(text).is_ok_and(|config| is_ours(&config))
}

/// Undoes a change. Answers whether anything had to be done.
pub(crate) fn undo(change: &Change) -> anyhow::Result<bool> {
    let current = Source::read(&change.path)?.text;
    let undo = undoing(change, current.as_deref()).map_err(anyhow::Error::msg)?;
    match &undo {
        Undo::Nothing => remove_unfinished(&change.path)?,
        Undo::Remove => remove(&change.path)?,
        Undo::Write(text) => replace(&change.path, text.as_bytes(), 0o644)?,
    }
    Ok(undo != Undo::Nothing)
}

/// Removes directories that were made, outermost first in the list, unless others keep something there by now.
pub(crate) fn remove_directories(directories: &[PathBuf]) -> anyhow::Result<()> {
    for directory in directories.iter().rev() {
        match fs::remove_dir(directory) {
            Err(error) if ![io::ErrorKind::NotFound, io::ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
                return Err(error).with_context(|| format!("remove {}", directory.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a file, which may be gone, and what a write of it that was cut short has left.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    remove_unfinished(path)?;
    remove_one(path)
}

fn remove_one(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes what a write that was cut short has left beside a file.
fn remove_unfinished(path: &Path) -> anyhow::Result<()> {
    let beside = beside(&behind_links(path));
    // On a read-only file system the removal of what is not there is refused too.
    if beside.symlink_metadata().is_ok() { remove_one(&beside) } else { Ok(()) }
}

fn behind_links(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Where a file is written before it takes the place of the other. No pattern of imports matches it that names an extension.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.loment-new"))
}

/// Writes a file as a whole: whoever reads it finds the old one or the new one, also after a loss of power. One that is
/// there keeps its owner and mode, and a link stays one. `mode` is for one that is new.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let path = behind_links(path);
    write_beside(&path, bytes, mode)
        .with_context(|| format!("write {} (is it on a read-only file system?)", path.display()))
}

fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let beside = beside(path);
    // One that was cut short has left it: it is made anew, so that nobody has it open.
    let _none = fs::remove_file(&beside);
    let written = write_new(&beside, path, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _gone = fs::remove_file(&beside);
    }
    written?;
    File::open(directory)?.sync_all()
}

/// Nobody else reads it before it has its owner and mode: a configuration may have passwords of registries.
fn write_new(beside: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(bytes)?;
    match fs::metadata(path) {
        Ok(old) => {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        }
        Err(_) => file.set_permissions(Permissions::from_mode(mode))?,
    }
    file.sync_all()
}
