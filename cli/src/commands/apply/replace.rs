//! `loment replace`: pods that are there become what a manifest says.

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Pod;

use super::{Given, Report, complete};
use crate::args::{Filenames, Global};
use crate::change::update;
use crate::commands::delete::{self, Grace};
use crate::commands::dry_run::DryRun;
use crate::commands::{create, print, warn};
use crate::error::Said;
use crate::lower;
use crate::manifest::validate::Rules;
use crate::session::{Found, Session};

const EXAMPLES: &str = "\
Examples:
  # Change a pod to what a file says
  loment replace -f pod.yaml

  # Delete it and make it anew, whatever has changed
  loment replace --force -f pod.yaml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replace {
    #[command(flatten)]
    filenames: Filenames,
    #[command(flatten)]
    dry_run: DryRun,
    /// Delete the pods and make them anew
    #[arg(long)]
    force: bool,
    /// With --force: seconds that the containers have to end; negative is what the pod says
    #[arg(long, default_value_t = -1, allow_hyphen_values = true)]
    grace_period: i64,
    /// Print the pods as they are then: yaml, json, name, jsonpath=TEMPLATE ...
    #[arg(short, long)]
    output: Option<String>,
}

pub(crate) async fn replace(global: &Global, args: &Replace) -> anyhow::Result<()> {
    let report = Report::of(args.output.as_deref())?;
    if args.force && args.dry_run.is_wanted() {
        return Err(Said::one("error: --dry-run can not be used when --force is set").into());
    }
    let given = Given::read(global, &args.filenames, "replace")?;
    let session = Session::open(global).await?;
    let found = given.find(&session).await?;
    let file = args.filenames.files.join(", ");
    if args.force {
        return make_anew(global, args, &session, given, found, &report).await;
    }
    let rules = args.filenames.rules(global);
    let mut pairs = Vec::new();
    let mut refused = Vec::new();
    for (found, pod) in found.into_iter().zip(&given.objects.pods) {
        match found {
            Some(found) => match replaced(&found.pod, pod, rules, &file) {
                Ok((now, hints)) => {
                    warn(&hints);
                    pairs.push((found, pod, now));
                }
                Err(error) => refused.push(crate::error::lines_of(&error)),
            },
            None => {
                let name = lower::name(pod);
                refused.push(format!(
                    "Error from server (NotFound): error when replacing {file:?}: pods {name:?} not found"
                ));
            }
        }
    }
    if !refused.is_empty() {
        return Err(Said(refused).into());
    }
    for (found, pod, now) in pairs {
        if args.dry_run.is_wanted() {
            report.say(&now, &format!("replaced{}", args.dry_run))?;
            continue;
        }
        let (_, now) = update::change(&session, &found, |live| Ok(replaced(live, pod, rules, &file)?.0)).await?;
        report.say(&now, "replaced")?;
    }
    Ok(())
}

/// What a pod becomes when a manifest takes its place.
fn replaced(live: &Pod, manifest: &Pod, rules: Rules<'_>, file: &str) -> anyhow::Result<(Pod, Vec<String>)> {
    let version = &manifest.metadata.resource_version;
    if version.is_some() && *version != live.metadata.resource_version {
        let name = lower::name(live);
        return Err(Said::one(format!(
            "Error from server (Conflict): error when replacing {file:?}: Operation cannot be fulfilled on pods {name:?}: the \
             object has been modified; please apply your changes to the latest version and try again"
        ))
        .into());
    }
    let mut pod = manifest.clone();
    let hints = complete(&mut pod, live, rules)?;
    Ok((pod, hints))
}

async fn make_anew(
    global: &Global,
    args: &Replace,
    session: &Session,
    given: Given,
    found: Vec<Option<Found>>,
    report: &Report,
) -> anyhow::Result<()> {
    let grace = Grace::of_seconds(args.grace_period);
    for found in found.iter().flatten() {
        delete::delete(session, found, grace).await.with_context(|| format!("delete pod {:?}", found.name()))?;
        if report.0.is_none() {
            print(&format!("pod {:?} deleted from {} namespace\n", found.name(), found.namespace()))?;
        }
    }
    let mut objects = given.objects;
    for pod in &mut objects.pods {
        // Those of the old pod, if the manifest was made from it.
        (pod.metadata.uid, pod.metadata.creation_timestamp) = (None, None);
    }
    let made = create::create(global, objects, &args.filenames, None).await?;
    made.iter().try_for_each(|pod| report.say(pod, "replaced"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{RULES, live, written};
    use super::*;

    #[test]
    fn a_replacement_of_an_older_version_is_a_conflict() {
        let live = live(&written("", "'i:1'"));
        let error = replaced(&live, &written(", resourceVersion: '7'", "'i:1'"), RULES, "f").unwrap_err().to_string();
        assert!(error.starts_with("Error from server (Conflict): error when replacing \"f\""), "{error}");
        assert!(replaced(&live, &written(", resourceVersion: '1'", "'i:1'"), RULES, "f").is_ok());
    }
}
