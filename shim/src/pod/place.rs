//! The directories that annotations name, and files in them. Where others make pods, as in Kubernetes, annotations are not
//! only root's, and the shim is root: it writes nowhere but where root keeps the files of this very pod, as `loment create`
//! makes the directory.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use loment_sandbox::lifecycle::PodSpec;
use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    libc::{O_NOFOLLOW, O_NONBLOCK},
};
use oci_spec::runtime::Spec;
use serde_json::Value;

use super::names::{DIRECTORY, HELD_IN, LOGS, RECORD};
use crate::{
    failure::{Failure, Result},
    spec::annotation,
};

/// The uid of a sandbox's pod, as containerd has it from its client.
const TOLD_UID: &str = "io.kubernetes.cri.sandbox-uid";
/// Bytes of a file that are read: those that the shim writes stay below a third of it, and a record has what an annotation
/// can have.
const LONGEST: u64 = 16 << 20;

/// Where the files of a pod are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Status, timeline, last words, volumes.
    pub(super) directory: Option<PathBuf>,
    /// Where that a held pod has begun is written down.
    pub(super) held_in: Option<PathBuf>,
    pub(super) logs: Option<PathBuf>,
}

impl Places {
    /// Those that the annotations name. A directory that does not exist is none, except for a pod that is to be held.
    ///
    /// Errors: a directory is not root's alone, has no record of this pod, or is not named after it.
    pub(super) fn of(sandbox: &Spec, pod: &PodSpec) -> Result<Self> {
        let told = annotation(sandbox, TOLD_UID);
        let absolute = |name| annotation(sandbox, name).map(Path::new).filter(|path| path.is_absolute());
        let own = |name, path: &Path| match own(path, pod, told) {
            Err(why) => Err(refused(name, path, &why)),
            Ok(path) => Ok(path),
        };
        let directory = absolute(DIRECTORY).filter(|path| exists(path)).map(|path| own(DIRECTORY, path)).transpose()?;
        let held_in = absolute(HELD_IN).map(|path| own(HELD_IN, path)).transpose()?;
        let logs = absolute(LOGS);
        if let Some(path) = logs.filter(|path| !are_logs_of(path, pod)) {
            return Err(refused(LOGS, path, "it is not named <namespace>_<name>_<uid> after this pod"));
        }
        Ok(Self { directory, held_in, logs: logs.map(Path::to_owned) })
    }
}

fn refused(name: &str, path: &Path, why: &str) -> Failure {
    let path = path.display();
    Failure::invalid(format!("annotation {name}: {path}: {why} (leave the annotation to `loment create`)"))
}

fn exists(path: &Path) -> bool {
    !fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// The directory without a link on its way, if it is this pod's; else the reason why it is not.
fn own(path: &Path, pod: &PodSpec, told: Option<&str>) -> std::result::Result<PathBuf, String> {
    if pod.uid.is_empty() || told.is_some_and(|told| told != pod.uid) {
        return Err(format!("the manifest has the uid {:?}, which is not this sandbox's", pod.uid));
    }
    let path = fs::canonicalize(path).map_err(|error| error.to_string())?;
    let directory = File::from(open(&path).map_err(|error| error.to_string())?);
    let is_roots = |file: &File| file.metadata().is_ok_and(|file| is_roots_alone(&file));
    if !is_roots(&directory) {
        return Err("it is not owned by root, or others may write there".to_owned());
    }
    let record = open_file(&directory, RECORD).map_err(|error| format!("open its {RECORD}: {error}"))?;
    if !is_roots(&record) {
        return Err(format!("its {RECORD} is not owned by root, or others may write it"));
    }
    let record: Value = text(record).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    if record["metadata"]["uid"] != *pod.uid {
        return Err(format!("its {RECORD} is not the record of this pod, whose uid is {:?}", pod.uid));
    }
    Ok(path)
}

/// Root of the machine owns it, and nobody else may write to it.
fn is_roots_alone(file: &fs::Metadata) -> bool {
    file.uid() == 0 && file.mode() & 0o002 == 0 && (file.gid() == 0 || file.mode() & 0o020 == 0)
}

/// Whether a directory is called as `loment create` and kubelets call that of a pod's logs.
fn are_logs_of(path: &Path, pod: &PodSpec) -> bool {
    let name = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
    !pod.uid.is_empty() && path.file_name().is_some_and(|last| last == name.as_str())
}

/// Opens a directory that was looked at before: no part of its path has become a link.
pub(super) fn open(directory: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(AT_FDCWD, directory, how)?)
}

