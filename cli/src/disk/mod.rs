//! A pod's files on the disk: made before its containers, removed after them.

mod files;
mod group;
mod host_path;
mod mounts;
mod pins;

use std::ffi::OsStr;
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;

use crate::lower::layout::is_id;
use crate::lower::volumes::{Group, Make, Pin, Refresh};
use crate::lower::{self, layout::Layout};

/// What the directory of a pod is called until it holds the pod's record; the pod's name follows, and its uid. Only who has
/// the name ([`NameLock`]) makes such a directory, and removes it.
pub(crate) const MAKING: &str = ".making-";

/// Makes the directory of a pod, or takes the one that there is, with what `record` writes into it. There is none with the
/// pod's uid for its name and without a record, wherever this is cut short: by the record the rest of a pod is found.
pub(crate) fn begin(layout: &Layout, pod: &Pod, record: impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // Containers reach what they may see through mounts; nobody else has to reach it, least of all secrets.
    directory(parent(&layout.directory), 0o700)?;
    if layout.directory.is_dir() {
        return record(&layout.directory);
    }
    let name = format!("{MAKING}{}_{}_{}", lower::namespace(pod), lower::name(pod), lower::uid(pod));
    let making = layout.directory.with_file_name(name);
    directory(&making, 0o700)?;
    record(&making)?;
    let what = || format!("rename {} to {}", making.display(), layout.directory.display());
    fs::rename(&making, &layout.directory).with_context(what)
}

/// The names of a namespace for which a directory was begun and has no record yet.
pub(crate) fn begun_names(pods: &Path, namespace: &str) -> anyhow::Result<Vec<String>> {
    let prefix = format!("{MAKING}{namespace}_");
    let name = |path: &PathBuf| {
        let rest = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
        Some(rest.split_once('_')?.0.to_owned())
    };
    Ok(entries(pods)?.iter().filter_map(name).collect())
}

/// Removes what was begun for a name and has no record. The caller has the name. Answers whether there was anything.
pub(crate) fn clear_begun(pods: &Path, namespace: &str, name: &str) -> anyhow::Result<bool> {
    let prefix = format!("{MAKING}{namespace}_{name}_");
    let is_begun =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
    let begun = entries(pods)?;
    let begun: Vec<&PathBuf> = begun.iter().filter(is_begun).collect();
    begun.iter().try_for_each(|path| remove_tree(path))?;
    Ok(!begun.is_empty())
}

/// Makes the directories of a pod with these containers.
pub(crate) fn make(layout: &Layout, containers: &[&str]) -> anyhow::Result<()> {
    directory(&layout.logs, 0o755)?;
    for container in containers {
        directory(&layout.container_logs(container), 0o755)?;
        let file = layout.termination_log(container);
        directory(parent(&file), 0o700)?;
        write(&file, b"", 0o666)?;
    }
    Ok(())
}

/// Makes what a pod's volumes need; what is there already is left as it is. The pod's record is on the disk before: whoever
/// finds that also finds what is mounted for the pod.
pub(crate) fn make_volumes(volumes: &[Make]) -> anyhow::Result<()> {
    volumes.iter().try_for_each(make_volume)
}

/// Between two tries for a name that somebody has.
const AGAIN: Duration = Duration::from_millis(50);

/// The right to make, resume or delete a pod of some name, for as long as this lives. Two commands that are given one manifest at the same
/// time would otherwise both find the name free.
#[derive(Debug)]
pub(crate) struct NameLock {
    path: PathBuf,
    _file: File,
}

