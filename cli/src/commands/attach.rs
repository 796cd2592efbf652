//! `loment attach`: the streams of a container's own process.
//!
//! containerd holds them, so that they are reached through its streaming server. What is typed goes by a connection of its
//! own: it has an end of its own, which the protocol cannot tell otherwise.
//!
//! Both connections ask for all streams: by WebSocket containerd takes one that was not asked for to be there, finds its
//! end at once, and with it closes the container's input for everybody (1.6 to 2.x).

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use k8s_openapi::api::core::v1::Container;
use loment_cri::v1::AttachRequest;
use nix::libc;
use tokio::sync::mpsc;

use super::{note, print_bytes};
use crate::args::Global;
use crate::error::ExitWith;
use crate::print::{duration, terminal};
use crate::session::Session;
use crate::streams::channels::{Arrived, Channels};
use crate::streams::signals::Signals;
use crate::streams::target::{self, Demand, Target};
use crate::{lower, pod, resource};

/// How much of the input is sent at once.
const CHUNK: usize = 16 << 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # What the default container of pod web writes from now on
  loment attach web
  # Type at the terminal of container shell, which has been made with stdin and tty
  loment attach web -c shell -it")]
pub(crate) struct Attach {
    /// Pod, as in "web" or "pod/web"
    pub(crate) pod: String,
    /// Container [default: what the pod's annotation names, or the first app container]
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Print nothing but what the container writes
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// How long to wait for a container that has not begun, in a pod that does not run yet
    #[arg(long, default_value = "1m", value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) pod_running_timeout: Duration,
}

pub(crate) async fn run(global: &Global, args: &Attach) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    // One that waits for its turn has its streams already: nothing of what it will say is missed.
    let target =
        target::find(&session, found, args.container.as_deref(), args.quiet, "attach", Demand::NotEnded).await?;
    let spec = target.found.pod.spec.iter().flat_map(lower::containers);
    let Some(container) = spec.into_iter().find(|container| container.name == target.container).cloned() else {
        bail!("container {} not found in pod {name}", target.container);
    };
    let has_terminal = container.tty == Some(true);
    if args.tty && !has_terminal && !args.quiet {
        note(&format!("error: Unable to use a TTY - container {} did not allocate one", container.name));
    }
    if args.stdin && container.stdin != Some(true) && !args.quiet {
        note(&format!("warning: container {} was made without stdin: it reads nothing", container.name));
    }
    if !args.stdin && container.stdin_once == Some(true) && !args.quiet {
        note(&format!(
            "warning: container {} was made with stdinOnce: its input ends with this session",
            container.name
        ));
    }
    let raw = terminal::allowed(args.stdin, has_terminal, args.quiet);
    let mut streams = Streams::open(&session, &target, args.stdin, has_terminal).await?;
    if !args.quiet {
        note(
            "All commands and output from this session will be recorded in container logs, including credentials and \
             sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing \
             enter.",
        );
    }
    let mut signals = Signals::new()?;
    {
        let _raw = raw.then(terminal::Raw::enter).transpose()?;
        tokio::select! {
            ended = streams.follow(&mut signals, raw, &container) => ended?,
            late = too_late(&session, &target, args.pod_running_timeout) => return Err(late),
        }
    }
    let restarts = target.found.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if raw && !args.quiet && restarts.is_none_or(|policy| policy == "Always") {
        note(&format!(
            "Session ended, resume using 'loment attach {name} -c {} -i -t' command when the pod is running",
            container.name
        ));
    }
    Ok(())
}

/// Waits until it is too late for the container to begin, if it is one that has not begun. The streams are open meanwhile,
/// so that nothing is missed of one that does.
async fn too_late(session: &Session, target: &Target, limit: Duration) -> anyhow::Error {
    if let Ok(phase) = target::until_running(session, &target.found, limit).await
        && phase == "Pending"
        && let Ok(status) = pod::status(session, &target.found).await
        && !target::has_begun(&status, &target.container)
    {
        return anyhow!("unable to attach because pod is not running. Current status={phase}");
    }
    // What becomes of it now is told by its streams.
    std::future::pending().await
}

/// The streams of a container: what it writes, and what it reads if that is wanted.
struct Streams {
    output: Channels,
    input: Option<Channels>,
}

impl Streams {
    async fn open(session: &Session, target: &Target, stdin: bool, tty: bool) -> anyhow::Result<Self> {
        let connect = async || -> anyhow::Result<Channels> {
            let container_id = target.id.clone();
            let request = AttachRequest { container_id, stdin: true, stdout: true, stderr: !tty, tty };
            Channels::connect(&session.client.attach(request).await?).await
        };
        let output = connect().await?;
        let input = if stdin { Some(connect().await?) } else { None };
        Ok(Self { output, input })
    }

    /// Moves all streams until the container has ended, or the input has, for a container that goes on without it.
    async fn follow(&mut self, signals: &mut Signals, raw: bool, container: &Container) -> anyhow::Result<()> {
        if raw && let Some((columns, rows)) = terminal::size() {
            // Two sizes, so that what is on the screen is drawn anew for whoever comes later.
            self.output.resize((columns.saturating_add(1), rows.saturating_add(1))).await?;
            self.output.resize((columns, rows)).await?;
        }
        let mut typed = self.input.is_some().then(read_stdin);
        loop {
            tokio::select! {
                arrived = self.output.next() => match arrived? {
                    Arrived::Stdout(bytes) => print_bytes(&bytes)?,
                    Arrived::Stderr(bytes) => std::io::stderr().lock().write_all(&bytes).context("write to standard error")?,
                    Arrived::End => return Ok(()),
                },
                chunk = next(&mut typed) => match (chunk, &mut self.input) {
                    (Some(chunk), Some(input)) => if input.input(&chunk).await.is_err() {
                        // The container has just ended, and its last words are still to come.
                        self.input = None;
                        typed = None;
                    },
                    (_, input) => {
                        typed = None;
                        if let Some(mut input) = input.take() {
                            input.close().await;
                        }
                        // As a terminal that is left: the container's input stays open for the next one.
                        if container.stdin_once != Some(true) {
                            return Ok(());
                        }
                    }
                },
                gone = closed(&mut self.input) => {
                    gone?;
                    self.input = None;
                    typed = None;
                }
                signal = signals.next() => match signal {
                    libc::SIGWINCH => if raw && let Some(size) = terminal::size() {
                        self.output.resize(size).await?;
                    },
                    signal => return Err(ExitWith(u8::try_from(128 + signal).unwrap_or(1)).into()),
                },
            }
        }
    }
}

/// The next part of the input; waits for ever where there is none.
async fn next(typed: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits until the connection for the input is closed from the other side: the container reads no more. What the container
/// writes comes by the other connection as well.
async fn closed(input: &mut Option<Channels>) -> anyhow::Result<()> {
    match input {
        Some(input) => while input.next().await? != Arrived::End {},
        None => std::future::pending().await,
    }
    Ok(())
}

/// Reads standard input in a thread, which may wait for what never comes and ends with this command.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}
