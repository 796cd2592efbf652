//! The memory of a pod in which nothing happens: what shim and holder have of their own. The pages of their programs are
//! shared by all pods of a machine and left out here, so that the figures do not depend on how many there are.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config, patience,
    pod::{Container, Node, Pod, command, eventually},
    process::descendants,
};

use super::{
    ctr::field,
    manifest::{COUNTED, Manifest, container, sandbox},
    sandboxes,
};

/// How often a container is made again before it runs on.
const ATTEMPTS: u32 = 20;

/// A shim and the process that holds its pod's namespaces, where there is one.
struct Idle {
    shim: i32,
    holder: Option<i32>,
}

impl Idle {
    /// Those of the pod whose only container has this first process: whatever else the shim has begun is the holder.
    fn around(container: i32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{container}/status")).context("read its status")?;
        let shim = field(&status, "PPid")?.parse()?;
        let holder = descendants(shim).into_iter().find(|process| process.parent == shim && process.pid != container);
        Ok(Self { shim, holder: holder.map(|process| process.pid) })
    }

    /// KiB that both have of their own. What they share counts once.
    fn memory(&self) -> Result<u64> {
        Ok(own(self.shim)? + self.holders_memory()?)
    }

    fn holders_memory(&self) -> Result<u64> {
        self.holder.map_or(Ok(0), own)
    }

    /// The same when the shim has found that nothing changes any more: the least that is seen within some seconds.
    async fn memory_at_rest(&self) -> Result<u64> {
        let mut least = u64::MAX;
        for _ in 0..30 {
            tokio::time::sleep(patience(Duration::from_millis(100))).await;
            least = least.min(self.memory()?);
        }
        Ok(least)
    }
}

/// KiB of a process that come from no file. proc_pid_smaps(5)
fn own(pid: i32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("read what memory it has")?;
    Ok(field(&rollup, "Pss_Anon")?.trim_end_matches(" kB").parse()?)
}

async fn with_one_container<'a>(node: &'a Node<'_>, name: &str) -> Result<(Pod<'a>, Container<'a>)> {
    let pod = node.pod(name).run().await?;
    let container = pod.start(command("app", &["sleep", "1000"])).await?;
    Ok((pod, container))
}

pub(crate) async fn an_idle_pod_has_a_tenth_of_the_memory_that_it_has_under_runc(node: &Node<'_>) -> Result<()> {
    let other = Node::connect(node.lab, config::RUNC).await?;
    let (theirs, container) = with_one_container(&other, "idle-runc").await?;
    let runc = Idle::around(container.pid().await?)?.memory_at_rest().await?;
    theirs.remove().await?;
    let (ours, container) = with_one_container(node, "idle").await?;
    let idle = Idle::around(container.pid().await?)?;
    let loment = idle.memory_at_rest().await?;
    ensure!(loment * 10 <= runc, "{loment} KiB of its own, and {runc} KiB under runc");
    ensure!(idle.holder.is_some() == node.has_pause(), "its holder is {:?}", idle.holder);
    ensure!(idle.holders_memory()? <= 16, "the holder has {} KiB", idle.holders_memory()?);
    let status = fs::read_to_string(format!("/proc/{}/status", idle.shim)).context("read the shim's status")?;
    ensure!(field(&status, "Threads")? == "1", "the shim has more than one thread: {status}");
    ours.remove().await
}

/// Most of what it adds is the connection that containerd makes for it and the requests that wait for its end.
pub(crate) async fn a_container_adds_little_to_an_idle_pod(node: &Node<'_>) -> Result<()> {
    const MORE: u64 = 5;
    let (pod, container) = with_one_container(node, "idle-many").await?;
    let idle = Idle::around(container.pid().await?)?;
    let one = idle.memory_at_rest().await?;
    for number in 0..MORE {
        pod.start(command(&format!("more-{number}"), &["sleep", "1000"])).await?;
    }
    let all = idle.memory_at_rest().await?;
    ensure!(all <= one + 28 * MORE, "{one} KiB with one container, {all} KiB with {MORE} more");
    pod.remove().await
}

/// Attempts of the container, then processes beside it.
async fn wear(node: &Node<'_>, pod: &Manifest, round: u32) -> Result<()> {
    let last = (round * ATTEMPTS).to_string();
    eventually("the last attempt", async || Ok((pod.lines("tries") == [&*last]).then_some(()))).await?;
    let id = container(node, "worn", "app").await?.id;
    for _ in 0..50 {
        node.cri.exec_sync(&id, &["true"], patience(Duration::from_secs(10))).await?;
    }
    Ok(())
}

pub(crate) async fn execs_and_restarts_leave_an_idle_pod_as_small_as_it_was(node: &Node<'_>) -> Result<()> {
    let script =
        format!("{COUNTED}; until [ $((n % {ATTEMPTS})) != 0 ] || [ -e /shared/past-$n ]; do sleep 0.02; done");
    let pod = Manifest::new(node, "worn")?
        .restart_policy("Always")
        .annotation("io.loment.pod.backoff-max", "20ms")
        .app("app", &script);
    let loment = pod.create(node).await?;
    wear(node, &pod, 1).await?;
    let status = sandboxes::shim(node, &sandbox(node, "worn").await?).await?.status().await.context("ask for it")?;
    let app = status.members.iter().find(|member| member.name == "app").context("its container")?;
    let idle = Idle::around(app.pid)?;
    let before = idle.memory_at_rest().await?;
    pod.touch(&format!("past-{ATTEMPTS}"))?;
    wear(node, &pod, 2).await?;
    let after = idle.memory_at_rest().await?;
    ensure!(after <= before + 32, "it had {before} KiB after one round, and {after} KiB after two");
    loment.delete("worn").await
}
