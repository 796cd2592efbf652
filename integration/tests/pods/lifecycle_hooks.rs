//! `postStart` and `preStop`.

use std::time::Duration;

use anyhow::{Result, ensure};
use loment_integration::{
    loment::container_status,
    pod::{Node, eventually},
};
use serde_json::{Value, json};

use super::{
    manifest::{Manifest, RUNS, sandbox, wait_for},
    sandboxes::shim,
};

/// A hook that runs a script in its container.
fn script(text: &str) -> Value {
    json!({ "exec": { "command": ["sh", "-c", text] } })
}

pub(crate) async fn a1_the_next_container_starts_when_the_hook_of_the_last_one_has_returned(
    node: &Node<'_>,
) -> Result<()> {
    let hook = script(&format!("{}; echo hook >> /shared/order", wait_for("go")));
    let pod = Manifest::new(node, "post-start")?
        .app_with("first", json!({ "command": ["sh", "-c", RUNS], "lifecycle": { "postStart": hook } }))
        .app("second", &format!("echo second >> /shared/order; {RUNS}"));
    let loment = pod.create(node).await?;
    loment
        .until("post-start", "the first to run", |status| {
            container_status(status, "first").is_ok_and(|first| first["state"]["running"].is_object())
        })
        .await?;
    ensure!(!pod.has("order"), "something has run already: {:?}", pod.lines("order"));
    pod.touch("go")?;
    eventually("both", async || Ok((pod.lines("order") == ["hook", "second"]).then_some(()))).await?;
    loment.delete("post-start").await
}

pub(crate) async fn a2_a_post_start_hook_that_fails_ends_its_container(node: &Node<'_>) -> Result<()> {
    // Whoever is stopped before it has a handler for that goes on until the grace is over.
    let hook = script("until [ -e /shared/up ]; do sleep 0.01; done; [ -e /shared/well ] || { echo not yet; exit 7; }");
    let app = "trap 'exit 0' TERM; touch /shared/up; sleep 1000 & wait";
    let pod = Manifest::new(node, "bad-hook")?
        .app_with("app", json!({ "command": ["sh", "-c", app], "lifecycle": { "postStart": hook } }));
    let loment = pod.create(node).await?;
    let restarts =
        |status: &Value| container_status(status, "app").map_or(0, |app| app["restartCount"].as_u64().unwrap_or(0));
    // Under OnFailure one that ends with 0 when it is asked to is not started again: it is told why it ended.
    loment.until("bad-hook", "its end", |status| status["phase"] == "Succeeded" || restarts(status) > 0).await?;
    let story = loment.ok(&["events", "bad-hook"]).await?;
    ensure!(story.contains("PostStart hook failed") && story.contains("not yet"), "what happened is {story}");
    loment.delete("bad-hook").await
}

pub(crate) async fn a2_any_answer_to_an_http_hook_is_success_and_none_is_told(node: &Node<'_>) -> Result<()> {
    let hook = |port: u16| json!({ "preStop": { "httpGet": { "path": "/no/such/page", "port": port } } });
    let httpd = ["httpd", "-f", "-p", "8080", "-h", "/shared"];
    let pod = Manifest::new(node, "http-hook")?
        .app_with(
            "answered",
            json!({
                "command": httpd, "lifecycle": hook(8080),
                // The hook asks once.
                "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
            }),
        )
        .app_with("alone", json!({ "command": ["sh", "-c", RUNS], "lifecycle": hook(8081) }));
    let loment = pod.create(node).await?;
    loment
        .until("http-hook", "the server", |status| {
            container_status(status, "answered").is_ok_and(|answered| answered["ready"] == true)
        })
        .await?;
    shim(node, &sandbox(node, "http-hook").await?).await?.terminate(Some(Duration::from_secs(1))).await?;
    let story = loment.story("http-hook").await?;
    let failed: Vec<_> = story.iter().filter(|line| line.contains("PreStop hook failed")).collect();
    ensure!(failed.len() == 1 && failed[0].starts_with("alone "), "what happened is {story:#?}");
    ensure!(failed[0].contains("connection refused"), "the reason is {}", failed[0]);
    loment.delete("http-hook").await
}

pub(crate) async fn a3_a_pre_stop_hook_runs_before_the_stop_signal_and_not_when_a_container_ends_by_itself(
    node: &Node<'_>,
) -> Result<()> {
    let app = "trap 'echo signal >> /shared/order; exit 0' TERM; sleep 1000 & wait";
    let hook = |name: &str| json!({ "preStop": script(&format!("echo hook of {name} >> /shared/order")) });
    let pod = Manifest::new(node, "pre-stop")?
        .app_with("app", json!({ "command": ["sh", "-c", app], "lifecycle": hook("app") }))
        .app_with("short", json!({ "command": ["true"], "lifecycle": hook("short") }));
    let loment = pod.create(node).await?;
    loment
        .until("pre-stop", "the short one's end", |status| {
            container_status(status, "short").is_ok_and(|short| short["state"]["terminated"].is_object())
        })
        .await?;
    loment.delete("pre-stop").await?;
    ensure!(pod.lines("order") == ["hook of app", "signal"], "the order is {:?}", pod.lines("order"));
    Ok(())
}

pub(crate) async fn s9_every_pre_stop_hook_begins_at_once_and_sidecars_end_after_the_apps(
    node: &Node<'_>,
) -> Result<()> {
    let ends = |name: &str| format!("trap 'echo {name} ends >> /shared/order; exit 0' TERM; sleep 1000 & wait");
    // The app's hook waits for the sidecar's, which can only be when both run together.
    let of_app = script(&format!("{}; echo app hook >> /shared/order", wait_for("sidecar-hook")));
    let of_sidecar = script("touch /shared/sidecar-hook");
    let pod = Manifest::new(node, "stop-order")?
        .sidecar_with("sidecar", &ends("sidecar"), json!({ "lifecycle": { "preStop": of_sidecar } }))
        .app_with("app", json!({ "command": ["sh", "-c", ends("app")], "lifecycle": { "preStop": of_app } }));
    let loment = pod.create(node).await?;
    loment.phase("stop-order", "Running").await?;
    loment.delete("stop-order").await?;
    ensure!(pod.lines("order") == ["app hook", "app ends", "sidecar ends"], "the order is {:?}", pod.lines("order"));
    Ok(())
}

pub(crate) async fn a3_a_hook_ends_with_its_container(node: &Node<'_>) -> Result<()> {
    let hook = script("touch /shared/begun; exec sleep 4715");
    let pod = Manifest::new(node, "endless-hook")?
        .restart_policy("Never")
        .app_with("app", json!({ "command": ["sh", "-c", wait_for("begun")], "lifecycle": { "postStart": hook } }));
    let loment = pod.create(node).await?;
    loment.phase("endless-hook", "Succeeded").await?;
    loment.delete("endless-hook").await
}
