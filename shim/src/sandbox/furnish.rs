//! A container's specification, made to fit the sandbox that it joins. Older versions of containerd name the namespaces of
//! a sandbox without a process as those of process 0, and nobody but the shim knows of its fittings.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Mount, Spec};

use super::fittings::Fittings;
use crate::failure::Result;

/// The namespaces of a process that there is not.
const OF_NOBODY: &str = "/proc/0/ns/";

/// What becomes of a namespace of nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instead {
    /// The pod's, which is found here.
    Pods(PathBuf),
    /// One of the container's own.
    Own,
    /// The host's: the pod has none of this kind.
    Hosts,
}

/// Puts what is there in the place of each namespace of nobody's.
///
/// # Errors
/// Those of `instead`. The specification is useless then.
pub(crate) fn join(spec: &mut Spec, instead: impl Fn(LinuxNamespaceType) -> Result<Instead>) -> Result<()> {
    let Some(namespaces) = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut()) else {
        return Ok(());
    };
    let joined = |mut namespace: LinuxNamespace| {
        if !namespace.path().as_ref().is_some_and(|path| path.starts_with(OF_NOBODY)) {
            return Ok(Some(namespace));
        }
        namespace.set_path(match instead(namespace.typ())? {
            Instead::Pods(path) => Some(path),
            Instead::Own => None,
            Instead::Hosts => return Ok(None),
        });
        Ok(Some(namespace))
    };
    let joined = std::mem::take(namespaces).into_iter().map(joined).collect::<Result<Vec<_>>>()?;
    *namespaces = joined.into_iter().flatten().collect();
    Ok(())
}

/// Mounts the pod's fittings where the specification has nothing of its own. `sandbox` is containerd's id.
pub(crate) fn fit(spec: &mut Spec, fittings: &Fittings, sandbox: &str) {
    let is_readonly = spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false);
    let mut mounts = spec.mounts_mut().take().unwrap_or_default();
    for (place, source) in &fittings.places {
        let is_memory = *place == "/dev/shm";
        let mount = bind(place, source, is_readonly && !is_memory);
        match mounts.iter_mut().find(|mount| mount.destination() == Path::new(place)) {
            // The default of the engine, for who has no pod.
            Some(found) if is_memory && found.typ().as_deref() == Some("tmpfs") && is_shm(found) => *found = mount,
            Some(found) if is_of_nobody(found, sandbox) => *found = mount,
            Some(_) => {}
            None => mounts.push(mount),
        }
    }
    spec.set_mounts(Some(mounts));
}

/// Whether it is a file that containerd would have made for a sandbox of its own. 1.7 names it whoever makes the sandbox, and
/// makes a directory where there is none.
fn is_of_nobody(mount: &Mount, sandbox: &str) -> bool {
    let directory = mount.source().as_deref().and_then(Path::parent);
    directory.is_some_and(|directory| directory.ends_with(Path::new("sandboxes").join(sandbox)))
}

fn is_shm(mount: &Mount) -> bool {
    mount.source().as_deref() == Some(Path::new("shm"))
}

