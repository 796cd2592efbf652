//! What `loment create` keeps of pods on the disk, with what tells whether there is such a pod.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use loment_cri::Code;

use super::survey::{Entry, Kept, Names, Part};
use crate::kept::{keeper, record};
use crate::lower::{self, layout::is_plain};
use crate::session::{Found, Session};

/// Reads all of it. A containerd without CRI has no such pods: nothing is told then.
pub(crate) async fn read(session: &Session) -> anyhow::Result<Kept> {
    let (begun, unbegun) = match session.everything().await {
        Ok(pods) => pods,
        Err(error) if is_without_cri(&error) => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    let state = &session.global.state_dir;
    let mut kept = Kept {
        living: begun.iter().map(|found| found.uid().to_owned()).collect(),
        taken: taken(&state.join("locks"), &fs::read_to_string("/proc/locks").unwrap_or_default()),
        ..Kept::default()
    };
    for found in begun.iter().chain(&unbegun) {
        kept.names.insert(found.uid().to_owned(), names_of(found));
    }
    kept.entries.extend(unbegun.iter().filter_map(unbegun_entry));
    let of_unbegun: BTreeSet<PathBuf> = kept.entries.iter().map(|entry| entry.path.clone()).collect();
    for (path, name) in plain(&state.join("pods")) {
        if of_unbegun.contains(&path) {
            continue;
        }
        let found = directory(&path, &name);
        if found.as_ref().is_some_and(|one| one.part == Part::Record) && !keeper::is_of(&path, &session.address) {
            kept.elsewhere.insert(name);
        } else {
            kept.entries.extend(found);
        }
    }
    // For this containerd they live: it is not the one to say that they do not.
    kept.living.extend(kept.elsewhere.iter().cloned());
    let locks = plain(&state.join("locks"));
    kept.entries.extend(locks.into_iter().filter_map(|(path, name)| {
        let (namespace, pod) = name.split_once('_')?;
        entry(Part::Lock, path, names(namespace, pod, ""))
    }));
    history(&mut kept, state, &session.global.log_dir);
    let recorded: Vec<Names> = kept.entries.iter().map(|entry| entry.names.clone()).collect();
    for names in recorded.into_iter().filter(|names| !names.uid.is_empty()) {
        kept.names.entry(names.uid.clone()).or_insert(names);
    }
    Ok(kept)
}

fn is_without_cri(error: &anyhow::Error) -> bool {
    error.downcast_ref::<loment_cri::Error>().is_some_and(|error| error.code() == Some(Code::Unimplemented))
}

fn names(namespace: &str, name: &str, uid: &str) -> Names {
    Names { namespace: namespace.to_owned(), name: name.to_owned(), uid: uid.to_owned(), ..Names::default() }
}

fn names_of(found: &Found) -> Names {
    names(found.namespace(), found.name(), found.uid())
}

fn unbegun_entry(found: &Found) -> Option<Entry> {
    entry(Part::Unbegun, found.directory()?.to_owned(), names_of(found))
}

fn entry(part: Part, path: PathBuf, names: Names) -> Option<Entry> {
    let inode = fs::symlink_metadata(&path).map(|file| file.ino());
    // The directory of a pod that has not begun may be gone already.
    let inode = if part == Part::Unbegun { inode.unwrap_or_default() } else { inode.ok()? };
    Some(Entry { part, path, inode, names })
}

/// What is in a directory and is no link, by name.
fn plain(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let plain = |entry: fs::DirEntry| {
        let name = entry.file_name().to_str()?.to_owned();
        (!entry.file_type().ok()?.is_symlink()).then(|| (entry.path(), name))
    };
    entries.filter_map(plain).collect()
}

/// A directory among those of pods. One that is called like none of them is nobody's: it is left alone.
fn directory(path: &Path, name: &str) -> Option<Entry> {
    if let Some(rest) = name.strip_prefix(crate::disk::MAKING) {
        let mut parts = rest.splitn(3, '_');
        let (namespace, pod, uid) = (parts.next()?, parts.next()?, parts.next()?);
        return entry(Part::Making, path.to_owned(), names(namespace, pod, uid));
    }
    if let Some(uid) = name.strip_prefix(crate::disk::REMOVED) {
        let named = record::read(path, uid).ok().flatten();
        let known = named.map(|pod| names(lower::namespace(&pod), lower::name(&pod), uid));
        return entry(Part::Removed, path.to_owned(), known.unwrap_or_else(|| names("", "", uid)));
    }
    let pod = record::read(path, name).ok().flatten().filter(is_plain)?;
    entry(Part::Record, path.to_owned(), names(lower::namespace(&pod), lower::name(&pod), name))
}

/// The names that somebody has locked, by the kernel's list: to try would keep another command from it for a moment.
fn taken(locks: &Path, held: &str) -> BTreeSet<(String, String)> {
    // `1: FLOCK  ADVISORY  WRITE 4711 00:2f:98 0 EOF`
    let inode = |line: &str| line.split_ascii_whitespace().nth(5)?.rsplit(':').next()?.parse::<u64>().ok();
    let held: BTreeSet<u64> = held.lines().filter(|line| line.contains("FLOCK")).filter_map(inode).collect();
    let is_held = |path: &Path| fs::symlink_metadata(path).is_ok_and(|file| held.contains(&file.ino()));
    let taken = plain(locks).into_iter().filter(|(path, _)| is_held(path));
    taken.filter_map(|(_, name)| name.split_once('_').map(|(a, b)| (a.to_owned(), b.to_owned()))).collect()
}

/// Names of pods that were deleted, and logs that such a one has left. Logs of pods that are on no record here may be a
/// kubelet's.
fn history(kept: &mut Kept, state: &Path, logs: &Path) {
    let recorded: BTreeSet<String> = kept.entries.iter().map(|entry| entry.names.uid.clone()).collect();
    for (_, name) in plain(&state.join("history")) {
        let parts: Vec<&str> = name.split('_').collect();
        let [namespace, pod, uid] = parts.as_slice() else { continue };
        let names = names(namespace, pod, uid);
        if !kept.living.contains(*uid) && !recorded.contains(*uid) {
            kept.entries.extend(entry(Part::Logs, logs.join(&name), names.clone()));
        }
        kept.names.entry((*uid).to_owned()).or_insert(names);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::disk::tests::Scratch;

    #[test]
    fn a_directory_is_told_by_its_name_and_its_record() {
        let scratch = Scratch::new("kept");
        let make = |name: &str| {
            let path = scratch.0.join(name);
            fs::create_dir_all(&path).unwrap();
            directory(&path, name)
        };
        let part = |entry: Option<Entry>| entry.map(|entry| (entry.part, entry.names.name));
        assert_eq!(part(make(".making-shop_web_u-1")), Some((Part::Making, "web".into())));
        assert_eq!(part(make(".removed-u-2")), Some((Part::Removed, String::new())));
        assert_eq!(part(make("somebodys")), None, "there is no record in it");
        assert_eq!(part(make(".making-x")), None);
        fs::create_dir_all(scratch.0.join("u-3")).unwrap();
        fs::write(scratch.0.join("u-3/pod.json"), r#"{"metadata":{"name":"db","namespace":"shop","uid":"u-3"}}"#)
            .unwrap();
        assert_eq!(part(make("u-3")), Some((Part::Record, "db".into())));
        fs::write(scratch.0.join("u-3/pod.json"), r#"{"metadata":{"name":"db","namespace":"shop","uid":"u-4"}}"#)
            .unwrap();
        assert_eq!(part(make("u-3")), None, "it is another pod's record");
    }

    #[test]
    fn a_name_is_taken_while_its_lock_is_held() {
        let scratch = Scratch::new("taken");
        let file = File::create(scratch.0.join("shop_web")).unwrap();
        File::create(scratch.0.join("shop_db")).unwrap();
        file.lock().unwrap();
        let held = || fs::read_to_string("/proc/locks").unwrap();
        assert_eq!(taken(&scratch.0, &held()), BTreeSet::from([("shop".to_owned(), "web".to_owned())]));
        drop(file);
        assert_eq!(taken(&scratch.0, &held()), BTreeSet::new());
    }

    #[test]
    fn logs_are_left_only_by_pods_whose_deletion_is_on_record() {
        let scratch = Scratch::new("logs");
        for name in
            ["history/shop_web_u-1", "history/shop_db_u-2", "logs/shop_web_u-1", "logs/shop_db_u-2", "logs/kube_x_u-3"]
        {
            fs::create_dir_all(scratch.0.join(name)).unwrap();
        }
        let mut kept = Kept { living: BTreeSet::from(["u-2".to_owned()]), ..Kept::default() };
        history(&mut kept, &scratch.0, &scratch.0.join("logs"));
        let paths: Vec<PathBuf> = kept.entries.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(paths, [scratch.0.join("logs/shop_web_u-1")]);
    }
}
