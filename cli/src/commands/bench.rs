//! `loment bench`: how long the phases of a pod's life take under several runtime handlers, and what an idle pod keeps; how
//! long a chain of init containers takes beside podman.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use loment_bench::{Chain, Interrupted, Report, Settings, Stop};
use serde::Serialize;

use super::{note, print};
use crate::args::Global;
use crate::error::ExitWith;
use crate::pod;
use crate::session::Session;

/// How long one question for news may wait for an answer.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # loment beside runc, with the default seccomp profile
  loment bench --handlers loment,runc --rounds 30 --seccomp

  # Three handlers; starts of 1 to 8 pods at once, and beside 200 pods
  loment bench --handlers loment,runc,crun --baseline runc --parallel 1,2,4,8 --present 0,50,200

  # Starts alone, with networks, for a program
  loment bench --handlers loment,runc --ops start --network cni -o json

  # A page with charts
  loment bench --rounds 50 --html bench.html

  # Ten init containers, beside podman kube play
  loment bench --init-chain 10 --rounds 10")]
pub(crate) struct Bench {
    /// Runtime handlers, as containerd's configuration names them
    #[arg(long, value_delimiter = ',', default_values = ["loment", "runc"], value_name = "HANDLER,...")]
    handlers: Vec<String>,
    /// The handler that the others are compared to [default: the last one]
    #[arg(long, value_name = "HANDLER")]
    baseline: Option<String>,
    /// Rounds that count: pods of each handler
    #[arg(long, visible_alias = "pods", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Rounds before them
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1_000))]
    warmup: u32,
    /// How many pods to start at once; 0 alone starts none at once
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "PODS,...",
          value_parser = clap::value_parser!(u32).range(0..=1_000))]
    parallel: Vec<u32>,
    /// With how many pods of a handler present to time the start of one more
    #[arg(long, value_delimiter = ',', value_name = "PODS,...", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    present: Vec<u32>,
    /// How many pods stand idle when memory is read; 0 reads none
    #[arg(long, default_value_t = 10, value_name = "PODS", value_parser = clap::value_parser!(u32).range(0..=1_000))]
    idle: u32,
    /// Containers in each pod
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    containers: u32,
    /// An image with `sleep` and `true` that is on this machine
    #[arg(long, default_value = "busybox")]
    image: String,
    /// Whose network pods have: the host's, or one of their own, with the CNI plugins in the figures
    #[arg(long, value_enum, default_value_t = NetworkChoice::Host)]
    network: NetworkChoice,
    /// Seccomp profile of the containers: containerd's default one, which --seccomp alone means too, or none
    #[arg(long, value_enum, num_args = 0..=1, default_value_t = SeccompChoice::Unconfined, default_missing_value = "default")]
    seccomp: SeccompChoice,
    /// What to time
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["start", "exec", "stop"], value_name = "OPERATION,...")]
    ops: Vec<OperationChoice>,
    /// Leave out the pod that is made by hand, which shows what the kernel itself charges
    #[arg(long)]
    no_limit: bool,
    /// Draws the order of the handlers in each round [default: another one each time, which is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How to print the figures
    #[arg(short, long)]
    output: Option<BenchOutput>,
    /// Write a page with charts, complete in itself, to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the charts as SVG files to this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Instead: time a pod with so many init containers that end at once, beside `podman kube play`
    #[arg(long, value_name = "LENGTH",
          conflicts_with_all = ["handlers", "baseline", "parallel", "present", "idle", "containers", "network", "seccomp", "ops", "seed", "no_limit", "html", "svg"],
          value_parser = clap::value_parser!(u32).range(1..=100))]
    init_chain: Option<u32>,
    /// podman, with its flags
    #[arg(long, default_value = "podman", value_delimiter = ' ', requires = "init_chain", value_name = "COMMAND")]
    podman: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BenchOutput {
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NetworkChoice {
    Host,
    Cni,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SeccompChoice {
    Default,
    Unconfined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OperationChoice {
    Start,
    Exec,
    Stop,
}

pub(crate) async fn run(global: &Global, args: &Bench) -> anyhow::Result<()> {
    let session = Session::open(global).await?;
    let stop = Stop::default();
    let notice = || note("interrupted: what was made is being removed; interrupt once more to leave it");
    let done = match args.init_chain {
        Some(length) => {
            let chain = args.chain(length, &session)?;
            let until_runs = async |name: &str| until_runs(&session, name).await;
            let work = loment_bench::run_chain(&chain, &stop, until_runs);
            loment_bench::attend(&stop, notice, work).await.and_then(|report| show(&report, args.output))
        }
        None => {
            let settings = args.settings();
            let work = loment_bench::run(&session.client, &session.address, &settings, &stop);
            loment_bench::attend(&stop, notice, work).await.and_then(|report| {
                args.draw(&report)?;
                show(&report, args.output)
            })
        }
    };
    done.map_err(|error| match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => {
            note(&format!("error: {interrupted}: what was made is removed"));
            ExitWith(interrupted.status()).into()
        }
        None => error,
    })
}

impl Bench {
    fn settings(&self) -> Settings {
        let baseline = self.baseline.as_ref().or(self.handlers.last());
        Settings {
            handlers: self.handlers.clone(),
            baseline: baseline.cloned().unwrap_or_default(),
            rounds: self.rounds,
            warmup: self.warmup,
            containers: self.containers,
            parallel: self.parallel.iter().copied().filter(|pods| *pods > 0).collect(),
            present: self.present.clone(),
            idle: self.idle,
            image: self.image.clone(),
            network: match self.network {
                NetworkChoice::Host => loment_bench::Network::Host,
                NetworkChoice::Cni => loment_bench::Network::Cni,
            },
            seccomp: match self.seccomp {
                SeccompChoice::Default => loment_bench::Seccomp::Default,
                SeccompChoice::Unconfined => loment_bench::Seccomp::Unconfined,
            },
            operations: self.ops.iter().map(|operation| operation.lowered()).collect::<BTreeSet<_>>(),
            limit: !self.no_limit,
            seed: self.seed.unwrap_or_else(loment_bench::any_seed),
        }
    }

    /// Writes the page and the charts that were asked for.
    fn draw(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(file) = &self.html {
            fs::write(file, loment_bench::page(report)?).with_context(|| format!("write {}", file.display()))?;
        }
        let Some(directory) = &self.svg else { return Ok(()) };
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
        for chart in loment_bench::charts(report)? {
            let file = directory.join(format!("{}.svg", chart.name));
            fs::write(&file, chart.svg).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    fn chain(&self, length: u32, session: &Session) -> anyhow::Result<Chain> {
        Ok(Chain {
            length,
            image: self.image.clone(),
            rounds: self.rounds,
            warmup: self.warmup,
            loment: this_command(session)?,
            podman: self.podman.clone(),
        })
    }
}

impl OperationChoice {
    fn lowered(self) -> loment_bench::Operation {
        match self {
            Self::Start => loment_bench::Operation::Start,
            Self::Exec => loment_bench::Operation::Exec,
            Self::Stop => loment_bench::Operation::Stop,
        }
    }
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
