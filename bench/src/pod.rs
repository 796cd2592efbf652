//! A pod of the bench: its requests to containerd.

use std::{
    cell::Cell,
    collections::HashMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loment_cri::{Client, masks, v1};

use crate::{
    handlers::{Driver, Handler},
    interrupt::Stop,
    settings::{Network, Seccomp, Settings},
};

/// How many of the pods whose start or end is not timed are made or removed at once.
pub(crate) const CROWD: usize = 8;
/// Label of all pods that a run has made; its value is the run's id.
const LABEL: &str = "io.loment.bench";
/// Where all runs have their cgroups.
const CGROUPS: &str = "/loment-bench";
/// The same where systemd makes them: the name of a slice.
pub(crate) const SLICE: &str = "lomentbench";
/// How long an exec may take. Only a failure takes this long.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// Who makes pods, and by what they are known.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
    pub(crate) stop: &'a Stop,
    /// containerd's socket.
    pub(crate) socket: &'a Path,
    /// Who makes the cgroups of pods.
    pub(crate) driver: Driver,
    /// Of the run, in labels and names.
    id: String,
    made: Cell<u64>,
}

/// A pod with its containers, which run.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) sandbox: String,
    pub(crate) containers: Vec<String>,
}

/// How long the parts of a pod's start took.
#[derive(Debug, Default)]
pub(crate) struct Started {
    pub(crate) run: Duration,
    /// One for each container.
    pub(crate) creates: Vec<Duration>,
    pub(crate) starts: Vec<Duration>,
}

impl Started {
    /// All requests together.
    pub(crate) fn total(&self) -> Duration {
        self.run + self.creates.iter().chain(&self.starts).sum::<Duration>()
    }
}

impl<'a> Maker<'a> {
    pub(crate) fn new(
        client: &'a Client,
        socket: &'a Path,
        settings: &'a Settings,
        driver: Driver,
        stop: &'a Stop,
    ) -> Self {
        let id = format!("{}-{:08x}", std::process::id(), fastrand::u32(..));
        Self { client, settings, stop, socket, driver, id, made: Cell::new(0) }
    }

    /// The run's own cgroup, which is made without systemd: pods that are made by hand are always below it.
    pub(crate) fn cgroup(&self) -> String {
        format!("{CGROUPS}/{}", self.id)
    }

    /// The run's own slice, where systemd makes cgroups.
    pub(crate) fn slice(&self) -> String {
        // A dash in its name says that a slice is in another one.
        format!("{SLICE}-{}.slice", self.id.replace('-', "_"))
    }

    /// The cgroup that all pods of this run are below.
    pub(crate) fn parent(&self) -> String {
        match self.driver {
            Driver::Cgroupfs => self.cgroup(),
            Driver::Systemd => format!("/{SLICE}.slice/{}", self.slice()),
        }
    }

    /// Makes a pod and starts its containers. After a failure, [`crate::pod::Maker::all`] has what was made.
    ///
    /// Errors: containerd refuses a request; somebody has asked for the end.
    pub(crate) async fn make(&self, handler: &Handler) -> Result<(Pod, Started)> {
        let config = self.sandbox();
        self.stop.check()?;
        let made = async {
            let begun = Instant::now();
            let sandbox = self.client.run_pod_sandbox(config.clone(), &handler.name).await?;
            let mut started = Started { run: begun.elapsed(), ..Started::default() };
            let mut pod = Pod { sandbox, containers: Vec::new() };
            for number in 0..self.settings.containers {
                self.stop.check()?;
                let container = self.container(number);
                let begun = Instant::now();
                let container = self.client.create_container(&pod.sandbox, container, config.clone()).await?;
                let created = Instant::now();
                self.client.start_container(&container).await?;
                started.creates.push(created - begun);
                started.starts.push(created.elapsed());
                pod.containers.push(container);
            }
            anyhow::Ok((pod, started))
        };
        made.await.with_context(|| format!("make a pod under runtime handler {}", handler.name))
    }

