//! `loment delete`: stops pods in their order, then removes everything of them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use loment_cri::v1;

use super::{note, print, read_manifest};
use crate::args::Global;
use crate::error::{ExitWith, Said, lines_of};
use crate::images::volumes as image_volumes;
use crate::kept::{history, remains};
use crate::lower::{self, layout::Layout};
use crate::manifest::amounts::is_sidecar;
use crate::session::{Found, Session};
use crate::{cgroup, disk, make, pod, resource};

const EXAMPLES: &str = "\
Examples:
  # A pod; with a shorter grace; at once
  loment delete pod web
  loment delete pod web --grace-period=5
  loment delete pod web --force --grace-period=0

  # The pods of a file; all of the namespace
  loment delete -f pod.yaml
  loment delete pod --all";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// "pod NAME ..." or "pod/NAME ..."
    #[arg(value_name = "RESOURCE")]
    pub(crate) what: Vec<String>,
    /// The pods of a manifest
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// All pods of the namespace
    #[arg(long)]
    pub(crate) all: bool,
    /// Seconds that the containers have to end; negative is what the pod says
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) grace_period: i64,
    /// The shortest grace: as --grace-period=1
    #[arg(long)]
    pub(crate) now: bool,
    /// With --grace-period=0: kill at once
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not complain about pods that do not exist
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

/// What may pass beyond the grace before the sandbox is taken down with whatever is in it.
const MARGIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(global: &Global, args: &Delete) -> anyhow::Result<()> {
    let names = targets(args)?;
    let session = Session::open(global).await?;
    let mut failed: Vec<anyhow::Error> = Vec::new();
    let mut doomed = Vec::new();
    if args.all {
        doomed = session.pods(Some(&session.namespace)).await?;
        let cleared = clear_all(&session).await?;
        if doomed.is_empty() && !cleared {
            return print("No resources found\n");
        }
    }
    for (namespace, name) in names {
        let namespace = namespace.as_deref().unwrap_or(&session.namespace);
        if let Some(found) = session.find(namespace, &name).await? {
            doomed.push(found);
            continue;
        }
        match clear(&session, namespace, &name).await? {
            None => failed.push(anyhow!("pod {name:?} is just being made by another command: try again")),
            Some(false) if !args.ignore_not_found => failed.push(Said::pod_not_found(&name).into()),
            Some(_) => {}
        }
    }
    let grace = Grace::of(args)?;
    if grace == Grace::Force {
        note(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The \
             resource may continue to run on the cluster indefinitely.",
        );
    }
    // Pods end beside each other: the grace of one is not added to that of the next.
    let session = std::rc::Rc::new(session);
    let local = tokio::task::LocalSet::new();
    let endings: Vec<_> = doomed
        .into_iter()
        .map(|found| {
            let session = session.clone();
            local.spawn_local(async move { (delete(&session, &found, grace).await, found) })
        })
        .collect();
    let failed_endings = local.run_until(async move {
        let mut failed: Vec<anyhow::Error> = Vec::new();
        for ending in endings {
            let (result, found) = ending.await.context("wait for a pod's end")?;
            match result {
                Ok(()) => print(&deleted(&found, grace))?,
                Err(error) => failed.push(error.context(format!("delete pod {:?}", found.name()))),
            }
        }
        anyhow::Ok(failed)
    });
    failed.extend(failed_endings.await?);
    match failed.pop() {
        None => Ok(()),
        Some(only) if failed.is_empty() => Err(only),
        Some(last) => {
            failed.iter().chain([&last]).for_each(|error| note(&lines_of(error)));
            Err(ExitWith(1).into())
        }
    }
}

/// Removes what is left of pods of a namespace that never began, or that are only half deleted. Not of those that
/// somebody is making.
async fn clear_all(session: &Session) -> anyhow::Result<bool> {
    let mut any = false;
    for name in remains::names(session, &session.namespace).await? {
        any |= clear(session, &session.namespace, &name).await?.unwrap_or_default();
    }
    Ok(any)
}

/// The same of one name. Answers whether there was anything; with nothing when somebody is making a pod of this name.
async fn clear(session: &Session, namespace: &str, name: &str) -> anyhow::Result<Option<bool>> {
    let Some(_name) = disk::NameLock::take(&session.global.state_dir, namespace, name)? else { return Ok(None) };
    let any = remains::clear(session, namespace, name).await?.any;
    if any {
        print(&format!("pod {name:?} deleted from {namespace} namespace\n"))?;
    }
    Ok(Some(any))
}

