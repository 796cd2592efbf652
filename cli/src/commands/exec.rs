//! `loment exec`: a command in a container, with its streams, and a terminal if it is to have one.
//!
//! The process is made by the pod's own shim, and is as confined as one by CRI's ExecSync: it has the process of the
//! container's specification, with other arguments and its own terminal.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use loment_shim::client::{ExecId, Refusal, Streams, TaskShim};
use nix::libc;
use serde_json::{Value, json};

use super::note;
use crate::args::Global;
use crate::error::ExitWith;
use crate::print::{duration, terminal};
use crate::session::Session;
use crate::streams::signals::Signals;
use crate::streams::target::{self, Demand};
use crate::streams::{self, Copied, Pipe};
use crate::{pod, resource};

/// What CRI gives a process with a terminal.
const TERM: &str = "TERM=xterm";

/// How long a process that was sent a signal may take before this command ends without it.
const PARTING: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  # The date, from the default container of pod web
  loment exec web -- date
  # A shell in container app
  loment exec -it web -c app -- sh
  # Unpack an archive of this machine in the pod
  loment exec -i web -- tar xf - -C /tmp < files.tar")]
pub(crate) struct Exec {
    /// Pod, as in "web" or "pod/web"
    pub(crate) pod: String,
    /// Container [default: what the pod's annotation names, or the first app container]
    #[arg(short, long)]
    pub(crate) container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// With a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Print nothing but what the command writes
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Wait so long for a pod that does not run yet
    #[arg(long, value_parser = duration::parse, value_name = "DURATION")]
    pub(crate) pod_running_timeout: Option<Duration>,
    /// Program and its arguments, after "--" or without it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &Exec) -> anyhow::Result<()> {
    let name = resource::name(&args.pod)?;
    let session = Session::open(global).await?;
    let found = session.pod(&name).await?;
    if let Some(limit) = args.pod_running_timeout {
        target::until_running(&session, &found, limit).await?;
    }
    let target =
        target::find(&session, found, args.container.as_deref(), args.quiet, "exec into", Demand::Running).await?;
    let shim = pod::tasks(&session, &target.found).await?;
    let tty = terminal::allowed(args.stdin, args.tty, args.quiet);
    let code = process(&shim, &target.id, args, tty).await?;
    match code {
        0 => Ok(()),
        code => {
            if !args.quiet {
                note(&format!("command terminated with exit code {code}"));
            }
            Err(ExitWith(u8::try_from(code).unwrap_or(1)).into())
        }
    }
}

