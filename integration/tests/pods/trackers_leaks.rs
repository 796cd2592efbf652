//! Shims that outlive their pods, in the situations in which others' do.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    config, hierarchy,
    pod::{Node, Pod, at_once, eventually, shell},
    process::{command_line, descendants, shims},
    results::LeftOut,
};
use loment_shim::client::{ExecId, TaskShim};

use super::{
    command::shim_of,
    run::{Run, succeeded},
    trackers::{Stopped, no_shim},
};

/// As long as nobody ends it.
const STAY: &str = "exec sleep 1000";

/// How many pods come and go at the same time.
const TOGETHER: u32 = 4;

/// Stops and removes a pod again and again until it has been removed, as a kubelet does.
async fn removed(node: &Node<'_>, pod: &Pod<'_>) -> Result<()> {
    eventually("the removal of a pod", async || {
        // Who was given up may have removed it meanwhile: then it is not found.
        let _stopped = node.cri.stop_pod_sandbox(&pod.id).await;
        Ok(node.cri.remove_pod_sandbox(&pod.id).await.ok())
    })
    .await
}

/// Pods of short jobs, each of whose ends two goroutines of containerd saw to at the same time: the second Delete met a
/// connection that the first had closed, and nobody asked the shim to leave.
pub(crate) async fn containerd_12344_shims_leave_with_pods_of_short_jobs_that_are_stopped_twice_at_once(
    node: &Node<'_>,
) -> Result<()> {
    let life = async |number: u32| {
        let pod = node.pod(&format!("job-{number}")).run().await?;
        let job = pod.start(shell("job", &format!("sleep 0.0{}; exit 3", number % 10))).await?;
        if number.is_multiple_of(2) {
            ensure!(job.exited().await?.exit_code == 3, "a job ended with another code");
        }
        let stop = || node.cri.stop_pod_sandbox(&pod.id);
        // One of them may find that the other has done it.
        let (one, other) = tokio::join!(stop(), stop());
        ensure!(one.is_ok() || other.is_ok(), "neither stop has succeeded: {one:?}, {other:?}");
        removed(node, &pod).await
    };
    for round in 0..6 {
        at_once((0..TOGETHER).map(|number| life(round * TOGETHER + number))).await?;
    }
    no_shim().await?;
    node.lab.remove_pods().await
}

