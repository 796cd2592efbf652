//! Small readers of directories and `/proc`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The directories in a directory; none when it is gone.
pub(crate) fn subdirectories(path: &Path) -> Vec<PathBuf> {
    entries(path).into_iter().filter(|entry| entry.is_dir() && !entry.is_symlink()).collect()
}

/// What is in a directory, sorted; nothing when it is gone.
pub(crate) fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    found
}
