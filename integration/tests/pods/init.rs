//! Pods that the shim runs: the chain of init containers.

use std::time::Duration;

use anyhow::{Result, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    events::Events,
    loment::container_status,
    pod::{Node, eventually, text_of},
};

use serde_json::Value;

use super::manifest::{COUNTED, Manifest, RUNS, container, log, wait_for};

/// Says what earlier attempts have left in the writable layer, then leaves something itself: a file, a changed file and
/// a removed one.
const TRACES: &str = "echo attempt $n finds $(ls /trace-* 2>/dev/null) $(wc -l < /etc/passwd) $(ls /etc/group); \
                      touch /trace-$n; : > /etc/passwd; rm /etc/group";

pub(crate) async fn init_containers_run_in_order_and_one_that_fails_is_retried_until_it_succeeds(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "chain")?
        .init("first", "echo first >> /shared/order")
        .init("second", &format!("{COUNTED}; echo second-$n >> /shared/order; [ $n -ge 3 ]"))
        .app("app", "echo app >> /shared/order");
    let loment = pod.create(node).await?;
    let status = loment.phase("chain", "Succeeded").await?;
    let order = pod.lines("order");
    ensure!(order == ["first", "second-1", "second-2", "second-3", "app"], "they ran as {order:?}");
    for (name, restarts) in [("first", 0), ("second", 2), ("app", 0)] {
        let status = container_status(&status, name)?;
        ensure!(status["restartCount"] == restarts, "{name} is {status}");
        ensure!(status["state"]["terminated"]["exitCode"] == 0, "{name} is {status}");
    }
    loment.delete("chain").await
}

pub(crate) async fn an_attempt_starts_with_a_clean_writable_layer_and_writes_to_the_same_log(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "layers")?
        .init("init", &format!("{COUNTED}; {TRACES}; echo told on stderr >&2; [ $n -ge 3 ]"))
        .app("app", "true");
    let loment = pod.create(node).await?;
    loment.phase("layers", "Succeeded").await?;
    // The volume remembers; the layer is the image's each time.
    let lines = log(node, "layers", "init").await?;
    let said = text_of(&lines, "stdout");
    let expected: String = (1..=3).map(|n| format!("attempt {n} finds 2 /etc/group\n")).collect();
    ensure!(said == expected, "the log is {said:?}");
    ensure!(text_of(&lines, "stderr") == "told on stderr\n".repeat(3), "the log is {lines:?}");
    let latest = loment.ok(&["logs", "layers", "-c", "init"]).await?;
    ensure!(latest.contains("attempt 3") && !latest.contains("attempt 2"), "the latest log is {latest:?}");
    let previous = loment.ok(&["logs", "layers", "-c", "init", "--previous"]).await?;
    ensure!(previous.contains("attempt 2") && !previous.contains("attempt 3"), "the previous log is {previous:?}");
    loment.delete("layers").await
}

pub(crate) async fn the_delay_before_an_attempt_is_what_the_annotation_says(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "delays")?
        .annotation("io.loment.pod.backoff-initial", "10ms")
        .annotation("io.loment.pod.backoff-max", "25ms")
        .init("init", &format!("{COUNTED}; [ $n -ge 6 ]"))
        .app("app", "true");
    let loment = pod.create(node).await?;
    loment.phase("delays", "Succeeded").await?;
    let story = loment.story("delays").await?;
    let delay = |line: &String| Some(line.strip_prefix("init back-off ")?.split(' ').next()?.to_owned());
    let delays: Vec<String> = story.iter().filter_map(delay).collect();
    // The first attempt after a failure is made at once.
    ensure!(delays == ["10ms", "20ms", "25ms", "25ms"], "the delays are {delays:?} in {story:#?}");
    loment.delete("delays").await
}

pub(crate) async fn containerd_is_told_of_the_last_exit_only(node: &Node<'_>) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = Manifest::new(node, "told")?
        .init("init", &format!("{COUNTED}; [ -e /shared/go ]"))
        .app("app", &wait_for("end"));
    let loment = pod.create(node).await?;
    let attempts = |status: &Value| container_status(status, "init").map(|init| init["restartCount"].clone());
    loment
        .until("told", "three restarts", |status| attempts(status).is_ok_and(|count| count.as_u64() >= Some(3)))
        .await?;
    let init = container(node, "told", "init").await?;
    ensure!(init.state() == ContainerState::ContainerRunning, "while it is retried it is {:?}", init.state());
    pod.touch("go")?;
    loment.phase("told", "Running").await?;
    // In a new sandbox it would run again: that it has ended is told when nothing in the pod will run any more.
    let init = container(node, "told", "init").await?;
    ensure!(init.state() == ContainerState::ContainerRunning, "while the app runs it is {:?}", init.state());
    pod.touch("end")?;
    loment.phase("told", "Succeeded").await?;
    let seen = events.until("the exit", |event| event.is_exit(&init.id, &init.id)).await?;
    let count = |topic: &str| {
        let of_init = seen.iter().filter(|event| event.text("container_id") == init.id);
        of_init.filter(|event| event.topic == topic).count()
    };
    ensure!(count("/tasks/start") == 1 && count("/tasks/exit") == 1, "containerd was told {seen:#?}");
    let init = eventually("its end in CRI", async || {
        let init = container(node, "told", "init").await?;
        Ok((init.state() == ContainerState::ContainerExited).then_some(init))
    })
    .await?;
    ensure!(init.exit_code == 0, "it ended with {}", init.exit_code);
    loment.delete("told").await
}