impl NameLock {
    /// Takes the name as soon as nobody else has it.
    pub(crate) async fn wait(state: &Path, namespace: &str, name: &str) -> anyhow::Result<Self> {
        loop {
            if let Some(lock) = Self::take(state, namespace, name)? {
                return Ok(lock);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

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

/// Makes a directory of the pod's own, which nobody else has to reach.
pub(crate) fn make_directory(path: &Path) -> anyhow::Result<()> {
    directory(path, 0o700)
}

/// Mounts an image's files read-only as the snapshotter says, in a volume that is there.
pub(crate) fn mount_view(at: &Path, kind: &str, source: &str, options: &[String]) -> anyhow::Result<()> {
    if mounts::is_mounted(at)? {
        return Ok(());
    }
    mounts::view(at, kind, source, options)
}

/// Unmounts everything below the pod's directory.
pub(crate) fn unmount(directory: &Path) -> anyhow::Result<()> {
    mounts::unmount_below(directory)
}

/// Keeps hold of the parts of volumes that containers mount alone.
pub(crate) fn pin(pins: &[Pin]) -> anyhow::Result<()> {
    pins.iter().try_for_each(pins::make)
}

/// Writes anew what volumes tell about the pod. Whoever reads meanwhile finds the old or the new files, never some of each.
pub(crate) fn refresh(volumes: &[Refresh]) -> anyhow::Result<()> {
    for volume in volumes {
        files::update(&volume.path, &volume.files, volume.group)?;
    }
    Ok(())
}

/// What the directory of a pod is called as soon as it is nobody's.
pub(crate) const REMOVED: &str = ".removed-";

/// Removes everything that [`make`] and [`pin`] made and what containers have left there; what is mounted below the pod's
/// directory is unmounted first, whoever has mounted it. Nothing is left to do if it is gone.
///
/// The directory loses its name before anything of it goes: if this is cut short, the rest is nobody's, and [`sweep`]
/// removes it.
///
/// Errors: it is none of those in `pods`, or the logs are not named after it. Nothing has been touched then.
pub(crate) fn remove(pods: &Path, directory: &Path, logs: &Path) -> anyhow::Result<()> {
    let uid = directory.file_name().and_then(OsStr::to_str).filter(|uid| is_id(uid)).unwrap_or_default();
    if directory.parent() != Some(pods) || uid.is_empty() {
        bail!("remove {}: it is no pod's directory in {}", directory.display(), pods.display());
    }
    if !is_named_after(logs, uid) {
        bail!("remove {}: it is no directory of logs of the pod {uid}", logs.display());
    }
    // Only then does the removal not reach into what belongs to the machine.
    mounts::unmount_below(directory)?;
    remove_tree(logs)?;
    let removed = directory.with_file_name(format!("{REMOVED}{uid}"));
    match fs::rename(directory, &removed) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("rename {} to {}", directory.display(), removed.display())),
        Ok(()) => remove_tree(&removed),
    }
}

/// Whether a directory is called as that of a pod's logs is: `<namespace>_<name>_<uid>`.
fn is_named_after(logs: &Path, uid: &str) -> bool {
    let name = logs.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.strip_suffix(uid).is_some_and(|before| before.ends_with('_'))
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
            directory(path, *mode)?;
            owned(path, *group)
        }
        Make::Memory { path, mode, bytes, group } => mounted(path, *group, || mounts::tmpfs(path, *mode, *bytes)),
        Make::HugePages { path, mode, page, group } => mounted(path, *group, || mounts::huge_pages(path, *mode, *page)),
        Make::Files { path, files, in_memory, group } => {
            if *in_memory {
                mounted(path, None, || mounts::tmpfs(path, 0o755, 0))?;
            }
            files::replace(path, files, *group).map(drop)
        }
        Make::Image { path } => directory(path, 0o755),
        Make::HostPath { volume, path, kind } => {
            host_path::check(path, kind).with_context(|| format!("volume {volume:?}: hostPath type check failed"))
        }
    }
}

/// A volume that is a file system of its own.
fn mounted(path: &Path, group: Option<Group>, mount: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if !mounts::is_mounted(path)? {
        directory(path, 0o755)?;
        mount()?;
    }
    owned(path, group)
}

