//! Checkpoint and restore by containerd's own client, with the CRIU of the machine: what `LOMENT_CRIU` names, or what is
//! in `PATH`. Where `LOMENT_TEST_CRIU` is set, it has to work.

use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1;
use loment_integration::{
    config,
    events::Events,
    hierarchy,
    pod::{Node, eventually, shell},
    results::LeftOut,
};

use super::run::{Run, succeeded};

/// Counts in memory, keeps something in a tmpfs and in its layer, and answers in a volume: the client that restores
/// containers does not pass on what they say.
const REMEMBERS: &str = "echo of-tmpfs > /dev/shm/kept; echo of-layer > /kept; n=0; \
    while :; do n=$((n+1)); read -r line < /volume/ask && echo $line $n > /volume/answer; sleep 0.02; done";

/// Where CRIU keeps what it has found out about the kernel.
const CACHE: &str = "/run/criu.kdat";

/// Why no container can be brought back on this machine, if none can.
async fn criu_fails(node: &Node<'_>) -> Result<Option<String>> {
    let program = env::var_os("LOMENT_CRIU").unwrap_or_else(|| "criu".into());
    let output = tokio::process::Command::from(node.lab.command(&program)).arg("check").output().await;
    let _ = fs::remove_file(CACHE);
    let why = match output {
        Ok(output) if output.status.success() => return Ok(None),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => format!("{}: {error}", program.display()),
    };
    ensure!(env::var_os("LOMENT_TEST_CRIU").is_none(), "criu check: {why}");
    Ok(Some(why))
}

/// Only this machine's CRIU is to blame.
fn skipped(why: &str) -> Result<()> {
    let first = why.trim().lines().next().unwrap_or_default();
    bail!(LeftOut(format!("no container is brought back on this machine: criu check: {first}")))
}

pub(crate) async fn a_container_is_brought_back_from_its_checkpoint(node: &Node<'_>) -> Result<()> {
    if let Some(why) = criu_fails(node).await?.filter(|_| node.handler != config::RUNC) {
        return skipped(&why);
    }
    if node.handler == config::RUNC {
        return Ok(());
    }
    let (run, again) = (Run::new(node, "remembers")?, Run::new(node, "again")?);
    let ask = |line: &str| fs::write(run.path("ask"), line).context("ask");
    ask("")?;
    let (fifos, image) = (run.path("fifos").display().to_string(), "localhost/loment/checkpoint:1");
    let volume = format!("type=bind,src={},dst=/volume,options=rbind:rw", run.directory.display());
    let flags = ["--fifo-dir", &fifos, "--mount", &volume, "--memory-limit", "67108864", "--env", "COLOUR=blue"];
    run.started(&flags, REMEMBERS).await?;
    let inside = |run: &Run<'_>| {
        let script = "cat /dev/shm/kept /kept; hostname; grep -E '^(Cap|NoNew|Seccomp:|Uid|Groups|SigIgn)' /proc/1/status; \
            tr '\\0' '\\n' < /proc/1/environ; cat /proc/1/limits | grep files; cut -d' ' -f4-6 /proc/1/mountinfo | sort";
        let words = ["task", "exec", "--exec-id", "look", run.id, "sh", "-c", script].map(str::to_owned);
        async move {
            let output = node.lab.ctr_output(&words, b"").await?;
            succeeded(&output)?;
            anyhow::Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    };
    let before = eventually("what it keeps", async || {
        let text = inside(&run).await?;
        Ok(text.contains("of-layer").then_some(text))
    })
    .await?;
    let events = Events::follow(node.lab).await?;
    succeeded(&run.ctr(&["container", "checkpoint", "--rw", "--image", "--task", run.id, image]).await?)?;
    events.until("the event", |event| event.topic == "/tasks/checkpointed").await?;
    ensure!(inside(&run).await? == before, "the checkpoint has changed the container");
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    run.removed().await?;

    // It does not wait for the container, nor for what it says.
    succeeded(&again.ctr(&["container", "restore", "--rw", "--live", again.id, image]).await?)?;
    eventually("the container", async || Ok(inside(&again).await.ok())).await?;
    let after = inside(&again).await?;
    ensure!(after == before, "it was {before}\nand is {after}");
    ask("count\n")?;
    let said = eventually("its count", async || {
        let said = run.read("answer");
        Ok(said.lines().next().map(str::to_owned))
    });
    let said = said.await?;
    let count: u64 = said.strip_prefix("count ").and_then(|count| count.parse().ok()).context("a count")?;
    ensure!(count > 5, "it has begun anew: {said}");
    let cgroup = hierarchy::of_process(again.pid().await?, "memory")?;
    ensure!(cgroup.ends_with("k8s.io/remembers"), "it is in {}", cgroup.display());
    let limit = ["memory.limit_in_bytes", "memory.max"].map(|file| fs::read_to_string(cgroup.join(file)));
    ensure!(limit.iter().flatten().eq(["67108864\n"]), "its limit is {limit:?}");
    succeeded(&again.ctr(&["task", "kill", "--signal", "KILL", again.id]).await?)?;
    again.ended().await?;
    again.removed().await?;
    let _ = fs::remove_file(CACHE);
    succeeded(&run.ctr(&["images", "rm", "--sync", image]).await?)
}

