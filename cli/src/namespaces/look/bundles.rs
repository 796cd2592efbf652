//! What containers and pods are called, as their bundles tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Container, Process};
use crate::leaks::places;

/// Where containerd keeps what tells the names of containers.
const CONTAINERD: &str = "/run/containerd";

/// All that is found, by id.
pub(super) fn named(processes: &[Process]) -> BTreeMap<String, Container> {
    states(processes).iter().flat_map(|state| containers(state)).collect()
}

/// Where containerds keep bundles: the usual place, and for each shim the directory of the socket that it was told (k3s's), or
/// `state` in it.
fn states(processes: &[Process]) -> BTreeSet<PathBuf> {
    let claims = processes.iter().filter_map(|process| process.claim.as_ref());
    let sockets = claims.filter_map(|claim| Path::new(&claim.address).parent());
    let directories = sockets.filter(|directory| directory.has_root()).map(Path::to_owned);
    let places = directories.flat_map(|directory| [directory.join("state"), directory]);
    std::iter::once(PathBuf::from(CONTAINERD)).chain(places).collect()
}

fn containers(containerd: &Path) -> BTreeMap<String, Container> {
    let bundles = places::bundles(containerd).into_iter();
    let named = bundles.filter(|bundle| !bundle.names.name.is_empty());
    named
        .map(|bundle| {
            let names = bundle.names;
            (bundle.id, Container { namespace: names.namespace, pod: names.name, name: names.container })
        })
        .collect()
}
