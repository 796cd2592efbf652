//! Ends that others lose, or tell for other reasons than they had.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    events::{Event, Events},
    pod::{Container, Node, Pod, at_once, command, eventually, shell, text_of},
    process::descendants,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::task::JoinSet;

use super::{
    accounting::{GREEDY, small},
    command::shim_of,
    trackers::Stopped,
};

/// As long as nobody ends it.
const STAY: &str = "exec sleep 1000";

/// How long a shim of others waits for who is to be told of an end, before it drops it.
const DROPPED: Duration = Duration::from_secs(1);

/// How many want-of-memory events there are of a container.
fn shortages(seen: &[Event], container: &Container<'_>) -> usize {
    seen.iter().filter(|event| event.topic == "/tasks/oom" && event.text("container_id") == container.id).count()
}

/// Fails unless want of memory is told once, before the end, as its reason.
async fn ended_by_memory(events: &Events, container: &Container<'_>) -> Result<()> {
    let seen = events.until("the exit", |event| event.is_exit(&container.id, &container.id)).await?;
    ensure!(shortages(&seen, container) == 1, "want of memory is told {} times", shortages(&seen, container));
    let status = container.exited().await?;
    ensure!((status.exit_code, status.reason.as_str()) == (137, "OOMKilled"), "it is {status:?}");
    Ok(())
}

async fn gone(pid: i32) -> Result<()> {
    eventually("a process to be reaped", async || Ok((!Path::new(&format!("/proc/{pid}")).exists()).then_some(())))
        .await
}

/// There the first process had died, the shim lived on without a child, and the container ran for ever: the end was dropped
/// because nobody took it within a second. Here nobody takes it for longer: containerd stands still.
pub(crate) async fn containerd_13849_ends_that_nobody_takes_for_a_while_are_told_afterwards(
    node: &Node<'_>,
) -> Result<()> {
    let shared = node.lab.directory("volumes", "untaken")?;
    let own = node.pod("untaken").run().await?;
    let common = node.pod("untaken-shared").shared_pids().run().await?;
    // Each has lost children that somebody else has to reap, as the one had that was reported.
    let orphans = "for i in 1 2 3 4; do sh -c 'sleep 0.1 &'; done";
    let mut containers = Vec::new();
    for number in 0..8 {
        let pod: &Pod<'_> = if number % 2 == 0 { &own } else { &common };
        let script = format!("{orphans}; until [ -e /shared/go ]; do sleep 0.02; done; exit {number}");
        let name = format!("app-{number}");
        let container = pod.start(shell(&name, &script).volume(&shared, "/shared")).await?;
        containers.push((number, container.pid().await?, container));
    }
    // Two do not end by themselves.
    let mut killed = Vec::new();
    for pod in [&own, &common] {
        let container = pod.start(shell("killed", &format!("{orphans}; {STAY}"))).await?;
        killed.push((137, container.pid().await?, container));
    }
    let stopped = Stopped::containerd()?;
    fs::write(shared.join("go"), "")?;
    for (_, pid, _) in &killed {
        kill(Pid::from_raw(*pid), Signal::SIGKILL).context("kill from outside")?;
    }
    containers.extend(killed);
    for (_, pid, _) in &containers {
        gone(*pid).await?;
    }
    tokio::time::sleep(DROPPED + Duration::from_millis(200)).await;
    drop(stopped);
    for (code, _, container) in &containers {
        let status = container.exited().await?;
        ensure!(status.exit_code == *code, "the one that ends with {code} ended with {}", status.exit_code);
    }
    for pod in [&own, &common] {
        let left: Vec<_> = descendants(shim_of(&pod.id)?.as_raw()).into_iter().filter(|one| one.state == 'Z').collect();
        ensure!(left.is_empty(), "nobody has reaped {left:?}");
    }
    own.remove().await?;
    common.remove().await
}

/// Processes executed in a container that stay, as tasks that answer with their exit codes.
fn executed(node: &Node<'_>, container: &Container<'_>, count: usize) -> JoinSet<loment_cri::Result<i32>> {
    let mut execs = JoinSet::new();
    for _ in 0..count {
        let (cri, id) = (node.cri.clone(), container.id.clone());
        execs.spawn(
            async move { Ok(cri.exec_sync(&id, &["sleep", "1000"], Duration::from_secs(120)).await?.exit_code) },
        );
    }
    execs
}

