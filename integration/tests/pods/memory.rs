//! Want of memory in several containers of a pod: each kill is told of the container that it has ended, and of no other.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    events::{Event, Events},
    pod::{Container, Node, Pod, command, eventually, shell},
    slices,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::accounting::{GREEDY, number, small, top};

const STAY: &str = "exec sleep 1000";

fn told(seen: &[Event], container: &Container<'_>) -> usize {
    seen.iter().filter(|event| event.topic == "/tasks/oom" && event.text("container_id") == container.id).count()
}

/// Waits for the end; fails unless want of memory is told once before it, and is what CRI gives as its reason.
async fn was_ended_by_memory(events: &Events, container: &Container<'_>) -> Result<()> {
    let seen = events.until("the exit", |event| event.is_exit(&container.id, &container.id)).await?;
    ensure!(told(&seen, container) == 1, "want of memory is told {} times before the exit", told(&seen, container));
    let status = container.exited().await?;
    ensure!((status.exit_code, status.reason.as_str()) == (137, "OOMKilled"), "it is {status:?}");
    Ok(())
}

/// Sends SIGKILL from the node, as no client would.
async fn kill_from_outside(container: &Container<'_>) -> Result<()> {
    kill(Pid::from_raw(container.pid().await?), Signal::SIGKILL).context("kill from outside")
}

/// Waits for the end; fails if want of memory is told.
async fn was_ended_otherwise(events: &Events, container: &Container<'_>) -> Result<()> {
    let seen = events.until("the exit", |event| event.is_exit(&container.id, &container.id)).await?;
    ensure!(told(&seen, container) == 0, "it is told to have run out of memory");
    let status = container.exited().await?;
    ensure!((status.exit_code, status.reason.as_str()) == (137, "Error"), "it is {status:?}");
    Ok(())
}

async fn greedy<'a>(pod: &Pod<'a>, name: &str) -> Result<Container<'a>> {
    pod.start(command(name, &["dd", "if=/dev/zero", "of=/dev/null", "bs=100M"]).resources(small())).await
}

pub(crate) async fn containers_that_memory_ends_at_the_same_time_are_each_told(node: &Node<'_>) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("together").run().await?;
    let shared = node.lab.directory("volumes", "together")?;
    let script = format!("until [ -e /shared/go ]; do sleep 0.02; done; exec {GREEDY}");
    let mut containers = Vec::new();
    for name in ["one", "two", "three"] {
        containers.push(pod.start(shell(name, &script).volume(&shared, "/shared").resources(small())).await?);
    }
    fs::write(shared.join("go"), "").context("let them all go")?;
    for container in &containers {
        was_ended_by_memory(&events, container).await.with_context(|| format!("container {}", container.id))?;
    }
    pod.remove().await
}

pub(crate) async fn who_is_killed_from_outside_has_not_run_out_of_memory_as_its_neighbours_have(
    node: &Node<'_>,
) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("outside").run().await?;
    let first = pod.start(shell("first", STAY)).await?;
    let second = pod.start(shell("second", STAY)).await?;
    // One that lives on, and one that does not.
    let loser = pod.start(shell("loser", &format!("{GREEDY}; echo lost; {STAY}")).resources(small())).await?;
    eventually("the child's end", async || Ok(loser.logs()?.iter().any(|line| line.text == "lost").then_some(())))
        .await?;
    kill_from_outside(&first).await?;
    was_ended_otherwise(&events, &first).await.context("beside one that has lost a child")?;
    let word = format!("container {}: it ended with 137, but no client has sent SIGKILL", first.id);
    ensure!(node.lab.log_since(0).contains(&word), "the shim's log has no word of it");
    was_ended_by_memory(&events, &greedy(&pod, "greedy").await?).await?;
    kill_from_outside(&second).await?;
    was_ended_otherwise(&events, &second).await.context("beside one that has ended")?;
    let seen = top(node, "outside").await?;
    ensure!(number(&seen, "/usage/memory/oomKills")? == 2, "the pod has not lost two processes: {}", seen["usage"]);
    pod.remove().await
}

pub(crate) async fn in_a_cgroup_that_pods_share_want_of_memory_is_told_of_the_pod_that_it_was_in(
    node: &Node<'_>,
) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let parent = if slices::are_used() { slices::of_pod("shared") } else { "/pods/shared".to_owned() };
    let run = async |name| node.pod(name).with_linux(|linux| linux.cgroup_parent.clone_from(&parent)).run().await;
    let (pod, other) = (run("sharing").await?, run("sharing-too").await?);
    let bystander = other.start(shell("bystander", STAY)).await?;
    let main = greedy(&pod, "main").await?;
    was_ended_by_memory(&events, &main).await?;
    kill_from_outside(&bystander).await?;
    was_ended_otherwise(&events, &bystander).await.context("in another pod")?;
    main.remove().await?;
    let total = |seen| number(&seen, "/usage/memory/oomKills");
    ensure!(total(top(node, "sharing").await?)? == 1, "the kill is not the pod's");
    ensure!(total(top(node, "sharing-too").await?)? == 0, "the kill is the other pod's, too");
    // The last one that is removed takes the cgroup with it.
    other.remove_beside().await?;
    pod.remove().await
}
