//! Pods that the shim runs: app containers, sidecars, and what happens around them.

use anyhow::{Result, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    loment::container_status,
    pod::{Node, eventually, shell, text_of},
};

use serde_json::{Value, json};

use super::manifest::{COUNTED, Manifest, RUNS, container, log, wait_for};

pub(crate) async fn a_sidecar_is_started_before_and_stopped_after_the_app(node: &Node<'_>) -> Result<()> {
    let sidecar = |name: &str| {
        format!("trap 'echo {name} stopped >> /shared/order; exit 7' TERM; touch /shared/{name}; sleep 1000 & wait")
    };
    let app = format!("{}; {}; echo app >> /shared/order", wait_for("outer"), wait_for("inner"));
    let pod = Manifest::new(node, "sidecars")?
        .restart_policy("Never")
        .sidecar("outer", &sidecar("outer"))
        .sidecar("inner", &sidecar("inner"))
        .init("init", "true")
        .app("app", &app);
    let loment = pod.create(node).await?;
    // That the sidecars end with 7 does not matter.
    loment.phase("sidecars", "Succeeded").await?;
    let both_ended = |status: &Value| {
        ["outer", "inner"].iter().all(|name| {
            container_status(status, name).is_ok_and(|sidecar| sidecar["state"]["terminated"]["exitCode"] == 7)
        })
    };
    let status = loment.until("sidecars", "the end of the sidecars", both_ended).await?;
    ensure!(status["phase"] == "Succeeded", "the phase is {}", status["phase"]);
    let order = pod.lines("order");
    ensure!(order == ["app", "inner stopped", "outer stopped"], "the order is {order:?}");
    let story = loment.story("sidecars").await?;
    let told: Vec<&str> = story
        .iter()
        .map(String::as_str)
        .filter(|line| line.ends_with(" started") || line.contains(" exited "))
        .collect();
    let expected = [
        "outer started",
        "inner started",
        "init started",
        "init exited with code 0",
        "app started",
        "app exited with code 0",
        "inner exited with code 7",
        "outer exited with code 7",
    ];
    ensure!(told == expected, "what happened is {told:#?}");
    loment.delete("sidecars").await
}

pub(crate) async fn a_sidecar_that_ends_is_started_again_even_under_never(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "ending-sidecar")?
        .restart_policy("Never")
        .sidecar("sidecar", &format!("{COUNTED}; [ $n -ge 3 ] || exit 0; {RUNS}"))
        .app("app", &wait_for("go"));
    let loment = pod.create(node).await?;
    let status = loment
        .until("ending-sidecar", "its third attempt", |status| {
            container_status(status, "sidecar")
                .is_ok_and(|sidecar| sidecar["restartCount"] == 2 && sidecar["state"]["running"].is_object())
        })
        .await?;
    ensure!(status["phase"] == "Running", "the pod is {}", status["phase"]);
    pod.touch("go")?;
    loment.phase("ending-sidecar", "Succeeded").await?;
    loment.delete("ending-sidecar").await
}

pub(crate) async fn under_always_an_app_that_ends_well_is_started_again_in_a_fresh_layer(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "always")?
        .restart_policy("Always")
        .app(
            "app",
            &format!("{COUNTED}; echo run $n: $(ls /trace 2>/dev/null); touch /trace; [ $n -ge 4 ] || exit 0; {RUNS}"),
        )
        .app("other", RUNS);
    let loment = pod.create(node).await?;
    let status = loment
        .until("always", "its fourth run", |status| {
            container_status(status, "app")
                .is_ok_and(|app| app["restartCount"] == 3 && app["state"]["running"].is_object())
        })
        .await?;
    ensure!(container_status(&status, "other")?["restartCount"] == 0, "the other one was restarted: {status}");
    let last = &container_status(&status, "app")?["lastState"]["terminated"];
    ensure!(last["exitCode"] == 0 && last["reason"] == "Completed", "its last state is {last}");
    let expected = "run 1:\nrun 2:\nrun 3:\nrun 4:\n";
    eventually("the lines of four runs", async || {
        Ok((text_of(&log(node, "always", "app").await?, "stdout") == expected).then_some(()))
    })
    .await?;
    loment.delete("always").await
}

pub(crate) async fn under_on_failure_an_app_runs_until_it_ends_well(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "on-failure")?
        .app("app", &format!("{COUNTED}; [ $n -ge 3 ]"))
        .app("once", "echo once >> /shared/once");
    let loment = pod.create(node).await?;
    let status = loment.phase("on-failure", "Succeeded").await?;
    ensure!(container_status(&status, "app")?["restartCount"] == 2, "the status is {status}");
    ensure!(pod.lines("once") == ["once"], "what ended well was run again: {:?}", pod.lines("once"));
    loment.delete("on-failure").await
}

