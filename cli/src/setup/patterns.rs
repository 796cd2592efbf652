//! The files that a configuration imports.

use std::fs;
use std::path::{Path, PathBuf};

use super::found::Source;

/// Imports are relative to the file that names them.
pub(super) fn absolute(main: &Path, patterns: &[String]) -> Vec<String> {
    let directory = main.parent().unwrap_or(Path::new("/"));
    patterns.iter().map(|pattern| directory.join(pattern).to_string_lossy().into_owned()).collect()
}

/// The files of patterns, each once, in the order in which containerd reads them.
pub(super) fn read_all(patterns: &[String], main: &Path) -> anyhow::Result<Vec<Source>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let mut of_one = matches(pattern);
        of_one.retain(|path| path != main && !paths.contains(path));
        of_one.sort();
        paths.extend(of_one);
    }
    paths.iter().map(|path| Source::read(path)).collect()
}

/// The files of a pattern whose last part may have stars.
fn matches(pattern: &str) -> Vec<PathBuf> {
    let Some((directory, name)) = pattern.rsplit_once('/') else { return Vec::new() };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_name().to_str().is_some_and(|file| is_match(name, file)));
    files.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

/// Whether a name is one of a pattern's: `*` stands for anything, nothing else is special.
pub(crate) fn is_match(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => {
            let Some(rest) = name.strip_prefix(before) else { return false };
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_match(after, rest)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.tomlx", false),
            ("runtime_*.toml", "runtime_a.toml", true),
            ("a*b*c", "abbc", true),
            ("a.toml", "b.toml", false),
        ] {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn imports_are_relative_to_the_file_that_names_them() {
        let patterns = ["conf.d/*.toml".to_owned(), "/x/*.toml".to_owned()];
        assert_eq!(
            absolute(Path::new("/etc/containerd/config.toml"), &patterns),
            ["/etc/containerd/conf.d/*.toml", "/x/*.toml"]
        );
    }
}
