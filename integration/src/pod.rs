//! Pods through CRI, made as a kubelet makes them: a cgroup for the pod, a directory for its logs, then the sandbox and
//! its containers.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures_util::future::join_all;
use loment_cri::{Client, v1};
use serde_json::Value;

use crate::{Lab, Sandboxer, config, hierarchy, images, lab::POD_CGROUPS, patience, slices};

/// How long to wait for what must happen. Only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer, for a bounded time.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let limit = patience(PATIENCE);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("wait for {what}: it did not happen within {limit:?}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Does all of this at once; the first failure, when all have ended.
///
/// # Errors
/// One of them fails.
pub async fn at_once<T, F: Future<Output = Result<T>>>(all: impl IntoIterator<Item = F>) -> Result<Vec<T>> {
    join_all(all).await.into_iter().collect()
}

/// A lab seen through CRI, with the runtime class that pods are made with.
#[derive(Debug)]
pub struct Node<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// Its CRI socket.
    pub cri: Client,
    /// Runtime class of every pod.
    pub handler: String,
}

impl<'a> Node<'a> {
    /// Connects to the lab's containerd.
    pub async fn connect(lab: &'a Lab, handler: &str) -> Result<Self> {
        Ok(Self { lab, cri: lab.connect().await?, handler: handler.to_owned() })
    }

    /// A pod of this name, to be run.
    pub fn pod(&'a self, name: &str) -> PodBuilder<'a> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let uid = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let metadata = v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.clone(),
            namespace: "default".to_owned(),
            attempt: 0,
        };
        let pid_per_container = v1::NamespaceOption { pid: v1::NamespaceMode::Container.into(), ..Default::default() };
        let security =
            v1::LinuxSandboxSecurityContext { namespace_options: Some(pid_per_container), ..Default::default() };
        let linux = v1::LinuxPodSandboxConfig {
            cgroup_parent: match slices::are_used() {
                true => slices::of_pod(&uid),
                false => format!("{POD_CGROUPS}/{uid}"),
            },
            security_context: Some(security),
            ..Default::default()
        };
        let config = v1::PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.to_owned(),
            dns_config: Some(v1::DnsConfig { servers: vec!["10.88.0.1".to_owned()], ..Default::default() }),
            linux: Some(linux),
            ..Default::default()
        };
        PodBuilder { node: self, uid, config }
    }

    /// Whether a process stands for the sandbox of each pod. The shim needs one only for a pid namespace that is shared.
    pub fn has_pause(&self) -> bool {
        self.handler != config::HANDLER || self.lab.sandboxer() == Sandboxer::Podsandbox
    }

    /// The runtime's name outside CRI, for `ctr run --runtime`.
    pub fn runtime_type(&self) -> String {
        format!("io.containerd.{}.v2", self.handler)
    }
}

/// A pod before it runs.
#[derive(Debug)]
pub struct PodBuilder<'a> {
    node: &'a Node<'a>,
    uid: String,
    config: v1::PodSandboxConfig,
}

impl<'a> PodBuilder<'a> {
    /// The pod's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Changes the configuration in a way that no other method offers.
    pub fn with(mut self, change: impl FnOnce(&mut v1::PodSandboxConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Changes what is specific to Linux.
    pub fn with_linux(mut self, change: impl FnOnce(&mut v1::LinuxPodSandboxConfig)) -> Self {
        change(self.config.linux.get_or_insert_default());
        self
    }

    /// Containers of this pod share one pid namespace, as with `shareProcessNamespace: true`.
    pub fn shared_pids(self) -> Self {
        self.with_linux(|linux| {
            let security = linux.security_context.get_or_insert_default();
            security.namespace_options.get_or_insert_default().pid = v1::NamespaceMode::Pod.into();
        })
    }

    /// Whether [`Self::shared_pids`] was asked for.
    pub fn has_shared_pids(&self) -> bool {
        let security = self.config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let namespaces = security.and_then(|security| security.namespace_options.as_ref());
        namespaces.is_some_and(|namespaces| namespaces.pid() == v1::NamespaceMode::Pod)
    }

    /// Makes the sandbox.
    pub async fn run(mut self) -> Result<Pod<'a>> {
        let logs = self.node.lab.directory("logs", &self.uid)?;
        self.config.log_directory = logs.display().to_string();
        let parent = self.config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
        let cgroup = PodCgroup::create(&parent)?;
        let id = self.node.cri.run_pod_sandbox(self.config.clone(), &self.node.handler).await;
        let id = id.inspect_err(|_| drop(cgroup.remove()))?;
        Ok(Pod { node: self.node, id, config: self.config, cgroup })
    }
}

/// The cgroup that a kubelet makes for a pod before it asks for the sandbox, and removes after it.
#[derive(Debug)]
struct PodCgroup(String);

impl PodCgroup {
    fn create(path: &str) -> Result<Self> {
        // What the kernel refuses is left for the runtime to fail on.
        if !path.contains('\n') && !slices::is_slice(path) {
            hierarchy::create_everywhere(path)?;
        }
        Ok(Self(path.to_owned()))
    }

