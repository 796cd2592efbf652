//! `loment bench`: how long the phases of a pod's life take under several runtime handlers; how long a chain of init
//! containers takes beside podman.

use std::time::Duration;

use anyhow::Context as _;
use loment_bench::{Chain, Settings};
use serde::Serialize;

use super::print;
use crate::args::{Bench, BenchOutput, Global};
use crate::pod;
use crate::session::Session;

/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

pub(crate) async fn run(global: &Global, args: &Bench) -> anyhow::Result<()> {
    let session = Session::open(global).await?;
    if let Some(length) = args.init_chain {
        let chain = Chain {
            length,
            image: args.image.clone(),
            rounds: args.rounds,
            warmup: args.warmup,
            loment: this_command(&session)?,
            podman: args.podman.clone(),
        };
        let report = loment_bench::run_chain(&chain, async |name| until_runs(&session, name).await).await?;
        return show(&report, args.output);
    }
    let settings = Settings {
        handlers: args.handlers.clone(),
        rounds: args.rounds,
        warmup: args.warmup,
        image: args.image.clone(),
        host_network: !args.pod_network,
        seccomp: args.seccomp,
    };
    show(&loment_bench::run(&session.client, &settings).await?, args.output)
}

fn show<R: std::fmt::Display + Serialize>(report: &R, output: Option<BenchOutput>) -> anyhow::Result<()> {
    let text = match output {
        None => report.to_string(),
        Some(BenchOutput::Json) => serde_json::to_string_pretty(report).context("write the report as JSON")?,
    };
    print(&format!("{}\n", text.trim_end()))
}

/// This program, told the same as this one was.
fn this_command(session: &Session) -> anyhow::Result<Vec<String>> {
    let program = std::env::current_exe().context("find this program")?;
    let global = &session.global;
    let flags = [
        ("--address", session.address.display().to_string()),
        ("--namespace", session.namespace.clone()),
        ("--runtime-handler", global.runtime_handler.clone()),
        ("--state-dir", global.state_dir.display().to_string()),
        ("--log-dir", global.log_dir.display().to_string()),
    ];
    let flags = flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    Ok(std::iter::once(program.display().to_string()).chain(flags).collect())
}

/// Waits until the app of a pod runs.
async fn until_runs(session: &Session, name: &str) -> anyhow::Result<()> {
    let found = session.pod(name).await?;
    let mut watch = pod::watch(session, &found).await?;
    loop {
        let news = watch.next(WAIT).await?;
        if news.iter().any(|entry| entry.container.as_deref() == Some("app") && entry.reason == "Started") {
            return Ok(());
        }
        if let Some(entry) =
            news.iter().find(|entry| entry.reason == "PhaseChanged" && entry.message.contains("Failed"))
        {
            anyhow::bail!("pod {name}: {}", entry.message);
        }
    }
}