/// The pods that are named, with the namespace where a manifest says it.
fn targets(args: &Delete) -> anyhow::Result<Vec<(Option<String>, String)>> {
    if !args.files.is_empty() {
        if args.all || !args.what.is_empty() {
            bail!("when files are provided as input, you may not provide resources by name or --all");
        }
        let mut named = Vec::new();
        for file in &args.files {
            let pods = read_manifest(file)?.pods;
            named.extend(pods.into_iter().filter_map(|pod| Some((pod.metadata.namespace, pod.metadata.name?))));
        }
        return Ok(named);
    }
    let names = resource::names(&args.what)?;
    match (args.all, names.is_empty()) {
        (true, false) => bail!("name cannot be provided when --all is given"),
        (false, true) => bail!("resource(s) were provided, but no name was specified"),
        _ => Ok(names.into_iter().map(|name| (None, name)).collect()),
    }
}

/// How long the containers of a pod may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grace {
    /// What the pod says.
    Pod,
    /// So many seconds.
    Seconds(u64),
    /// None at all.
    Force,
}

impl Grace {
    fn of(args: &Delete) -> anyhow::Result<Self> {
        if args.now && args.grace_period >= 0 {
            bail!("--now and --grace-period cannot be specified together");
        }
        if args.force && args.grace_period > 0 {
            bail!("--force and --grace-period greater than 0 cannot be specified together");
        }
        Ok(match (args.force, args.now, u64::try_from(args.grace_period)) {
            (true, false, _) => Grace::Force,
            (_, true, _) => Grace::Seconds(1),
            // Nothing is killed unasked: a grace of 0 alone means the shortest one.
            (false, false, Ok(seconds)) => Grace::Seconds(seconds.max(1)),
            (false, false, Err(_)) => Grace::Pod,
        })
    }

    fn duration(self, found: &Found) -> Duration {
        let own = found.pod.spec.as_ref().and_then(|spec| u64::try_from(spec.termination_grace_period_seconds?).ok());
        Duration::from_secs(match self {
            Grace::Pod => own.unwrap_or(30),
            Grace::Seconds(seconds) => seconds,
            Grace::Force => 0,
        })
    }
}

fn deleted(found: &Found, grace: Grace) -> String {
    let how = if grace == Grace::Force { "force deleted" } else { "deleted" };
    format!("pod {:?} {how} from {} namespace\n", found.name(), found.namespace())
}

/// Stops a pod and removes everything of it but its history.
pub(super) async fn delete(session: &Session, found: &Found, grace: Grace) -> anyhow::Result<()> {
    pod::mark_deletion(found, grace.duration(found))?;
    if !found.is_lost() {
        if grace != Grace::Force {
            stop(session, found, grace).await;
        }
        if let Err(error) = history::keep(session, found).await {
            note(&format!("Warning: what has happened to pod {:?} is not kept: {error:#}", found.name()));
        }
        session.client.stop_pod_sandbox(&found.sandbox.id).await?;
        session.client.clear_pod_sandbox(&found.sandbox.id).await?;
        cgroup::remove(&lower::sandbox::cgroup(&found.pod))?;
    } else {
        // containerd may have forgotten what still runs of it.
        make::remove_sandboxes(session, &found.pod).await?;
    }
    remove_files(session, found).await?;
    // A command that was killed when it had made the pod has left its lock: taken and let go it is removed.
    disk::NameLock::take(&session.global.state_dir, found.namespace(), found.name()).map(drop)
}

/// Lets the pod's shim end its containers in their order. Without a shim they are ended from here.
async fn stop(session: &Session, found: &Found, grace: Grace) {
    let seconds = grace.duration(found);
    let asked = if grace == Grace::Pod { None } else { Some(seconds) };
    let by_hand = match tokio::time::timeout(seconds + MARGIN, pod::terminate(session, found, asked)).await {
        Ok(Err(_)) => stop_by_hand(session, found, seconds).await,
        Ok(Ok(())) | Err(_) => Ok(()),
    };
    // The sandbox is taken down next, with whatever is still in it.
    if let Err(error) = by_hand {
        note(&format!("Warning: {error:#}"));
    }
}

async fn containers(session: &Session, found: &Found) -> anyhow::Result<Vec<v1::Container>> {
    let filter = v1::ContainerFilter { pod_sandbox_id: found.sandbox.id.clone(), ..v1::ContainerFilter::default() };
    Ok(session.client.list_containers(Some(filter)).await?)
}