fn owned(path: &Path, group: Option<Group>) -> anyhow::Result<()> {
    group.map_or(Ok(()), |group| group::apply(path, group, group::Access::Write))
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
            // A test that fails may have left something mounted.
            if mounts::unmount_below(&self.0).is_ok() {
                let _ = fs::remove_dir_all(&self.0);
            }
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn v1_an_empty_volume_is_open_to_every_user() {
        let scratch = Scratch::new("empty");
        let path = scratch.0.join("v");
        make_volume(&Make::Empty { path: path.clone(), mode: 0o777, group: None }).unwrap();
        assert_eq!(mode(&path), 0o777);
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
    fn v1_a_volume_in_memory_has_its_size_and_ends_with_the_pod() {
        let scratch = Scratch::new("memory");
        let pod = scratch.0.join("pods/u");
        let path = pod.join("volumes/v");
        let group = Some(Group { id: 2000, on_root_mismatch: false });
        let make = Make::Memory { path: path.clone(), mode: 0o777, bytes: 1 << 20, group };
        make_volume(&make).unwrap();
        make_volume(&make).unwrap();
        let found = nix::sys::statvfs::statvfs(&path).unwrap();
        assert_eq!(found.blocks() * found.fragment_size(), 1 << 20);
        assert_eq!(mode(&path), 0o2777);
        let error = fs::write(path.join("f"), vec![0; 2 << 20]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        remove(&scratch.0.join("pods"), &pod, &scratch.0.join("logs/shop_web_u")).unwrap();
        assert!(!pod.exists());
    }

    #[test]
    fn removal_does_not_reach_through_a_mount() {
        let scratch = Scratch::new("through");
        let (pod, machine) = (scratch.0.join("pods/u"), scratch.0.join("machine"));
        for directory in [&pod.join("volumes/v"), &machine] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(machine.join("precious"), "").unwrap();
        let flags = nix::mount::MsFlags::MS_BIND;
        // As a command leaves them that is killed half way, one over the other.
        for _ in 0..2 {
            nix::mount::mount(Some(&machine), &pod.join("volumes/v"), None::<&str>, flags, None::<&str>).unwrap();
        }
        remove(&scratch.0.join("pods"), &pod, &scratch.0.join("shop_web_u")).unwrap();
        assert!(!pod.exists() && machine.join("precious").exists());
    }

    #[test]
    fn removal_leaves_nothing_and_may_be_repeated() {
        let scratch = Scratch::new("remove");
        let layout = Layout {
            directory: scratch.0.join("pods/u"),
            logs: scratch.0.join("logs/shop_web_u"),
            seccomp: scratch.0.join("seccomp"),
        };
        make(&layout, &["a"]).unwrap();
        make_volumes(&[Make::Empty { path: layout.volume("v"), mode: 0o777, group: None }]).unwrap();
        assert_eq!(mode(&layout.termination_log("a")), 0o666);
        let pods = scratch.0.join("pods");
        remove(&pods, &layout.directory, &layout.logs).unwrap();
        remove(&pods, &layout.directory, &layout.logs).unwrap();
        assert!(!layout.directory.exists() && !layout.logs.exists());
    }

    #[test]
    fn nothing_but_a_directory_of_pods_and_the_logs_of_that_pod_is_removed() {
        let scratch = Scratch::new("not-a-pods");
        let pods = scratch.0.join("pods");
        let (own, other, logs) = (pods.join("u"), scratch.0.join("other/u"), scratch.0.join("logs/shop_web_u"));
        for directory in [&own, &other, &logs, &scratch.0.join("logs/shop_web_other"), &pods.join(".making-x")] {
            fs::create_dir_all(directory).unwrap();
        }
        for (directory, logs) in [
            (&other, &logs),
            (&pods, &logs),
            (&pods.join(".."), &logs),
            (&pods.join(".making-x"), &logs),
            (&pods.join("u/volumes"), &logs),
            (&own, &scratch.0.join("logs")),
            (&own, &scratch.0.join("logs/shop_web_other")),
            (&own, &PathBuf::from("/")),
        ] {
            let refused = remove(&pods, directory, logs).unwrap_err().to_string();
            assert!(refused.contains("it is no"), "{refused}");
        }
        assert!(own.exists() && other.exists() && logs.exists());
    }
}