/// The path of an open directory, for what takes paths.
pub(super) fn path_of(directory: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// How the shim opens what may have become anything, also a link or a fifo.
pub(super) fn carefully() -> fs::OpenOptions {
    let mut options = File::options();
    options.custom_flags(O_NOFOLLOW | O_NONBLOCK);
    options
}

/// The text of a file in a directory that was looked at before; nothing, if there is none.
pub(super) fn read(directory: &Path, name: &str) -> Option<String> {
    text(open_file(&File::from(open(directory).ok()?), name).ok()?).ok()
}

/// Makes a file in a directory that was looked at before, or empties it.
pub(super) fn touch(directory: &Path, name: &str) -> io::Result<()> {
    let directory = open(directory)?;
    carefully().write(true).create(true).truncate(true).open(path_of(&directory).join(name)).map(drop)
}

fn open_file(directory: &File, name: &str) -> io::Result<File> {
    let file = carefully().read(true).open(path_of(directory).join(name))?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}

fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use serde_json::json;

    use super::*;

    const UID: &str = "5b8a";

    /// A directory as `loment create` makes it, which goes with its owner.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(test: &str) -> Self {
            let top = std::env::temp_dir().join(format!("loment-place-{test}-{}", std::process::id()));
            fs::create_dir_all(top.join(UID)).unwrap();
            fs::set_permissions(top.join(UID), fs::Permissions::from_mode(0o700)).unwrap();
            let scratch = Scratch(fs::canonicalize(top).unwrap());
            scratch.write(UID);
            scratch
        }

        fn own(&self) -> PathBuf {
            self.0.join(UID)
        }

        fn write(&self, uid: &str) {
            fs::write(self.own().join(RECORD), json!({"metadata": {"uid": uid}}).to_string()).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _missing = fs::remove_dir_all(&self.0);
        }
    }

    fn places(annotations: Value, uid: &str) -> Result<Places> {
        let spec: Spec = serde_json::from_value(json!({"ociVersion": "1.0.2", "annotations": annotations})).unwrap();
        let manifest = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": uid}, "spec": {"containers": [{"name": "a"}]},
        });
        Places::of(&spec, &PodSpec::from_manifest(&manifest.to_string()).unwrap())
    }

    #[test]
    fn the_directory_that_loment_create_makes_is_taken_and_one_that_is_not_there_is_none() {
        let scratch = Scratch::new("own");
        let logs = format!("/var/log/pods/shop_web_{UID}");
        let both = json!({DIRECTORY: scratch.own(), HELD_IN: scratch.own(), LOGS: logs, TOLD_UID: UID});
        let found = places(both, UID).unwrap();
        let own = Some(scratch.own());
        assert_eq!(found, Places { directory: own.clone(), held_in: own.clone(), logs: Some(logs.into()) });
        symlink(scratch.own(), scratch.0.join("link")).unwrap();
        assert_eq!(places(json!({DIRECTORY: scratch.0.join("link")}), UID).unwrap().directory, own);
        let absent = scratch.0.join("absent");
        assert_eq!(places(json!({DIRECTORY: absent}), UID).unwrap(), Places::default());
        assert!(places(json!({HELD_IN: absent}), UID).is_err(), "nothing would say that it has begun");
        assert_eq!(places(json!({DIRECTORY: "relative"}), "").unwrap(), Places::default());
    }

    #[test]
    fn a_directory_of_the_machines_or_of_another_pod_is_refused() {
        let scratch = Scratch::new("refused");
        let refused = |annotations: Value, uid: &str| places(annotations, uid).unwrap_err().message;
        for key in [DIRECTORY, HELD_IN] {
            assert!(refused(json!({key: "/etc"}), UID).contains("open its pod.json"));
            assert!(refused(json!({key: scratch.own()}), "").contains("is not this sandbox's"));
            assert!(refused(json!({key: scratch.own()}), "other").contains("is not the record of this pod"));
            assert!(refused(json!({key: scratch.own(), TOLD_UID: "k"}), UID).contains("is not this sandbox's"));
        }
        for logs in ["/var/log", "/var/log/pods/shop_web_other", "/"] {
            assert!(refused(json!({LOGS: logs}), UID).contains("is not named"), "{logs}");
        }
    }

    #[test]
    fn a_directory_or_a_record_that_others_may_write_is_refused() {
        let scratch = Scratch::new("others");
        let refused = || places(json!({DIRECTORY: scratch.own()}), UID).unwrap_err().message;
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let record = scratch.own().join(RECORD);
        mode(&scratch.own(), 0o703);
        assert!(refused().contains("others may write there"));
        mode(&scratch.own(), 0o700);
        mode(&record, 0o602);
        assert!(refused().contains("others may write it"));
        mode(&record, 0o600);
        chown(&record, Some(1), None).unwrap();
        assert!(refused().contains("is not owned by root"));
        chown(&record, Some(0), None).unwrap();
        chown(scratch.own(), Some(1), None).unwrap();
        assert!(refused().contains("it is not owned by root"));
        chown(scratch.own(), Some(0), None).unwrap();
        fs::rename(&record, scratch.0.join("elsewhere")).unwrap();
        symlink(scratch.0.join("elsewhere"), &record).unwrap();
        assert!(refused().contains("open its pod.json"));
    }

    #[test]
    fn a_directory_that_becomes_a_link_later_leads_nowhere() {
        let scratch = Scratch::new("later");
        let directory = places(json!({DIRECTORY: scratch.own()}), UID).unwrap().directory.unwrap();
        assert!(read(&directory, RECORD).is_some());
        touch(&directory, "begun").unwrap();
        assert!(scratch.own().join("begun").is_file());
        symlink(scratch.0.join("elsewhere"), directory.join("link")).unwrap();
        assert!(touch(&directory, "link").is_err() && !scratch.0.join("elsewhere").exists());
        fs::rename(&directory, scratch.0.join("moved")).unwrap();
        symlink(scratch.0.join("moved"), &directory).unwrap();
        assert!(open(&directory).is_err() && read(&directory, RECORD).is_none() && touch(&directory, "begun").is_err());
    }
}
