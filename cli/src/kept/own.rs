//! Which sandboxes are those of pods that `loment create` has made. Whoever makes a pod through another client, a kubelet say,
//! may write the annotations by which a shim runs it; what they name is not removed, and not written to, for that.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use loment_cri::v1;

use crate::commands::note;
use crate::kept::record;
use crate::lower::layout::{Layout, text};
use crate::lower::{self, DIRECTORY, HELD_IN, LOGS, MANIFEST};
use crate::session::Found;

/// The pod of a sandbox: one whose annotations say what containerd says of it, and that has its record in the directory of
/// its uid below `state`. Any other sandbox is somebody else's.
///
/// It has the metadata and the spec of its record. The annotation has them as they were at its creation, which is better
/// than nothing when the record cannot be read: such a pod can still be seen and deleted.
pub(crate) fn pod_of(mut sandbox: v1::PodSandbox, state: &Path, logs: &Path) -> Option<Found> {
    let written: Pod = serde_json::from_str(sandbox.annotations.get(MANIFEST)?).ok()?;
    if !is_named_so(&sandbox, &written) {
        return None;
    }
    let layout = Layout::kept(&written, state, logs).ok()?;
    let named = |key: &str| sandbox.annotations.get(key).map(PathBuf::from).filter(|path| path.is_absolute());
    let is_there = named(DIRECTORY).is_some_and(|directory| is_same(&directory, &layout.directory));
    let are_its = named(LOGS).is_some_and(|logs| logs.file_name() == layout.logs.file_name());
    if !is_there || !are_its || !record::is_in(&layout.directory) {
        return None;
    }
    let pod = match record::read(&layout.directory, lower::uid(&written)) {
        Ok(Some(pod)) if is_named_so(&sandbox, &pod) => pod,
        Ok(_) => return None,
        Err(error) => {
            note(&format!("Warning: pod {:?}: {error:#}", lower::name(&written)));
            written
        }
    };
    // From here on they are the ones that were looked at.
    for key in [DIRECTORY, HELD_IN] {
        sandbox.annotations.entry(key.to_owned()).and_modify(|path| *path = text(&layout.directory));
    }
    Some(Found { pod, sandbox })
}

/// Whether a pod is called as its client has told containerd. containerd has that from the client alone; annotations pass
/// on what others have written.
fn is_named_so(sandbox: &v1::PodSandbox, pod: &Pod) -> bool {
    let told = sandbox.metadata.as_ref().map(|told| [&told.uid, &told.name, &told.namespace].map(String::as_str));
    told == Some([lower::uid(pod), lower::name(pod), lower::namespace(pod)])
}