    fn remove(&self) -> Result<()> {
        match slices::is_slice(&self.0) {
            true => slices::remove(&self.0),
            false => hierarchy::remove_everywhere(&self.0),
        }
    }
}

/// A pod whose sandbox is there.
#[derive(Debug)]
pub struct Pod<'a> {
    node: &'a Node<'a>,
    /// The sandbox's id.
    pub id: String,
    /// What the sandbox was made with.
    pub config: v1::PodSandboxConfig,
    cgroup: PodCgroup,
}

impl<'a> Pod<'a> {
    /// What CRI says of the sandbox.
    pub async fn status(&self) -> Result<v1::PodSandboxStatus> {
        let answer = self.node.cri.pod_sandbox_status(&self.id, false).await?;
        answer.status.context("a pod's status")
    }

    /// The pod's address.
    pub async fn address(&self) -> Result<String> {
        Ok(self.status().await?.network.context("a pod's network")?.ip)
    }

    /// Creates a container.
    pub async fn create(&self, container: ContainerBuilder) -> Result<Container<'a>> {
        let config = container.finish(&self.config);
        let log = PathBuf::from(&self.config.log_directory).join(&config.log_path);
        let id = self.node.cri.create_container(&self.id, config, self.config.clone()).await?;
        Ok(Container { node: self.node, id, log })
    }

    /// Creates a container and starts it.
    pub async fn start(&self, container: ContainerBuilder) -> Result<Container<'a>> {
        let container = self.create(container).await?;
        container.start().await?;
        Ok(container)
    }

    /// Runs a container to its end and returns its standard output, which must come with exit code 0.
    pub async fn output_of(&self, container: ContainerBuilder) -> Result<String> {
        let container = self.start(container).await?;
        let status = container.exited().await?;
        let lines = container.logs()?;
        if status.exit_code != 0 {
            bail!("run a container: exit code {}: {}", status.exit_code, text_of(&lines, "stderr"));
        }
        container.remove().await?;
        Ok(text_of(&lines, "stdout"))
    }

    /// Stops and removes it, and leaves the cgroup above its containers to another pod that is in there.
    pub async fn remove_beside(self) -> Result<()> {
        self.node.cri.stop_pod_sandbox(&self.id).await?;
        Ok(self.node.cri.remove_pod_sandbox(&self.id).await?)
    }

    /// Stops and removes the pod with its containers.
    pub async fn remove(self) -> Result<()> {
        self.node.cri.stop_pod_sandbox(&self.id).await?;
        self.node.cri.remove_pod_sandbox(&self.id).await?;
        self.cgroup.remove()
    }
}

/// A container of the busybox image that runs a shell script.
pub fn shell(name: &str, script: &str) -> ContainerBuilder {
    command(name, &["/bin/sh", "-c", script])
}

/// A container of the busybox image that runs a command.
pub fn command(name: &str, words: &[&str]) -> ContainerBuilder {
    let metadata = v1::ContainerMetadata { name: name.to_owned(), attempt: 0 };
    let image = v1::ImageSpec { image: images::BUSYBOX_IMAGE.to_owned(), ..Default::default() };
    let config = v1::ContainerConfig {
        metadata: Some(metadata),
        image: Some(image),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    ContainerBuilder { config }
}

/// A container before it is created.
#[derive(Debug, Clone)]
pub struct ContainerBuilder {
    config: v1::ContainerConfig,
}

impl ContainerBuilder {
    /// Which attempt at this container it is, from 0.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.config.metadata.get_or_insert_default().attempt = attempt;
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(v1::KeyValue { key: key.to_owned(), value: value.to_owned() });
        self
    }

    /// Mounts a directory of the node.
    pub fn volume(mut self, host_path: &std::path::Path, container_path: &str) -> Self {
        self.config.mounts.push(v1::Mount {
            host_path: host_path.display().to_string(),
            container_path: container_path.to_owned(),
            ..Default::default()
        });
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets limits.
    pub fn resources(mut self, resources: v1::LinuxContainerResources) -> Self {
        self.config.linux.get_or_insert_default().resources = Some(resources);
        self
    }

    /// Changes user, capabilities, paths and other security settings.
    pub fn security(mut self, change: impl FnOnce(&mut v1::LinuxContainerSecurityContext)) -> Self {
        change(self.config.linux.get_or_insert_default().security_context.get_or_insert_default());
        self
    }

    /// Changes the configuration in a way that no other method offers.
    pub fn with(mut self, change: impl FnOnce(&mut v1::ContainerConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Fills in what a kubelet takes from the pod.
    fn finish(mut self, pod: &v1::PodSandboxConfig) -> v1::ContainerConfig {
        let of_pod = pod.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
        let namespaces = of_pod.and_then(|security| security.namespace_options.clone());
        let security = self.config.linux.get_or_insert_default().security_context.get_or_insert_default();
        if security.namespace_options.is_none() {
            security.namespace_options = namespaces;
        }
        let metadata = self.config.metadata.get_or_insert_default();
        self.config.log_path = format!("{}_{}.log", metadata.name, metadata.attempt);
        self.config
    }
}

/// A container that was created.
#[derive(Debug)]
pub struct Container<'a> {
    node: &'a Node<'a>,
    /// Its id.
    pub id: String,
    log: PathBuf,
}

/// What a command in a container said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output as text.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
}

/// A line of a container's log: `TIME STREAM TAG TEXT`, see Kubernetes' CRI logging design.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Whether it is a whole line (`F`) or part of one (`P`).
    pub whole: bool,
    /// The text, without its newline.
    pub text: String,
}

