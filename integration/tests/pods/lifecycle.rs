//! Stopping, pausing, and what containerd is told of it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    events::Events,
    hierarchy,
    pod::{Container, Node, eventually, shell},
};

const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn a_container_that_handles_the_stop_signal_ends_with_its_own_code(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("polite").run().await?;
    let container =
        pod.start(shell("main", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done")).await?;
    eventually("the trap", async || Ok((!container.logs()?.is_empty()).then_some(()))).await?;
    container.stop(LONG).await?;
    let status = container.status().await?;
    ensure!(status.exit_code == 5, "it ended with {} ({})", status.exit_code, status.reason);
    let last = container.logs()?.pop().context("a line of the log")?;
    ensure!(last.text == "bye", "its last words are {:?}", last.text);
    // A second stop has nothing to do.
    container.stop(LONG).await?;
    pod.remove().await
}

pub(crate) async fn a_container_that_ignores_the_stop_signal_is_killed_after_its_grace_period(
    node: &Node<'_>,
) -> Result<()> {
    let pod = node.pod("stubborn").run().await?;
    let container = pod.start(shell("main", "trap '' TERM; while :; do sleep 0.01; done")).await?;
    container.stop(Duration::from_secs(1)).await?;
    let status = container.status().await?;
    ensure!(status.exit_code == 137, "it ended with {} ({})", status.exit_code, status.reason);
    ensure!(status.finished_at - status.started_at >= 1_000_000_000, "it had no grace: {status:?}");
    pod.remove().await
}

pub(crate) async fn a_process_that_outlives_its_container_is_killed_with_it(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("orphans").shared_pids().run().await?;
    // The pid namespace is the pod's, so that nobody but the shim ends what the first process leaves.
    let container = pod.start(shell("main", "sleep 4712 & echo started; exec sleep 4713")).await?;
    eventually("the orphan", async || Ok((!container.logs()?.is_empty()).then_some(()))).await?;
    let cgroup = hierarchy::of_process(container.pid().await?, "pids")?;
    container.stop(Duration::ZERO).await?;
    let left = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    ensure!(left.is_empty(), "after the stop these still run: {left}");
    pod.remove().await
}

pub(crate) async fn a_paused_container_stands_still_until_it_is_resumed(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("pause").run().await?;
    let volume = node.lab.directory("volumes", "pause")?;
    let script = "n=0; while :; do n=$((n+1)); echo $n > /data/count.new; mv /data/count.new /data/count; done";
    let container = pod.start(shell("counter", script).volume(&volume, "/data")).await?;
    let count = || fs::read_to_string(volume.join("count")).unwrap_or_default();
    eventually("the first count", async || Ok((!count().is_empty()).then_some(()))).await?;

    node.lab.ctr_ok(&["task", "pause", &container.id]).await?;
    let status = task_status(node, &container).await?;
    ensure!(status == "PAUSED", "a paused task is {status}");
    let stopped_at = count();
    ensure!(is_frozen(container.pid().await?)?, "a process of the container runs on");
    ensure!(count() == stopped_at, "it counts on while it is paused");
    let refused = node.lab.ctr_ok(&["task", "exec", "--exec-id", "refused", &container.id, "true"]).await;
    let reason = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(reason.contains("paused"), "an exec in a paused container is not refused: {reason:?}");

    node.lab.ctr_ok(&["task", "resume", &container.id]).await?;
    let status = task_status(node, &container).await?;
    ensure!(status == "RUNNING", "a resumed task is {status}");
    eventually("the next count", async || Ok((count() != stopped_at).then_some(()))).await?;
    // What was paused can be killed.
    node.lab.ctr_ok(&["task", "pause", &container.id]).await?;
    container.stop(Duration::ZERO).await?;
    ensure!(container.status().await?.state() == ContainerState::ContainerExited, "it lives on");
    pod.remove().await
}

/// Whether the freezer says that a process's cgroup stands still.
fn is_frozen(pid: i32) -> Result<bool> {
    let cgroup = hierarchy::of_process(pid, "freezer")?;
    let (v1, v2) = (cgroup.join("freezer.state"), cgroup.join("cgroup.events"));
    let text = if v1.exists() { fs::read_to_string(v1) } else { fs::read_to_string(v2) };
    let text = text.context("read the freezer's state")?;
    Ok(text.contains("FROZEN") || text.contains("frozen 1"))
}

async fn task_status(node: &Node<'_>, container: &Container<'_>) -> Result<String> {
    let table = node.lab.ctr_ok(&["task", "ls"]).await?;
    let line = table.lines().find(|line| line.starts_with(&container.id)).context("the task in ctr task ls")?;
    Ok(line.split_whitespace().last().unwrap_or_default().to_owned())
}

pub(crate) async fn each_process_has_its_events_in_order(node: &Node<'_>) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("events").run().await?;
    let container = pod.start(shell("main", "exec sleep 1000")).await?;
    container.exec(&["true"]).await?;
    container.stop(Duration::ZERO).await?;
    container.remove().await?;
    let id = container.id.clone();
    let seen = events
        .until("the deletion", |event| event.topic == "/tasks/delete" && event.text("container_id") == id)
        .await?;
    let of_container: Vec<String> = seen
        .iter()
        .filter(|event| event.topic.starts_with("/tasks/") && event.text("container_id") == id)
        .map(|event| {
            let of_exec = event.topic == "/tasks/exit" && event.text("id") != id;
            format!("{}{}", event.topic.trim_start_matches("/tasks/"), if of_exec { " of exec" } else { "" })
        })
        .collect();
    let expected = ["create", "start", "exec-added", "exec-started", "exit of exec", "exit", "delete"];
    ensure!(of_container == expected, "the events are {of_container:?}");
    pod.remove().await
}

pub(crate) async fn containerd_restarts_and_the_pod_lives_on(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("survivor").run().await?;
    let script = "trap 'exit 4' TERM; echo before; while :; do sleep 0.01; done";
    let container = pod.start(shell("main", script)).await?;
    let pid = container.pid().await?;
    node.lab.restart_containerd().await?;
    ensure!(Path::new(&format!("/proc/{pid}")).exists(), "the container's process is gone");
    let node = Node::connect(node.lab, &node.handler).await?;
    let status = node.cri.container_status(&container.id).await?;
    ensure!(status.state() == ContainerState::ContainerRunning, "the container is {:?}", status.state());
    let answer = node.cri.exec_sync(&container.id, &["echo", "alive"], LONG).await?;
    ensure!(answer.stdout == b"alive\n", "an exec says {answer:?}");
    node.cri.stop_container(&container.id, LONG).await?;
    let status = node.cri.container_status(&container.id).await?;
    ensure!(status.exit_code == 4, "it ended with {}", status.exit_code);
    drop(pod);
    node.lab.remove_pods().await?;
    Ok(())
}

pub(crate) async fn an_end_that_containerd_was_away_for_is_told_with_code_and_last_line(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "unseen")?;
    let pod = node.pod("unseen").run().await?;
    let script = "until [ -e /data/end ]; do sleep 0.02; done; echo last; exit 7";
    let container = pod.start(shell("main", script).volume(&volume, "/data")).await?;
    let pid = container.pid().await?;
    let end = async || {
        fs::write(volume.join("end"), "").context("tell it to end")?;
        let gone = async || Ok((!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
        eventually("the end of the container", gone).await
    };
    node.lab.restart_containerd_after(end).await?;
    let node = Node::connect(node.lab, &node.handler).await?;
    let status = eventually("containerd to know of it", async || {
        let status = node.cri.container_status(&container.id).await?;
        Ok((status.state() == ContainerState::ContainerExited).then_some(status))
    })
    .await?;
    ensure!(status.exit_code == 7, "it ended with {} ({})", status.exit_code, status.reason);
    let last = container.logs()?.pop().context("a line of the log")?;
    ensure!(last.text == "last", "its last words are {:?}", last.text);
    drop(pod);
    node.lab.remove_pods().await
}
