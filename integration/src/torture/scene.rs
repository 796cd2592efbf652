//! A pod, brought to where an operation begins, and the operation.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::unistd::Pid;
use serde_json::Value;

use super::{plan::Operation, watch::Others};
use crate::{
    Lab,
    loment::Loment,
    pod::{Container, Node, Pod, command},
    process,
};

/// What each pod is called that something is done to. One follows the other.
pub(super) const NAME: &str = "tormented";

/// With an init container that fails once, a sidecar and an app. `loment` follows it in a tenth of a second.
const MANIFEST: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: tormented
  annotations: {io.loment.pod.backoff-initial: 1ms, io.loment.pod.backoff-max: 1ms}
spec:
  restartPolicy: Always
  volumes: [{name: kept, emptyDir: {}}]
  initContainers:
  - name: init
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "test -e /kept/once || { touch /kept/once; exit 1; }"]
    volumeMounts: [{name: kept, mountPath: /kept}]
  - name: sidecar
    image: busybox
    imagePullPolicy: Never
    restartPolicy: Always
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]
  containers:
  - name: app
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]
"#;

/// The pod, as far as it has come.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    node: &'a Node<'a>,
    pod: Option<Pod<'a>>,
    container: Option<Container<'a>>,
}

impl<'a> Scene<'a> {
    /// Before an operation.
    pub(super) async fn before(node: &'a Node<'a>, operation: Operation) -> Result<Self> {
        let mut scene = Self { node, pod: None, container: None };
        for earlier in earlier(operation) {
            scene.perform(*earlier).await.with_context(|| format!("{earlier}, before anything is done"))?;
        }
        Ok(scene)
    }

    /// Asks for it, and waits for the answer.
    pub(super) async fn perform(&mut self, operation: Operation) -> Result<()> {
        let loment = Loment::new(self.node.lab);
        match operation {
            Operation::RunPod => self.pod = Some(self.node.pod(NAME).run().await?),
            Operation::StartContainer => {
                let pod = self.pod.as_ref().context("a pod")?;
                let container = pod.create(command("app", &["/bin/busybox", "sleep", "1000"])).await?;
                self.container.insert(container).start().await?;
            }
            Operation::Exec => {
                let output = self.container()?.exec(&["/bin/busybox", "echo", "said"]).await?;
                if (output.code, output.stdout.as_str()) != (0, "said\n") {
                    bail!("exec echo: it has ended with {output:?}");
                }
            }
            Operation::StopContainer => self.container()?.stop(Duration::ZERO).await?,
            Operation::RemoveContainer => self.container()?.remove().await?,
            Operation::StopPod => self.node.cri.stop_pod_sandbox(&self.pod()?.id).await?,
            Operation::RemovePod => self.node.cri.remove_pod_sandbox(&self.pod()?.id).await?,
            Operation::Create => {
                loment.create(MANIFEST).await?;
                let is_decided = |status: &Value| status["phase"] != "Pending";
                let status = loment.until(NAME, "the pod to run", is_decided).await?;
                if status["phase"] != "Running" {
                    bail!("wait for the pod to run: it is {}", status["phase"]);
                }
            }
            Operation::Delete => loment.delete(NAME).await?,
        }
        Ok(())
    }

    /// Who is there.
    pub(super) async fn others(&self, lab: &Lab) -> Result<Others> {
        let containerd = Some(pid(i32::try_from(lab.containerd_pid())?));
        let sandboxes = self.node.cri.list_pod_sandboxes(None).await?;
        let sandbox = sandboxes.into_iter().find(|pod| pod.metadata.as_ref().is_some_and(|data| data.name == NAME));
        let Some(sandbox) = sandbox.map(|pod| pod.id) else { return Ok(Others { containerd, ..Others::default() }) };
        let all = process::descendants(nix::unistd::getpid().as_raw());
        let shim = process::shim_of(&sandbox);
        let children = |parent: Option<i32>| all.iter().filter(move |one| Some(one.parent) == parent);
        // The first child is older, and holds the namespaces; without any holder it is the container's.
        let holder = children(shim).map(|one| one.pid).min();
        let init = children(shim).map(|one| one.pid).max();
        Ok(Others { shim: shim.map(pid), holder: holder.map(pid), init: init.map(pid), containerd })
    }

    fn pod(&self) -> Result<&Pod<'a>> {
        self.pod.as_ref().context("a pod")
    }

    fn container(&self) -> Result<&Container<'a>> {
        self.container.as_ref().context("a container")
    }
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number)
}

/// What has to be done before.
fn earlier(operation: Operation) -> &'static [Operation] {
    use Operation::{Create, Delete, Exec, RemoveContainer, RemovePod, RunPod, StartContainer, StopContainer, StopPod};
    match operation {
        RunPod | Create => &[],
        StartContainer => &[RunPod],
        Exec | StopContainer | StopPod => &[RunPod, StartContainer],
        RemoveContainer => &[RunPod, StartContainer, StopContainer],
        RemovePod => &[RunPod, StartContainer, StopContainer, StopPod],
        Delete => &[Create],
    }
}
