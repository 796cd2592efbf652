//! Task, versions 2 and 3.
//!
//! ttrpc drops a handler when its client disconnects or runs out of time. What changes something therefore runs in a
//! task of its own, to its end, whoever is still there to hear of it. State, Connect and Wait never queue behind one.

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use containerd_shim_protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
        DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse,
        ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest,
        StateResponse, StatsRequest, StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse,
    },
    events::task::{TaskDelete, TaskExecAdded, TaskPaused, TaskResumed},
    shim::oci::ProcessDetails,
    shim_async::Task as TaskRpc,
};
use loment_sandbox::{checkpoint::Request as Checkpoint, container, process::Exit};
use protobuf::{EnumOrUnknown, Message, MessageField, well_known_types::any::Any};
use ttrpc::r#async::TtrpcContext;

use super::{create, metrics, options};
use crate::{
    events::Event,
    failure::{Failure, Result},
    shim::Shim,
    spec,
    stdio::{Paths, Stdio},
    task::{
        Task, characters,
        exec::Exec,
        exit::ExitCell,
        ready::readable,
        stage::{Stage, Step},
    },
    time::timestamp,
};

/// The Task service.
pub(crate) struct TaskService {
    shim: Arc<Shim>,
}

impl TaskService {
    pub(crate) fn new(shim: Arc<Shim>) -> Self {
        Self { shim }
    }

    /// Runs a change to its end, even when its client goes away.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T>> + Send + 'static,
    ) -> ttrpc::Result<T> {
        self.shim.to_the_end(change).await.map_err(Into::into)
    }
}

