//! The files that a configuration imports.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::config::Config;
use super::found::Source;

/// Imports are relative to the file that names them.
pub(super) fn absolute(main: &Path, patterns: &[String]) -> Vec<String> {
    let directory = main.parent().unwrap_or(Path::new("/"));
    patterns.iter().map(|pattern| directory.join(pattern).to_string_lossy().into_owned()).collect()
}

/// The files of patterns and those that these import, each once, in the order in which containerd reads them.
pub(super) fn read_all(patterns: &[String], main: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    let mut pending: VecDeque<PathBuf> = matches(patterns).collect();
    while let Some(path) = pending.pop_front() {
        if path == main || sources.iter().any(|source| source.path == path) {
            continue;
        }
        let source = Source::read(&path)?;
        let config = source.text.as_deref().and_then(|text| Config::parse(text).ok());
        let further = absolute(&path, &config.map(|config| config.imports).unwrap_or_default());
        pending.extend(matches(&further));
        sources.push(source);
    }
    Ok(sources)
}

/// The files of patterns; those of one of them by name. A directory that cannot be read has none. Without a star, containerd
/// takes it for a path.
fn matches(patterns: &[String]) -> impl Iterator<Item = PathBuf> {
    let of = |pattern: &String| match pattern.contains('*') {
        true => glob::glob(pattern).into_iter().flatten().flatten().collect(),
        false => vec![PathBuf::from(pattern)],
    };
    patterns.iter().flat_map(of).filter(|path| path.is_file())
}

/// Whether a name is one of a pattern's.
pub(crate) fn is_match(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
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
