//! `loment delete`: stops pods in their order, then removes everything of them.

mod end;
mod grace;

use std::collections::BTreeSet;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;

use super::dry_run::DryRun;
use super::{all_told, note, print};
use crate::args::Global;
use crate::disk;
use crate::error::Said;
use crate::kept::remains;
use crate::select::pick::{Wanted, Which};
use crate::session::{Found, Session};
pub(crate) use end::delete;
pub(crate) use grace::Grace;

const EXAMPLES: &str = "\
Examples:
  # A pod; with a shorter grace; at once
  loment delete pod web
  loment delete pod web --grace-period=5
  loment delete pod web --force --grace-period=0

  # The pods of a file; all of the namespace; those with a label
  loment delete -f pod.yaml
  loment delete pod --all
  loment delete pods -l app=web

  # Which that would be
  loment delete pods -A --all --dry-run";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// "pod NAME ..." or "pod/NAME ..."
    #[arg(value_name = "RESOURCE")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    dry_run: DryRun,
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

pub(crate) async fn run(global: &Global, args: &Delete) -> anyhow::Result<()> {
    let wanted = wanted(global, args)?;
    let grace = Grace::of(args)?;
    let session = Session::open(global).await?;
    if args.dry_run.is_wanted() {
        return tell(&session, args, &wanted, grace).await;
    }
    let mut failed: Vec<anyhow::Error> = Vec::new();
    let mut doomed = Vec::new();
    if !wanted.is_named() {
        doomed = wanted.pick(&session).await?.pods;
        let cleared = args.all && clear_all(&session, &wanted).await?;
        if doomed.is_empty() && !cleared {
            return print("No resources found\n");
        }
    }
    for (namespace, name) in &wanted.named {
        let namespace = namespace.as_deref().unwrap_or(&session.namespace);
        if let Some(found) = session.find(namespace, name).await? {
            doomed.push(found);
            continue;
        }
        match clear(&session, namespace, name).await? {
            None => failed.push(anyhow!("pod {name:?} is just being made by another command: try again")),
            Some(false) if !args.ignore_not_found => failed.push(Said::pod_not_found(name).into()),
            Some(_) => {}
        }
    }
    if grace == Grace::Force {
        note(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The \
             resource may continue to run on the cluster indefinitely.",
        );
    }
    failed.extend(end_all(session, doomed, grace).await?);
    all_told(failed)
}

/// Ends pods beside each other: the grace of one is not added to that of the next. Answers with what failed.
async fn end_all(session: Session, doomed: Vec<Found>, grace: Grace) -> anyhow::Result<Vec<anyhow::Error>> {
    let session = std::rc::Rc::new(session);
    let local = tokio::task::LocalSet::new();
    let endings: Vec<_> = doomed
        .into_iter()
        .map(|found| {
            let session = session.clone();
            local.spawn_local(async move { (delete(&session, &found, grace).await, found) })
        })
        .collect();
    local
        .run_until(async move {
            let mut failed: Vec<anyhow::Error> = Vec::new();
            for ending in endings {
                let (result, found) = ending.await.context("wait for a pod's end")?;
                match result {
                    Ok(()) => print(&deleted(found.namespace(), found.name(), grace, DryRun::default()))?,
                    Err(error) => failed.push(error.context(format!("delete pod {:?}", found.name()))),
                }
            }
            Ok(failed)
        })
        .await
}

/// Tells which pods would be deleted. Also of those that never began: they would be cleared away.
async fn tell(session: &Session, args: &Delete, wanted: &Wanted, grace: Grace) -> anyhow::Result<()> {
    let picked = wanted.pick(session).await?;
    let mut told: BTreeSet<(String, String)> =
        picked.pods.iter().map(|found| (found.namespace().to_owned(), found.name().to_owned())).collect();
    let mut failed = Vec::new();
    for (namespace, name) in &wanted.named {
        let namespace = namespace.as_deref().unwrap_or(&session.namespace);
        let is_known = told.contains(&(namespace.to_owned(), name.clone()));
        if !is_known && remains::names(session, namespace).await?.contains(name) {
            told.insert((namespace.to_owned(), name.clone()));
        } else if !is_known && !args.ignore_not_found {
            failed.push(Said::pod_not_found(name).into());
        }
    }
    if args.all {
        for namespace in namespaces(session, wanted).await? {
            let names = remains::names(session, &namespace).await?;
            told.extend(names.into_iter().map(|name| (namespace.clone(), name)));
        }
    }
    if told.is_empty() && !wanted.is_named() {
        return print("No resources found\n");
    }
    told.iter().try_for_each(|(namespace, name)| print(&deleted(namespace, name, grace, args.dry_run)))?;
    all_told(failed)
}

