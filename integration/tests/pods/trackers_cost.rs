//! What others' shims cost: time, memory, and work for those who watch the node.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config,
    pod::{Container, Node, Pod, at_once, command, eventually, shell},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::ctr::field;

/// As long as nobody ends it.
const STAY: &str = "exec sleep 1000";

async fn parent_of(container: &Container<'_>) -> Result<i32> {
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid().await?)).context("read its status")?;
    Ok(field(&status, "PPid")?.parse()?)
}

/// A pod with one container, and its shim's process.
async fn with_shim<'a>(node: &'a Node<'_>, name: &str) -> Result<(Pod<'a>, Container<'a>, i32)> {
    let pod = node.pod(name).run().await?;
    let container = pod.start(shell("app", STAY)).await?;
    let shim = parent_of(&container).await?;
    Ok((pod, container, shim))
}

async fn exec(container: &Container<'_>) -> Result<()> {
    let output = container.exec(&["true"]).await?;
    ensure!(output.code == 0, "it says {output:?}");
    Ok(())
}

/// There 30 execs at once took 19 seconds, and one after the other as many tenths: each start waited for the others' ends.
pub(crate) async fn containerd_8557_thirty_execs_at_once_take_no_longer_than_one_after_the_other(
    node: &Node<'_>,
) -> Result<()> {
    const EXECS: usize = 30;
    let (pod, container, _) = with_shim(node, "execs-at-once").await?;
    let mut ratios = Vec::new();
    // The best of three: others work on the machine too.
    for _ in 0..3 {
        let begun = Instant::now();
        for _ in 0..EXECS {
            exec(&container).await?;
        }
        let apart = begun.elapsed();
        let begun = Instant::now();
        at_once((0..EXECS).map(|_| exec(&container))).await?;
        ratios.push(begun.elapsed().as_secs_f64() / apart.as_secs_f64());
    }
    ensure!(ratios.iter().any(|ratio| *ratio < 2.0), "at once they take {ratios:?} of the time");
    pod.remove().await
}

/// Processor time of a process and of its children that it has waited for, in ticks. proc_pid_stat(5)
fn ticks(pid: i32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the shim's times")?;
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc/PID/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let times = fields.get(11..15).context("the times of a process")?;
    times.iter().map(|ticks| ticks.parse::<u64>().context("a time")).sum()
}

/// What so many probes cost the node, containerd apart: the shim, the programs that it runs for them, the probe itself.
async fn cost_of_probes(node: &Node<'_>, count: usize) -> Result<u64> {
    let (pod, container, shim) = with_shim(node, "probed").await?;
    exec(&container).await?;
    let before = ticks(shim)?;
    for _ in 0..count {
        exec(&container).await?;
    }
    let cost = ticks(shim)? - before;
    pod.remove().await?;
    Ok(cost)
}

/// There a probe by a program that does nothing cost so much that a few pods with probes kept a node busy: shim and runtime
/// are executed anew for each.
pub(crate) async fn kubernetes_82440_a_probe_costs_a_quarter_of_what_it_costs_under_runc(
    node: &Node<'_>,
) -> Result<()> {
    const PROBES: usize = 100;
    let ours = cost_of_probes(node, PROBES).await?;
    let other = Node::connect(node.lab, config::RUNC).await?;
    let theirs = cost_of_probes(&other, PROBES).await?;
    ensure!(ours * 4 <= theirs, "{PROBES} probes cost {ours} ticks, and {theirs} under runc");
    Ok(())
}

/// A figure in KiB of a file in /proc.
fn kib(pid: i32, file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("read {file} of {pid}"))?;
    Ok(field(&text, name)?.trim_end_matches(" kB").parse()?)
}

/// KiB that come from no file, shared by nobody: proc_pid_smaps(5)
fn own(pid: i32) -> Result<u64> {
    kib(pid, "smaps_rollup", "Pss_Anon")
}

