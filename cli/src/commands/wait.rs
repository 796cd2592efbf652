//! `loment wait`: until pods are as one wants them.

use std::time::Duration;

use clap::Args;
use loment_sandbox::lifecycle::duration;
use serde_json::Value;
use tokio::time::Instant;

use super::{note, print};
use crate::args::Global;
use crate::error::{ExitWith, Said};
use crate::jsonpath::{self, Template};
use crate::print::view::View;
use crate::select::changes::Changes;
use crate::select::pick::{Wanted, Which};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  # Until a pod is ready, or is not ready any more
  loment wait pod/web --for=condition=Ready
  loment wait pod/web --for=condition=Ready=false

  # Until a field has a value, or has any
  loment wait pod/web --for=jsonpath='{.status.phase}'=Succeeded --timeout=5m
  loment wait pod/web --for=jsonpath='{.status.podIP}'

  # Until there is a pod; until all pods with a label are gone
  loment wait pod/web --for=create
  loment wait pods -l app=web --for=delete";

/// How long a negative timeout waits.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wait {
    /// "pod NAME ..." or "pod/NAME ..."; "pods" with --all or -l
    #[arg(value_name = "RESOURCE")]
    what: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// All pods of the namespace
    #[arg(long)]
    all: bool,
    /// condition=NAME[=VALUE], jsonpath={PATH}[=VALUE], delete or create
    #[arg(long = "for", value_name = "STATE")]
    state: String,
    /// For how long, as in "30s" or "5m"; 0 looks once, a negative one waits for a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    timeout: String,
}

/// What is waited for.
#[derive(Debug, PartialEq)]
enum Until {
    Condition { name: String, value: String },
    Field { path: Template, value: Option<String> },
    Gone,
    There,
}

pub(crate) async fn run(global: &Global, args: &Wait) -> anyhow::Result<()> {
    let until = until(&args.state)?;
    let timeout = timeout(&args.timeout)?;
    let wanted = args.which.wanted(global, &args.what, "wait")?;
    let limited = args.all || args.which.selects();
    if !wanted.is_named() && !limited {
        return Err(Said::one("error: resource(s) were provided, but no name was specified").into());
    }
    if args.all && wanted.is_named() {
        return Err(Said::one("error: name cannot be provided when --all is given").into());
    }
    let session = Session::open(global).await?;
    let deadline = Instant::now() + timeout;
    let late = wait(&session, &wanted, &until, deadline).await?;
    // As kubectl does: one line for each pod that did not come so far.
    late.iter().for_each(|pod| note(&format!("error: timed out waiting for the condition on pods/{pod}")));
    if late.is_empty() { Ok(()) } else { Err(ExitWith(1).into()) }
}

/// Waits, and prints each pod that is as it should be. Answers with those that are not at the deadline.
async fn wait(session: &Session, wanted: &Wanted, until: &Until, deadline: Instant) -> anyhow::Result<Vec<String>> {
    let mut changes = Changes::new(session);
    let picked = wanted.pick(session).await?;
    let mut open: Vec<String> = picked.pods.iter().map(|found| found.name().to_owned()).collect();
    let absent = picked.missing.clone();
    match until {
        Until::There => open.extend(absent),
        Until::Gone => {}
        _ => {
            if let [first, ..] = absent.as_slice() {
                return Err(Said::pod_not_found(first).into());
            }
            if open.is_empty() {
                return Err(Said::one("error: no matching resources found").into());
            }
        }
    }
    // Those that there are now are meant, whatever comes later; one that is made anew under its name is another one.
    let uids: Vec<String> = picked.pods.iter().map(|found| found.uid().to_owned()).collect();
    let mut pods = picked.pods;
    loop {
        let mut still = Vec::new();
        for name in open {
            let same = |found: &&crate::session::Found| {
                found.name() == name && (*until == Until::There || uids.iter().any(|uid| uid == found.uid()))
            };
            match (until, pods.iter().find(same)) {
                (Until::Gone, None) | (Until::There, Some(_)) => met(&name)?,
                (Until::Gone, Some(_)) | (Until::There, None) => still.push(name),
                (_, None) => return Err(Said::pod_not_found(&name).into()),
                (_, Some(found)) => match View::of(session, found).await? {
                    Some(view) if until.holds(&view.object()?)? => met(&name)?,
                    Some(_) => still.push(name),
                    None => return Err(Said::pod_not_found(&name).into()),
                },
            }
        }
        open = still;
        if open.is_empty() || Instant::now() >= deadline {
            return Ok(open);
        }
        changes.next(&pods, Some(deadline)).await;
        pods = again(session, wanted).await?;
    }
}

/// The pods that there are now. Those that were chosen by their labels may have others now, and are meant still.
async fn again(session: &Session, wanted: &Wanted) -> anyhow::Result<Vec<crate::session::Found>> {
    if wanted.is_named() {
        return Ok(wanted.pick(session).await?.pods);
    }
    session.pods(wanted.namespace(session)).await
}