/// The namespaces in which is looked.
async fn namespaces(session: &Session, wanted: &Wanted) -> anyhow::Result<BTreeSet<String>> {
    if let Some(one) = wanted.namespace(session) {
        return Ok([one.to_owned()].into());
    }
    let (begun, unbegun) = session.everything().await?;
    Ok(begun.iter().chain(&unbegun).map(|found| found.namespace().to_owned()).collect())
}

/// Removes what is left of pods that never began, or that are only half deleted. Not of those that somebody is making.
async fn clear_all(session: &Session, wanted: &Wanted) -> anyhow::Result<bool> {
    let mut any = false;
    for namespace in namespaces(session, wanted).await? {
        for name in remains::names(session, &namespace).await? {
            any |= clear(session, &namespace, &name).await?.unwrap_or_default();
        }
    }
    Ok(any)
}

/// The same of one name. Answers whether there was anything; with nothing when somebody is making a pod of this name.
async fn clear(session: &Session, namespace: &str, name: &str) -> anyhow::Result<Option<bool>> {
    let Some(_name) = disk::NameLock::take(&session.global.state_dir, namespace, name)? else { return Ok(None) };
    let any = remains::clear(session, namespace, name).await?.any;
    if any {
        print(&deleted(namespace, name, Grace::Pod, DryRun::default()))?;
    }
    Ok(Some(any))
}

/// The pods that are meant. To delete all of them takes a word.
fn wanted(global: &Global, args: &Delete) -> anyhow::Result<Wanted> {
    if !args.which.files.is_empty() && (args.all || !args.what.is_empty()) {
        bail!("when files are provided as input, you may not provide resources by name or --all");
    }
    let wanted = args.which.wanted(global, &args.what, "delete")?;
    match (args.all, args.which.selects(), wanted.is_named()) {
        (true, _, true) => bail!("name cannot be provided when --all is given"),
        (true, true, false) => bail!("cannot set --all and a selector at the same time"),
        (false, false, false) => bail!("resource(s) were provided, but no name was specified"),
        _ => Ok(wanted),
    }
}

fn deleted(namespace: &str, name: &str, grace: Grace, dry_run: DryRun) -> String {
    let how = if grace == Grace::Force { "force deleted" } else { "deleted" };
    format!("pod {name:?} {how} from {namespace} namespace{dry_run}\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Verb};

    pub(super) fn parsed(words: &[&str]) -> Delete {
        let words = ["loment", "delete"].iter().chain(words);
        match Arguments::try_parse_from(words).unwrap().verb {
            Verb::Delete(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn meant(words: &[&str]) -> Result<Wanted, String> {
        let words = ["loment", "delete"].iter().chain(words);
        let arguments = Arguments::try_parse_from(words).unwrap();
        let Verb::Delete(args) = &arguments.verb else { panic!() };
        wanted(&arguments.global, args).map_err(|error| error.to_string())
    }

    #[test]
    fn pods_are_named_or_chosen_or_all_are_meant() {
        assert_eq!(meant(&["pod", "a", "b"]).unwrap().named.len(), 2);
        for words in [
            ["pod", "--all"].as_slice(),
            &["pods", "--all", "-A"],
            &["pods", "-l", "app=web"],
            &["pods", "-A", "--field-selector", "status.phase=Failed"],
        ] {
            assert!(!meant(words).unwrap().is_named(), "{words:?}");
        }
        for words in [
            ["pods"].as_slice(),
            &["pods", "-A"],
            &["pod", "a", "--all"],
            &["pod", "a", "-l", "app=web"],
            &["pod", "a", "-A"],
            &["pods", "--all", "-l", "app=web"],
            &["pods", "-l", "app in (web"],
            &["pod", "a", "-f", "/nowhere/pod.yaml"],
        ] {
            meant(words).unwrap_err();
        }
    }

    #[test]
    fn a_file_with_no_pod_in_it_does_not_mean_all_pods() {
        let scratch = crate::disk::tests::Scratch::new("no-pods");
        let file = scratch.0.join("settings.yaml");
        std::fs::write(&file, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n").unwrap();
        let refused = meant(&["-f", file.to_str().unwrap()]).unwrap_err();
        assert!(refused.ends_with("holds no pod with a name"), "{refused}");
    }

    #[test]
    fn what_a_dry_run_says_is_what_kubectl_says() {
        let words = ["loment", "delete", "pod", "a", "--dry-run=server"];
        let Verb::Delete(args) = Arguments::try_parse_from(words).unwrap().verb else { panic!() };
        let said = |grace, dry_run| deleted("default", "a", grace, dry_run);
        assert_eq!(said(Grace::Pod, args.dry_run), "pod \"a\" deleted from default namespace (server dry run)\n");
        assert_eq!(said(Grace::Force, DryRun::default()), "pod \"a\" force deleted from default namespace\n");
    }
}