impl Container<'_> {
    /// Starts it.
    pub async fn start(&self) -> Result<()> {
        Ok(self.node.cri.start_container(&self.id).await?)
    }

    /// What CRI says of it.
    pub async fn status(&self) -> Result<v1::ContainerStatus> {
        Ok(self.node.cri.container_status(&self.id).await?)
    }

    /// Waits until it has exited.
    pub async fn exited(&self) -> Result<v1::ContainerStatus> {
        eventually("the container's exit", async || {
            let status = self.status().await?;
            Ok((status.state() == v1::ContainerState::ContainerExited).then_some(status))
        })
        .await
    }

    /// The pid of its first process, as the node sees it.
    pub async fn pid(&self) -> Result<i32> {
        let info: HashMap<String, String> = self.node.cri.container_status_verbose(&self.id, true).await?.info;
        let info: Value = serde_json::from_str(info.get("info").context("a container's verbose status")?)?;
        let pid = info.get("pid").and_then(Value::as_i64).context("the pid in a container's verbose status")?;
        Ok(i32::try_from(pid)?)
    }

    /// Reads a file of the container's cgroup: `memory`, `memory.limit_in_bytes`. Without surrounding space.
    pub async fn cgroup_file(&self, controller: &str, file: &str) -> Result<String> {
        let path = hierarchy::of_process(self.pid().await?, controller)?.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Runs a command in it.
    pub async fn exec(&self, words: &[&str]) -> Result<Output> {
        let answer = self.node.cri.exec_sync(&self.id, words, patience(PATIENCE)).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { code: answer.exit_code, stdout: text(answer.stdout), stderr: text(answer.stderr) })
    }

    /// What it has written so far.
    pub fn logs(&self) -> Result<Vec<LogLine>> {
        let text = std::fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        parse_log(&text)
    }

    /// Stops it: the stop signal, then after `grace` SIGKILL.
    pub async fn stop(&self, grace: Duration) -> Result<()> {
        Ok(self.node.cri.stop_container(&self.id, grace).await?)
    }

    /// Removes it.
    pub async fn remove(&self) -> Result<()> {
        Ok(self.node.cri.remove_container(&self.id).await?)
    }
}

/// What was written to one stream.
pub fn text_of(lines: &[LogLine], stream: &str) -> String {
    let of_stream = lines.iter().filter(|line| line.stream == stream);
    of_stream.map(|line| format!("{}{}", line.text, if line.whole { "\n" } else { "" })).collect()
}

/// The lines of a container's log.
pub fn parse_log(text: &str) -> Result<Vec<LogLine>> {
    text.lines().map(parse_log_line).collect()
}

fn parse_log_line(line: &str) -> Result<LogLine> {
    let mut fields = line.splitn(4, ' ');
    let mut field = || fields.next().with_context(|| format!("a line of a CRI log: {line:?}"));
    let (time, stream, tag, text) = (field()?, field()?, field()?, field()?);
    Ok(LogLine { time: time.to_owned(), stream: stream.to_owned(), whole: tag == "F", text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_keeps_the_spaces_of_its_text() {
        let line = parse_log_line("2026-01-02T03:04:05.000000006Z stdout F a  b c").ok();
        let expected = LogLine {
            time: "2026-01-02T03:04:05.000000006Z".into(),
            stream: "stdout".into(),
            whole: true,
            text: "a  b c".into(),
        };
        assert_eq!(line, Some(expected));
        assert!(parse_log_line("no log line").is_err());
    }
}