/// There each pod had its shim's 10 MiB and more, whatever ran in it.
pub(crate) async fn containerd_13290_the_shims_of_ten_pods_have_less_memory_than_one_under_runc(
    node: &Node<'_>,
) -> Result<()> {
    const PODS: u32 = 10;
    let other = Node::connect(node.lab, config::RUNC).await?;
    let (theirs, _, shim) = with_shim(&other, "memory-runc").await?;
    let runc = own(shim)?;
    theirs.remove().await?;
    let (mut pods, mut shims) = (Vec::new(), Vec::new());
    for number in 0..PODS {
        let pod = node.pod(&format!("memory-{number}")).run().await?;
        let first = pod.start(shell("one", STAY)).await?;
        pod.start(shell("two", STAY)).await?;
        exec(&first).await?;
        shims.push(parent_of(&first).await?);
        pods.push(pod);
    }
    let mut last = 0;
    eventually("ten pods at rest", async || {
        last = shims.iter().map(|shim| own(*shim)).sum::<Result<u64>>()?;
        Ok((last < runc).then_some(()))
    })
    .await
    .with_context(|| format!("{PODS} shims with two containers each have {last} KiB, and one under runc {runc} KiB"))?;
    for pod in pods {
        pod.remove().await?;
    }
    Ok(())
}

/// There a shim reserved 695 MiB of addresses, which looked like memory to who limits or watches them.
pub(crate) async fn containerd_7878_a_shim_has_a_tenth_of_the_addresses_of_one_under_runc(
    node: &Node<'_>,
) -> Result<()> {
    let other = Node::connect(node.lab, config::RUNC).await?;
    let (theirs, _, shim) = with_shim(&other, "addresses-runc").await?;
    let runc = [kib(shim, "status", "VmSize")?, kib(shim, "status", "VmRSS")?];
    theirs.remove().await?;
    let (ours, container, shim) = with_shim(node, "addresses").await?;
    for _ in 0..20 {
        exec(&container).await?;
    }
    let loment = [kib(shim, "status", "VmPeak")?, kib(shim, "status", "VmHWM")?];
    ensure!(loment[0] * 10 <= runc[0], "{} KiB at most, and {} KiB under runc", loment[0], runc[0]);
    ensure!(loment[1] < runc[1], "of them {} KiB resident at most, and {} KiB under runc", loment[1], runc[1]);
    ours.remove().await
}

/// There two MiB became resident for a heap of some hundred KiB, where the kernel gives huge pages to all; and when the shim
/// forbade them itself, its containers had none either.
pub(crate) async fn rust_extensions_195_a_shim_has_no_huge_pages_and_its_containers_may(node: &Node<'_>) -> Result<()> {
    let of = |pid: i32, name| field(&fs::read_to_string(format!("/proc/{pid}/status"))?, name);
    let (pod, container, shim) = with_shim(node, "huge").await?;
    exec(&container).await?;
    ensure!(of(shim, "THP_enabled")? == "0", "the shim may have huge pages");
    ensure!(kib(shim, "smaps_rollup", "AnonHugePages")? == 0, "the shim has huge pages");
    let node_has = of(std::process::id().cast_signed(), "THP_enabled")?;
    ensure!(of(container.pid().await?, "THP_enabled")? == node_has, "its container may not what the node may");
    let executed = container.exec(&["grep", "THP_enabled", "/proc/self/status"]).await?;
    ensure!(field(&executed.stdout, "THP_enabled")? == node_has, "an exec may not what the node may: {executed:?}");
    pod.remove().await
}

/// Counts how often the mounts of the node change. proc_pid_mounts(5)
struct Mounts {
    changes: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mounts {
    fn watch() -> Result<Self> {
        let table = File::open("/proc/self/mountinfo").context("open the mounts")?;
        let (changes, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&changes), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let mut watched = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
                // Several changes at once may count as one; none counts as none.
                if poll(&mut watched, PollTimeout::from(20_u8)).is_ok_and(|ready| ready > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { changes, ends, thread: Some(thread) })
    }

    /// How many there were so far.
    async fn changes(&self) -> u32 {
        // The last one may be on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.changes.load(Ordering::Relaxed)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// There each start and each exec mounted the runtime's program anew, and unmounted it: systemd, which reads the whole table
/// of mounts at each change, had no time for anything else.
pub(crate) async fn runc_3973_starts_and_execs_change_no_mount_of_the_node(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("mounts").run().await?;
    let container = pod.create(command("app", &["sleep", "1000"])).await?;
    let mounts = Mounts::watch()?;
    container.start().await?;
    for _ in 0..20 {
        exec(&container).await?;
    }
    at_once((0..20).map(|_| exec(&container))).await?;
    container.stop(Duration::ZERO).await?;
    let changes = mounts.changes().await;
    ensure!(changes == 0, "the mounts of the node have changed {changes} times");
    // The sandbox has some, so that it is seen that they are counted.
    pod.remove().await?;
    ensure!(mounts.changes().await > 0, "no change is seen when there is one");
    Ok(())
}
