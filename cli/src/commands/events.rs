//! `loment events`: what has happened to a pod, line by line, with times.

use std::time::Duration;

use loment_sandbox::lifecycle::{Phase, timeline::Record};

use super::print;
use crate::args::{Events, Global};
use crate::session::Session;
use crate::{pod, resource};

/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn run(global: &Global, args: &Events) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    let names = found.pod.spec.iter().flat_map(crate::lower::containers).map(|container| container.name.len());
    let width = names.chain([name.len() + 4]).max().unwrap_or_default();
    let mut watch = pod::watch(&session, &found).await?;
    let mut start: Option<jiff::Timestamp> = None;
    loop {
        let wait = if args.follow { WAIT } else { Duration::ZERO };
        let Some(records) = watch.next(wait).await? else { return Ok(()) };
        for record in &records {
            let time: jiff::Timestamp = record.time.to_string().parse()?;
            let start = *start.get_or_insert(time);
            print(&line(record, time, start, &name, width))?;
        }
        let over = records.iter().any(|record| matches!(record.phase, Some(Phase::Succeeded | Phase::Failed)));
        if !args.follow || over {
            return Ok(());
        }
    }
}

/// `10:00:01.250    +1.250s  web          started`: the time of the day, the time since the first line, who, what.
fn line(record: &Record, time: jiff::Timestamp, start: jiff::Timestamp, pod: &str, width: usize) -> String {
    let clock = time.strftime("%H:%M:%S%.3f");
    let milliseconds = (time.as_nanosecond() - start.as_nanosecond()).div_euclid(1_000_000).max(0);
    let since = format!("+{}.{:03}s", milliseconds / 1000, milliseconds % 1000);
    let who = record.container.clone().unwrap_or_else(|| format!("pod/{pod}"));
    let attempt = match (record.attempt, &record.container) {
        (attempt @ 1.., Some(_)) => format!(" (attempt {})", attempt + 1),
        _ => String::new(),
    };
    format!("{clock}  {since:>9}  {who:<width$}  {}{attempt}\n", record.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_who_and_what() {
        let record: Record = serde_json::from_value(serde_json::json!({
            "time": "2026-05-01T10:00:01.25Z", "container": "init", "attempt": 2, "type": "Warning", "reason": "Exited",
            "message": "exited with code 1"
        }))
        .unwrap();
        let time = "2026-05-01T10:00:01.25Z".parse().unwrap();
        let start = "2026-05-01T10:00:00Z".parse().unwrap();
        assert_eq!(
            line(&record, time, start, "web", 7),
            "10:00:01.250    +1.250s  init     exited with code 1 (attempt 3)\n"
        );
        let of_pod = Record { container: None, attempt: 0, message: "the pod is Failed".into(), ..record };
        assert_eq!(line(&of_pod, time, start, "web", 7), "10:00:01.250    +1.250s  pod/web  the pod is Failed\n");
    }
}
