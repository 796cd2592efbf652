//! The life of a pod, as containerd asks for it; after each request the shim is left to come to rest.

use std::{
    fs::File,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        ConnectRequest, CreateTaskRequest, DeleteRequest, ExecProcessRequest, KillRequest, Mount, ShutdownRequest,
        StartRequest,
    },
    shim::events::ForwardRequest,
    shim_async::{Events, TaskClient, create_events},
};
use nix::{libc, sys::stat::Mode, unistd::mkfifo};
use protobuf::{
    MessageField,
    well_known_types::{any::Any, empty::Empty},
};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{OpenOptions, Receiver},
};
use ttrpc::{
    r#async::{Client, Server, TtrpcContext},
    context,
};

use crate::place::{self, CONTAINER, OUT, RESTS, SANDBOX, SHIM};

const SANDBOX_SPECIFICATION: &str = include_str!("../data/sandbox.json");
const CONTAINER_SPECIFICATION: &str = include_str!("../data/container.json");
const GRPC: &str = "/run/containerd/containerd.sock";
const EVENTS: &str = "/run/containerd/containerd.sock.ttrpc";
const EXEC: &str = "3333333333333333333333333333333333333333333333333333333333333333";
/// Far more than anything takes under callgrind on a busy machine, in nanoseconds.
const PATIENCE: i64 = 300_000_000_000;

/// What of callgrind's output belongs to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// What has been done.
    pub(crate) name: &'static str,
    /// What was counted meanwhile.
    pub(crate) output: PathBuf,
}

/// containerd, as far as events go.
struct Containerd;

#[async_trait]
impl Events for Containerd {
    async fn forward(&self, _: &TtrpcContext, _: ForwardRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::new())
    }
}

/// Leads a pod through its life, and answers with what was counted of each part of it.
pub(crate) async fn live() -> Result<Vec<Part>> {
    let bundle = place::bundle(SANDBOX, SANDBOX_SPECIFICATION, 0)?;
    let server = Server::new().bind(&format!("unix://{EVENTS}"))?;
    let mut containerd = server.register_service(create_events(Arc::new(Containerd)));
    containerd.start().await?;
    let mut life = Life::begin(&bundle).await?;
    let sandbox = life.sandbox(&bundle).await?;
    life.container(sandbox).await?;
    life.exec().await?;
    life.end().await?;
    Ok(life.parts)
}

/// A pod and what has been counted of it.
struct Life {
    shim: TaskClient,
    /// Of the shim.
    pid: u32,
    rests: Receiver,
    /// Ends of the fifos, which containerd holds.
    streams: Vec<File>,
    parts: Vec<Part>,
}

impl Life {
    /// `start`, and the shim that it leaves behind.
    async fn begin(bundle: &Path) -> Result<Self> {
        let mut rests = OpenOptions::new().read_write(true).open_receiver(RESTS)?;
        let (pid, address) = start(bundle)?;
        rested(&mut rests).await?;
        let shim = TaskClient::new(Client::connect(&address).await?);
        let request = ConnectRequest { id: SANDBOX.to_owned(), ..ConnectRequest::default() };
        let connected = shim.connect(patient(), &request).await?.shim_pid;
        rested(&mut rests).await?;
        let parts = vec![
            Part { name: "start", output: PathBuf::from(format!("{OUT}/{pid}")) },
            Part { name: "start: what it leaves behind, until it serves", output: child(connected) },
        ];
        Ok(Self { shim, pid: connected, rests, streams: Vec::new(), parts })
    }

    /// The shim has done what it was asked for.
    async fn rested(&mut self, name: &'static str) -> Result<()> {
        rested(&mut self.rests).await?;
        let output = latest(self.pid)?;
        self.parts.push(Part { name, output });
        Ok(())
    }

    /// What a child has done before it was another program, or came to rest.
    fn child(&mut self, name: &'static str, pid: u32) {
        self.parts.push(Part { name, output: child(pid) });
    }

    async fn sandbox(&mut self, bundle: &Path) -> Result<u32> {
        let request = CreateTaskRequest {
            id: SANDBOX.to_owned(),
            bundle: bundle.display().to_string(),
            rootfs: vec![overlay("1")],
            ..CreateTaskRequest::default()
        };
        let pid = self.shim.create(patient(), &request).await?.pid;
        self.rested("Create sandbox").await?;
        self.start(SANDBOX, "").await?;
        self.rested("Start sandbox").await?;
        self.child("Create sandbox: the holder", pid);
        Ok(pid)
    }

    async fn container(&mut self, sandbox: u32) -> Result<()> {
        let bundle = place::bundle(CONTAINER, CONTAINER_SPECIFICATION, sandbox)?;
        let request = CreateTaskRequest {
            id: CONTAINER.to_owned(),
            bundle: bundle.display().to_string(),
            rootfs: vec![overlay("2")],
            stdout: self.stream(CONTAINER, "stdout")?,
            stderr: self.stream(CONTAINER, "stderr")?,
            ..CreateTaskRequest::default()
        };
        let pid = self.shim.create(patient(), &request).await?.pid;
        self.rested("Create container").await?;
        self.start(CONTAINER, "").await?;
        self.rested("Start container").await?;
        self.child("Create and Start container: init", pid);
        Ok(())
    }

