//! `loment create`: all pods of the files, or nothing.

mod interruption;
mod stamp;

use std::time::Duration;

use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Pod;

use super::dry_run::DryRun;
use super::{note, print, warn};
use crate::args::{Filenames, Global};
use crate::error::Said;
use crate::images;
use crate::kept::remains;
use crate::lower::layout::Layout;
use crate::lower::{self, Host, Sources};
use crate::make::{self, Plan};
use crate::manifest::{Objects, files};
use crate::print::show;
use crate::session::Session;
use crate::{disk, host};
use interruption::Interruption;
use stamp::stamp;

const EXAMPLES: &str = "\
Examples:
  # The pods of a file, with the ConfigMaps and Secrets in it
  loment create -f pod.yaml

  # From standard input; ConfigMaps from another file
  loment create -f - --configmap settings.yaml < pod.yaml

  # Only check it: nothing is made
  loment create -f pod.yaml --dry-run

  # Try pulls that fail again for ten minutes
  loment create -f pod.yaml --pull-retry 10m";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) filenames: Filenames,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// How to print what was made
    #[arg(short, long)]
    pub(crate) output: Option<CreateOutput>,
    /// For how long a pull that fails is tried again, after 10 s, 20 s and so on up to 300 s, as in "30s" or "10m"
    /// [default: not at all]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) pull_retry: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CreateOutput {
    Name,
    Yaml,
    Json,
}

/// A duration as Go writes it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    loment_sandbox::lifecycle::duration::parse(text).ok_or_else(|| "write it like 90s or 1m30s".to_owned())
}

/// A pod that is about to be made, and the file that it comes from.
struct Planned {
    plan: Plan,
    file: String,
}

pub(crate) async fn run(global: &Global, args: &Create) -> anyhow::Result<()> {
    let objects = files::read_all(&args.filenames, "create")?;
    let made = match args.dry_run.is_wanted() {
        true => check(global, objects, &args.filenames, args.dry_run).await?,
        false => create(global, objects, &args.filenames, args.pull_retry).await?,
    };
    made.iter().try_for_each(|pod| print(&shown(pod, args.output, args.dry_run)?))
}

/// All of [`create`] that comes before something is made. Answers with the pods as they would be made.
pub(super) async fn check(
    global: &Global,
    objects: Objects,
    filenames: &Filenames,
    how: DryRun,
) -> anyhow::Result<Vec<Pod>> {
    let host = host::read();
    let planned = plan(global, objects, filenames, &host)?;
    let session = if how.asks_containerd() { Some(Session::open(global).await?) } else { None };
    for Planned { plan, file } in &planned {
        let Some(session) = &session else {
            plan.check_references(&host)?;
            continue;
        };
        if session.find(lower::namespace(&plan.pod), lower::name(&plan.pod)).await?.is_some() {
            return Err(Said::one(already_exists(file, &plan.pod)).into());
        }
        plan.check(session, &host).await?;
    }
    Ok(planned.into_iter().map(|planned| planned.plan.pod).collect())
}

/// Makes the pods of these objects and starts them: all, or none. Answers with them as they were made.
pub(super) async fn create(
    global: &Global,
    objects: Objects,
    filenames: &Filenames,
    pull_retry: Option<Duration>,
) -> anyhow::Result<Vec<Pod>> {
    let host = host::read();
    let planned = plan(global, objects, filenames, &host)?;
    let interruption = Interruption::listen()?;
    let session = Session::open(global).await?;
    let _names = take_names(global, &planned)?;
    for Planned { plan, file } in &planned {
        let cleared = remains::clear(&session, lower::namespace(&plan.pod), lower::name(&plan.pod)).await?;
        if cleared.living.is_some() {
            return Err(Said::one(already_exists(file, &plan.pod)).into());
        }
        plan.check(&session, &host).await?;
    }
    // Nothing has been made yet: here an interruption may come at any moment.
    tokio::select! {
        pulled = pull(&session, &planned, pull_retry) => pulled?,
        () = interruption.came() => interruption.check()?,
    }
    if let Err(error) = make_all(&session, &planned, &host, &interruption).await {
        for Planned { plan, .. } in &planned {
            if let Err(left) = make::unmake(&session, &plan.pod, &plan.layout).await {
                note(&format!("Warning: pod {:?} could not be removed again: {left:#}", lower::name(&plan.pod)));
            }
        }
        return Err(error);
    }
    Ok(planned.into_iter().map(|planned| planned.plan.pod).collect())
}

async fn pull(session: &Session, planned: &[Planned], retry: Option<Duration>) -> anyhow::Result<()> {
    let pods: Vec<&Pod> = planned.iter().map(|planned| &planned.plan.pod).collect();
    warn(&images::ensure(&session.client, &pods, retry).await?);
    Ok(())
}

