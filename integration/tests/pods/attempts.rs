//! What passes from one attempt of a container to the next in a pod that the shim runs, and what must not.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1;
use loment_integration::{hierarchy, loment::container_status, pod::Node, requirements::BUSYBOX};
use serde_json::json;

use super::manifest::{Manifest, RUNS, container, wait_for};

const MIB: i64 = 1 << 20;

pub(crate) async fn a_program_that_is_not_there_yet_is_tried_after_each_delay_until_it_is(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "not-yet")?.app_with("app", json!({ "command": ["/shared/sh", "-c", "echo there"] }));
    let loment = pod.create(node).await?;
    let restarted = |status: &serde_json::Value| {
        container_status(status, "app").is_ok_and(|app| app["restartCount"].as_i64() >= Some(3))
    };
    loment.until("not-yet", "three attempts", restarted).await?;
    // In one step, so that no attempt finds half of it.
    fs::copy(BUSYBOX, pod.path("sh.new")).context("copy busybox")?;
    fs::rename(pod.path("sh.new"), pod.path("sh")).context("put the program where it is wanted")?;
    loment.phase("not-yet", "Succeeded").await?;
    let story = loment.story("not-yet").await?.join("\n");
    ensure!(story.contains("could not be started (exit code 128)"), "what happened is\n{story}");
    for wrong in ["has not ended", "could not be made", "where it cannot happen"] {
        ensure!(!story.contains(wrong), "what happened is\n{story}");
    }
    loment.delete("not-yet").await
}

pub(crate) async fn a_paused_container_is_killed_by_its_probe_and_runs_again(node: &Node<'_>) -> Result<()> {
    let serve = "mkdir -p /www; echo alive > /www/index.html; exec httpd -f -p 8080 -h /www";
    let probe = json!({
        "httpGet": { "port": 8080 },
        "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2, "terminationGracePeriodSeconds": 1,
    });
    let pod = Manifest::new(node, "paused")?
        .app_with("web", json!({ "command": ["sh", "-c", serve], "livenessProbe": probe }));
    let loment = pod.create(node).await?;
    loment.phase("paused", "Running").await?;
    let id = container(node, "paused", "web").await?.id;
    node.lab.ctr_ok(&["task", "pause", &id]).await?;
    let again = |status: &serde_json::Value| {
        container_status(status, "web").is_ok_and(|web| web["restartCount"] == 1 && web["ready"] == true)
    };
    loment.until("paused", "another attempt", again).await?;
    let said = loment.ok(&["exec", "paused", "--", "cat", "/www/index.html"]).await?;
    ensure!(said == "alive\n", "the next attempt says {said:?}");
    node.lab.ctr_ok(&["task", "pause", &id]).await?;
    // One that stands still is stopped as any other.
    loment.ok(&["delete", "pod", "paused", "--now"]).await.map(drop)
}

pub(crate) async fn a_container_whose_turn_has_not_come_is_not_paused(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "too-early")?.init("init", &wait_for("go")).app("app", "echo ran >> /shared/ran");
    let loment = pod.create(node).await?;
    let id = container(node, "too-early", "app").await?.id;
    let refused =
        node.lab.ctr_ok(&["task", "pause", &id]).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("it waits for its turn in the pod"), "a pause is answered with {refused:?}");
    pod.touch("go")?;
    loment.phase("too-early", "Succeeded").await?;
    ensure!(pod.lines("ran") == ["ran"], "the app ran {:?}", pod.lines("ran"));
    loment.delete("too-early").await
}

pub(crate) async fn limits_that_were_changed_hold_for_the_next_attempt(node: &Node<'_>) -> Result<()> {
    let limits = json!({ "limits": { "memory": "64Mi" } });
    let script = format!("{}; rm /shared/end; exit 1", wait_for("end"));
    let pod = Manifest::new(node, "changed")?
        .app_with("app", json!({ "command": ["sh", "-c", script], "resources": limits }));
    let loment = pod.create(node).await?;
    loment.phase("changed", "Running").await?;
    let app = container(node, "changed", "app").await?;
    let resources = v1::LinuxContainerResources { memory_limit_in_bytes: 96 * MIB, ..Default::default() };
    node.cri.update_container_resources(&app.id, resources).await?;
    ensure!(memory_limit(node, &app.id).await? == 96 * MIB, "it was not changed");
    pod.touch("end")?;
    let again = |status: &serde_json::Value| {
        container_status(status, "app").is_ok_and(|app| app["restartCount"] == 1 && !app["state"]["running"].is_null())
    };
    loment.until("changed", "another attempt", again).await?;
    let limit = memory_limit(node, &app.id).await?;
    ensure!(limit == 96 * MIB, "the next attempt has {limit} bytes");
    loment.delete("changed").await
}

pub(crate) async fn an_end_is_told_although_somebody_goes_on_writing_to_the_log(node: &Node<'_>) -> Result<()> {
    let script = "(trap '' TERM HUP; while :; do echo noise; usleep 5000; done) & echo said; exit 3";
    let fields = json!({ "command": ["sh", "-c", script], "terminationMessagePolicy": "FallbackToLogsOnError" });
    let pod =
        Manifest::new(node, "noise")?.share_pids().restart_policy("Never").app_with("app", fields).app("other", RUNS);
    let loment = pod.create(node).await?;
    let ended = |status: &serde_json::Value| {
        container_status(status, "app").is_ok_and(|app| app["state"]["terminated"]["exitCode"] == 3)
    };
    loment.until("noise", "the app's end", ended).await?;
    loment.ok(&["delete", "pod", "noise", "--now"]).await.map(drop)
}

/// The limit of the container's cgroup, in bytes.
async fn memory_limit(node: &Node<'_>, id: &str) -> Result<i64> {
    let tasks = node.lab.ctr_ok(&["task", "ls"]).await?;
    let line = tasks.lines().find(|line| line.starts_with(id)).with_context(|| format!("find {id} among {tasks}"))?;
    let pid: i32 = line.split_whitespace().nth(1).context("the pid")?.parse()?;
    let cgroup = hierarchy::of_process(pid, "memory")?;
    let read = |name: &str| fs::read_to_string(cgroup.join(Path::new(name)));
    let text = read("memory.limit_in_bytes").or_else(|_| read("memory.max")).context("read the limit")?;
    Ok(text.trim().parse()?)
}