    /// As ExecSync does it: the container's process with other arguments.
    async fn exec(&mut self) -> Result<()> {
        let specification: Value = serde_json::from_str(CONTAINER_SPECIFICATION)?;
        let mut process = specification["process"].clone();
        process["args"] = Value::from(vec!["true"]);
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
            value: serde_json::to_vec(&process)?,
            ..Any::default()
        };
        let request = ExecProcessRequest {
            id: CONTAINER.to_owned(),
            exec_id: EXEC.to_owned(),
            stdout: self.stream(EXEC, "stdout")?,
            stderr: self.stream(EXEC, "stderr")?,
            spec: MessageField::some(spec),
            ..ExecProcessRequest::default()
        };
        self.shim.exec(patient(), &request).await?;
        self.rested("Exec").await?;
        let pid = self.start(CONTAINER, EXEC).await?;
        self.rested("Start exec, and its end").await?;
        self.child("Start exec: its process", pid);
        self.delete(CONTAINER, EXEC).await?;
        self.rested("Delete exec").await
    }

    async fn end(&mut self) -> Result<()> {
        self.kill(CONTAINER).await?;
        self.rested("Kill container, and its end").await?;
        self.delete(CONTAINER, "").await?;
        self.rested("Delete container").await?;
        self.kill(SANDBOX).await?;
        self.rested("Kill sandbox, and its end").await?;
        self.delete(SANDBOX, "").await?;
        self.rested("Delete sandbox").await?;
        self.shim.shutdown(patient(), &ShutdownRequest::default()).await?;
        Ok(())
    }

    async fn start(&self, id: &str, exec: &str) -> Result<u32> {
        let request = StartRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..StartRequest::default() };
        Ok(self.shim.start(patient(), &request).await?.pid)
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let signal = libc::SIGKILL as u32;
        let request = KillRequest { id: id.to_owned(), signal, ..KillRequest::default() };
        self.shim.kill(patient(), &request).await?;
        Ok(())
    }

    async fn delete(&self, id: &str, exec: &str) -> Result<()> {
        let request = DeleteRequest { id: id.to_owned(), exec_id: exec.to_owned(), ..DeleteRequest::default() };
        self.shim.delete(patient(), &request).await?;
        Ok(())
    }

    /// A fifo, held open at its other end.
    fn stream(&mut self, id: &str, name: &str) -> Result<String> {
        let directory = format!("/run/containerd/fifo/{id}");
        std::fs::create_dir_all(&directory)?;
        let path = format!("{directory}/{id}-{name}");
        mkfifo(path.as_str(), Mode::from_bits_truncate(0o700))?;
        self.streams.push(File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path)?);
        Ok(path)
    }
}

/// Runs `start` under callgrind; answers with its pid and what it has said.
fn start(bundle: &Path) -> Result<(u32, String)> {
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("TTRPC_ADDRESS", EVENTS).env("GRPC_ADDRESS", GRPC);
    // It complains of each call that it does not know.
    command.args(["--tool=callgrind", "--log-file=/dev/null", "--vgdb=no", "--dump-before=loment_count_mark"]);
    // What is pretended is not counted. The second comes after the first, which says otherwise.
    command.args(["--toggle-collect=__wrap_*", "--collect-atstart=yes"]);
    command.arg(format!("--callgrind-out-file={OUT}/%p")).arg(SHIM);
    command.args(["-namespace", "k8s.io", "-address", GRPC, "-publish-binary", "/usr/bin/containerd"]);
    command.args(["-id", SANDBOX, "start"]).current_dir(bundle).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().context("start valgrind (scripts/install-deps --long installs it)")?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "start has failed");
    Ok((pid, String::from_utf8(output.stdout)?))
}

/// Waits until the shim says that it rests.
async fn rested(rests: &mut Receiver) -> Result<()> {
    let rested = rests.read_u8();
    tokio::time::timeout(Duration::from_secs(300), rested).await.context("wait for the shim to come to rest")??;
    Ok(())
}

/// What was counted of a child until it came to rest or was another program. Before that, with the first number, it is
/// what its parent had done.
fn child(pid: u32) -> PathBuf {
    PathBuf::from(format!("{OUT}/{pid}.2"))
}

/// The last of what callgrind has written down for a process that goes on.
fn latest(pid: u32) -> Result<PathBuf> {
    let output = |number: u32| PathBuf::from(format!("{OUT}/{pid}.{number}"));
    (1..)
        .map(output)
        .take_while(|output| output.exists())
        .last()
        .with_context(|| format!("nothing was counted of {pid}"))
}

fn patient() -> context::Context {
    context::with_timeout(PATIENCE)
}

/// A root as containerd gives it.
fn overlay(snapshot: &str) -> Mount {
    let snapshots = "/run/containerd/root/io.containerd.snapshotter.v1.overlayfs/snapshots";
    Mount {
        type_: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec![
            "index=off".to_owned(),
            format!("workdir={snapshots}/{snapshot}/work"),
            format!("upperdir={snapshots}/{snapshot}/fs"),
            format!("lowerdir={snapshots}/0/fs"),
        ],
        ..Mount::default()
    }
}
