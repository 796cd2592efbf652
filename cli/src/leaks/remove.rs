//! Removes what [`super::judge`] has called a leftover. Whatever it is, it is looked at once more right before: that it is
//! still the same thing, and that containerd has not learnt of its id meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use loment_sandbox::record;

use super::finding::{Finding, Thing};
use super::look::{Places, known, unlisted};
use super::survey::Names;
use super::undo::{
    end, gone_with_its_peer, is_same, kill, refuse_strangers, remove_cgroup, remove_directory, remove_socket, unmount,
    unname,
};
use super::{cni, places, processes};
use crate::commands::note;
use crate::disk;
use crate::kept::remains;
use crate::lower::layout::is_id;
use crate::session::Session;

/// What is needed to remove anything.
pub(crate) struct Removal<'a> {
    session: &'a Session,
    places: &'a Places,
    known: BTreeMap<String, BTreeMap<String, Names>>,
    program: Option<PathBuf>,
}

/// Removes what runs of one pod that is gone, as far as it can be. Its files stay, and what is mounted in their directory.
///
/// Errors: the machine or containerd cannot be looked at. What is still there is found by whoever looks for it next.
pub(crate) async fn of_pod(session: &Session, uid: &str) -> anyhow::Result<()> {
    let places = Places::of(session, None).await?;
    let (found, _) = super::find(session, &places).await?;
    let pods = session.global.state_dir.join("pods");
    let runs = |thing: &Thing| match thing {
        Thing::Kept { .. } => false,
        Thing::Mount { at, .. } => !at.starts_with(&pods),
        _ => true,
    };
    let is_its = |one: &Finding| one.is_leftover() && one.owner.pod.uid == uid && runs(&one.thing);
    let its: Vec<Finding> = found.into_iter().filter(is_its).collect();
    for failed in Removal::begin(session, &places).await?.all(&its).await.into_iter().filter_map(Result::err) {
        note(&format!("Warning: {failed:#}"));
    }
    Ok(())
}

impl<'a> Removal<'a> {
    /// Asks containerd once more.
    pub(crate) async fn begin(session: &'a Session, places: &'a Places) -> anyhow::Result<Self> {
        Ok(Self { session, places, known: known(session).await?, program: program() })
    }

    /// Removes all of them, which are in their order, and answers with what became of each.
    pub(crate) async fn all(&self, leftovers: &[Finding]) -> Vec<anyhow::Result<()>> {
        let mut results = Vec::with_capacity(leftovers.len());
        let (shims, rest) = leftovers.split_at(leftovers.partition_point(|one| one.thing.rank() == 0));
        for shim in shims {
            results.push(self.remove(shim).await);
        }
        // What is recorded in bundles is cleaned up as containerd would have the shim do it. What this removes is found
        // removed when its turn comes, and what it cannot remove is told there too.
        for one in rest {
            if let Thing::Bundle { path, inode, namespace, id } = &one.thing
                && self.is_gone(one).is_ok()
                && let Err(error) = self.delete(path, *inode, namespace, id)
            {
                note(&format!("Warning: {error:#}"));
            }
        }
        // The first process of a pid namespace ends when all others in it have ended: all are killed before one is awaited.
        for one in rest {
            if let Thing::Process { pid, start_time, .. } = one.thing
                && self.is_gone(one).is_ok()
                && let Err(error) = kill(pid, start_time)
            {
                note(&format!("Warning: {error:#}"));
            }
        }
        for one in rest {
            results.push(self.remove(one).await);
        }
        results
    }

