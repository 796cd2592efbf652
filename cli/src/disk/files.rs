//! Volumes that are made of files: a set of them is exchanged for another at once.
//!
//! The files are in a directory named after the time at which it was made. `..data` is a link to it, and what users see are
//! links through `..data`: renaming one link over another replaces all files together, and readers never see half of each.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::{directory, group, parent, write};
use crate::lower::volumes::{FileOf, Group};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the volume consist of these files and no others. Answers whether anything had to be changed.
pub(super) fn replace(path: &Path, files: &[FileOf], owner: Option<Group>) -> anyhow::Result<bool> {
    refuse_paths(path, files)?;
    let read_only = |mode: u32| if owner.is_some() { mode | 0o440 } else { mode };
    let wanted: Content =
        files.iter().map(|file| (file.path.clone(), (read_only(file.mode), file.content.clone()))).collect();
    if !path.exists() {
        directory(path, 0o755)?;
    }
    let old = fs::read_link(path.join(DATA)).ok();
    if old.is_some() && current(path)? == wanted {
        return Ok(false);
    }
    let name = set_name();
    let set = path.join(&name);
    directory(&set, 0o755)?;
    for (file, (mode, content)) in &wanted {
        let target = set.join(file);
        directory(parent(&target), 0o755)?;
        write(&target, content, *mode)?;
    }
    if let Some(owner) = owner {
        group::give(path, owner.id, group::Access::Read)?;
    }
    link(Path::new(&name), &path.join(NEXT))?;
    fs::rename(path.join(NEXT), path.join(DATA)).with_context(|| format!("replace {}", path.join(DATA).display()))?;
    show(path, files)?;
    if let Some(old) = old.filter(|old| old.as_os_str() != name.as_str()) {
        let old = path.join(old);
        fs::remove_dir_all(&old).with_context(|| format!("remove {}", old.display()))?;
    }
    Ok(true)
}

