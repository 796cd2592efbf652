//! The shim's socket: its name, and listening on it at most once.

use std::{
    fs::{DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::{
    bootstrap::Start,
    failure::{Failure, Result},
};

/// Annotations that put containers into one shim, the first that is set.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The container whose shim serves this one: itself, or its pod's sandbox. `config.json` may be absent (containerd's
/// shim sandboxer makes a bundle without one); then the container stands alone.
pub(crate) fn group(bundle: &Path, id: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Annotated {
        annotations: Option<std::collections::HashMap<String, String>>,
    }
    let annotations = std::fs::read_to_string(bundle.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Annotated>(&text).ok())
        .and_then(|spec| spec.annotations);
    annotations
        .and_then(|annotations| GROUPS.iter().find_map(|name| annotations.get(*name).cloned()))
        .unwrap_or_else(|| id.to_owned())
}

/// Address of the shim that serves `group`: a pure function of who asks, so that every `start` of a group finds it.
pub(crate) fn of_group(start: &Start, group: &str) -> String {
    let default = containerd_shim::socket_address(&start.grpc_address, &start.namespace, group);
    match (&start.socket_dir, Path::new(&default).file_name()) {
        (Some(dir), Some(name)) => format!("unix://{}", Path::new(dir).join(name).display()),
        _ => default,
    }
}

/// The path of a `unix://` address.
pub(crate) fn path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
}

/// What became of an attempt to listen.
pub(crate) enum Listening {
    /// This process now owns the socket.
    Here(UnixListener),
    /// A shim already answers there.
    Elsewhere,
}

/// Listens at `address`, unless someone already does. A socket that nobody answers was left by a shim that died.
pub(crate) fn listen(address: &str) -> Result<Listening> {
    let path = path(address);
    let failed = |operation: &str, error: &io::Error| Failure::io(operation, path.display(), error);
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|e| failed("make directory of", &e))?;
    }
    for _ in 0..3 {
        match UnixListener::bind(path) {
            Ok(listener) => {
                // The directory (0700) already keeps others out; this is for a socket_dir that does not.
                std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| failed("protect", &e))?;
                return Ok(Listening::Here(listener));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if UnixStream::connect(path).is_ok() {
                    return Ok(Listening::Elsewhere);
                }
                remove(path).map_err(|e| failed("remove stale socket", &e))?;
            }
            Err(error) => return Err(failed("listen on", &error)),
        }
    }
    Err(Failure::unknown(format!("listen on {}: another shim keeps taking it and leaving", path.display())))
}

/// Removes a socket; one that is gone is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes `bundle/address`, from which containerd before 2.0 finds the shim again after a restart. Atomic: containerd
/// may read at any time.
pub(crate) fn record(bundle: &Path, address: &str) -> Result<()> {
    let (temporary, target): (PathBuf, PathBuf) = (bundle.join(".address"), bundle.join("address"));
    std::fs::write(&temporary, address)
        .and_then(|()| std::fs::rename(&temporary, &target))
        .map_err(|error| Failure::io("write", target.display(), &error))
}

/// Removes the socket that `bundle/address` names if nobody answers there: a shim that was killed leaves it behind, and
/// nobody else knows of it. Nothing is left to do when it is gone.
pub(crate) fn forget_stale(bundle: &Path) -> Result<()> {
    let Ok(address) = std::fs::read_to_string(bundle.join("address")) else { return Ok(()) };
    let path = path(&address);
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            remove(path).map_err(|error| Failure::io("remove stale socket", path.display(), &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Reply;

    fn start(socket_dir: Option<&str>) -> Start {
        Start {
            id: "a".into(),
            namespace: "k8s.io".into(),
            grpc_address: "/run/containerd/containerd.sock".into(),
            ttrpc_address: String::new(),
            socket_dir: socket_dir.map(Into::into),
            debug: false,
            reply: Reply::Address,
        }
    }

    #[test]
    fn the_address_is_the_one_that_containerd_expects() {
        let address = of_group(&start(None), "pod");
        assert!(address.starts_with("unix:///run/containerd/s/"), "{address}");
        assert_eq!(address.len(), "unix:///run/containerd/s/".len() + 64);
        assert_eq!(address, of_group(&start(None), "pod"));
        assert_ne!(address, of_group(&start(None), "other"));
    }

    #[test]
    fn a_socket_directory_given_by_containerd_is_used() {
        assert!(of_group(&start(Some("/run/x")), "pod").starts_with("unix:///run/x/"));
    }

    #[test]
    fn containers_of_a_pod_share_a_shim_and_others_stand_alone() {
        let dir = std::env::temp_dir().join(format!("loment-group-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(group(&dir, "me"), "me");
        std::fs::write(dir.join("config.json"), r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","x":"y"}}"#)
            .unwrap();
        assert_eq!(group(&dir, "me"), "pod");
        std::fs::write(
            dir.join("config.json"),
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#,
        )
        .unwrap();
        assert_eq!(group(&dir, "me"), "g");
        std::fs::write(dir.join("config.json"), "{").unwrap();
        assert_eq!(group(&dir, "me"), "me");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_second_shim_finds_the_first_and_a_stale_socket_is_replaced() {
        let path = std::env::temp_dir().join(format!("loment-listen-{}/s", std::process::id()));
        let address = format!("unix://{}", path.display());
        let Listening::Here(first) = listen(&address).unwrap() else { panic!("nobody else is there") };
        assert!(matches!(listen(&address).unwrap(), Listening::Elsewhere));
        drop(first);
        assert!(matches!(listen(&address).unwrap(), Listening::Here(_)));
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_a_socket_that_nobody_answers_is_forgotten() {
        let bundle = std::env::temp_dir().join(format!("loment-forget-{}", std::process::id()));
        std::fs::create_dir_all(&bundle).unwrap();
        forget_stale(&bundle).unwrap();
        let path = bundle.join("s");
        let address = format!("unix://{}", path.display());
        record(&bundle, &address).unwrap();
        let Listening::Here(listener) = listen(&address).unwrap() else { panic!("nobody else is there") };
        forget_stale(&bundle).unwrap();
        assert!(path.exists());
        drop(listener);
        forget_stale(&bundle).unwrap();
        assert!(!path.exists());
        forget_stale(&bundle).unwrap();
        std::fs::remove_dir_all(&bundle).unwrap();
    }
}
