//! The shim's socket: its name, and listening on it at most once.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{DirBuilder, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{
    bootstrap::Start,
    failure::{Failure, Result},
    spec,
};

/// Annotations that put containers into one shim, the first that is set.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The container whose shim serves this one: itself, or its pod's sandbox. `config.json` may be absent (containerd's
/// shim sandboxer makes a bundle without one); then the container stands alone.
pub(crate) fn group(bundle: &Path, id: &str) -> String {
    // Where it cannot be read, whoever needs more of it says so.
    spec::text(bundle).ok().and_then(|text| group_of(&text)).unwrap_or_else(|| id.to_owned())
}

/// The group that a specification names, as far as it can be understood.
pub(crate) fn group_of(specification: &str) -> Option<String> {
    let mut annotations = Annotations::default();
    let _partly = serde_json::Deserializer::from_str(specification).deserialize_map(&mut annotations);
    let Annotations(mut annotations) = annotations;
    GROUPS.iter().find_map(|name| annotations.remove(*name))
}

/// The annotations of a specification, which is read up to them: most of it, a seccomp profile, comes after them.
#[derive(Default)]
struct Annotations(BTreeMap<String, String>);

impl<'de> Visitor<'de> for &mut Annotations {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a specification")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut specification: A) -> std::result::Result<(), A::Error> {
        while let Some(field) = specification.next_key::<String>()? {
            if field == "annotations" {
                self.0 = specification.next_value::<Option<_>>()?.unwrap_or_default();
                break;
            }
            specification.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
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
    let _alone = alone(path).map_err(|e| failed("lock directory of", &e))?;
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if is_answered(path).map_err(|e| failed("connect to", &e))? {
                return Ok(Listening::Elsewhere);
            }
            remove_socket(path).map_err(|e| failed("remove stale socket", &e))?;
            UnixListener::bind(path)
        }
        bound => bound,
    };
    let listener = bound.map_err(|e| failed("listen on", &e))?;
    // The directory (0700) already keeps others out; this is for a socket_dir that does not.
    if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(0o600)) {
        let _gone = remove(path);
        return Err(failed("protect", &error));
    }
    Ok(Listening::Here(listener))
}

/// Removes the socket at `address` if nobody listens there any more: its shim was killed. Whether there is a shim that
/// listens. Costs next to nothing when there is no socket.
pub(crate) fn remove_stale(address: &str) -> Result<bool> {
    let path = path(address);
    let failed = |operation: &str, error: &io::Error| Failure::io(operation, path.display(), error);
    if path.symlink_metadata().is_err() {
        return Ok(false);
    }
    let _alone = alone(path).map_err(|e| failed("lock directory of", &e))?;
    if is_answered(path).map_err(|e| failed("connect to", &e))? {
        return Ok(true);
    }
    remove_socket(path).map_err(|e| failed("remove stale socket", &e))?;
    Ok(false)
}

/// While it is held nobody else takes a name in the directory of `path` or removes a stale one: between bind(2) and
/// listen(2) the socket of a shim that begins refuses like that of one that has died.
fn alone(path: &Path) -> io::Result<Flock<File>> {
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// Whether somebody listens at `path`. Never waits, as connecting to a shim that is too busy to accept would.
fn is_answered(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a socket, and nothing else: a file that is none refuses connections, too.
fn remove_socket(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(status) if !status.file_type().is_socket() => Err(io::Error::other("it is not a socket")),
        _ => remove(path),
    }
}

/// Removes a socket; one that is gone is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The address that [`record`] has left in a bundle.
pub(crate) fn recorded(bundle: &Path) -> Option<String> {
    std::fs::read_to_string(bundle.join("address")).ok().filter(|address| address.starts_with("unix:///"))
}

/// Writes `bundle/address`, from which containerd before 2.0 finds the shim again after a restart. Atomic: containerd
/// may read at any time.
pub(crate) fn record(bundle: &Path, address: &str) -> Result<()> {
    let (temporary, target): (PathBuf, PathBuf) = (bundle.join(".address"), bundle.join("address"));
    std::fs::write(&temporary, address)
        .and_then(|()| std::fs::rename(&temporary, &target))
        .map_err(|error| Failure::io("write", target.display(), &error))
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
    fn only_a_socket_that_nobody_answers_is_removed() {
        let directory = std::env::temp_dir().join(format!("loment-stale-{}", std::process::id()));
        let path = directory.join("s");
        let address = format!("unix://{}", path.display());
        remove_stale(&address).unwrap();
        let Listening::Here(listener) = listen(&address).unwrap() else { panic!("nobody else is there") };
        remove_stale(&address).unwrap();
        assert!(path.exists(), "its shim lives");
        drop(listener);
        remove_stale(&address).unwrap();
        assert!(!path.exists(), "its shim is gone");
        std::fs::write(&path, "a file of somebody's").unwrap();
        assert!(remove_stale(&address).is_err());
        assert!(listen(&address).is_err());
        assert!(path.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_start_has_recorded_is_found_again() {
        let bundle = std::env::temp_dir().join(format!("loment-address-{}", std::process::id()));
        std::fs::create_dir_all(&bundle).unwrap();
        assert_eq!(recorded(&bundle), None);
        record(&bundle, "unix:///run/containerd/s/0").unwrap();
        assert_eq!(recorded(&bundle).as_deref(), Some("unix:///run/containerd/s/0"));
        std::fs::write(bundle.join("address"), "").unwrap();
        assert_eq!(recorded(&bundle), None);
        std::fs::remove_dir_all(&bundle).unwrap();
    }
}
