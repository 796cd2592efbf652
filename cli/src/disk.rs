//! A pod's files on the disk: made before its containers, removed after them.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, chown};

use crate::lower::layout::Layout;
use crate::lower::volumes::{FileOf, Make};

/// Makes the directories of a pod with these containers, and what its volumes need.
pub(crate) fn make(layout: &Layout, containers: &[&str], volumes: &[Make]) -> anyhow::Result<()> {
    // Containers reach what they may see through mounts; nobody else has to reach it, least of all secrets.
    directory(parent(&layout.directory), 0o700)?;
    directory(&layout.directory, 0o700)?;
    directory(&layout.logs, 0o755)?;
    for container in containers {
        directory(&layout.container_logs(container), 0o755)?;
        let file = layout.termination_log(container);
        directory(parent(&file), 0o700)?;
        write(&file, b"", 0o666)?;
    }
    volumes.iter().try_for_each(make_volume)
}

/// The right to make a pod of some name, for as long as this lives. Two commands that are given one manifest at the same
/// time would otherwise both find the name free.
#[derive(Debug)]
pub(crate) struct NameLock {
    path: PathBuf,
    _file: File,
}

impl NameLock {
    /// Takes the name, or answers with nothing when somebody else is just making a pod of that name.
    pub(crate) fn take(state: &Path, namespace: &str, name: &str) -> anyhow::Result<Option<Self>> {
        let locks = state.join("locks");
        directory(&locks, 0o700)?;
        let path = locks.join(format!("{namespace}_{name}"));
        loop {
            let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            match file.try_lock() {
                // Who had it before has removed the file that was opened here: another one may be locked by now.
                Ok(()) if !is_at(&file, &path) => drop(file),
                Ok(()) => return Ok(Some(NameLock { path, _file: file })),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("lock {}", path.display()));
                }
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    matches!((file.metadata().map(id), fs::metadata(path).map(id)), (Ok(own), Ok(there)) if own == there)
}

impl Drop for NameLock {
    fn drop(&mut self) {
        // Left behind, it would only be an empty file.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the pod's `/etc/hosts`.
pub(crate) fn write_hosts(layout: &Layout, text: &str) -> anyhow::Result<()> {
    write(&layout.hosts(), text.as_bytes(), 0o644)
}

/// What the directory of a pod is called as soon as it is nobody's.
const REMOVED: &str = ".removed-";

/// Removes everything that [`make`] made and what containers have left there. Nothing is left to do if it is gone.
///
/// The directory loses its name first: if this is cut short, the rest is nobody's, and [`sweep`] removes it.
pub(crate) fn remove(directory: &Path, logs: &Path) -> anyhow::Result<()> {
    remove_tree(logs)?;
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let removed = directory.with_file_name(format!("{REMOVED}{name}"));
    match fs::rename(directory, &removed) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("rename {} to {}", directory.display(), removed.display())),
        Ok(()) => remove_tree(&removed),
    }
}

/// Removes what is left of directories whose removal was cut short.
pub(crate) fn sweep(pods: &Path) -> anyhow::Result<()> {
    let is_removed =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(REMOVED.as_bytes()));
    entries(pods)?.iter().filter(|path| is_removed(path)).try_for_each(|path| remove_tree(path))
}

/// What is in a directory; nothing when there is none.
pub(crate) fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let what = || format!("read directory {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(what)?,
    };
    entries.map(|entry| Ok(entry.with_context(what)?.path())).collect()
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn make_volume(make: &Make) -> anyhow::Result<()> {
    match make {
        Make::Empty { path, mode, group } => {
            // Files that are made below a setgid directory get its group.
            let setgid = if group.is_some() { 0o2000 } else { 0 };
            own(path, *group, || directory(path, mode | setgid))
        }
        Make::Files { path, files, group } => make_files(path, files, *group),
        Make::HostPath { volume, path, kind } => {
            check_host_path(path, kind).with_context(|| format!("volume {volume:?}: hostPath type check failed"))
        }
    }
}

/// Makes something and gives it to the group. The mode is set afterwards because a change of owner clears setgid.
fn own(path: &Path, group: Option<u32>, make: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    make()?;
    if let Some(group) = group {
        chown(path, None, Some(Gid::from_raw(group)))
            .with_context(|| format!("give {} to group {group}", path.display()))?;
        make()?;
    }
    Ok(())
}

/// Makes a directory with these permission bits, whatever the umask is.
fn directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make directory {}", path.display()))?;
    permissions(path, mode)
}

fn permissions(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("set mode {mode:o} of {}", path.display()))
}

