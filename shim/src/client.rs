//! Asking a shim for the processes of its containers, as containerd does: the Task service.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use containerd_shim_protos::{
    api::{
        CloseIORequest, DeleteRequest, ExecProcessRequest, KillRequest, ResizePtyRequest, StartRequest, StateRequest,
        Status, WaitRequest,
    },
    shim_async::TaskClient,
};
use protobuf::{MessageField, well_known_types::any::Any};
use ttrpc::{r#async::Client, context};

use crate::address;

/// What a call may take that waits for nothing.
const PROMPT: Duration = Duration::from_secs(10);
/// What the start of a process may take.
const START: Duration = Duration::from_secs(60);

/// The type of a process in an `Any`, as containerd writes it.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// What a shim has refused, or that it cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its gRPC code; `None` when there was no answer.
    pub code: Option<ttrpc::Code>,
    /// Its own words.
    pub message: String,
}

impl Refusal {
    /// Whether there is no such container or process.
    pub fn is_not_found(&self) -> bool {
        self.code == Some(ttrpc::Code::NOT_FOUND)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<ttrpc::Error> for Refusal {
    fn from(error: ttrpc::Error) -> Self {
        match error {
            ttrpc::Error::RpcStatus(status) => Self { code: Some(status.code()), message: status.message },
            other => Self { code: None, message: other.to_string() },
        }
    }
}

/// Result of a question to a shim.
pub type Result<T> = std::result::Result<T, Refusal>;

/// A connection to the shim of a pod or of a single container.
pub struct TaskShim {
    client: TaskClient,
}

impl fmt::Debug for TaskShim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskShim")
    }
}

/// A container as its shim knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Directory with its `config.json`.
    pub bundle: PathBuf,
    /// Pid of its first process, as the host sees it.
    pub pid: i32,
    /// Whether that process runs (one that waits for its turn in the pod does).
    pub running: bool,
}

/// A further process of a container; with an empty name, its first one.
#[derive(Debug, Clone, Copy)]
pub struct ExecId<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The process's own, which must be free.
    pub exec: &'a str,
}

/// Paths of a process's streams: fifos, or files of `/proc/PID/fd` that are pipes. Empty is nothing.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    /// What it reads.
    pub stdin: String,
    /// What it writes.
    pub stdout: String,
    /// Its errors; nothing with a terminal.
    pub stderr: String,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

impl TaskShim {
    /// Connects to the shim of the sandbox or container `group`; the arguments are those of
    /// [`PodShim::connect`](crate::pod::client::PodShim::connect).
    ///
    /// Errors: nobody listens there.
    pub async fn connect(containerd: &Path, namespace: &str, group: &str) -> Result<Self> {
        let address = address::in_the_usual_place(&containerd.display().to_string(), namespace, group);
        Ok(Self { client: TaskClient::new(Client::connect(&address).await?) })
    }

    /// A container's state.
    pub async fn container(&self, id: &str) -> Result<Container> {
        let request = StateRequest { id: id.to_owned(), ..StateRequest::default() };
        let state = self.client.state(context::with_duration(PROMPT), &request).await?;
        let running = matches!(state.status.enum_value(), Ok(Status::RUNNING | Status::PAUSED | Status::PAUSING));
        Ok(Container { bundle: state.bundle.into(), pid: i32::try_from(state.pid).unwrap_or(0), running })
    }

    /// Registers a further process: `process` is that of a runtime specification, as JSON.
    pub async fn exec(&self, id: ExecId<'_>, process: Vec<u8>, streams: &Streams) -> Result<()> {
        let request = ExecProcessRequest {
            id: id.container.to_owned(),
            exec_id: id.exec.to_owned(),
            terminal: streams.terminal,
            stdin: streams.stdin.clone(),
            stdout: streams.stdout.clone(),
            stderr: streams.stderr.clone(),
            spec: MessageField::some(Any { type_url: PROCESS.to_owned(), value: process, ..Any::default() }),
            ..ExecProcessRequest::default()
        };
        Ok(self.client.exec(context::with_duration(PROMPT), &request).await.map(drop)?)
    }

    /// Starts it. Returns its pid once its program runs.
    pub async fn start(&self, id: ExecId<'_>) -> Result<u32> {
        let request =
            StartRequest { id: id.container.to_owned(), exec_id: id.exec.to_owned(), ..StartRequest::default() };
        Ok(self.client.start(context::with_duration(START), &request).await?.pid)
    }

    /// Waits for its end, however long that takes, and returns its exit code: 128 and the signal that has ended it. The first
    /// process of a container of a pod that the shim runs has ended when it will not be started again.
    pub async fn wait(&self, id: ExecId<'_>) -> Result<u32> {
        let request =
            WaitRequest { id: id.container.to_owned(), exec_id: id.exec.to_owned(), ..WaitRequest::default() };
        Ok(self.client.wait(context::Context::default(), &request).await?.exit_status)
    }

    /// Tells its terminal its size in characters.
    pub async fn resize(&self, id: ExecId<'_>, columns: u16, rows: u16) -> Result<()> {
        let request = ResizePtyRequest {
            id: id.container.to_owned(),
            exec_id: id.exec.to_owned(),
            width: columns.into(),
            height: rows.into(),
            ..ResizePtyRequest::default()
        };
        Ok(self.client.resize_pty(context::with_duration(PROMPT), &request).await.map(drop)?)
    }

    /// Says that the caller's end of its input is the only one: what it reads ends when the caller closes that, or dies.
    /// Its terminal, if it has one, then hangs up.
    pub async fn close_stdin(&self, id: ExecId<'_>) -> Result<()> {
        let request = CloseIORequest {
            id: id.container.to_owned(),
            exec_id: id.exec.to_owned(),
            stdin: true,
            ..CloseIORequest::default()
        };
        Ok(self.client.close_io(context::with_duration(PROMPT), &request).await.map(drop)?)
    }

    /// Sends it a signal.
    pub async fn kill(&self, id: ExecId<'_>, signal: i32) -> Result<()> {
        let request = KillRequest {
            id: id.container.to_owned(),
            exec_id: id.exec.to_owned(),
            signal: signal.unsigned_abs(),
            ..KillRequest::default()
        };
        Ok(self.client.kill(context::with_duration(PROMPT), &request).await.map(drop)?)
    }

    /// Makes the shim forget it, once it has ended or was never started.
    pub async fn delete(&self, id: ExecId<'_>) -> Result<()> {
        let request =
            DeleteRequest { id: id.container.to_owned(), exec_id: id.exec.to_owned(), ..DeleteRequest::default() };
        Ok(self.client.delete(context::with_duration(START), &request).await.map(drop)?)
    }
}
