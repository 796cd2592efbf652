//! `loment bench`: how long the phases of a pod's life take under several runtime handlers.

use anyhow::Context as _;
use loment_bench::Settings;

use super::print;
use crate::args::{Bench, BenchOutput, Global};
use crate::session::Session;

pub(crate) async fn run(global: &Global, args: &Bench) -> anyhow::Result<()> {
    let session = Session::open(global).await?;
    let settings = Settings {
        handlers: args.handlers.clone(),
        rounds: args.rounds,
        warmup: args.warmup,
        image: args.image.clone(),
        host_network: !args.pod_network,
        seccomp: args.seccomp,
    };
    let report = loment_bench::run(&session.client, &settings).await?;
    match args.output {
        None => print(report.to_string().trim_end()),
        Some(BenchOutput::Json) => print(&serde_json::to_string_pretty(&report).context("write the report as JSON")?),
    }
}
