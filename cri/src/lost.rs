//! What CRI has lost: containers and tasks that containerd has and that CRI tells nobody of.
//!
//! When a client hangs up at the wrong moment of `RunPodSandbox` or `StartContainer`, containerd ("failed to get task pid:
//! context canceled") leaves the task running. A sandbox is then in none of CRI's lists. A container is told as one that has
//! ended, and cannot be removed: "cannot delete running task". So they are ended where they are known.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    error::{Code, Error, Result},
    inventory::{
        Known,
        api::{DeleteContainerRequest, DeleteResponse, DeleteTaskRequest, Empty, KillRequest},
    },
};

/// The namespace of CRI's containers.
const NAMESPACE: &str = "k8s.io";
/// The label by which CRI marks what is its own: a `sandbox`, a `container`.
const KIND: &str = "io.cri-containerd.kind";
/// Number of SIGKILL.
const KILL: u32 = 9;
/// How long a task may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(50);
/// A pod has no more containers than this that are lost at once: each is found by a removal that it fails.
const MOST: usize = 64;

impl Client {
    /// Removes a pod like [`Client::remove_pod_sandbox`], also where a task of its is lost.
    pub async fn clear_pod_sandbox(&self, pod: &str) -> Result<()> {
        for _ in 0..MOST {
            match self.remove_pod_sandbox(pod).await {
                Err(error) => match lost_task(&error) {
                    Some(task) => self.end_task(task).await?,
                    None => return Err(error),
                },
                removed => return removed,
            }
        }
        self.remove_pod_sandbox(pod).await
    }

    /// Containers and sandboxes of CRI's that are in none of its lists. Not all of them are lost: CRI lists a pod when it is
    /// ready, and so what is just being made is among them.
    pub async fn list_unlisted(&self) -> Result<Vec<Known>> {
        let known = self.inventory(NAMESPACE).await?;
        let mut listed: HashSet<String> = self.list_pod_sandboxes(None).await?.into_iter().map(|pod| pod.id).collect();
        listed.extend(self.list_containers(None).await?.into_iter().map(|container| container.id));
        Ok(known.into_iter().filter(|one| one.labels.contains_key(KIND) && !listed.contains(&one.id)).collect())
    }

    /// Removes one of those, with its task. One that is gone is fine. Its snapshot goes by itself, when containerd next
    /// collects what nothing names.
    pub async fn clear_unlisted(&self, id: &str) -> Result<()> {
        self.end_task(id).await?;
        let request = DeleteContainerRequest { id: id.to_owned() };
        let deleted: Result<Empty> =
            self.ask("/containerd.services.containers.v1.Containers/Delete", Some(NAMESPACE), request).await;
        match deleted {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn end_task(&self, task: &str) -> Result<()> {
        let kill = KillRequest { container_id: task.to_owned(), signal: KILL, all: true };
        // One that has ended needs no signal.
        let _ended: Result<Empty> = self.ask("/containerd.services.tasks.v1.Tasks/Kill", Some(NAMESPACE), kill).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = DeleteTaskRequest { container_id: task.to_owned() };
            let deleted = self.ask("/containerd.services.tasks.v1.Tasks/Delete", Some(NAMESPACE), request).await;
            match deleted.map(|_: DeleteResponse| ()) {
                Err(error) if error.code() == Some(Code::FailedPrecondition) && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.code() == Some(Code::NotFound) => return Ok(()),
                deleted => return deleted,
            }
        }
    }
}

/// The task that keeps a container from being removed. It is told in words only.
fn lost_task(error: &Error) -> Option<&str> {
    let Error::Request { message, code: Code::FailedPrecondition, .. } = error else { return None };
    let (_, rest) = message.split_once("cannot delete running task ")?;
    rest.split(|end: char| !end.is_ascii_alphanumeric()).next().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_task_is_the_one_that_containerd_names() {
        let refused = |code, message: &str| Error::Request {
            operation: "RemovePodSandbox",
            object: "pod abc".into(),
            code,
            message: message.into(),
        };
        let message = "failed to remove container \"12ab\": failed to delete containerd container \"12ab\": cannot delete \
                       running task 12ab: failed precondition";
        assert_eq!(lost_task(&refused(Code::FailedPrecondition, message)), Some("12ab"));
        assert_eq!(lost_task(&refused(Code::Unknown, message)), None);
        assert_eq!(lost_task(&refused(Code::FailedPrecondition, "in use")), None);
    }
}
