//! `loment events`: what has happened to a pod, line by line, with times.

use std::time::Duration;

use serde_json::Value;

use super::print;
use crate::args::{Events, Global};
use crate::pod::{self, Happening};
use crate::session::{Found, Session};
use crate::{lower, resource};

/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn run(global: &Global, args: &Events) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    let names = found.pod.spec.iter().flat_map(lower::containers).map(|container| container.name.len());
    let width = names.chain([name.len() + "pod/".len()]).max().unwrap_or_default();
    let mut watch = pod::watch(&session, &found).await?;
    let mut over = !args.follow;
    loop {
        let news = match watch.next(if over { Duration::ZERO } else { WAIT }).await {
            Ok(news) => news,
            // Somebody deleted the pod, and its shim with it: then this is the end that was waited for.
            Err(_) if args.follow && session.find(found.namespace(), &name).await?.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        for happening in &news {
            print(&line(happening, &name, width))?;
        }
        if over {
            return Ok(());
        }
        over = news.iter().any(may_be_last) && has_ended(&session, &found).await;
    }
}

fn may_be_last(happening: &Happening) -> bool {
    ["PhaseChanged", "Exited", "Discarded", "Failed"].contains(&happening.reason.as_str())
}

/// Whether nothing will happen any more: the pod has come to its final phase and none of its containers runs.
async fn has_ended(session: &Session, found: &Found) -> bool {
    let Ok(status) = pod::status(session, found).await else { return false };
    is_over(&status)
}

fn is_over(status: &Value) -> bool {
    let runs = |kind: &str| {
        let containers = status[kind].as_array().into_iter().flatten();
        containers.into_iter().any(|container| container["state"]["running"].is_object())
    };
    let phase = status["phase"].as_str().unwrap_or_default();
    ["Succeeded", "Failed"].contains(&phase) && !runs("initContainerStatuses") && !runs("containerStatuses")
}

/// `10:00:01.250    +1.250s  web      started`: the time of the day (UTC), the time since the pod's start, who, what.
fn line(happening: &Happening, pod: &str, width: usize) -> String {
    let clock = happening.at.strftime("%H:%M:%S%.3f");
    let since = format!("+{}.{:03}s", happening.since_start.as_secs(), happening.since_start.subsec_millis());
    let who = happening.container.clone().unwrap_or_else(|| format!("pod/{pod}"));
    let attempt = match (happening.attempt, &happening.container) {
        (attempt @ 1.., Some(_)) => format!(" (attempt {})", attempt + 1),
        _ => String::new(),
    };
    format!("{clock}  {since:>9}  {who:<width$}  {}{attempt}\n", happening.message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_when_who_and_what() {
        let happening = Happening {
            at: "2026-05-01T10:00:01.25Z".parse().unwrap(),
            since_start: Duration::from_millis(1250),
            container: Some("init".into()),
            attempt: 2,
            reason: "Exited".into(),
            message: "exited with code 1".into(),
        };
        assert_eq!(line(&happening, "web", 7), "10:00:01.250    +1.250s  init     exited with code 1 (attempt 3)\n");
        let of_pod = Happening { container: None, attempt: 0, message: "the pod is Failed".into(), ..happening };
        assert_eq!(line(&of_pod, "web", 7), "10:00:01.250    +1.250s  pod/web  the pod is Failed\n");
    }

    #[test]
    fn a_pod_is_over_when_its_last_sidecar_has_ended_too() {
        let sidecar = |state: Value| json!({ "phase": "Succeeded", "initContainerStatuses": [{ "state": state }] });
        assert!(!is_over(&sidecar(json!({ "running": {} }))));
        assert!(is_over(&sidecar(json!({ "terminated": { "exitCode": 0 } }))));
        assert!(!is_over(&json!({ "phase": "Running" })));
    }
}