/// Pods that are evicted while their containers start, on a node whose statistics are asked for all the time: containerd
/// waited for ever for shims that nobody had told to leave, and answered no more.
pub(crate) async fn containerd_13692_shims_leave_with_pods_that_are_evicted_while_their_containers_start(
    node: &Node<'_>,
) -> Result<()> {
    let life = async |number: u32| {
        let pod = node.pod(&format!("evicted-{number}")).run().await?;
        let container = pod.create(shell("app", STAY)).await?;
        let evict = async {
            tokio::time::sleep(Duration::from_millis(u64::from(number % 8))).await;
            node.cri.stop_pod_sandbox(&pod.id).await
        };
        // Either may come first.
        let _either = tokio::join!(container.start(), evict);
        removed(node, &pod).await
    };
    let churn = async {
        for round in 0..6 {
            at_once((0..TOGETHER).map(|number| life(round * TOGETHER + number))).await?;
        }
        anyhow::Ok(())
    };
    let ask = async {
        for asked in 1.. {
            // A container may have gone between the listing and the asking: that is an answer.
            let answer = tokio::time::timeout(Duration::from_secs(20), node.cri.list_container_stats(None)).await;
            ensure!(answer.is_ok(), "statistics, asked for the {asked}th time, are not answered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::select! {
        churned = churn => churned?,
        asked = ask => asked?,
    }
    no_shim().await?;
    node.lab.remove_pods().await
}

/// Churn under writes that the kernel takes long to put away: requests ran out of time, their repetition succeeded, and the
/// shim was left.
pub(crate) async fn containerd_8931_shims_leave_with_pods_whose_removal_was_given_up_and_asked_again(
    node: &Node<'_>,
) -> Result<()> {
    let life = async |number: u32| {
        let pod = node.pod(&format!("given-up-{number}")).run().await?;
        let app = pod.start(shell("app", &format!("dd if=/dev/zero of=/file bs=1M count=8; echo; {STAY}"))).await?;
        eventually("what it writes", async || Ok((!app.logs()?.is_empty()).then_some(()))).await?;
        // Each client has less patience than the last steps take, another one each time.
        let patience = Duration::from_millis(u64::from(number % 12) * 3 + 1);
        let _given_up = tokio::time::timeout(patience, node.cri.stop_pod_sandbox(&pod.id)).await;
        let _given_up = tokio::time::timeout(patience, node.cri.remove_pod_sandbox(&pod.id)).await;
        removed(node, &pod).await
    };
    for round in 0..6 {
        at_once((0..TOGETHER).map(|number| life(round * TOGETHER + number))).await?;
    }
    no_shim().await?;
    node.lab.remove_pods().await
}

/// Churn again, and containerd restarts while pods are being stopped.
pub(crate) async fn containerd_12560_shims_leave_with_pods_that_are_stopped_while_containerd_restarts(
    node: &Node<'_>,
) -> Result<()> {
    for round in 0..3 {
        let run = async |number: u32| {
            let pod = node.pod(&format!("restart-{round}-{number}")).run().await?;
            pod.start(shell("app", STAY)).await?;
            Ok(pod)
        };
        let pods = at_once((0..TOGETHER).map(run)).await?;
        let stops: Vec<_> = pods
            .iter()
            .map(|pod| {
                let (cri, id) = (node.cri.clone(), pod.id.clone());
                tokio::spawn(async move { cri.stop_pod_sandbox(&id).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(round * 15)).await;
        node.lab.restart_containerd().await?;
        for stop in stops {
            // Whether it came through before the end of containerd is not known.
            let _either = stop.await.context("a stop's task")?;
        }
        at_once(pods.iter().map(|pod| removed(node, pod))).await?;
    }
    no_shim().await?;
    node.lab.remove_pods().await
}

/// A cgroup of the freezer's own, below the container's: nothing in there dies before it is thawed, on v1.
struct Frozen(PathBuf);

impl Frozen {
    fn around(pid: i32) -> Result<Self> {
        let directory = hierarchy::of_process(pid, "freezer")?.join("stuck");
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let frozen = Self(directory);
        frozen.write("cgroup.procs", &pid.to_string())?;
        frozen.write("freezer.state", "FROZEN")?;
        Ok(frozen)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, text).with_context(|| format!("write {text} into {}", path.display()))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may be gone, with the container.
        let _ = self.write("freezer.state", "THAWED");
    }
}

/// There the second Delete did not find what the first one had left.
pub(crate) async fn containerd_8981_a_delete_that_failed_is_done_by_the_next(node: &Node<'_>) -> Result<()> {
    let shared = node.lab.directory("volumes", "undeletable")?;
    let pod = node.pod("undeletable").shared_pids().run().await?;
    // containerd waits for the end of its output before it deletes: the child has none.
    let script = "sleep 4814 > /dev/null 2>&1 & until [ -e /shared/go ]; do sleep 0.02; done; exit 3";
    let app = pod.start(shell("app", script).volume(&shared, "/shared")).await?;
    let own = app.pid().await?;
    let child = eventually("its child", async || {
        Ok(descendants(own).into_iter().find(|one| command_line(one) == "sleep 4814"))
    })
    .await?;
    if hierarchy::of_process(child.pid, "freezer")?.join("cgroup.freeze").exists() {
        bail!(LeftOut("cgroup v2 lets what is frozen die".to_owned()));
    }
    let frozen = Frozen::around(child.pid)?;
    let log = node.lab.log_lines();
    fs::write(shared.join("go"), "")?;
    eventually("a Delete that fails", async || {
        Ok(node.lab.log_since(log).contains("its processes have been killed, and after").then_some(()))
    })
    .await?;
    ensure!(app.status().await?.state() == ContainerState::ContainerRunning, "containerd takes it for deleted");
    drop(frozen);
    let status = app.exited().await?;
    ensure!(status.exit_code == 3, "it ended with {}", status.exit_code);
    pod.remove().await?;
    no_shim().await
}

/// There a Delete was done for a client that had gone, or the Shutdown after it was lost, and nobody came to ask again: the
/// shim had nothing to do for ever.
pub(crate) async fn containerd_8981_a_shim_that_nobody_tells_to_leave_leaves_when_it_has_nothing_left(
    node: &Node<'_>,
) -> Result<()> {
    let run = Run::new(node, "forsaken")?;
    run.started(&["--null-io"], "exit 3").await?;
    let [shim] = shims()[..] else { bail!("the shims are {:?}", shims()) };
    run.ended().await?;
    let client = TaskShim::connect(&node.lab.socket(), "k8s.io", run.id).await?;
    let stopped = Stopped::new(shim)?;
    let delete = client.delete(ExecId { container: run.id, exec: "" });
    ensure!(tokio::time::timeout(Duration::from_millis(200), delete).await.is_err(), "a stopped shim answers");
    drop(client);
    drop(stopped);
    no_shim().await?;
    // containerd has understood, and the name is free.
    eventually("the end of the task", async || {
        let tasks = run.ctr(&["task", "ls", "--quiet"]).await?;
        Ok((!String::from_utf8_lossy(&tasks.stdout).contains(run.id)).then_some(()))
    })
    .await?;
    succeeded(&run.ctr(&["container", "rm", run.id]).await?)?;
    run.started(&["--null-io"], STAY).await?;
    ended_and_removed(&run).await
}

/// Mounts of the node that are below a bundle.
fn roots() -> Result<usize> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    Ok(mounts.lines().filter(|line| line.contains("io.containerd.runtime.v2.task/")).count())
}

/// There Delete waited for the root file system to be unmounted, longer than its client: what the client asked next was not
/// found any more, and nobody asked the shim to leave. Here no root is mounted on the node; and a Delete whose client has
/// gone before the shim has come to hear of it is done all the same.
pub(crate) async fn containerd_7496_a_delete_outlasts_its_client_and_unmounts_nothing(node: &Node<'_>) -> Result<()> {
    let other = Node::connect(node.lab, config::RUNC).await?;
    let theirs = Run::new(&other, "unmounted-runc")?;
    theirs.started(&["--null-io"], STAY).await?;
    ensure!(roots()? == 1, "the root of a container under runc is not seen");
    ended_and_removed(&theirs).await?;

    let run = Run::new(node, "unmounted")?;
    run.started(&["--null-io"], "exit 3").await?;
    let [shim] = shims()[..] else { bail!("the shims are {:?}", shims()) };
    run.ended().await?;
    ensure!(roots()? == 0, "its root is mounted on the node");
    let stopped = Stopped::new(shim)?;
    let mut client = node.lab.ctr();
    client.args(["task", "delete", run.id]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().context("run ctr")?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(client.try_wait()?.is_none(), "a Delete is answered while the shim stands still");
    client.kill().context("kill ctr")?;
    client.wait().context("wait for ctr")?;
    drop(stopped);
    let again = run.ctr(&["task", "delete", run.id]).await?;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    ensure!(said.contains("exit code 3") || said.contains("not found"), "the next Delete says {again:?}");
    no_shim().await?;
    succeeded(&run.ctr(&["container", "rm", run.id]).await?)
}

async fn ended_and_removed(run: &Run<'_>) -> Result<()> {
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    // The answer is the exit code of what was removed.
    run.ctr(&["task", "delete", run.id]).await?;
    succeeded(&run.ctr(&["container", "rm", run.id]).await?)
}

/// The same by CRI: the pod is stopped while its shim stands still, and the client has no patience.
pub(crate) async fn containerd_7496_a_stop_that_nobody_waits_for_is_done_by_the_next(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("impatient").run().await?;
    pod.start(shell("app", STAY)).await?;
    let stopped = Stopped::new(shim_of(&pod.id)?.as_raw())?;
    for _ in 0..3 {
        let _given_up = tokio::time::timeout(Duration::from_millis(200), node.cri.stop_pod_sandbox(&pod.id)).await;
    }
    drop(stopped);
    removed(node, &pod).await?;
    no_shim().await?;
    node.lab.remove_pods().await
}