pub(crate) async fn under_never_an_app_runs_once(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "app-never")?
        .restart_policy("Never")
        .app("bad", "echo bad >> /shared/runs; exit 4")
        .app("good", &wait_for("go"));
    let loment = pod.create(node).await?;
    let ended =
        |status: &Value| container_status(status, "bad").is_ok_and(|bad| bad["state"]["terminated"]["exitCode"] == 4);
    let status = loment.until("app-never", "the end of the bad one", ended).await?;
    ensure!(status["phase"] == "Running", "while the other one runs the pod is {}", status["phase"]);
    pod.touch("go")?;
    let status = loment.phase("app-never", "Failed").await?;
    ensure!(container_status(&status, "bad")?["restartCount"] == 0, "the status is {status}");
    ensure!(pod.lines("runs") == ["bad"], "it ran {:?}", pod.lines("runs"));
    let story = loment.story("app-never").await?;
    ensure!(!story.iter().any(|line| line.contains("fresh attempt")), "what happened is {story:#?}");
    loment.delete("app-never").await
}

pub(crate) async fn the_pod_lives_on_without_the_command_and_containerd(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "alone")?
        .init("done", "echo done >> /shared/inits")
        .init("retried", &format!("{COUNTED}; [ -e /shared/go ]"))
        .app("app", &format!("echo app >> /shared/apps; {RUNS}"));
    let loment = pod.create(node).await?;
    eventually("a second attempt", async || Ok((pod.lines("tries") != ["1"] && pod.has("tries")).then_some(())))
        .await?;
    // containerd goes in the middle of the chain, and once more when the app runs.
    node.lab.restart_containerd().await?;
    pod.touch("go")?;
    loment.phase("alone", "Running").await?;
    eventually("the app's line", async || Ok(pod.has("apps").then_some(()))).await?;
    let tries = pod.lines("tries");
    node.lab.restart_containerd().await?;
    let status = loment.phase("alone", "Running").await?;
    ensure!(container_status(&status, "app")?["restartCount"] == 0, "the app was restarted: {status}");
    ensure!(pod.lines("inits") == ["done"], "the first init container ran {:?}", pod.lines("inits"));
    ensure!(pod.lines("tries") == tries, "the second init container ran again: {:?}", pod.lines("tries"));
    ensure!(pod.lines("apps") == ["app"], "the app ran {:?}", pod.lines("apps"));
    ensure!(loment.ok(&["exec", "alone", "-c", "app", "--", "echo", "alive"]).await? == "alive\n", "no exec");
    loment.delete("alone").await
}

pub(crate) async fn without_the_annotation_nothing_is_retried(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "by-hand")?;
    let pod = node.pod("by-hand").annotation("io.loment.pod.backoff-initial", "0s").run().await?;
    let bad = pod.start(shell("bad", "echo run >> /data/runs; exit 1").volume(&volume, "/data")).await?;
    let status = bad.exited().await?;
    ensure!(status.exit_code == 1, "it ended with {}", status.exit_code);
    // What a client starts next runs, and what has ended stays where it is.
    pod.output_of(shell("next", "echo next")).await?;
    ensure!(bad.status().await?.state() == ContainerState::ContainerExited, "it runs again");
    let runs = std::fs::read_to_string(volume.join("runs"))?;
    ensure!(runs == "run\n", "it ran: {runs:?}");
    pod.remove().await
}

pub(crate) async fn an_init_container_may_provide_the_program_of_the_app(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "provided")?
        .restart_policy("Never")
        .init("install", "cp /bin/busybox /shared/sh")
        .app_with("app", json!({ "command": ["/shared/sh", "-c", "echo provided"] }));
    let loment = pod.create(node).await?;
    loment.phase("provided", "Succeeded").await?;
    ensure!(text_of(&log(node, "provided", "app").await?, "stdout") == "provided\n", "the app did not run");
    loment.delete("provided").await
}

pub(crate) async fn a_program_that_is_missing_when_its_turn_comes_fails_the_pod_with_the_reason(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "not-provided")?
        .restart_policy("Never")
        .init("install", "true")
        .app_with("app", json!({ "command": ["/shared/tool"] }));
    let loment = pod.create(node).await?;
    let status = loment.phase("not-provided", "Failed").await?;
    let ended = &container_status(&status, "app")?["state"]["terminated"];
    ensure!(ended["exitCode"] == 128 && ended["reason"] == "StartError", "it ended as {ended}");
    let message = ended["message"].as_str().unwrap_or_default();
    ensure!(message.contains("/shared/tool") && message.contains("no such file"), "it says {message:?}");
    eventually("its end in CRI", async || {
        let app = container(node, "not-provided", "app").await?;
        Ok((app.state() == ContainerState::ContainerExited && app.exit_code == 128).then_some(()))
    })
    .await?;
    loment.delete("not-provided").await
}