fn write(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let what = || format!("write {}", path.display());
    let mut file = File::create(path).with_context(what)?;
    file.write_all(content).with_context(what)?;
    permissions(path, mode)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Files in a directory of their own, reached through the link `..data`, so that a whole set can be exchanged for another
/// by renaming one link: readers never see half of each.
fn make_files(path: &Path, files: &[FileOf], group: Option<u32>) -> anyhow::Result<()> {
    const FIRST: &str = "..1";
    directory(path, 0o755)?;
    let data = path.join(FIRST);
    directory(&data, 0o755)?;
    link(FIRST, &path.join("..data"))?;
    for file in files {
        let target = data.join(&file.path);
        directory(parent(&target), 0o755)?;
        let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
        own(&target, group, || write(&target, &file.content, mode))?;
        let Some(first) = Path::new(&file.path).iter().next() else { continue };
        let visible = path.join(first);
        if !visible.is_symlink() {
            link(PathBuf::from("..data").join(first), &visible)?;
        }
    }
    Ok(())
}

fn link(to: impl AsRef<Path>, at: &Path) -> anyhow::Result<()> {
    symlink(to, at).with_context(|| format!("make link {}", at.display()))
}

/// Makes sure that a path of the machine is what the manifest says; the two types that end in `OrCreate` make it.
fn check_host_path(path: &Path, kind: &str) -> anyhow::Result<()> {
    let shown = path.display();
    match kind {
        "DirectoryOrCreate" if !path.exists() => return directory(path, 0o755),
        "FileOrCreate" if !path.exists() => return write(path, b"", 0o644),
        _ => {}
    }
    let found = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        // Without a type nothing is promised; the runtime makes a directory of what is missing.
        Err(_) if kind.is_empty() => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("{shown}")),
    };
    let (right, name) = match kind {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (found.is_dir(), "directory"),
        "File" | "FileOrCreate" => (found.is_file(), "file"),
        "Socket" => (found.is_socket(), "socket file"),
        "CharDevice" => (found.is_char_device(), "character device"),
        "BlockDevice" => (found.is_block_device(), "block device"),
        other => bail!("{shown}: unknown type {other:?}"),
    };
    if !right {
        bail!("{shown} is not a {name}");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory that goes with its owner.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("loment-{test}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn files_are_reached_through_one_link_and_have_their_modes() {
        let scratch = Scratch::new("files");
        let file = |path: &str, mode| FileOf { path: path.into(), content: path.into(), mode };
        make_files(&scratch.0, &[file("a", 0o400), file("deep/b", 0o644), file("deep/c", 0o644)], None).unwrap();
        assert_eq!(fs::read(scratch.0.join("deep/c")).unwrap(), b"deep/c");
        assert_eq!(mode(&scratch.0.join("a")), 0o400);
        assert_eq!(fs::read_link(scratch.0.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::read_link(scratch.0.join("..data")).unwrap(), Path::new("..1"));
    }

    #[test]
    fn an_empty_volume_is_open_to_every_user() {
        let scratch = Scratch::new("empty");
        let path = scratch.0.join("v");
        make_volume(&Make::Empty { path: path.clone(), mode: 0o777, group: None }).unwrap();
        assert_eq!(mode(&path), 0o777);
    }

    #[test]
    fn a_host_path_of_another_type_is_named() {
        let scratch = Scratch::new("host-path");
        let file = scratch.0.join("f");
        check_host_path(&file, "FileOrCreate").unwrap();
        assert_eq!(mode(&file), 0o644);
        check_host_path(&file, "File").unwrap();
        check_host_path(&scratch.0.join("d"), "DirectoryOrCreate").unwrap();
        let error = check_host_path(&file, "Directory").unwrap_err().to_string();
        assert_eq!(error, format!("{} is not a directory", file.display()));
        assert!(check_host_path(&scratch.0.join("none"), "File").is_err());
        assert!(check_host_path(&scratch.0.join("none"), "").is_ok());
    }

    #[test]
    fn a_name_is_given_to_one_maker_at_a_time() {
        let scratch = Scratch::new("lock");
        let first = NameLock::take(&scratch.0, "default", "web").unwrap();
        assert!(first.is_some());
        assert!(NameLock::take(&scratch.0, "default", "web").unwrap().is_none());
        assert!(NameLock::take(&scratch.0, "default", "db").unwrap().is_some());
        drop(first);
        assert!(NameLock::take(&scratch.0, "default", "web").unwrap().is_some());
    }

    #[test]
    fn removal_leaves_nothing_and_may_be_repeated() {
        let scratch = Scratch::new("remove");
        let layout = Layout {
            directory: scratch.0.join("pods/u"),
            logs: scratch.0.join("logs/u"),
            seccomp: scratch.0.join("seccomp"),
        };
        make(&layout, &["a"], &[Make::Empty { path: layout.volume("v"), mode: 0o777, group: None }]).unwrap();
        assert_eq!(mode(&layout.termination_log("a")), 0o666);
        remove(&layout.directory, &layout.logs).unwrap();
        remove(&layout.directory, &layout.logs).unwrap();
        assert!(!layout.directory.exists() && !layout.logs.exists());
    }
}