/// Refuses what would be written outside of the volume, or in the place of what makes it one.
fn refuse_paths(volume: &Path, files: &[FileOf]) -> anyhow::Result<()> {
    let is_plain = |file: &str| {
        let mut parts = Path::new(file).components();
        let is_own = |first: Component<'_>| first.as_os_str().as_encoded_bytes().starts_with(b"..");
        !parts.clone().next().is_none_or(is_own) && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    match files.iter().find(|file| !is_plain(&file.path)) {
        Some(file) => bail!("write {:?} in volume {}: it is no path below the volume", file.path, volume.display()),
        None => Ok(()),
    }
}

/// Replaces some files of a volume and keeps the others. Answers whether anything had to be changed.
pub(super) fn update(path: &Path, changed: &[FileOf], owner: Option<Group>) -> anyhow::Result<bool> {
    let mut files: BTreeMap<String, FileOf> = BTreeMap::new();
    for (path, (mode, content)) in current(path)? {
        files.insert(path.clone(), FileOf { path, content, mode });
    }
    files.extend(changed.iter().map(|file| (file.path.clone(), file.clone())));
    replace(path, &files.into_values().collect::<Vec<_>>(), owner)
}

/// Files by their paths, with permission bits and content.
type Content = BTreeMap<String, (u32, Vec<u8>)>;

fn current(path: &Path) -> anyhow::Result<Content> {
    let data = path.join(DATA);
    let mut found = Content::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(below) = todo.pop() {
        let here = data.join(&below);
        let entries = fs::read_dir(&here).with_context(|| format!("read {}", here.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", here.display()))?;
            let (name, file) = (below.join(entry.file_name()), entry.path());
            let what = || format!("read {}", file.display());
            let meta = entry.metadata().with_context(what)?;
            if meta.is_dir() {
                todo.push(name);
            } else {
                let content = fs::read(&file).with_context(what)?;
                found.insert(name.to_string_lossy().into_owned(), (meta.permissions().mode() & 0o777, content));
            }
        }
    }
    Ok(found)
}

/// A name that no set of the volume has had: the time.
fn set_name() -> String {
    Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%9N").to_string()
}

/// What users see: a link for each first part of a path, and none that leads nowhere any more.
fn show(path: &Path, files: &[FileOf]) -> anyhow::Result<()> {
    let first = |file: &FileOf| Path::new(&file.path).iter().next().map(PathBuf::from);
    let names: Vec<PathBuf> = files.iter().filter_map(first).collect();
    for name in &names {
        let visible = path.join(name);
        if !visible.is_symlink() {
            link(&Path::new(DATA).join(name), &visible)?;
        }
    }
    for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))?.flatten() {
        let leads_to_data = fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(DATA));
        if leads_to_data && !names.contains(&PathBuf::from(entry.file_name())) {
            fs::remove_file(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Makes a link. One that a command has left which was killed is made anew.
fn link(to: &Path, at: &Path) -> anyhow::Result<()> {
    match symlink(to, at) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fs::remove_file(at).and_then(|()| symlink(to, at)),
        other => other,
    }
    .with_context(|| format!("make link {}", at.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::tests::Scratch;
    use super::*;

    fn file(path: &str, content: &str, mode: u32) -> FileOf {
        FileOf { path: path.into(), content: content.into(), mode }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn v3_files_are_reached_through_one_link_and_have_their_modes() {
        let scratch = Scratch::new("files");
        let files = [file("a", "one", 0o400), file("deep/b", "two", 0o644), file("deep/c", "three", 0o644)];
        assert!(replace(&scratch.0, &files, None).unwrap());
        assert_eq!(fs::read(scratch.0.join("deep/c")).unwrap(), b"three");
        assert_eq!(mode(&scratch.0.join("a")), 0o400);
        assert_eq!(fs::read_link(scratch.0.join("a")).unwrap(), Path::new("..data/a"));
        let set = fs::read_link(scratch.0.join("..data")).unwrap();
        assert!(set.to_str().unwrap().starts_with("..20"), "{}", set.display());
        assert!(!replace(&scratch.0, &files, None).unwrap(), "what is so already is left alone");
    }

    #[test]
    fn v3_a_set_is_replaced_as_a_whole_and_nothing_of_it_stays() {
        let scratch = Scratch::new("replace");
        replace(&scratch.0, &[file("a", "one", 0o644), file("b", "two", 0o644)], None).unwrap();
        let before = fs::read_link(scratch.0.join("..data")).unwrap();
        assert!(replace(&scratch.0, &[file("b", "new", 0o600), file("c/d", "more", 0o644)], None).unwrap());
        assert!(!scratch.0.join(before).exists());
        let mut names: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(names[1..], ["..data", "b", "c"]);
        assert_eq!(fs::read(scratch.0.join("b")).unwrap(), b"new");
        assert_eq!(mode(&scratch.0.join("b")), 0o600);
    }

    #[test]
    fn a_file_is_written_nowhere_but_in_its_volume() {
        let scratch = Scratch::new("outside");
        let volume = scratch.0.join("v");
        let absolute = scratch.0.join("x").display().to_string();
        for path in [absolute.as_str(), "../x", "a/../../x", "..", "", ".", "./x", "..data/x"] {
            let refused = replace(&volume, &[file("a", "", 0o644), file(path, "", 0o644)], None).unwrap_err();
            assert!(refused.to_string().contains("it is no path below the volume"), "{path}: {refused}");
        }
        assert!(!scratch.0.join("x").exists() && !volume.exists());
    }

    #[test]
    fn v4_an_update_keeps_the_files_that_it_does_not_name() {
        let scratch = Scratch::new("update");
        replace(&scratch.0, &[file("labels", "old", 0o644), file("key", "kept", 0o400)], None).unwrap();
        assert!(update(&scratch.0, &[file("labels", "new", 0o644)], None).unwrap());
        assert_eq!(fs::read(scratch.0.join("labels")).unwrap(), b"new");
        assert_eq!((fs::read(scratch.0.join("key")).unwrap(), mode(&scratch.0.join("key"))), (b"kept".to_vec(), 0o400));
        assert!(!update(&scratch.0, &[file("labels", "new", 0o644)], None).unwrap());
    }

    #[test]
    fn v8_files_of_a_group_can_be_read_by_it() {
        let scratch = Scratch::new("files-group");
        let owner = Some(Group { id: 2000, on_root_mismatch: false });
        replace(&scratch.0, &[file("deep/a", "one", 0o400)], owner).unwrap();
        let found = fs::metadata(scratch.0.join("deep/a")).unwrap();
        assert_eq!((found.gid(), found.mode() & 0o7777), (2000, 0o440));
        let directory = fs::metadata(scratch.0.join("deep")).unwrap();
        assert_eq!((directory.gid(), directory.mode() & 0o7777), (2000, 0o2755));
        assert!(!replace(&scratch.0, &[file("deep/a", "one", 0o400)], owner).unwrap());
    }
}