pub(crate) async fn an_init_container_that_fails_under_never_fails_the_pod_and_no_app_runs(
    node: &Node<'_>,
) -> Result<()> {
    let pod = Manifest::new(node, "never")?
        .restart_policy("Never")
        .init("good", "echo good >> /shared/order")
        .init("bad", "echo bad >> /shared/order; exit 3")
        .init("unreached", "echo unreached >> /shared/order")
        .app("app", "echo app >> /shared/order");
    let loment = pod.create(node).await?;
    let status = loment.phase("never", "Failed").await?;
    ensure!(container_status(&status, "bad")?["state"]["terminated"]["exitCode"] == 3, "the status is {status}");
    ensure!(container_status(&status, "bad")?["restartCount"] == 0, "the status is {status}");
    let row = loment.ok(&["get", "pod", "never", "--no-headers"]).await?;
    ensure!(row.split_whitespace().nth(2) == Some("Init:Error"), "the row is {row:?}");
    // For containerd they have ended too, without having run.
    for name in ["unreached", "app"] {
        let ended = eventually("the end of what never ran", async || {
            let status = container(node, "never", name).await?;
            Ok((status.state() == ContainerState::ContainerExited).then_some(status))
        });
        let ended = ended.await?;
        ensure!(ended.exit_code == 137, "{name} ended with {}", ended.exit_code);
    }
    ensure!(pod.lines("order") == ["good", "bad"], "they ran as {:?}", pod.lines("order"));
    loment.delete("never").await
}

pub(crate) async fn start_returns_at_once_for_a_container_whose_turn_has_not_come(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "turns")?
        .init("init", &wait_for("go"))
        .app("app", &format!("echo app >> /shared/order; {RUNS}"));
    // The command returns when every container has been started, and the init container waits for this test.
    let loment = pod.create(node).await?;
    let app = container(node, "turns", "app").await?;
    ensure!(app.state() == ContainerState::ContainerRunning, "at its gate it is {:?}", app.state());
    let row = loment.ok(&["get", "pod", "turns", "--no-headers"]).await?;
    ensure!(row.split_whitespace().nth(2) == Some("Init:0/1"), "the row is {row:?}");
    let refused = loment.refused(&["exec", "turns", "-c", "app", "--", "true"], "").await?;
    ensure!(refused.contains("it is waiting (PodInitializing)"), "an exec is refused with {refused:?}");
    let refused = loment.refused(&["logs", "turns", "-c", "app"], "").await?;
    ensure!(refused.contains("waiting to start: PodInitializing"), "logs says {refused:?}");
    ensure!(!pod.has("order"), "the app runs before its turn");
    pod.touch("go")?;
    loment.phase("turns", "Running").await?;
    eventually("the app's line", async || Ok(pod.has("order").then_some(()))).await?;
    ensure!(loment.ok(&["exec", "turns", "-c", "app", "--", "cat", "/shared/order"]).await? == "app\n", "no exec");
    loment.delete("turns").await
}

pub(crate) async fn a_container_that_is_stopped_before_its_turn_never_runs(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "stopped")?
        .restart_policy("Never")
        .init("init", &wait_for("go"))
        .app("stopped", "echo stopped >> /shared/order")
        .app("other", "echo other >> /shared/order");
    let loment = pod.create(node).await?;
    let early = container(node, "stopped", "stopped").await?;
    node.cri.stop_container(&early.id, Duration::from_secs(20)).await?;
    let early = container(node, "stopped", "stopped").await?;
    ensure!(early.state() == ContainerState::ContainerExited, "it is {:?}", early.state());
    ensure!(early.exit_code == 128 + 15, "it ended with {}", early.exit_code);
    let init = container(node, "stopped", "init").await?;
    ensure!(init.state() == ContainerState::ContainerRunning, "the init container is {:?}", init.state());
    pod.touch("go")?;
    loment.phase("stopped", "Failed").await?;
    ensure!(pod.lines("order") == ["other"], "they ran as {:?}", pod.lines("order"));
    loment.delete("stopped").await
}
