//! Containers that share a shim because an annotation says so, without CRI: `ctr run --annotation`.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    events::Events,
    images,
    pod::{Node, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use super::ctr::{Detached, field};

/// What puts a container into a group: runc's own annotation, and the one that CRI sets.
const BY_NAME: &str = "io.containerd.runc.v2.group";
const BY_SANDBOX: &str = "io.kubernetes.cri.sandbox-id";

/// The process that serves a container: a shim is the parent of the containers' first processes.
async fn shim_of(container: &Detached<'_>) -> Result<i32> {
    shim_of_process(container.pid().await?)
}

fn shim_of_process(pid: i32) -> Result<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("look at {pid}"))?;
    Ok(field(&status, "PPid")?.parse()?)
}

async fn member<'a>(node: &'a Node<'a>, id: &'a str, annotation: &str, group: &str) -> Result<Detached<'a>> {
    Detached::run(node, id, &["--annotation", &format!("{annotation}={group}")]).await
}

/// A member that `ctr` waits for; it ends with 7 when it is given a line.
async fn waited_for(node: &Node<'_>, id: &str, group: &str) -> Result<Child> {
    let mut ctr = node.lab.ctr();
    ctr.args(["run", "--rm", "--runtime", &node.runtime_type(), "--annotation", &format!("{BY_NAME}={group}")]);
    ctr.args([images::BUSYBOX_IMAGE, id, "sh", "-c", "read line; exit 7"]);
    let pipe = Stdio::piped;
    Command::from(ctr).stdin(pipe()).stdout(pipe()).stderr(pipe()).kill_on_drop(true).spawn().context("run ctr")
}

/// The container's process, once containerd says that it runs.
async fn running(node: &Node<'_>, id: &str) -> Result<i32> {
    eventually("a running task", async || {
        let listed = listed(node).await?;
        let words = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let pid = words.into_iter().find(|words| words.len() == 3 && words[0] == id && words[2] == "RUNNING");
        pid.map(|words| words[1].parse().context("a task's pid")).transpose()
    })
    .await
}

async fn listed(node: &Node<'_>) -> Result<String> {
    node.lab.ctr_ok(&["task", "ls"]).await
}

/// Waits for the end of a process. Whose parent has died before it is the lab's, which collects it later.
async fn gone(pid: i32, what: &str) -> Result<()> {
    eventually(what, async || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/status")).ok();
        let lives = state.is_some_and(|status| field(&status, "State").is_ok_and(|state| !state.starts_with('Z')));
        Ok((!lives).then_some(()))
    })
    .await
}

pub(crate) async fn containers_of_one_group_are_served_by_one_shim(node: &Node<'_>) -> Result<()> {
    for annotation in [BY_NAME, BY_SANDBOX] {
        let first = member(node, "group-first", annotation, "one").await?;
        let second = member(node, "group-second", annotation, "one").await?;
        let other = member(node, "group-other", annotation, "two").await?;
        let single = Detached::run(node, "group-single", &[]).await?;
        let shims = [shim_of(&first).await?, shim_of(&second).await?, shim_of(&other).await?, shim_of(&single).await?];
        let text = second.exec(&[], "ps; echo 3 > /3; cat /3; exit 3").await?;
        for container in [first, second, other, single] {
            container.remove().await?;
        }
        ensure!(shims[0] == shims[1], "{annotation}: {shims:?}");
        ensure!(shims[0] != shims[2] && shims[0] != shims[3] && shims[2] != shims[3], "{annotation}: {shims:?}");
        ensure!(text.code == 3 && text.stdout.ends_with("\n3\n"), "{annotation}: {text:?}");
        ensure!(text.stdout.matches("sleep 1000").count() == 1, "only the shim is shared: {text:?}");
    }
    Ok(())
}