#[async_trait]
impl TaskRpc for TaskService {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        let pid = self.to_the_end(create::create(Arc::clone(&self.shim), request)).await?;
        Ok(CreateTaskResponse { pid: pid.unsigned_abs(), ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let task = self.shim.task(&request.id)?;
        let pid = if request.exec_id.is_empty() {
            self.to_the_end(task.start()).await?
        } else {
            self.to_the_end(async move { task.start_exec(&request.exec_id).await }).await?
        };
        Ok(StartResponse { pid: pid.unsigned_abs(), ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        // containerd, started again, opens the output of a container that has ended, asks this, and then gives up opening
        // what it has not opened yet: the last lines would be gone.
        if let Some(ended) = self.shim.task(&request.id).ok().filter(|task| task.exit().get().is_some()) {
            ended.stdio().taken().await;
        }
        Ok(self.read_state(request)?)
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let task = self.shim.task(&request.id)?;
        let exit = if request.exec_id.is_empty() {
            task.exit().wait().await
        } else {
            task.exec(&request.exec_id)?.exit().wait().await
        };
        let exited_at = MessageField::some(timestamp(exit.at));
        Ok(WaitResponse { exit_status: exit.code, exited_at, ..WaitResponse::default() })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        let signal = i32::try_from(request.signal)
            .map_err(|_| Failure::invalid(format!("kill {}: there is no signal {}", request.id, request.signal)))?;
        if request.exec_id.is_empty() {
            task.kill(signal, request.all)?;
        } else {
            task.exec(&request.exec_id)?.kill(signal)?;
        }
        Ok(Empty::default())
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        self.to_the_end(delete(Arc::clone(&self.shim), request)).await
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Failure::invalid(format!("exec in container {}: exec_id is missing", request.id)).into());
        }
        container::check_id(&request.exec_id)
            .map_err(|error| Failure::from(error).while_doing(format!("exec in container {}: exec_id", request.id)))?;
        self.to_the_end(add_exec(Arc::clone(&self.shim), task, request)).await
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        if !request.stdin {
        } else if request.exec_id.is_empty() {
            task.stdio().close_stdin();
        } else {
            let exec = task.exec(&request.exec_id)?;
            exec.stdio().close_stdin();
            if let Some(relay) = exec.relay() {
                relay.close_input();
            }
        }
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        let relay = if request.exec_id.is_empty() { task.relay() } else { task.exec(&request.exec_id)?.relay() };
        if let Some(relay) = relay {
            relay.resize(characters(request.width.into()), characters(request.height.into()))?;
        }
        Ok(Empty::default())
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let task = self.shim.task(&request.id)?;
        let execs = task.execs();
        let mut pids = task.with_container(|container| Ok(container.cgroup().pids()?))?;
        // containerd from 1.7 on asks when it has been restarted, and takes a shim without processes for a leaked one: the
        // task would be gone for it, with an exit code that it has not heard of, or between two attempts. State tells the
        // same pid.
        if pids.is_empty() {
            pids.extend(Some(task.pid()).filter(|pid| *pid > 0));
        }
        let processes = pids.into_iter().map(|pid| process_info(pid, &execs)).collect();
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let (task, id) = (self.shim.task(&request.id)?, request.id);
        let shim = Arc::clone(&self.shim);
        self.to_the_end(async move {
            task.freeze(Step::Pause).await?;
            shim.events.send(&Event::Paused(TaskPaused { container_id: id, ..TaskPaused::default() }));
            Ok(Empty::default())
        })
        .await
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let (task, id) = (self.shim.task(&request.id)?, request.id);
        let shim = Arc::clone(&self.shim);
        self.to_the_end(async move {
            task.freeze(Step::Resume).await?;
            shim.events.send(&Event::Resumed(TaskResumed { container_id: id, ..TaskResumed::default() }));
            Ok(Empty::default())
        })
        .await
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        let mut resources = create::resources(&request.resources.value)?;
        self.to_the_end(async move {
            let told = task.with_container(|container| Ok(container.cgroup().tell_systemd(&mut resources)?))?;
            if let Some(errand) = told {
                readable(&errand).await?;
                errand.finish()?;
            }
            task.update(&resources)?;
            Ok(Empty::default())
        })
        .await
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let task = self.shim.task(&request.id)?;
        let stats = task.with_container(|container| {
            container.cgroup().stats().map_err(|error| Failure::not_found(error.to_string()))
        })?;
        Ok(StatsResponse { stats: MessageField::some(metrics::encode(&stats)), ..StatsResponse::default() })
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        // containerd asks this of every shim it finds again after a restart: any id is answered.
        let task_pid = self.shim.task(&request.id).map_or(0, |task| task.pid().unsigned_abs());
        Ok(ConnectResponse { shim_pid: std::process::id(), task_pid, ..ConnectResponse::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        self.shim.shutdown();
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        let task = self.shim.task(&request.id)?;
        let options = options::checkpoint(request.options.as_ref())?;
        let asked = Checkpoint {
            images: request.path.into(),
            work: options.work_path.into(),
            exit: options.exit,
            open_tcp: options.open_tcp,
            external_unix_sockets: options.external_unix_sockets,
            file_locks: options.file_locks,
            empty_namespaces: options.empty_namespaces,
        };
        self.to_the_end(async move { task.checkpoint(asked).await.map(|()| Empty::default()) }).await
    }
}

impl TaskService {
    fn read_state(&self, request: StateRequest) -> Result<StateResponse> {
        let task = self.shim.task(&request.id)?;
        let describe = |pid: i32, stage: Stage, stdio: &Stdio, exit: &ExitCell| {
            let (paths, exit) = (stdio.paths(), exit.get());
            StateResponse {
                id: request.id.clone(),
                bundle: task.bundle().display().to_string(),
                pid: pid.unsigned_abs(),
                status: EnumOrUnknown::new(stage.into()),
                stdin: paths.stdin.clone(),
                stdout: paths.stdout.clone(),
                stderr: paths.stderr.clone(),
                terminal: paths.terminal,
                exit_status: exit.map_or(0, |exit| exit.code),
                exited_at: exit.map(|exit| timestamp(exit.at)).into(),
                exec_id: request.exec_id.clone(),
                ..StateResponse::default()
            }
        };
        if request.exec_id.is_empty() {
            return Ok(describe(task.pid(), task.stage(), task.stdio(), task.exit()));
        }
        let exec = task.exec(&request.exec_id)?;
        // A process is frozen with its container.
        let frozen = exec.stage() == Stage::Running && task.stage() == Stage::Paused;
        let stage = if frozen { Stage::Paused } else { exec.stage() };
        Ok(describe(exec.pid(), stage, exec.stdio(), exec.exit()))
    }
}

async fn add_exec(shim: Arc<Shim>, task: Arc<Task>, request: ExecProcessRequest) -> Result<Empty> {
    let process = create::process(&request.spec.value)?;
    let paths =
        Paths { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, terminal: request.terminal };
    let met = Stdio::meet_client(&paths).await;
    let owner = task.io_owner().unwrap_or_else(|| spec::owner(Some(&process)));
    let stdio = Stdio::open(paths, false, owner)?;
    stdio.keep(met);
    // The exec's name, as for containerd's own shim.
    let stdio = stdio.with_logger(&shim, &request.exec_id).await?;
    task.add_exec(&request.exec_id, Exec::new(&request.exec_id, process, stdio))?;
    shim.events.send(&Event::ExecAdded(TaskExecAdded {
        container_id: request.id,
        exec_id: request.exec_id,
        ..TaskExecAdded::default()
    }));
    Ok(Empty::default())
}

async fn delete(shim: Arc<Shim>, request: DeleteRequest) -> Result<DeleteResponse> {
    let task = shim.task_to_come(&request.id).await?;
    let (pid, exit) = if request.exec_id.is_empty() {
        let exit = task.delete().await?;
        let pid = task.pid();
        // One that was repeated while the first was under way is answered like it, and tells nobody again.
        if shim.remove(&task) {
            shim.events.send(&Event::Delete(deleted(&request.id, pid, exit)));
        }
        (pid, exit)
    } else {
        let (pid, exit) = task.delete_exec(&request.exec_id).await?;
        // One that was never started has no end to tell.
        (pid, exit.unwrap_or(Exit { code: 0, at: std::time::SystemTime::now() }))
    };
    Ok(DeleteResponse {
        pid: pid.unsigned_abs(),
        exit_status: exit.code,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..DeleteResponse::default()
    })
}

fn deleted(id: &str, pid: i32, exit: Exit) -> TaskDelete {
    TaskDelete {
        container_id: id.to_owned(),
        id: id.to_owned(),
        pid: pid.unsigned_abs(),
        exit_status: exit.code,
        exited_at: MessageField::some(timestamp(exit.at)),
        ..TaskDelete::default()
    }
}

fn process_info(pid: i32, execs: &[(String, i32)]) -> ProcessInfo {
    let info = execs.iter().find(|(_, of)| *of == pid).map(|(exec_id, _)| {
        let details = ProcessDetails { exec_id: exec_id.clone(), ..ProcessDetails::default() };
        Any {
            type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
            value: details.write_to_bytes().unwrap_or_default(),
            ..Any::default()
        }
    });
    ProcessInfo { pid: pid.unsigned_abs(), info: info.into(), ..ProcessInfo::default() }
}
