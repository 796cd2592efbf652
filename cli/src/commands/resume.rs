//! `loment resume`: pods that have lost their sandbox get a new one.
//!
//! A kubelet does it by itself, because it is always there. Here it takes somebody to say so: the administrator, or a unit
//! that runs after containerd has started. The pod keeps its uid, its volumes, its logs and its restart counts; its init
//! containers run again, in their order (a new sandbox has none of what they may have set up).

use anyhow::{Context as _, bail};
use clap::Args;
use loment_cri::v1::PodSandboxState;

use super::{note, print};
use crate::args::Global;
use crate::error::{ExitWith, Said, lines_of};
use crate::kept::sources;
use crate::lower::{Host, layout::Layout};
use crate::make::{self, Plan};
use crate::print::view;
use crate::session::{Found, Session};
use crate::{disk, host, pod, resource};

/// Pods that have lost their sandbox.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # After a reboot
  loment resume --all

  # A pod whose shim was killed
  loment resume web")]
pub(crate) struct Resume {
    /// Pods, as in "web" or "pod/web"
    #[arg(value_name = "POD", required_unless_present = "all")]
    pods: Vec<String>,
    /// All pods of the namespace that have lost their sandbox
    #[arg(long, conflicts_with = "pods")]
    all: bool,
    /// With --all: of all namespaces
    // clap asks for nothing that what is given excludes, so the pods are excluded here too.
    #[arg(short = 'A', long, requires = "all", conflicts_with = "pods")]
    all_namespaces: bool,
}

pub(crate) async fn run(global: &Global, args: &Resume) -> anyhow::Result<()> {
    let names = args.pods.iter().map(|name| resource::name(name)).collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(global).await?;
    let host = host::read();
    let mut pods = Vec::new();
    if args.all {
        pods = session.pods(Some(session.namespace.as_str()).filter(|_| !args.all_namespaces)).await?;
    }
    for name in names {
        pods.push(session.pod(&name).await?);
    }
    let mut failed = false;
    for found in &pods {
        let what = format!("pod/{}", found.name());
        match resume(&session, found, &host).await {
            Ok(true) => print(&format!("{what} resumed\n"))?,
            Ok(false) if args.all => {}
            Ok(false) => print(&format!("{what} unchanged\n"))?,
            Err(error) => {
                note(&lines_of(&error.context(format!("resume {what}"))));
                failed = true;
            }
        }
    }
    if failed { Err(ExitWith(1).into()) } else { Ok(()) }
}

/// Makes a pod anew if it has lost its sandbox. Answers whether it had.
async fn resume(session: &Session, found: &Found, host: &Host) -> anyhow::Result<bool> {
    // Most pods live, and nobody is kept from those for a moment.
    if has_ended(found) || is_alive(session, found).await.unwrap_or(false) {
        return Ok(false);
    }
    let (namespace, name) = (found.namespace(), found.name());
    let Some(_name) = disk::NameLock::take(&session.global.state_dir, namespace, name)? else {
        bail!("another command is just making or deleting it");
    };
    // It was found before: another command may have made it anew, or have deleted it.
    if pod::deletion(found).is_some() {
        bail!("it is being deleted: `loment delete pod {name}` ends that");
    }
    let now = session.again(found).await?;
    let Some(found) = &now else { return Err(Said::pod_not_found(name).into()) };
    if is_alive(session, found).await? {
        return Ok(false);
    }
    let layout = Layout::kept(&found.pod, &session.global.state_dir, &session.global.log_dir)?;
    let plan = Plan {
        pod: found.pod.clone(),
        sources: sources::read(&layout.directory)?,
        layout,
        attempt: found.sandbox.metadata.as_ref().map_or(0, |metadata| metadata.attempt).saturating_add(1),
    };
    make::remove_sandboxes(session, &plan.pod).await?;
    let made = make::make(session, &plan, host).await;
    let started = match &made {
        Ok(made) => make::start(session, &plan, made).await,
        Err(_) => Ok(()),
    };
    if let Err(error) = made.map(drop).and(started) {
        // Its files stay: they are what the pod is.
        make::remove_sandboxes(session, &plan.pod).await.context("after a failure")?;
        return Err(error);
    }
    Ok(true)
}

/// Whether the pod's sandbox stands and its shim answers.
///
/// Errors: it cannot be told. A shim that is slow, or that this command may not ask, is no reason to take its pod down.
async fn is_alive(session: &Session, found: &Found) -> anyhow::Result<bool> {
    if found.is_lost() || found.sandbox.state() != PodSandboxState::SandboxReady {
        return Ok(false);
    }
    if !pod::is_listened_for(session, found).await? {
        return Ok(false);
    }
    let why = "its shim listens and does not answer: nothing is done to it (`loment delete` ends it)";
    pod::status(session, found).await.map(|_| true).context(why)
}

/// Whether the pod had come to its end before it lost its sandbox. Then nothing is owed to it.
fn has_ended(found: &Found) -> bool {
    let status = view::last_known(found).unwrap_or_default();
    matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Arguments;

    #[test]
    fn all_namespaces_are_meant_with_all_pods_only() {
        let is_taken = |line: &str| Arguments::try_parse_from(line.split(' ')).is_ok();
        assert!(is_taken("loment resume --all") && is_taken("loment resume --all -A") && is_taken("loment resume web"));
        for line in ["loment resume -A web", "loment resume -A", "loment resume --all web", "loment resume"] {
            assert!(!is_taken(line), "{line}");
        }
    }
}