/// A container of a pod as a kubelet makes it: it shares the pod's namespaces, and sees its cgroups. Its client here
/// cannot restore it, but makes a container like it.
pub(crate) async fn a_pods_container_is_brought_back_into_its_pod(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    if let Some(why) = criu_fails(node).await? {
        return skipped(&why);
    }
    let again = Run::new(node, "again-in-the-pod")?;
    let pod = node.pod("brings-back").run().await?;
    fs::write(again.path("ask"), "")?;
    let mask = |security: &mut v1::LinuxContainerSecurityContext| security.masked_paths = vec!["/proc/keys".to_owned()];
    let container = pod.start(shell("main", REMEMBERS).volume(&again.directory, "/volume").security(mask)).await?;
    let look = "cut -d' ' -f4-6 /proc/1/mountinfo | sort; readlink /proc/1/ns/net /proc/1/ns/ipc /proc/1/ns/uts; \
        cat /proc/1/cgroup /sys/fs/cgroup/memory/memory.limit_in_bytes";
    let before = container.exec(&["sh", "-c", look]).await?.stdout;
    ensure!(before.contains("/sys/fs/cgroup/memory ro"), "it sees {before}");
    let image = "localhost/loment/checkpoint:2";
    let words = ["container", "checkpoint", "--rw", "--image", "--task", &container.id, image];
    succeeded(&again.ctr(&words).await?)?;
    container.stop(Duration::ZERO).await?;
    container.remove().await?;
    succeeded(&again.ctr(&["container", "restore", "--rw", "--live", again.id, image]).await?)?;
    let output = again.ctr(&["task", "exec", "--exec-id", "look", again.id, "sh", "-c", look]).await?;
    succeeded(&output)?;
    let after = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(after == before, "it was {before}\nand is {after}");
    fs::write(again.path("ask"), "count\n")?;
    eventually("its answer", async || Ok(again.read("answer").starts_with("count ").then_some(()))).await?;
    succeeded(&again.ctr(&["task", "kill", "--signal", "KILL", again.id]).await?)?;
    again.ended().await?;
    again.removed().await?;
    let _ = fs::remove_file(CACHE);
    succeeded(&again.ctr(&["images", "rm", "--sync", image]).await?)?;
    pod.remove().await
}

/// Because its namespaces are not its own, or because CRIU does not work on this kernel.
pub(crate) async fn a_container_whose_checkpoint_fails_lives_on(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let pod = node.pod("shared").shared_pids().run().await?;
    let container = pod.start(shell("main", "exec sleep 1000")).await?;
    let output = node.lab.ctr_output(&["task", "checkpoint", &container.id], b"").await?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && text.contains("linux.namespaces"), "it says {text}");
    ensure!(container.exec(&["echo", "alive"]).await?.stdout == "alive\n", "it does not live on");
    pod.remove().await?;

    let Some(why) = criu_fails(node).await? else { return Ok(()) };
    let run = Run::new(node, "unkept")?;
    run.started(&["--null-io"], "sleep 1000").await?;
    let output = run.ctr(&["task", "checkpoint", run.id]).await?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && text.contains("criu"), "criu check says {why}, and a checkpoint {text}");
    ensure!(Path::new(&format!("/proc/{}", run.pid().await?)).exists(), "the container has ended");
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    run.removed().await
}
