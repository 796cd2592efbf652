//! Limits and what is used of them.

use anyhow::{Context as _, Result, ensure};
use loment_cri::v1;
use loment_integration::{
    events::Events,
    hierarchy,
    pod::{Container, Node, eventually, shell},
    slices,
};

const STAY: &str = "exec sleep 1000";
const MIB: i64 = 1024 * 1024;

/// Reads the first of these files that exists: cgroup v1's, then v2's.
async fn limit(container: &Container<'_>, controller: &str, v1: &str, v2: &str) -> Result<String> {
    match container.cgroup_file(controller, v1).await {
        Ok(value) => Ok(value),
        Err(_) => container.cgroup_file(controller, v2).await,
    }
}

/// On v2 they are a weight: 20 as runc converted before 1.3, 59 since.
fn is_512_shares(value: &str) -> bool {
    ["512", "20", "59"].contains(&value)
}

pub(crate) async fn limits_are_in_the_cgroup_files(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("limits").run().await?;
    let resources = v1::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: 50_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 * MIB,
        ..Default::default()
    };
    let container = pod.start(shell("main", STAY).resources(resources)).await?;
    if slices::are_used() {
        let cgroup = hierarchy::of_process(container.pid().await?, "memory")?;
        ensure!(cgroup.ends_with(format!("cri-containerd-{}.scope", container.id)), "it is in {}", cgroup.display());
    }
    let memory = limit(&container, "memory", "memory.limit_in_bytes", "memory.max").await?;
    ensure!(memory == (64 * MIB).to_string(), "the memory limit is {memory}");
    let quota = limit(&container, "cpu", "cpu.cfs_quota_us", "cpu.max").await?;
    ensure!(quota == "50000" || quota == "50000 100000", "the cpu quota is {quota}");
    let shares = limit(&container, "cpu", "cpu.shares", "cpu.weight").await?;
    ensure!(is_512_shares(&shares), "the cpu shares are {shares}");
    pod.remove().await
}

pub(crate) async fn an_update_changes_the_limits_of_a_running_container(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("update").run().await?;
    let before = v1::LinuxContainerResources { memory_limit_in_bytes: 64 * MIB, cpu_shares: 512, ..Default::default() };
    let container = pod.start(shell("main", STAY).resources(before)).await?;
    for mebibytes in [128, 32] {
        let after = v1::LinuxContainerResources {
            memory_limit_in_bytes: mebibytes * MIB,
            cpu_period: 100_000,
            cpu_quota: 25_000,
            ..Default::default()
        };
        node.cri.update_container_resources(&container.id, after).await?;
        let memory = limit(&container, "memory", "memory.limit_in_bytes", "memory.max").await?;
        ensure!(memory == (mebibytes * MIB).to_string(), "the memory limit is {memory}");
    }
    let quota = limit(&container, "cpu", "cpu.cfs_quota_us", "cpu.max").await?;
    ensure!(quota == "25000" || quota == "25000 100000", "the cpu quota is {quota}");
    let shares = limit(&container, "cpu", "cpu.shares", "cpu.weight").await?;
    ensure!(is_512_shares(&shares), "what was not named has changed: the cpu shares are {shares}");
    pod.remove().await
}

pub(crate) async fn statistics_agree_with_the_cgroup_files(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("statistics").run().await?;
    let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000";
    let container = pod.start(shell("main", busy)).await?;
    let value = |wrapped: &Option<v1::UInt64Value>| wrapped.as_ref().map(|inner| inner.value);
    // The files move while they are read: what was asked between two equal readings must equal them.
    eventually("statistics that agree", async || {
        let before = usage(&container).await?;
        let stats = node.cri.container_stats(&container.id).await?;
        let (cpu, memory) = (stats.cpu.context("the cpu's part")?, stats.memory.context("the memory's part")?);
        let asked = (value(&cpu.usage_core_nano_seconds), value(&memory.working_set_bytes));
        let after = usage(&container).await?;
        // On v2 the kernel counts in microseconds and the statistics in nanoseconds.
        let rounded = asked.0.map(|nanoseconds| nanoseconds / 1000);
        Ok((before == after && before.0 > 0 && (rounded, asked.1) == (Some(before.0), Some(before.1))).then_some(()))
    })
    .await?;
    pod.remove().await
}

/// Microseconds of cpu time, and the bytes that could not be had back at once, as CRI counts them.
async fn usage(container: &Container<'_>) -> Result<(u64, u64)> {
    let field = |text: &str, key: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let stat = container.cgroup_file("memory", "memory.stat").await?;
    let memory = limit(container, "memory", "memory.usage_in_bytes", "memory.current").await?;
    let idle = field(&stat, "total_inactive_file ").or_else(|| field(&stat, "inactive_file "));
    let cpu = match container.cgroup_file("cpuacct", "cpuacct.usage").await {
        Ok(nanoseconds) => nanoseconds.parse::<u64>()? / 1000,
        Err(_) => field(&container.cgroup_file("cpu", "cpu.stat").await?, "usage_usec ").context("usage_usec")?,
    };
    Ok((cpu, memory.parse::<u64>()?.saturating_sub(idle.context("inactive_file in memory.stat")?)))
}

pub(crate) async fn a_container_beyond_its_memory_is_reported_as_oom_killed_before_its_exit(
    node: &Node<'_>,
) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("oom").run().await?;
    let resources = v1::LinuxContainerResources {
        memory_limit_in_bytes: 24 * MIB,
        memory_swap_limit_in_bytes: 24 * MIB,
        ..Default::default()
    };
    let container = pod.start(shell("main", "exec dd if=/dev/zero of=/dev/null bs=100M").resources(resources)).await?;
    let seen = events.until("the exit", |event| event.is_exit(&container.id, &container.id)).await?;
    let told = seen.iter().any(|event| event.topic == "/tasks/oom" && event.text("container_id") == container.id);
    ensure!(told, "there is no OOM event before the exit");
    let status = container.exited().await?;
    ensure!(status.exit_code == 137, "it ended with {}", status.exit_code);
    eventually("the reason OOMKilled", async || Ok((container.status().await?.reason == "OOMKilled").then_some(())))
        .await?;
    let neighbour = pod.start(shell("neighbour", STAY)).await?;
    ensure!(hierarchy::of_process(neighbour.pid().await?, "memory")?.is_dir(), "the pod lives on");
    pod.remove().await
}