/// There the ends of more execs than a queue of 32 holds, in containers that share their processes and run out of memory,
/// waited for one another: status and execs of all containers of the pod hung.
pub(crate) async fn containerd_13814_containers_with_many_execs_run_out_of_memory_and_the_pod_answers(
    node: &Node<'_>,
) -> Result<()> {
    const EXECS: usize = 16;
    let events = Events::follow(node.lab).await?;
    let shared = node.lab.directory("volumes", "queue")?;
    let pod = node.pod("queue").shared_pids().run().await?;
    let bystander = pod.start(shell("bystander", STAY)).await?;
    let script = format!("until [ -e /shared/go ]; do sleep 0.02; done; exec {GREEDY}");
    let (mut containers, mut execs) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three"] {
        let container = pod.start(shell(name, &script).volume(&shared, "/shared").resources(small())).await?;
        execs.push(executed(node, &container, EXECS));
        containers.push(container);
    }
    eventually("the execs", async || {
        let started = events.seen().iter().filter(|event| event.topic == "/tasks/exec-started").count();
        Ok((started == 3 * EXECS).then_some(()))
    })
    .await?;
    fs::write(shared.join("go"), "")?;
    for round in 0..10 {
        let answer = bystander.exec(&["echo", "here"]).await.with_context(|| format!("exec {round}"))?;
        ensure!(answer.stdout == "here\n", "exec {round}: {answer:?}");
        at_once(containers.iter().map(Container::status)).await?;
    }
    for (container, mut execs) in containers.iter().zip(execs) {
        while let Some(ended) = execs.join_next().await {
            let code = ended.context("an exec's task")?.context("an exec")?;
            ensure!(code == 137, "an exec ended with {code}");
        }
        ended_by_memory(&events, container).await?;
        let seen = events.seen();
        let of_container = |event: &&Event| event.topic == "/tasks/exit" && event.text("container_id") == container.id;
        let ends: Vec<&str> = seen.iter().filter(of_container).map(|event| event.text("id")).collect();
        ensure!(ends.len() == EXECS + 1, "{} ends are told", ends.len());
        ensure!(ends.last() == Some(&&*container.id), "its own end is not the last that is told");
    }
    ensure!(bystander.status().await?.state() == ContainerState::ContainerRunning, "the bystander has ended too");
    pod.remove().await
}

/// There a process whose first thread had ended before the others was seen as a zombie, and its pod could not be removed.
pub(crate) async fn containerd_11133_a_process_that_looks_like_a_zombie_is_waited_for_and_killed(
    node: &Node<'_>,
) -> Result<()> {
    let pod = node.pod("zombie").run().await?;
    let mut lingering = Vec::new();
    for name in ["stopped", "killed"] {
        let container = pod.start(command(name, &["loment-probe", "linger"])).await?;
        eventually("the end of its first thread", async || {
            Ok((text_of(&container.logs()?, "stdout") == "lingers\n").then_some(()))
        })
        .await?;
        lingering.push(container);
    }
    let [stopped, killed] = &lingering[..] else { unreachable!("there are two") };
    let pid = killed.pid().await?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("look at it")?;
    ensure!(stat.contains(") Z "), "it is no zombie: {stat}");
    for container in &lingering {
        let status = container.status().await?;
        ensure!(status.state() == ContainerState::ContainerRunning, "it lives, and is {status:?}");
    }
    // By a client, and by somebody else.
    stopped.stop(Duration::from_secs(1)).await?;
    ensure!(stopped.status().await?.exit_code == 137, "it is {:?}", stopped.status().await?);
    kill(Pid::from_raw(pid), Signal::SIGKILL).context("kill from outside")?;
    ensure!(killed.exited().await?.exit_code == 137, "it is {:?}", killed.status().await?);
    pod.remove().await
}

/// There the event of a container that had run out of memory came after its end, or not at all, when several had: the
/// reason was "Error". A shell that passes its child's end on is the case that was reported.
pub(crate) async fn containerd_8893_want_of_memory_is_told_of_each_of_many_that_die_of_it_at_once(
    node: &Node<'_>,
) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let shared = node.lab.directory("volumes", "wants")?;
    let pods = [node.pod("wants").run().await?, node.pod("wants-shared").shared_pids().run().await?];
    let mut containers = Vec::new();
    for (number, pod) in pods.iter().cycle().take(8).enumerate() {
        let last = if number < 4 { format!("exec {GREEDY}") } else { format!("{GREEDY}; exit $?") };
        let script = format!("until [ -e /shared/go ]; do sleep 0.02; done; {last}");
        let app = shell(&format!("app-{number}"), &script).volume(&shared, "/shared").resources(small());
        containers.push(pod.start(app).await?);
    }
    fs::write(shared.join("go"), "")?;
    for (number, container) in containers.iter().enumerate() {
        ended_by_memory(&events, container).await.with_context(|| format!("container {number}"))?;
    }
    for pod in pods {
        pod.remove().await?;
    }
    Ok(())
}