/// The first one's bundle and id are those that the shim was started with.
pub(crate) async fn who_is_left_of_a_group_runs_on_and_its_exit_code_is_told(node: &Node<'_>) -> Result<()> {
    let first = member(node, "group-first", BY_NAME, "left").await?;
    let mut second = waited_for(node, "group-second", "left").await?;
    let pid = running(node, "group-second").await?;
    let shim = shim_of(&first).await?;
    ensure!(shim_of_process(pid)? == shim, "they are not served by one shim");
    first.remove().await?;
    ensure!(running(node, "group-second").await? == pid, "the second is another process now");
    // The name that the shim was started with can be used again, by the same shim.
    let again = member(node, "group-first", BY_NAME, "left").await?;
    ensure!(shim_of(&again).await? == shim, "a new shim serves the group");
    again.remove().await?;
    second.stdin.take().context("the input of ctr")?.write_all(b"line\n").await?;
    let ended = second.wait_with_output().await?;
    ensure!(ended.status.code() == Some(7), "{ended:?}");
    gone(shim, "the end of the shim after the last one").await
}

pub(crate) async fn the_end_of_one_does_not_touch_the_other_and_the_shim_leaves_with_the_last(
    node: &Node<'_>,
) -> Result<()> {
    let mut first = waited_for(node, "group-first", "ends").await?;
    let pid = running(node, "group-first").await?;
    let second = member(node, "group-second", BY_NAME, "ends").await?;
    let (shim, process) = (shim_of(&second).await?, second.pid().await?);
    ensure!(shim_of_process(pid)? == shim, "they are not served by one shim");
    first.stdin.take().context("the input of ctr")?.write_all(b"line\n").await?;
    let ended = first.wait_with_output().await?;
    ensure!(ended.status.code() == Some(7), "{ended:?}");
    let said = second.exec(&[], "cat /etc/passwd; exit 4").await?;
    ensure!(said.code == 4 && said.stdout.contains("root"), "{said:?}");
    ensure!(second.pid().await? == process && shim_of(&second).await? == shim, "it is not what it was");
    second.remove().await?;
    gone(shim, "the end of the shim after the last one").await
}

/// containerd runs `delete` for each of them.
pub(crate) async fn a_group_whose_shim_was_killed_is_told_and_cleaned_up_as_a_whole(node: &Node<'_>) -> Result<()> {
    let ids = ["group-first", "group-second", "group-third"];
    let mut pids = Vec::new();
    for id in ids {
        pids.push(member(node, id, BY_NAME, "killed").await?.pid().await?);
    }
    let other = member(node, "group-other", BY_NAME, "alive").await?;
    let process = other.pid().await?;
    let events = Events::follow(node.lab).await?;
    kill(Pid::from_raw(shim_of_process(pids[0])?), Signal::SIGKILL).context("kill the shim")?;
    for (id, pid) in ids.into_iter().zip(pids) {
        gone(pid, "the end of a container whose shim was killed").await?;
        let seen = events.until("its exit", |event| event.is_exit(id, id)).await?;
        let told = seen.iter().find(|event| event.is_exit(id, id)).map(|event| event.body["exit_status"].clone());
        ensure!(told.as_ref().and_then(serde_json::Value::as_u64) == Some(137), "{id}: {told:?}");
    }
    eventually("the end of the tasks", async || {
        let listed = listed(node).await?;
        Ok(ids.iter().all(|id| !listed.contains(id)).then_some(()))
    })
    .await?;
    for id in ids {
        let removed = node.lab.ctr_output(&["container", "rm", id], b"").await?;
        ensure!(removed.status.success(), "{removed:?}");
    }
    let survived = other.pid().await? == process;
    // The group can be made again.
    let again = member(node, "group-second", BY_NAME, "killed").await?;
    let said = again.exec(&[], "exit 5").await?;
    again.remove().await?;
    other.remove().await?;
    ensure!(survived, "a container of another group was replaced");
    ensure!(said.code == 5, "{said:?}");
    Ok(())
}
