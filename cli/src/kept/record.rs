//! The record of a pod: `pod.json` in the pod's directory, the pod as it is now.
//!
//! The sandbox keeps the manifest as it was at its creation, in an annotation that cannot be changed. What changes later
//! (labels, annotations, the images of containers) is in the record, which therefore wins. A record is exchanged as a
//! whole by `rename`, so that a reader needs no lock, and it is read, changed and written under a lock on the pod's
//! directory, so that of two commands none loses what the other one has changed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;

use loment_shim::pod::names::RECORD as FILE;

use crate::error::Said;
use crate::lower;
use crate::session::Found;

/// Where the next record is written before it takes the place of the one that is.
const NEXT: &str = "pod.json.next";

/// What the metadata of a pod that is being made says of its record.
pub(crate) fn stamp(pod: &mut Pod) {
    pod.metadata.generation = Some(1);
    pod.metadata.resource_version = Some("1".to_owned());
}

/// Writes the first record of a pod into its directory, which exists.
pub(crate) fn create(directory: &Path, pod: &Pod) -> anyhow::Result<()> {
    // After a crash of the machine there may be none of it; the pod is not made then either.
    write(directory, pod, |_| Ok(()))
}

/// Whether there is a record in a directory, readable or not.
pub(crate) fn is_in(directory: &Path) -> bool {
    fs::symlink_metadata(directory.join(FILE)).is_ok_and(|file| file.is_file())
}

/// The record in a pod's directory; nothing when there is none.
///
/// Errors: what is there cannot be read, or is the record of another pod.
pub(crate) fn read(directory: &Path, uid: &str) -> anyhow::Result<Option<Pod>> {
    let path = directory.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let pod: Pod = serde_json::from_slice(&text).with_context(|| format!("read the pod in {}", path.display()))?;
    if lower::uid(&pod) != uid {
        bail!("{} is of the pod with the uid {:?}, not {uid:?}", path.display(), lower::uid(&pod));
    }
    Ok(Some(pod))
}

/// Changes a pod's record and answers with the pod as it is now. `change` is given the pod as it is at that time, which
/// may be newer than `found`; what it refuses leaves the record as it was, and so does a change of nothing. A change of
/// the spec is a new generation.
pub(crate) fn change(found: &Found, change: impl FnOnce(&mut Pod) -> anyhow::Result<()>) -> anyhow::Result<Pod> {
    let name = found.name();
    let directory =
        found.directory().ok_or_else(|| anyhow!("pod {name:?} has no directory that a record is kept in"))?;
    // The directory itself is what is locked: a file for it would be one more that others have to know.
    let lock = match File::open(directory) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Said::pod_not_found(name).into()),
        Err(error) => return Err(error).with_context(|| format!("open {}", directory.display())),
    };
    lock.lock().with_context(|| format!("lock {}", directory.display()))?;
    let before = read(directory, found.uid())?.unwrap_or_else(|| found.pod.clone());
    let mut pod = before.clone();
    change(&mut pod)?;
    if pod == before {
        return Ok(pod);
    }
    pod.metadata.generation = Some(before.metadata.generation.unwrap_or(1).max(pod.metadata.generation.unwrap_or(1)));
    if pod.spec != before.spec {
        pod.metadata.generation = pod.metadata.generation.map(|generation| generation.saturating_add(1));
    }
    pod.metadata.resource_version = Some(next_version(before.metadata.resource_version.as_deref()));
    // Synced before it takes the old one's place: after a crash there is one of the two, never an empty file.
    write(directory, &pod, File::sync_all)?;
    Ok(pod)
}

fn next_version(version: Option<&str>) -> String {
    let number: u64 = version.and_then(|version| version.parse().ok()).unwrap_or(1);
    number.saturating_add(1).to_string()
}

