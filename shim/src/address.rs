//! The address of a shim: who shares one, and what its socket is called.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
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
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", SANDBOX];
/// Of them the one by which CRI names a container's sandbox.
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
/// What it is to CRI: a `sandbox`, or a `container` of one.
const KIND: &str = "io.kubernetes.cri.container-type";

/// The container whose shim serves this one: itself, or its pod's sandbox. `config.json` may be absent (containerd's
/// shim sandboxer makes a bundle without one); then the container stands alone.
pub(crate) fn group(bundle: &Path, id: &str) -> Group {
    // Where it cannot be read, whoever needs more of it says so.
    group_of(&spec::text(bundle).unwrap_or_default(), id)
}

/// The group that a specification names, as far as it can be understood.
pub(crate) fn group_of(specification: &str, id: &str) -> Group {
    let mut annotations = Annotations::default();
    let _partly = serde_json::Deserializer::from_str(specification).deserialize_map(&mut annotations);
    let Annotations(annotations) = annotations;
    let found = GROUPS.iter().find_map(|key| Some((*key, annotations.get(*key)?.clone())));
    let (key, name) = found.unwrap_or((GROUPS[0], id.to_owned()));
    // Others than CRI may group their containers by the name of a sandbox that there is not.
    let is_container = annotations.get(KIND).is_some_and(|kind| kind == "container");
    Group { is_anothers_sandbox: key == SANDBOX && name != id && is_container, name }
}

/// Containers that share a shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// It is that of a pod whose sandbox has been made before.
    pub(crate) is_anothers_sandbox: bool,
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

/// How the names of shims' sockets begin that this project has made: shims of others listen in the same directory.
pub const SOCKET_PREFIX: &str = "loment-";

/// Bytes that the path of a socket may have. unix(7), `sun_path` without its end
const LONGEST: usize = 107;

/// Address of the shim that serves `group`: a pure function of who asks, so that every `start` of a group finds it.
pub(crate) fn of_group(start: &Start, group: &str) -> String {
    let default = in_the_usual_place(&start.grpc_address, &start.namespace, group);
    let (Some(dir), Some(name)) = (&start.socket_dir, default.rsplit('/').next()) else { return default };
    let in_directory = |name: &str| Path::new(dir).join(name).display().to_string();
    let (whole, short) = (in_directory(name), in_directory(name.trim_start_matches(SOCKET_PREFIX)));
    // containerd takes directories in which there is room for the hash alone.
    format!("unix://{}", if whole.len() <= LONGEST { whole } else { short })
}

/// Where the shim of a group listens that containerd, which listens at `containerd`, has started without naming another
/// directory for it.
pub fn socket_of(containerd: &str, namespace: &str, group: &str) -> PathBuf {
    path(&in_the_usual_place(containerd, namespace, group)).to_owned()
}

/// The address of that. The name is a hash of all three, as that of every shim.
pub(crate) fn in_the_usual_place(containerd: &str, namespace: &str, group: &str) -> String {
    let address = containerd_shim::socket_address(containerd, namespace, group);
    match address.rsplit_once('/') {
        Some((directory, name)) => format!("{directory}/{SOCKET_PREFIX}{name}"),
        None => address,
    }
}

/// The path of a `unix://` address.
pub(crate) fn path(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").unwrap_or(address))
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
    fn the_address_is_where_containerd_expects_it_and_tells_whose_it_is() {
        let address = of_group(&start(None), "pod");
        assert!(address.starts_with("unix:///run/containerd/s/loment-"), "{address}");
        assert_eq!(address.len(), "unix:///run/containerd/s/loment-".len() + 64);
        assert_eq!(address, of_group(&start(None), "pod"));
        assert_ne!(address, of_group(&start(None), "other"));
    }

    #[test]
    fn a_socket_directory_given_by_containerd_is_used() {
        assert!(of_group(&start(Some("/run/x")), "pod").starts_with("unix:///run/x/loment-"));
        let longest = format!("/{}", "d".repeat(41));
        let address = of_group(&start(Some(&longest)), "pod");
        assert_eq!(path(&address).as_os_str().len(), LONGEST, "{address}");
    }

    #[test]
    fn containers_of_a_pod_share_a_shim_and_others_stand_alone() {
        let dir = std::env::temp_dir().join(format!("loment-group-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let of = |name: &str, is_anothers_sandbox| Group { name: name.into(), is_anothers_sandbox };
        assert_eq!(group(&dir, "me"), of("me", false));
        let is = |kind: &str| format!(r#"{{"annotations":{{"{SANDBOX}":"pod","{KIND}":"{kind}"}}}}"#);
        std::fs::write(dir.join("config.json"), is("sandbox")).unwrap();
        assert_eq!(group(&dir, "pod"), of("pod", false));
        std::fs::write(dir.join("config.json"), is("container")).unwrap();
        assert_eq!(group(&dir, "me"), of("pod", true));
        std::fs::write(dir.join("config.json"), r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","x":"y"}}"#)
            .unwrap();
        assert_eq!(group(&dir, "me"), of("pod", false), "by another client than CRI");
        std::fs::write(
            dir.join("config.json"),
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#,
        )
        .unwrap();
        assert_eq!(group(&dir, "me"), of("g", false));
        std::fs::write(dir.join("config.json"), "{").unwrap();
        assert_eq!(group(&dir, "me"), of("me", false));
        std::fs::remove_dir_all(&dir).unwrap();
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