/// Runs the process to its end and returns its exit code.
async fn process(shim: &TaskShim, container: &str, args: &Exec, tty: bool) -> anyhow::Result<u32> {
    let bundle = shim.container(container).await.map_err(failed)?.bundle;
    let spec = specification(&bundle, &args.command, tty)?;
    let name = format!("exec-{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let id = ExecId { container, exec: &name };
    let pipes = Pipes::new(args.stdin, tty)?;
    let mut signals = Signals::new()?;
    shim.exec(id, spec, &pipes.streams(tty)).await.map_err(failed)?;
    let raw = tty.then(terminal::Raw::enter).transpose();
    let ended = match raw {
        Ok(_raw) => follow(shim, id, pipes, &mut signals).await,
        Err(error) => Err(error),
    };
    // One that is still there was sent a signal, and ends with its input.
    let forgotten = shim.delete(id).await;
    let code = ended?;
    forgotten.map_err(failed).or_else(|error| if code == 0 { Err(error) } else { Ok(()) })?;
    Ok(code)
}

fn failed(refusal: Refusal) -> anyhow::Error {
    anyhow!("Internal error occurred: error executing command in container: {refusal}")
}

/// The process of the container's specification with another command.
fn specification(bundle: &Path, command: &[String], tty: bool) -> anyhow::Result<Vec<u8>> {
    let path = bundle.join("config.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut spec: Value = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    let process = spec["process"].take();
    if !process.is_object() {
        bail!("read {}: it has no process", path.display());
    }
    Ok(serde_json::to_vec(&changed(process, command, tty, terminal::size().filter(|_| tty)))?)
}

fn changed(mut process: Value, command: &[String], tty: bool, size: Option<(u16, u16)>) -> Value {
    process["args"] = json!(command);
    process["terminal"] = json!(tty);
    if let Some(fields) = process.as_object_mut() {
        // Of the container's own process, not of this one.
        fields.remove("commandLine");
        fields.remove("consoleSize");
    }
    if let Some((width, height)) = size {
        process["consoleSize"] = json!({ "width": width, "height": height });
    }
    if tty {
        let mut env: Vec<Value> = process["env"].as_array().cloned().unwrap_or_default();
        env.retain(|variable| !variable.as_str().is_some_and(|variable| variable.starts_with("TERM=")));
        env.push(json!(TERM));
        process["env"] = Value::Array(env);
    }
    process
}

/// The streams of the process.
struct Pipes {
    stdin: Option<Pipe>,
    stdout: Pipe,
    stderr: Option<Pipe>,
}

impl Pipes {
    fn new(stdin: bool, tty: bool) -> anyhow::Result<Self> {
        let pipe = |wanted: bool| wanted.then(Pipe::new).transpose();
        Ok(Self { stdin: pipe(stdin)?, stdout: Pipe::new()?, stderr: pipe(!tty)? })
    }

    fn streams(&self, terminal: bool) -> Streams {
        Streams {
            stdin: self.stdin.as_ref().map_or_else(String::new, Pipe::to_read),
            stdout: self.stdout.to_write(),
            stderr: self.stderr.as_ref().map_or_else(String::new, Pipe::to_write),
            terminal,
        }
    }
}

/// Starts the process and moves its streams until it has ended and all that it wrote is out.
async fn follow(shim: &TaskShim, id: ExecId<'_>, pipes: Pipes, signals: &mut Signals) -> anyhow::Result<u32> {
    shim.start(id).await.map_err(failed)?;
    if let Some(Pipe { writer, reader }) = pipes.stdin {
        drop(reader);
        // From now on the only end is this command's, and goes with it.
        match shim.close_stdin(id).await {
            Err(refusal) if !refusal.is_not_found() => return Err(failed(refusal)),
            _ => {}
        }
        drop(streams::copy_in(writer));
    }
    // The shim has its own writing ends: what is read here has an end when the process's are closed.
    let Pipe { reader, writer } = pipes.stdout;
    drop(writer);
    let mut outputs = Outputs(vec![streams::copy_out(reader, std::io::stdout())?]);
    if let Some(Pipe { reader, writer }) = pipes.stderr {
        drop(writer);
        outputs.0.push(streams::copy_out(reader, std::io::stderr())?);
    }
    let mut code = None;
    let wait = shim.wait(id);
    tokio::pin!(wait);
    loop {
        tokio::select! {
            ended = &mut wait, if code.is_none() => code = Some(ended.map_err(failed)?),
            done = outputs.next(), if !outputs.0.is_empty() => if let Err(error) = done {
                reader_is_gone(shim, id, &error).await?;
            },
            received = signals.next() => match received {
                libc::SIGWINCH => resize(shim, id).await,
                received => return parted(shim, id, received, code.is_some()).await,
            },
        }
        if let Some(code) = code
            && outputs.0.is_empty()
        {
            return Ok(code);
        }
    }
}

/// A process that writes to somebody who reads no more (`| head`) is told so, as one outside of a container.
async fn reader_is_gone(shim: &TaskShim, id: ExecId<'_>, error: &std::io::Error) -> anyhow::Result<()> {
    if error.kind() != ErrorKind::BrokenPipe {
        note(&format!("error: write what the command has written: {error}"));
    }
    match shim.kill(id, libc::SIGPIPE).await {
        Err(refusal) if !refusal.is_not_found() => Err(failed(refusal)),
        _ => Ok(()),
    }
}

async fn resize(shim: &TaskShim, id: ExecId<'_>) {
    if let Some((columns, rows)) = terminal::size() {
        // One that has just ended has no size any more.
        let _ = shim.resize(id, columns, rows).await;
    }
}

/// This command is to end: the process is sent the same signal, and given a moment.
async fn parted(shim: &TaskShim, id: ExecId<'_>, signal: i32, over: bool) -> anyhow::Result<u32> {
    if !over {
        let _ = shim.kill(id, signal).await;
        let _ = tokio::time::timeout(PARTING, shim.wait(id)).await;
    }
    Err(ExitWith(u8::try_from(128 + signal).unwrap_or(1)).into())
}

/// The copies of what the process writes that have not come to their end.
struct Outputs(Vec<Copied>);

impl Outputs {
    /// Waits until one has, and tells how.
    async fn next(&mut self) -> std::io::Result<()> {
        let (result, index) = std::future::poll_fn(|context| {
            for (index, copy) in self.0.iter_mut().enumerate() {
                if let std::task::Poll::Ready(result) = std::pin::Pin::new(copy).poll(context) {
                    return std::task::Poll::Ready((result, index));
                }
            }
            std::task::Poll::Pending
        })
        .await;
        self.0.remove(index);
        result.unwrap_or(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_containers_own_with_another_command_and_terminal() {
        let own = json!({
            "args": ["server"], "commandLine": "x", "terminal": true, "consoleSize": { "width": 1, "height": 1 },
            "env": ["A=b", "TERM=vt100"], "noNewPrivileges": true, "user": { "uid": 7 }, "apparmorProfile": "p",
        });
        let words = ["ls".to_owned(), "-l".to_owned()];
        let plain = changed(own.clone(), &words, false, None);
        assert_eq!(plain["args"], json!(["ls", "-l"]));
        assert_eq!(plain["terminal"], json!(false));
        assert_eq!(plain["env"], own["env"]);
        assert_eq!((plain.get("commandLine"), plain.get("consoleSize")), (None, None));
        for field in ["noNewPrivileges", "user", "apparmorProfile"] {
            assert_eq!(plain[field], own[field]);
        }
        let with_terminal = changed(own, &words, true, Some((80, 24)));
        assert_eq!(with_terminal["env"], json!(["A=b", "TERM=xterm"]));
        assert_eq!(with_terminal["consoleSize"], json!({ "width": 80, "height": 24 }));
    }
}
