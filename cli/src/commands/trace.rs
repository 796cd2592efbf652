//! `loment trace`: how long each phase of the starts in a pod took.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use loment_cri::v1;

use super::print;
use crate::args::Global;
use crate::error::Said;
use crate::print::{show, terminal};
use crate::session::Session;
use crate::trace::{Trace as Traced, otlp, send, waterfall};
use crate::{pod, resource};

const EXAMPLES: &str = "\
Examples:
  # Where the time of a pod's start went
  loment trace web

  # Every attempt of one container, and what was run in it by exec
  loment trace web -c app --all

  # For a program; for OpenTelemetry
  loment trace web -o json
  loment trace web -o otlp > trace.json
  loment trace web --otlp http://localhost:4318";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Trace {
    /// Pod of any client, as in "web" or "pod/web"
    pod: String,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Earlier attempts and execs too, as far as they are remembered
    #[arg(long)]
    all: bool,
    /// Send it to an OpenTelemetry collector, by OTLP over HTTP, and print nothing
    #[arg(long, value_name = "URL", conflicts_with = "output")]
    otlp: Option<String>,
    /// Columns of the drawing [default: those of the terminal, at most 120]
    #[arg(long, value_parser = clap::value_parser!(u16).range(60..=1000))]
    width: Option<u16>,
    /// How to print it
    #[arg(short, long)]
    output: Option<TraceOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TraceOutput {
    /// Every span with its time in nanoseconds
    Json,
    /// A request of OTLP, in JSON
    Otlp,
}

pub(crate) async fn run(global: &Global, args: &Trace) -> anyhow::Result<()> {
    let mut trace = read(global, &resource::name(&args.pod)?).await?;
    if !args.all {
        trace.keep_newest();
    }
    if let Some(name) = &args.container {
        trace.keep_container(name);
        if trace.starts.is_empty() {
            return Err(Said::one(format!("error: no start of a container {name:?} is remembered")).into());
        }
    }
    if let Some(endpoint) = &args.otlp {
        return send::send(endpoint, &otlp::request(&trace)).await;
    }
    match args.output {
        Some(TraceOutput::Json) => print(&show::json(&trace.json())?),
        Some(TraceOutput::Otlp) => print(&show::json(&otlp::request(&trace))?),
        None => {
            let width = args.width.map_or_else(|| terminal::columns().unwrap_or(100).clamp(60, 120), usize::from);
            print(&waterfall::draw(&trace, width, terminal::has_color()))
        }
    }
}

/// What the shim of the pod with this name tells. The pod may be any client's; of several of a name the newest is meant.
async fn read(global: &Global, name: &str) -> anyhow::Result<Traced> {
    let session = Session::open(global).await?;
    let sandboxes = session.client.list_pod_sandboxes(None).await?;
    let is_meant = |sandbox: &&v1::PodSandbox| {
        let metadata = sandbox.metadata.as_ref();
        sandbox.state() == v1::PodSandboxState::SandboxReady
            && metadata.is_some_and(|it| (it.namespace.as_str(), it.name.as_str()) == (&*session.namespace, name))
    };
    let found = sandboxes.iter().filter(is_meant).max_by_key(|sandbox| sandbox.created_at);
    let Some(sandbox) = found else { return Err(Said::pod_not_found(name).into()) };
    let answer = pod::trace(&session, name, &sandbox.id).await;
    let answer = answer.with_context(|| format!("pod {name:?} is not traced, as far as can be told"))?;
    Ok(Traced::of(&session.namespace, name, &sandbox.id, answer))
}