fn bind(place: &str, source: &Path, is_readonly: bool) -> Mount {
    let access = if is_readonly { "ro" } else { "rw" };
    let mut mount = Mount::default();
    mount
        .set_destination(place.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source.to_owned()))
        .set_options(Some(["rbind", "rprivate", access].map(str::to_owned).into()));
    mount
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> Spec {
        let mut whole = json!({"ociVersion": "1.2.0"});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn fitted(value: Value) -> Vec<(String, String, String)> {
        let mut spec = spec(value);
        fit(&mut spec, &Fittings::of(Path::new("/b"), true), "ab12");
        let text = |path: &Path| path.display().to_string();
        let row = |mount: &Mount| {
            let source = mount.source().as_deref().map_or_else(String::new, text);
            (text(mount.destination()), source, mount.options().clone().unwrap_or_default().join(","))
        };
        spec.mounts().as_ref().unwrap().iter().map(row).collect()
    }

    #[test]
    fn namespaces_of_nobody_are_the_pods_pins_and_all_others_stay() {
        let mut spec = spec(json!({"linux": {"namespaces": [
            {"type": "network", "path": "/proc/0/ns/net"},
            {"type": "user", "path": "/proc/0/ns/user"},
            {"type": "ipc", "path": "/proc/0/ns/ipc"},
            {"type": "pid", "path": "/proc/7/ns/pid"},
            {"type": "uts", "path": "/proc/0/ns/uts"},
            {"type": "mount"},
        ]}}));
        let instead = |kind| match kind {
            LinuxNamespaceType::Network => Ok(Instead::Hosts),
            LinuxNamespaceType::User => Ok(Instead::Own),
            kind => Ok(Instead::Pods(format!("/pin/{kind}").into())),
        };
        join(&mut spec, instead).unwrap();
        let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
        let paths = namespaces.iter().map(|one| (one.typ().to_string(), one.path().clone())).collect::<Vec<_>>();
        let expected = [
            ("user", None),
            ("ipc", Some("/pin/ipc")),
            ("pid", Some("/proc/7/ns/pid")),
            ("uts", Some("/pin/uts")),
            ("mnt", None),
        ];
        assert_eq!(paths, expected.map(|(kind, path)| (kind.to_owned(), path.map(PathBuf::from))));
    }

    #[test]
    fn a_specification_without_namespaces_has_none_to_be_joined() {
        let mut empty = spec(json!({}));
        let before = empty.clone();
        join(&mut empty, |_| Ok(Instead::Pods("/pin".into()))).unwrap();
        assert_eq!(empty, before);
    }

    #[test]
    fn what_is_missing_is_mounted_and_the_engines_own_shared_memory_is_the_pods() {
        let shm = json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=65536k"]});
        let found =
            fitted(json!({"mounts": [shm, {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}]}));
        let places: Vec<_> = found.iter().map(|(place, ..)| place.as_str()).collect();
        // In the place of the engine's: something may be mounted below it.
        assert_eq!(places, ["/dev/shm", "/dev/mqueue", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]);
        assert_eq!((found[0].1.as_str(), found[0].2.as_str()), ("/b/shm", "rbind,rprivate,rw"));
    }

    #[test]
    fn what_a_client_mounts_itself_stays() {
        let own = |place: &str| json!({"destination": place, "type": "bind", "source": "/own", "options": ["rbind"]});
        let sized = json!({"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs", "options": ["size=1g"]});
        let found = fitted(json!({"mounts": [own("/etc/hosts"), sized]}));
        assert_eq!(found[0].1, "/own");
        assert_eq!(found[1].1, "tmpfs");
        assert_eq!(found.len(), 4, "the name and the resolver");
    }

    #[test]
    fn what_containerd_has_not_made_is_the_pods() {
        let mount = |place: &str, directory: &str, name: &str| json!({"destination": place, "type": "bind", "source": format!("{directory}/{name}"), "options": ["rbind"]});
        let cri = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/ab12";
        let found = fitted(json!({"mounts": [
            mount("/etc/hosts", cri, "hosts"),
            mount("/etc/resolv.conf", "/var/lib/containerd/sandboxes/other", "resolv.conf"),
            mount("/dev/shm", cri, "shm"),
        ]}));
        let sources: Vec<_> = found.iter().map(|(_, source, _)| source.as_str()).collect();
        assert_eq!(sources, ["/b/hosts", "/var/lib/containerd/sandboxes/other/resolv.conf", "/b/shm", "/b/hostname"]);
    }

    #[test]
    fn a_read_only_root_has_read_only_files_and_shared_memory_all_the_same() {
        let found = fitted(json!({"root": {"path": "rootfs", "readonly": true}}));
        let access = |place: &str| found.iter().find(|(at, ..)| at == place).unwrap().2.clone();
        assert_eq!(access("/etc/hosts"), "rbind,rprivate,ro");
        assert_eq!(access("/dev/shm"), "rbind,rprivate,rw");
    }
}
