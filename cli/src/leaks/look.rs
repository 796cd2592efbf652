//! A look at the machine and at containerd: makes a [`Survey`].

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loment_cgroups::Layout;
use loment_cri::{Code, Known};
use serde_json::Value;

use super::survey::{Names, Survey, Unlisted};
use super::{cni, kept, mounts, places, processes};
use crate::lower::label;
use crate::lower::layout::is_id;
use crate::session::Session;

/// Where containerd keeps its things, and CNI its plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) state: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) plugins: Vec<PathBuf>,
}

impl Places {
    /// As CRI tells them; the usual ones of a containerd without CRI. `state` is what the user says of the first.
    pub(crate) async fn of(session: &Session, state: Option<&Path>) -> anyhow::Result<Self> {
        let config = match session.client.status(true).await {
            Ok(status) => status.info.get("config").map(|text| serde_json::from_str(text)).transpose(),
            Err(error) if error.code() == Some(Code::Unimplemented) => Ok(None),
            Err(error) => return Err(error.into()),
        };
        let config = config.context("read the runtime's configuration")?.unwrap_or_default();
        let mut places = Self::told(&config);
        if let Some(state) = state {
            state.clone_into(&mut places.state);
        }
        Ok(places)
    }

    /// The directories of CRI are in those of containerd.
    fn told(config: &Value) -> Self {
        let above = |key: &str, usual: &str| {
            let told = config[key].as_str().and_then(|path| Path::new(path).parent());
            told.filter(|path| path.is_absolute()).map_or_else(|| PathBuf::from(usual), Path::to_owned)
        };
        let network = &config["cni"];
        let several = network["binDirs"].as_array().into_iter().flatten();
        let plugins: Vec<PathBuf> = several
            .chain([&network["binDir"]])
            .filter_map(Value::as_str)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect();
        Self {
            state: above("stateDir", "/run/containerd"),
            root: above("rootDir", "/var/lib/containerd"),
            plugins: if plugins.is_empty() { vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()] } else { plugins },
        }
    }
}

/// Looks once. The machine first and containerd then: what begins meanwhile is known before there is anything of it.
pub(crate) async fn look(session: &Session, places: &Places) -> anyhow::Result<Survey> {
    let own_mounts = fs::metadata("/proc/self/ns/mnt").context("find the own mount namespace")?.ino();
    let programs: Vec<PathBuf> = super::remove::program().into_iter().collect();
    let mut processes = processes::all(own_mounts, &programs);
    processes.iter_mut().filter_map(|process| process.claim.as_mut()).for_each(|claim| {
        claim.address = one_name(&session.address, &claim.address);
    });
    let directories = [places.state.clone(), session.global.state_dir.join("pods")];
    let layout = Layout::detect()?;
    let survey = Survey {
        address: session.address.to_string_lossy().into_owned(),
        own_mounts,
        containerd_state: places.state.clone(),
        state: session.global.state_dir.clone(),
        bundles: places::bundles(&places.state),
        mounts: mounts::below(&directories, own_mounts, &processes),
        cgroups: places::cgroups(layout.mount_points()),
        networks: places::networks(),
        attachments: cni::attachments(Path::new(cni::NOTES)),
        sockets: places::sockets(),
        processes,
        ..Survey::default()
    };
    let kept = kept::read(session).await?;
    let unlisted = unlisted(session).await?;
    Ok(Survey { known: known(session).await?, unlisted, kept, ..survey })
}

/// The name by which containerd was asked, if a shim's is another one of the same socket (`/var/run` leads to `/run`).
fn one_name(asked: &Path, named: &str) -> String {
    let is_same = fs::canonicalize(asked).is_ok_and(|asked| fs::canonicalize(named).is_ok_and(|named| named == asked));
    if is_same { asked.to_string_lossy().into_owned() } else { named.to_owned() }
}

/// All that containerd knows, in all of its namespaces and in CRI's own lists, by namespace and id.
pub(crate) async fn known(session: &Session) -> anyhow::Result<BTreeMap<String, BTreeMap<String, Names>>> {
    let mut known: BTreeMap<String, BTreeMap<String, Names>> = BTreeMap::new();
    for namespace in session.client.list_namespaces().await? {
        let all = session.client.inventory(&namespace).await?;
        let named = all.into_iter().filter(|one| is_id(&one.id)).map(|one| (one.id.clone(), names(&one)));
        known.entry(namespace).or_default().extend(named);
    }
    let cri = known.entry("k8s.io".to_owned()).or_default();
    let pods = match session.client.list_pod_sandboxes(None).await {
        Ok(pods) => pods,
        Err(error) if error.code() == Some(Code::Unimplemented) => return Ok(known),
        Err(error) => return Err(error.into()),
    };
    for pod in pods {
        let metadata = pod.metadata.unwrap_or_default();
        let names = cri.entry(pod.id).or_default();
        (names.namespace, names.name, names.uid) = (metadata.namespace, metadata.name, metadata.uid);
    }
    for container in session.client.list_containers(None).await? {
        cri.entry(container.id).or_default();
    }
    Ok(known)
}

/// What CRI has made and does not list; nothing where there is no CRI.
pub(crate) async fn unlisted(session: &Session) -> anyhow::Result<Vec<Unlisted>> {
    let found = match session.client.list_unlisted().await {
        Err(error) if error.code() == Some(Code::Unimplemented) => return Ok(Vec::new()),
        found => found?,
    };
    let unlisted = |one: Known| {
        let age = one.created.and_then(|created| created.elapsed().ok()).unwrap_or_default();
        Unlisted { names: names(&one), id: one.id, runtime: one.runtime, age }
    };
    Ok(found.into_iter().map(unlisted).collect())
}

fn names(known: &Known) -> Names {
    let label = |name: &str| known.labels.get(name).cloned().unwrap_or_default();
    Names {
        namespace: label(label::POD_NAMESPACE),
        name: label(label::POD_NAME),
        uid: label(label::POD_UID),
        container: label(label::CONTAINER_NAME),
        pid: known.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_containerd_is_follows_from_where_cri_is() {
        let config = json!({
            "stateDir": "/run/x/state/io.containerd.grpc.v1.cri", "rootDir": "/run/x/root/io.containerd.grpc.v1.cri",
            "cni": { "binDir": "/usr/lib/cni" },
        });
        let places = Places::told(&config);
        assert_eq!(
            (places.state.as_path(), places.root.as_path()),
            (Path::new("/run/x/state"), Path::new("/run/x/root"))
        );
        assert_eq!(places.plugins, [Path::new("/usr/lib/cni")]);
        let newer = json!({ "cni": { "binDir": "", "binDirs": ["/a", "/b"] } });
        assert_eq!(Places::told(&newer).plugins, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(Places::told(&Value::Null).state, Path::new("/run/containerd"));
    }
}