    /// Removes one of them.
    ///
    /// Errors: it is still there, with the reason.
    async fn remove(&self, finding: &Finding) -> anyhow::Result<()> {
        self.is_gone(finding)?;
        match &finding.thing {
            Thing::Container { id } => self.clear(id).await,
            Thing::Shim { pid, start_time } | Thing::Process { pid, start_time, .. } => end(*pid, *start_time),
            Thing::Mount { id, at, .. } => unmount(*id, at, &self.session.global.state_dir.join("pods")),
            Thing::Attachment { path, inode, .. } => match is_same(path, *inode)? {
                true => cni::release(path, &self.places.plugins),
                false => Ok(()),
            },
            Thing::Network { path, inode } => unname(path, *inode),
            Thing::Interface { name } => gone_with_its_peer(name),
            Thing::Cgroup { path } => remove_cgroup(path),
            Thing::Socket { path, inode } => remove_socket(path, *inode),
            Thing::Bundle { path, inode, namespace, id } => self.remove_bundle(path, *inode, namespace, id),
            Thing::Kept { part, path, inode } => self.remove_kept(finding, part, path, *inode).await,
        }
    }

    /// That containerd still knows nothing of it: an id may be used again.
    fn is_gone(&self, finding: &Finding) -> anyhow::Result<()> {
        let id = &finding.owner.id;
        // A container is found because containerd knows it.
        let is_container = matches!(finding.thing, Thing::Container { .. });
        if !is_container && !id.is_empty() && self.known.values().any(|all| all.contains_key(id)) {
            bail!("containerd knows {id} now: nothing is done to it");
        }
        Ok(())
    }

    /// What CRI has lost, if it still is in none of its lists.
    async fn clear(&self, id: &str) -> anyhow::Result<()> {
        if !unlisted(self.session).await?.iter().any(|one| one.id == id) {
            // It has gone, or somebody has it now.
            return Ok(());
        }
        Ok(self.session.client.clear_unlisted(id).await?)
    }

    /// What containerd runs when a shim has died. Without the program the same is done from here, but for hooks.
    fn delete(&self, bundle: &Path, inode: u64, namespace: &str, id: &str) -> anyhow::Result<()> {
        if !is_same(bundle, inode)? || !is_id(id) {
            return Ok(());
        }
        refuse_strangers(bundle)?;
        let Some(program) = &self.program else {
            record::strike(bundle)?;
            record::sweep(bundle)?;
            return Ok(());
        };
        let done = Command::new(program)
            .arg("-namespace")
            .arg(namespace)
            .arg("-address")
            .arg(&self.session.address)
            .args(["-id", id, "-bundle"])
            .arg(bundle)
            .arg("delete")
            .current_dir(bundle)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("run {} delete", program.display()))?;
        if !done.status.success() {
            bail!("{} delete of {id}: {}", program.display(), String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// With the directory on the disk that containerd keeps for it.
    fn remove_bundle(&self, path: &Path, inode: u64, namespace: &str, id: &str) -> anyhow::Result<()> {
        if !is_same(path, inode)? {
            return Ok(());
        }
        let work = self.places.root.join(places::TASKS).join(namespace).join(id);
        disk::unmount(path)?;
        remove_directory(path)?;
        if is_id(namespace) && is_id(id) {
            disk::unmount(&work)?;
            remove_directory(&work)?;
        }
        Ok(())
    }

    async fn remove_kept(&self, finding: &Finding, part: &str, path: &Path, inode: u64) -> anyhow::Result<()> {
        let pod = &finding.owner.pod;
        match part {
            "logs" if is_same(path, inode)? => remove_directory(path),
            "logs" => Ok(()),
            "pod-removed" => disk::sweep(&self.session.global.state_dir.join("pods")),
            _ => {
                // Taken and let go, the lock is removed too.
                let state = &self.session.global.state_dir;
                let Some(_name) = disk::NameLock::take(state, &pod.namespace, &pod.name)? else {
                    bail!("a command is just making a pod {:?}: run this again when it has ended", pod.name);
                };
                remains::clear(self.session, &pod.namespace, &pod.name).await.map(drop)
            }
        }
    }
}

/// The shim's program: beside this one, or where programs are.
pub(crate) fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    let mut all = own.into_iter().chain(std::env::split_paths(&path)).chain(usual);
    all.find_map(|directory| Some(directory.join(processes::SHIM)).filter(|path| path.is_absolute() && path.is_file()))
}
