//! After something was done: the pod is removed as any client removes it, and nothing may be left.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1;
use serde_json::Value;

use super::scene::NAME;
use crate::{Lab, census::Census, hierarchy, lab::POD_CGROUPS, loment::Loment, patience, pod::Node};

/// How long a pod may take to be gone. Only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(30);

/// After this time what is still there is collected as what nobody asks for any more.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// How a pod was removed.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// With what words that was refused, time and again.
    pub(super) refusals: Vec<String>,
    /// What containerd had lost, and `loment gc` has collected.
    pub(super) collected: Vec<String>,
    /// What is left in the end.
    pub(super) left: Vec<String>,
}

/// Removes the pod as a kubelet does, again and again, until nothing is there that was not there `before`. A request that
/// nobody waits for any more is still at work for a while, and what it makes has to go too.
pub(super) async fn remove(node: &Node<'_>, is_supervised: bool, before: &Census) -> Result<Removal> {
    let mut removal = Removal::default();
    let (begun, deadline) = (Instant::now(), Instant::now() + patience(PATIENCE));
    loop {
        let removed = match is_supervised {
            true => delete(node).await,
            false => Ok(()),
        };
        let removed = match removed {
            Ok(()) => remove_listed(node).await,
            refused => refused,
        };
        // A kubelet's housekeeping: the cgroup above the containers' is not the runtime's.
        hierarchy::prune_everywhere(POD_CGROUPS)?;
        let left = node.lab.left_now(before);
        if removed.is_ok() && left.is_empty() || Instant::now() > deadline {
            removal.left = left.into_iter().chain(removed.err().map(|error| format!("{error:#}"))).collect();
            return Ok(removal);
        }
        removal.refusals.extend(removed.err().map(|error| format!("{error:#}")));
        if begun.elapsed() > patience(GIVEN_UP) && removal.collected.is_empty() {
            removal.collected = collect(node).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// As a user does it some minutes later: what CRI has lost counts as lost after five.
async fn collect(node: &Node<'_>) -> Result<Vec<String>> {
    let mut collected = Vec::new();
    for lost in node.cri.list_unlisted().await? {
        node.cri.clear_unlisted(&lost.id).await?;
        collected.push(format!("container {}", lost.id));
    }
    let output = Loment::new(node.lab).run(&["gc", "--force", "-o", "json"], "").await?;
    let said: Value = serde_json::from_str(&output.stdout).with_context(|| format!("what gc says: {output:?}"))?;
    let found = said["leftovers"].as_array().into_iter().flatten();
    collected.extend(found.map(|one| format!("{} {}", one["kind"], one["object"]).replace('"', "")));
    Ok(collected)
}

/// As a user does it who finds a pod that was not made to its end, or whose shim is gone.
async fn delete(node: &Node<'_>) -> Result<()> {
    let output = Loment::new(node.lab).run(&["delete", "pod", NAME, "--force"], "").await?;
    ensure!(
        output.code == 0 || output.stderr.contains("not found"),
        "loment delete: exit code {}: {}",
        output.code,
        output.stderr.trim()
    );
    Ok(())
}

/// The pods that are still there, with whatever state they have.
async fn remove_listed(node: &Node<'_>) -> Result<()> {
    for pod in listed(node).await? {
        node.cri.stop_pod_sandbox(&pod.id).await?;
        node.cri.clear_pod_sandbox(&pod.id).await?;
    }
    Ok(())
}

async fn listed(node: &Node<'_>) -> Result<Vec<v1::PodSandbox>> {
    let all = node.cri.list_pod_sandboxes(None).await?;
    Ok(all.into_iter().filter(|pod| pod.metadata.as_ref().is_some_and(|data| data.name == NAME)).collect())
}

/// What containerd still knows of the tormented: containers, sandboxes and tasks other than `known`. Of a task whose container it
/// has lost its list of tasks tells alone.
pub(super) async fn known_to_containerd(lab: &Lab, known: &[String]) -> Result<Vec<String>> {
    let is_unknown = |id: &str| !known.iter().any(|one| one == id);
    let on_record = lab.on_record().await?;
    let tasks = lab.ctr_output(&["tasks", "list", "--quiet"], b"").await?;
    let tasks = String::from_utf8(tasks.stdout).context("what ctr tasks list prints")?;
    let on_record = on_record.iter().filter(|id| is_unknown(id)).map(|id| format!("on containerd's record: {id}"));
    let tasks = tasks.lines().filter(|id| is_unknown(id)).map(|id| format!("task of containerd: {id}"));
    Ok(on_record.chain(tasks).collect())
}

/// Where Rust's own runtime ends a program that cannot have the memory to begin with, before any of the program runs.
const BEFORE_MAIN: &str = "std/src/sys/pal/unix/stack_overflow.rs";

/// Lines in which a program of this project says that it has come to an end that nobody has thought of.
pub(super) fn panics(log: &str) -> Vec<String> {
    let is_panic = |line: &&str| line.contains("panicked at") && !line.contains(BEFORE_MAIN);
    log.lines().filter(is_panic).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_could_not_begin_has_not_panicked() {
        let line = |place: &str| format!("level=warning msg=\"thread 'main' panicked at {place}:236:13:\"");
        assert!(panics(&line("/rustc/5980/library/std/src/sys/pal/unix/stack_overflow.rs")).is_empty());
        assert_eq!(panics(&line("shim/src/start.rs")).len(), 1);
    }
}