/// Makes all pods, then starts all: a pod that cannot be made takes nothing down that ran.
async fn make_all(
    session: &Session,
    planned: &[Planned],
    host: &Host,
    interruption: &Interruption,
) -> anyhow::Result<()> {
    let mut made = Vec::with_capacity(planned.len());
    for Planned { plan, .. } in planned {
        made.push(make::make(session, plan, host).await?);
        interruption.check()?;
    }
    for (Planned { plan, .. }, made) in planned.iter().zip(&made) {
        make::start(session, plan, made).await?;
    }
    Ok(())
}

fn shown(pod: &Pod, output: Option<CreateOutput>, how: DryRun) -> anyhow::Result<String> {
    Ok(match output {
        None => format!("pod/{} created{how}\n", lower::name(pod)),
        Some(CreateOutput::Name) => format!("pod/{}\n", lower::name(pod)),
        Some(CreateOutput::Yaml) => show::yaml(&show::object(pod, None)?)?,
        Some(CreateOutput::Json) => show::json(&show::object(pod, None)?)?,
    })
}

/// Completes and validates the pods of all files. What is wrong in any of them is reported at once.
fn plan(global: &Global, mut objects: Objects, given: &Filenames, host: &Host) -> anyhow::Result<Vec<Planned>> {
    warn(&files::complete_and_check(&mut objects, global.namespace.as_deref(), given.rules(global))?);
    let file = given.files.join(", ");
    let mut planned: Vec<Planned> = Vec::new();
    for mut pod in objects.pods {
        stamp(&mut pod, &host.name)?;
        if planned.iter().any(|other| same_name(&other.plan.pod, &pod)) {
            return Err(Said::one(already_exists(&file, &pod)).into());
        }
        let sources = Sources::of(lower::namespace(&pod), &objects.config_maps, &objects.secrets);
        let layout = Layout::of(&pod, &global.state_dir, &global.log_dir);
        planned.push(Planned { plan: Plan { pod, sources, layout, attempt: 0 }, file: file.clone() });
    }
    if planned.is_empty() {
        return Err(Said::one(format!("error: {file} holds no pod")).into());
    }
    Ok(planned)
}

fn same_name(a: &Pod, b: &Pod) -> bool {
    (lower::namespace(a), lower::name(a)) == (lower::namespace(b), lower::name(b))
}

fn already_exists(file: &str, pod: &Pod) -> String {
    let name = lower::name(pod);
    format!("Error from server (AlreadyExists): error when creating {file:?}: pods {name:?} already exists")
}

/// Keeps everybody else from making pods of these names until they are made.
fn take_names(global: &Global, planned: &[Planned]) -> anyhow::Result<Vec<disk::NameLock>> {
    let take = |Planned { plan: Plan { pod, .. }, file }: &Planned| {
        let lock = disk::NameLock::take(&global.state_dir, lower::namespace(pod), lower::name(pod))?;
        lock.ok_or_else(|| Said::one(already_exists(file, pod)).into())
    };
    planned.iter().map(take).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::tests::Scratch;

    /// What `loment create --dry-run` makes of a manifest.
    fn checked(scratch: &Scratch, manifest: &str) -> anyhow::Result<Vec<Pod>> {
        let file = scratch.0.join("pod.yaml");
        std::fs::write(&file, manifest).unwrap();
        let words = ["loment", "create", "--dry-run", "--state-dir", "/nowhere", "-f", file.to_str().unwrap()];
        let arguments = <crate::args::Arguments as clap::Parser>::try_parse_from(words).unwrap();
        let crate::args::Verb::Create(args) = &arguments.verb else { panic!() };
        let objects = files::read_all(&args.filenames, "create")?;
        let checked = check(&arguments.global, objects, &args.filenames, args.dry_run);
        crate::runtime::new().unwrap().block_on(checked)
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: i}]}\n";

    #[test]
    fn a_dry_run_checks_everything_without_containerd_and_makes_nothing() {
        let scratch = Scratch::new("dry-run");
        let pods = checked(&scratch, POD).unwrap();
        let how = DryRun::default();
        assert_eq!(shown(&pods[0], None, how).unwrap(), "pod/web created\n");
        assert!(!Path::new("/nowhere").exists());
        let refused = |manifest: &str| checked(&scratch, manifest).unwrap_err().to_string();
        assert!(refused(&POD.replace("image: i", "image: ''")).contains("spec.containers[0].image: Required value"));
        let missing = POD.replace("image: i", "image: i, envFrom: [{configMapRef: {name: settings}}]");
        let said = refused(&missing);
        assert!(
            said.contains("CreateContainerConfigError: container \"c\": configmap \"settings\" not found"),
            "{said}"
        );
        assert!(refused(&format!("{POD}---\n{POD}")).contains("(AlreadyExists)"));
    }
}