/// Whether two paths lead to one directory: the one that holds those of all pods may be called by a link.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::disk::tests::Scratch;
    use crate::kept::remains::has_begun;

    const UID: &str = "5b8a";

    /// A pod `shop/web` with its record below the directory, and what containerd says of its sandbox.
    fn made(state: &Path) -> v1::PodSandbox {
        let directory = state.join("pods").join(UID);
        fs::create_dir_all(&directory).unwrap();
        let pod: Pod =
            serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "shop", "uid": UID } })).unwrap();
        record::create(&directory, &pod).unwrap();
        let annotations = [
            (MANIFEST, serde_json::to_string(&pod).unwrap()),
            (DIRECTORY, text(&directory)),
            (HELD_IN, text(&directory)),
            (LOGS, format!("/var/log/pods/shop_web_{UID}")),
        ];
        v1::PodSandbox {
            id: "s".into(),
            metadata: Some(v1::PodSandboxMetadata {
                name: "web".into(),
                namespace: "shop".into(),
                uid: UID.into(),
                attempt: 0,
            }),
            annotations: annotations.map(|(key, value)| (key.to_owned(), value)).into(),
            ..v1::PodSandbox::default()
        }
    }

    fn changed(sandbox: &v1::PodSandbox, annotations: &[(&str, &str)]) -> v1::PodSandbox {
        let mut sandbox = sandbox.clone();
        sandbox.annotations.extend(annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        sandbox
    }

    fn found(sandbox: &v1::PodSandbox, state: &Path) -> Option<Found> {
        pod_of(sandbox.clone(), state, Path::new("/var/log/pods"))
    }

    #[test]
    fn a_pod_that_was_made_here_is_found_also_by_another_name_of_its_directory() {
        let scratch = Scratch::new("own");
        let sandbox = made(&scratch.0.join("state"));
        let own = found(&sandbox, &scratch.0.join("state")).unwrap();
        assert_eq!((own.namespace(), own.name(), own.uid()), ("shop", "web", UID));
        std::os::unix::fs::symlink("state", scratch.0.join("link")).unwrap();
        let linked = found(&sandbox, &scratch.0.join("link")).unwrap();
        assert_eq!(linked.directory(), Some(scratch.0.join("link/pods").join(UID).as_path()));
        // Its logs may be elsewhere than those of pods that are made now.
        let elsewhere = changed(&sandbox, &[(LOGS, "/srv/logs/shop_web_5b8a")]);
        assert!(found(&elsewhere, &scratch.0.join("state")).is_some());
        fs::write(scratch.0.join("state/pods").join(UID).join("pod.json"), "{").unwrap();
        assert_eq!(found(&sandbox, &scratch.0.join("state")).unwrap().name(), "web");
    }

    #[test]
    fn what_the_annotations_of_a_pod_say_makes_no_directory_of_the_machine_a_pods() {
        let scratch = Scratch::new("own-hostile");
        let state = scratch.0.join("state");
        let own = made(&state);
        let manifest = |uid: &str, name: &str| {
            json!({ "metadata": { "name": name, "namespace": "shop", "uid": uid } }).to_string()
        };
        let victim = scratch.0.join("victim");
        fs::create_dir_all(&victim).unwrap();
        let victim = victim.to_str().unwrap();
        let mut lib = changed(&own, &[(MANIFEST, &manifest("lib", "web")), (DIRECTORY, "/usr/lib")]);
        lib.annotations.remove(HELD_IN);
        let hostile = [
            ("a uid that is a path", changed(&own, &[(MANIFEST, &manifest(victim, "web")), (HELD_IN, "/nonexistent")])),
            ("the name of a directory for a uid", lib),
            ("another directory", changed(&own, &[(DIRECTORY, victim)])),
            ("another name", changed(&own, &[(MANIFEST, &manifest(UID, "db"))])),
            ("no JSON", changed(&own, &[(MANIFEST, "{")])),
            ("no pod", changed(&own, &[(MANIFEST, "[]")])),
            ("logs of others", changed(&own, &[(LOGS, "/var/log")])),
        ];
        for (what, sandbox) in hostile {
            assert!(found(&sandbox, &state).is_none(), "{what}");
        }
        // Told so by the client, too.
        let mut told = changed(&own, &[(MANIFEST, &manifest(victim, "web")), (DIRECTORY, victim)]);
        told.metadata.as_mut().unwrap().uid = victim.to_owned();
        assert!(found(&told, &state).is_none());
        let mut anothers = changed(&own, &[(MANIFEST, &manifest("other", "web"))]);
        anothers.metadata.as_mut().unwrap().uid = "other".into();
        assert!(found(&anothers, &state).is_none(), "it has no record");
    }

    #[test]
    fn whether_a_pod_has_begun_is_read_in_its_own_directory() {
        let scratch = Scratch::new("own-held");
        let sandbox = changed(&made(&scratch.0), &[(HELD_IN, "/nonexistent")]);
        fs::write(scratch.0.join("pods").join(UID).join("begun"), "").unwrap();
        assert!(has_begun(&found(&sandbox, &scratch.0).unwrap()));
    }
}