/// The apps and whatever init container runs beside each other, then the sidecars from the last to the first.
async fn stop_by_hand(session: &Session, found: &Found, grace: Duration) -> anyhow::Result<()> {
    let containers = containers(session, found).await?;
    let spec = found.pod.spec.clone().unwrap_or_default();
    let sidecars = spec.init_containers.iter().flatten().filter(|init| is_sidecar(init));
    let sidecars: Vec<&str> = sidecars.map(|sidecar| sidecar.name.as_str()).collect();
    let name = |container: &v1::Container| container.metadata.clone().unwrap_or_default().name;
    let (last, first): (Vec<_>, Vec<_>) =
        containers.into_iter().partition(|container| sidecars.contains(&name(container).as_str()));
    let stops: Vec<_> = first
        .into_iter()
        .map(|container| {
            let client = session.client.clone();
            tokio::task::spawn_local(async move { client.stop_container(&container.id, grace).await })
        })
        .collect();
    for stop in stops {
        stop.await.context("wait for a container's end")??;
    }
    for sidecar in sidecars.iter().rev() {
        for container in last.iter().filter(|container| name(container) == *sidecar) {
            session.client.stop_container(&container.id, grace).await?;
        }
    }
    Ok(())
}

/// Removes the pod's files: only directories that are named after this very pod, whatever its annotations say.
async fn remove_files(session: &Session, found: &Found) -> anyhow::Result<()> {
    let ours = Layout::of(&found.pod, &session.global.state_dir, &session.global.log_dir);
    let directory = found.directory().unwrap_or(&ours.directory);
    let logs = found.logs().unwrap_or(&ours.logs);
    for (path, named) in [(directory, &ours.directory), (logs, &ours.logs)] {
        if !is_of_pod(path, named, lower::uid(&found.pod)) {
            bail!("{} does not look like a directory of this pod: remove it by hand", path.display());
        }
    }
    image_volumes::release(&session.client, directory).await?;
    disk::remove(directory, logs)
}

fn is_of_pod(path: &Path, named: &Path, uid: &str) -> bool {
    let plain = !uid.is_empty() && !uid.contains('/') && !uid.starts_with('.');
    plain && path.is_absolute() && path.file_name() == named.file_name() && path.components().count() > 2
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Verb};

    fn parsed(words: &[&str]) -> Delete {
        let words = ["loment", "delete"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().verb {
            Verb::Delete(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grace_follows_kubectl() {
        let grace = |words: &[&str]| Grace::of(&parsed(words)).map_err(|error| error.to_string());
        assert_eq!(grace(&["pod", "a"]), Ok(Grace::Pod));
        assert_eq!(grace(&["pod", "a", "--grace-period=0"]), Ok(Grace::Seconds(1)));
        assert_eq!(grace(&["pod", "a", "--grace-period", "-1"]), Ok(Grace::Pod));
        assert_eq!(grace(&["pod", "a", "--now"]), Ok(Grace::Seconds(1)));
        assert_eq!(grace(&["pod", "a", "--force"]), Ok(Grace::Force));
        assert_eq!(grace(&["pod", "a", "--force", "--grace-period=0"]), Ok(Grace::Force));
        assert!(grace(&["pod", "a", "--now", "--grace-period=5"]).is_err());
        assert!(grace(&["pod", "a", "--force", "--grace-period=5"]).is_err());
    }

    #[test]
    fn pods_are_named_or_all_are_meant() {
        assert_eq!(targets(&parsed(&["pod", "a", "b"])).unwrap().len(), 2);
        assert_eq!(targets(&parsed(&["pod", "--all"])).unwrap().len(), 0);
        assert!(targets(&parsed(&["pods"])).is_err());
        assert!(targets(&parsed(&["pod", "a", "--all"])).is_err());
    }

    #[test]
    fn only_a_directory_that_is_named_after_the_pod_is_removed() {
        let uid = "5b8a";
        let named = Path::new("/var/lib/loment/pods/5b8a");
        assert!(is_of_pod(Path::new("/srv/state/pods/5b8a"), named, uid));
        assert!(!is_of_pod(Path::new("/etc"), named, uid));
        assert!(!is_of_pod(Path::new("pods/5b8a"), named, uid));
        assert!(!is_of_pod(Path::new("/"), Path::new("/var/lib/loment/pods"), ""));
        assert!(!is_of_pod(Path::new("/var/lib"), Path::new("/var/lib/loment/pods/../lib"), "../lib"));
    }
}