fn write(directory: &Path, pod: &Pod, settle: fn(&File) -> std::io::Result<()>) -> anyhow::Result<()> {
    let next = directory.join(NEXT);
    let text = serde_json::to_vec(pod).context("write the pod as JSON")?;
    let written = File::options().write(true).create(true).truncate(true).mode(0o600).open(&next);
    let written = written.and_then(|mut file| file.write_all(&text).and_then(|()| settle(&file)));
    written.with_context(|| format!("write {}", next.display()))?;
    let path = directory.join(FILE);
    fs::rename(&next, &path).with_context(|| format!("rename {} to {}", next.display(), path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::path::PathBuf;

    use loment_cri::v1::PodSandbox;

    use super::*;
    use crate::lower::DIRECTORY;

    /// A pod whose directory goes with it.
    struct Scratch {
        directory: PathBuf,
        found: Found,
    }

    impl Scratch {
        fn new(test: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("loment-record-{test}-{}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            let mut pod = Pod::default();
            pod.metadata.name = Some("web".into());
            pod.metadata.uid = Some("u".into());
            pod.spec = Some(Default::default());
            stamp(&mut pod);
            let annotations = HashMap::from([(DIRECTORY.to_owned(), directory.display().to_string())]);
            let sandbox = PodSandbox { annotations, ..PodSandbox::default() };
            Scratch { directory, found: Found { pod, sandbox } }
        }

        fn read(&self) -> Option<Pod> {
            read(&self.directory, "u").unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    fn label(pod: &mut Pod, key: &str) {
        pod.metadata.labels.get_or_insert_default().insert(key.to_owned(), String::new());
    }

    #[test]
    fn what_was_changed_is_read_and_a_new_spec_is_a_new_generation() {
        let scratch = Scratch::new("change");
        assert_eq!(scratch.read(), None);
        create(&scratch.directory, &scratch.found.pod).unwrap();
        let labelled = change(&scratch.found, |pod| {
            label(pod, "a");
            Ok(())
        });
        assert_eq!(labelled.unwrap().metadata.generation, Some(1));
        let shorter = change(&scratch.found, |pod| {
            pod.spec.get_or_insert_default().active_deadline_seconds = Some(5);
            Ok(())
        });
        let now = shorter.unwrap();
        assert_eq!((now.metadata.generation, now.metadata.resource_version.as_deref()), (Some(2), Some("3")));
        assert_eq!(now.metadata.labels, Some(BTreeMap::from([("a".to_owned(), String::new())])));
        assert_eq!(scratch.read(), Some(now));
    }

    #[test]
    fn a_change_that_is_refused_or_changes_nothing_leaves_the_record() {
        let scratch = Scratch::new("refused");
        create(&scratch.directory, &scratch.found.pod).unwrap();
        change(&scratch.found, |_| Ok(())).unwrap();
        let refused = change(&scratch.found, |pod| {
            label(pod, "a");
            bail!("no")
        });
        assert!(refused.is_err());
        assert_eq!(scratch.read().as_ref(), Some(&scratch.found.pod));
    }

    #[test]
    fn of_changes_at_the_same_time_none_is_lost() {
        let scratch = Scratch::new("together");
        create(&scratch.directory, &scratch.found.pod).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let found = &scratch.found;
                scope.spawn(move || {
                    for number in 0..10 {
                        let key = format!("{thread}-{number}");
                        change(found, |pod| {
                            label(pod, &key);
                            Ok(())
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(scratch.read().unwrap().metadata.labels.unwrap().len(), 40);
    }

    #[test]
    fn the_record_of_another_pod_is_refused_and_a_pod_that_is_gone_is_not_found() {
        let scratch = Scratch::new("other");
        create(&scratch.directory, &scratch.found.pod).unwrap();
        assert!(read(&scratch.directory, "other").unwrap_err().to_string().contains("is of the pod with the uid"));
        fs::remove_dir_all(&scratch.directory).unwrap();
        let gone = change(&scratch.found, |_| Ok(())).unwrap_err();
        assert_eq!(gone.to_string(), "Error from server (NotFound): pods \"web\" not found");
    }
}
