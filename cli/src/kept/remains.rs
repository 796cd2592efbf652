//! What is left of pods that are none: their making or their deletion was cut short.
//!
//! A pod is made as a whole: it begins when its shim is told so, after everything of it is there, and the shim writes that
//! down before anything runs. What has not begun, and is not being made by anybody, is as good as not there: nobody lists
//! it, the next pod of its name takes its place, and `loment delete` removes it.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use loment_cri::v1;
use loment_shim::pod::names::BEGUN;

use crate::args::Global;
use crate::kept::{keeper, record};
use crate::lower::layout::{Layout, is_plain, text};
use crate::lower::{self, DIRECTORY, HELD_IN, LOGS};
use crate::session::{self, Found, Session};
use crate::{disk, make, pod};

/// Whether a pod with a sandbox has begun. One that its shim does not hold back was begun by its client.
pub(crate) fn has_begun(found: &Found) -> bool {
    let held_in = found.sandbox.annotations.get(HELD_IN).map(Path::new);
    held_in.is_none_or(|directory| directory.join(BEGUN).exists())
}

/// Pods that have begun and that containerd knows nothing of: a command that was to make them anew was cut short, or
/// containerd has lost its own state. They are pods still: their volumes are there.
pub(crate) fn lost(global: &Global, wanted: impl Fn(&Pod) -> bool) -> anyhow::Result<Vec<Found>> {
    let pods = records(global, |pod, directory| wanted(pod) && is_whole(directory))?;
    let found = pods.into_iter().map(|pod| {
        let layout = Layout::of(&pod, &global.state_dir, &global.log_dir);
        let annotations = [(DIRECTORY, &layout.directory), (LOGS, &layout.logs)];
        let annotations = annotations.map(|(key, path)| (key.to_owned(), text(path))).into();
        Found { pod, sandbox: v1::PodSandbox { annotations, ..v1::PodSandbox::default() } }
    });
    Ok(found.collect())
}

/// Whether these are the files of a pod that has begun and that nobody has begun to delete.
fn is_whole(directory: &Path) -> bool {
    directory.join(BEGUN).exists() && !directory.join(pod::DELETION).exists()
}

/// The names of a namespace whose pods never began or have no sandbox.
pub(crate) async fn names(session: &Session, namespace: &str) -> anyhow::Result<BTreeSet<String>> {
    let (pods, unbegun) = session.all(namespace, None).await?;
    let mut names: BTreeSet<String> = unbegun.iter().map(|found| found.name().to_owned()).collect();
    let is_dead = |pod: &Pod| !pods.iter().any(|found| found.uid() == lower::uid(pod));
    let recorded = records(&session.global, |pod, _| lower::namespace(pod) == namespace && is_dead(pod))?;
    names.extend(disk::begun_names(&session.global.state_dir.join("pods"), namespace)?);
    names.extend(recorded.iter().map(|pod| lower::name(pod).to_owned()));
    Ok(names)
}

/// What [`clear`] has found.
pub(crate) struct Cleared {
    /// Whether there was something to be removed.
    pub(crate) any: bool,
    /// The pod that has the name.
    pub(crate) living: Option<Found>,
}

/// Removes what is left of pods with this name that never began, or whose deletion was cut short after containerd had
/// forgotten them. The caller has the name ([`crate::disk::NameLock`]): nobody is making one of them.
pub(crate) async fn clear(session: &Session, namespace: &str, name: &str) -> anyhow::Result<Cleared> {
    let pods = session.global.state_dir.join("pods");
    disk::sweep(&pods)?;
    let mut any = disk::clear_begun(&pods, namespace, name)?;
    let (living, unbegun) = session.all(namespace, Some(name)).await?;
    let living = living.into_iter().next();
    for found in unbegun {
        make::unmake(session, &found.pod, &layout(session, &found.pod)?).await?;
        any = true;
    }
    let is_dead = |pod: &Pod, _: &Path| {
        let uid = lower::uid(pod);
        (lower::namespace(pod), lower::name(pod)) == (namespace, name)
            && living.as_ref().is_none_or(|found| found.uid() != uid)
    };
    for pod in records(&session.global, is_dead)? {
        make::unmake(session, &pod, &layout(session, &pod)?).await?;
        any = true;
    }
    Ok(Cleared { any, living })
}

fn layout(session: &Session, pod: &Pod) -> anyhow::Result<Layout> {
    Layout::kept(pod, &session.global.state_dir, &session.global.log_dir)
}

/// The pods of this containerd with a record in the state directory that `wanted` picks. A record that cannot be read is nobody's: it stays,
/// and is in nobody's way, because its directory is named after its uid.
fn records(global: &Global, wanted: impl Fn(&Pod, &Path) -> bool) -> anyhow::Result<Vec<Pod>> {
    let mut records = Vec::new();
    let address = session::address(global);
    for directory in disk::entries(&global.state_dir.join("pods"))? {
        let Some(uid) = directory.file_name().and_then(|name| name.to_str()) else { continue };
        if let Ok(Some(pod)) = record::read(&directory, uid)
            && is_plain(&pod)
            && keeper::is_of(&directory, &address)
            && wanted(&pod, &directory)
        {
            records.push(pod);
        }
    }
    Ok(records)
}