    /// Runs `true` in a container.
    pub(crate) async fn exec(&self, container: &str) -> Result<Duration> {
        self.stop.check()?;
        let begun = Instant::now();
        let done = self.client.exec_sync(container, &["true"], EXEC_LIMIT).await?;
        let took = begun.elapsed();
        ensure!(
            done.exit_code == 0,
            "exec of true in container {container} ended with {}: {}",
            done.exit_code,
            String::from_utf8_lossy(&done.stderr).trim()
        );
        Ok(took)
    }

    /// Kills a container.
    pub(crate) async fn kill(&self, container: &str) -> Result<Duration> {
        let begun = Instant::now();
        self.client.stop_container(container, Duration::ZERO).await?;
        Ok(begun.elapsed())
    }

    /// Stops and removes a pod with all that is in it.
    pub(crate) async fn remove(&self, sandbox: &str) -> Result<Duration> {
        let begun = Instant::now();
        self.client.stop_pod_sandbox(sandbox).await?;
        self.client.remove_pod_sandbox(sandbox).await?;
        Ok(begun.elapsed())
    }

    /// The pods of this run that containerd knows.
    pub(crate) async fn all(&self) -> Result<Vec<String>> {
        let filter = v1::PodSandboxFilter { label_selector: self.labels(), ..v1::PodSandboxFilter::default() };
        let pods = self.client.list_pod_sandboxes(Some(filter)).await?;
        Ok(pods.into_iter().map(|pod| pod.id).collect())
    }

    fn labels(&self) -> HashMap<String, String> {
        HashMap::from([(LABEL.to_owned(), self.id.clone())])
    }

    fn sandbox(&self) -> v1::PodSandboxConfig {
        let number = self.made.replace(self.made.get() + 1);
        let name = format!("bench-{}-{number}", self.id);
        v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                uid: name.clone(),
                name,
                namespace: "loment-bench".to_owned(),
                attempt: 0,
            }),
            labels: self.labels(),
            linux: Some(v1::LinuxPodSandboxConfig {
                cgroup_parent: self.parent(),
                security_context: Some(v1::LinuxSandboxSecurityContext {
                    namespace_options: Some(self.namespaces()),
                    ..v1::LinuxSandboxSecurityContext::default()
                }),
                ..v1::LinuxPodSandboxConfig::default()
            }),
            ..v1::PodSandboxConfig::default()
        }
    }

    fn container(&self, number: u32) -> v1::ContainerConfig {
        let profile = match self.settings.seccomp {
            Seccomp::Default => v1::security_profile::ProfileType::RuntimeDefault,
            Seccomp::Unconfined => v1::security_profile::ProfileType::Unconfined,
        };
        v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: format!("main-{number}"), attempt: 0 }),
            image: Some(v1::ImageSpec { image: self.settings.image.clone(), ..v1::ImageSpec::default() }),
            command: vec!["sleep".to_owned(), "3600".to_owned()],
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(v1::LinuxContainerSecurityContext {
                    namespace_options: Some(self.namespaces()),
                    seccomp: Some(v1::SecurityProfile { profile_type: profile.into(), localhost_ref: String::new() }),
                    masked_paths: masks::MASKED.map(str::to_owned).into(),
                    readonly_paths: masks::READONLY.map(str::to_owned).into(),
                    ..v1::LinuxContainerSecurityContext::default()
                }),
                ..v1::LinuxContainerConfig::default()
            }),
            ..v1::ContainerConfig::default()
        }
    }

    fn namespaces(&self) -> v1::NamespaceOption {
        let network = match self.settings.network {
            Network::Host => v1::NamespaceMode::Node,
            Network::Cni => v1::NamespaceMode::Pod,
        };
        v1::NamespaceOption {
            network: network.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..v1::NamespaceOption::default()
        }
    }
}