fn met(name: &str) -> anyhow::Result<()> {
    print(&format!("pod/{name} condition met\n"))
}

fn timeout(text: &str) -> anyhow::Result<Duration> {
    if text.starts_with('-') {
        return Ok(WEEK);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let refused = || {
        Said::one(format!("error: invalid argument {text:?} for \"--timeout\" flag: time: invalid duration {text:?}"))
    };
    Ok(duration::parse(text).ok_or_else(refused)?)
}

fn until(text: &str) -> anyhow::Result<Until> {
    let unknown = || Said::one(format!("error: unrecognized condition: {text:?}"));
    let (kind, rest) = text.split_once('=').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
    match (kind.to_lowercase().as_str(), rest) {
        ("delete", None) => Ok(Until::Gone),
        ("create", None) => Ok(Until::There),
        ("condition", Some(rest)) if !rest.is_empty() => {
            let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
            Ok(Until::Condition { name: name.to_owned(), value: value.to_owned() })
        }
        ("jsonpath", Some(rest)) => {
            // A filter has equals signs of its own: the path ends with its brace.
            let end = rest.rfind('}').map_or_else(|| rest.find('=').unwrap_or(rest.len()), |at| at + 1);
            let (path, value) = rest.split_at(end);
            let path = Template::parse_relaxed(path).map_err(|error| Said::one(format!("error: {error}")))?;
            let value = match value {
                "" => None,
                value => Some(
                    value
                        .strip_prefix('=')
                        .filter(|value| !value.is_empty())
                        .ok_or_else(|| Said::one("error: jsonpath wait value cannot be empty"))?,
                ),
            };
            Ok(Until::Field { path, value: value.map(str::to_owned) })
        }
        _ => Err(unknown().into()),
    }
}

impl Until {
    fn holds(&self, object: &Value) -> anyhow::Result<bool> {
        match self {
            Until::Condition { name, value } => {
                let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
                let mut found = conditions.into_iter().filter(|one| text(&one["type"]) == name.to_lowercase());
                Ok(found.next().is_some_and(|one| text(&one["status"]) == value.to_lowercase()))
            }
            Until::Field { path, value } => {
                // An index that is not there yet may come.
                let found = path.values(object).unwrap_or_default();
                match (found.as_slice(), value) {
                    ([], _) => Ok(false),
                    (_, None) => Ok(true),
                    ([Value::Object(_) | Value::Array(_)], _) => {
                        Err(Said::one("error: jsonpath leads to a nested object or list and cannot be compared").into())
                    }
                    ([one], Some(value)) => Ok(jsonpath::text(one) == *value),
                    _ => Err(Said::one("error: given jsonpath expression matches more than one value").into()),
                }
            }
            Until::Gone | Until::There => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(state: &str) -> Result<bool, String> {
        let pod = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b" }] }, "status": { "phase": "Running",
            "conditions": [{ "type": "Ready", "status": "True" }, { "type": "Initialized", "status": "False" }] } });
        until(state).and_then(|until| until.holds(&pod)).map_err(|error| error.to_string())
    }

    #[test]
    fn s10_conditions_and_fields_are_compared_as_kubectl_does() {
        for state in [
            "condition=Ready",
            "condition=ready=TRUE",
            "condition=Initialized=false",
            "jsonpath={.status.phase}=Running",
            "jsonpath=.status.phase=Running",
            "jsonpath={.status.phase}",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True",
        ] {
            assert_eq!(holds(state), Ok(true), "{state}");
        }
        for state in [
            "condition=Ready=false",
            "condition=Other",
            "jsonpath={.status.phase}=Failed",
            "jsonpath={.status.podIP}",
            "jsonpath={.status.conditions[7].type}=x",
        ] {
            assert_eq!(holds(state), Ok(false), "{state}");
        }
        assert!(holds("jsonpath={.spec.containers[*].name}=a").unwrap_err().contains("more than one value"));
        assert!(holds("jsonpath={.spec.containers}=a").unwrap_err().contains("nested object or list"));
    }

    #[test]
    fn what_is_waited_for_must_be_understood() {
        assert_eq!(until("delete").unwrap(), Until::Gone);
        assert_eq!(until("create").unwrap(), Until::There);
        for state in ["", "Ready", "condition", "condition=", "deleted", "jsonpath"] {
            assert!(until(state).unwrap_err().to_string().starts_with("error: unrecognized condition"), "{state}");
        }
        assert!(until("jsonpath={.a}=").is_err());
        assert!(until("jsonpath={.a").is_err());
    }

    #[test]
    fn timeouts_are_gos_durations() {
        assert_eq!(timeout("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(timeout("0").unwrap(), Duration::ZERO);
        assert_eq!(timeout("-1s").unwrap(), WEEK);
        assert!(timeout("soon").is_err());
    }
}
