//! What pods use and what was taken from them: known loads, totals, want of memory, and how people and machines see it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1;
use loment_integration::{
    events::Events,
    hierarchy,
    loment::Loment,
    pod::{Node, command, eventually, shell},
    programs,
};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        stat::{major, minor, stat},
    },
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::manifest::{self, Manifest, RUNS};

const MIB: u64 = 1024 * 1024;
/// Takes more memory than [`small`] allows, and is killed for it.
pub(crate) const GREEDY: &str = "dd if=/dev/zero of=/dev/null bs=100M";

/// 24 MiB, and no swap.
pub(crate) fn small() -> v1::LinuxContainerResources {
    let bytes = 24 * MIB.cast_signed();
    v1::LinuxContainerResources {
        memory_limit_in_bytes: bytes,
        memory_swap_limit_in_bytes: bytes,
        ..Default::default()
    }
}

/// What `loment top` says of one pod.
pub(crate) async fn top(node: &Node<'_>, pod: &str) -> Result<Value> {
    let text = Loment::new(node.lab).ok(&["top", pod, "-o", "json"]).await?;
    let mut all: Value = serde_json::from_str(&text).context("read what loment top prints")?;
    ensure!(all["pods"].as_array().map(Vec::len) == Some(1), "loment top says {all}");
    Ok(all["pods"][0].take())
}

pub(crate) fn number(value: &Value, place: &str) -> Result<u64> {
    value.pointer(place).and_then(Value::as_u64).with_context(|| format!("find a number at {place} in {value}"))
}

fn container<'a>(pod: &'a Value, name: &str) -> Result<&'a Value> {
    let mut all = pod["containers"].as_array().into_iter().flatten();
    all.find(|container| container["name"] == name).with_context(|| format!("find container {name} in {pod}"))
}

fn is_v2() -> Result<bool> {
    Ok(fs::exists("/sys/fs/cgroup/cgroup.controllers")?)
}

/// Within five per cent.
fn about(what: &str, value: u64, expected: u64) -> Result<()> {
    ensure!(value.abs_diff(expected) * 20 <= expected, "{what} is {value}, and not about {expected}");
    Ok(())
}

/// Nanoseconds of processor time in what a shell's `times` prints: minutes and seconds of itself and of its children.
fn nanoseconds(times: &[String]) -> Result<u64> {
    let mut sum = 0.0;
    for time in times.iter().flat_map(|line| line.split_whitespace()) {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').context("minutes")?;
        sum += minutes.parse::<f64>()? * 60.0 + seconds.parse::<f64>()?;
    }
    Ok((sum * 1e9) as u64)
}

pub(crate) async fn a_known_load_is_reported_within_five_per_cent(node: &Node<'_>) -> Result<()> {
    // What waits for the test must not use any time itself: a fifo.
    let script = "mkfifo /shared/write; while :; do :; done & burner=$!; sleep 5; kill $burner; wait $burner; times > /shared/times
        read go < /shared/write
        for i in $(seq 100); do dd if=/dev/zero of=/disk/data bs=1M count=1 conv=fsync 2>/dev/null; done
        dd if=/dev/zero bs=64M count=1 | sleep 1000 &
        for i in $(seq 17); do sleep 1000 & done
        : > /shared/ready; wait";
    let disk = Disk::new()?;
    let fields = json!({
        "command": ["sh", "-c", script], "resources": { "limits": { "cpu": "500m", "memory": "512Mi" } },
        "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }, { "name": "disk", "mountPath": "/disk" }],
    });
    let manifest = Manifest::new(node, "load")?.volume("disk", &disk.directory).app_with("main", fields);
    let loment = manifest.create(node).await?;
    eventually("half a cpu for five seconds", async || Ok(manifest.has("times").then_some(()))).await?;
    let measured = nanoseconds(&manifest.lines("times"))?;
    let pod = top(node, "load").await?;
    let cpu = &container(&pod, "main")?["usage"]["cpu"];
    about("cpu time", number(cpu, "/totalNanoseconds")?, measured)?;
    ensure!(number(cpu, "/periods")? > 0 && number(cpu, "/quotaMicroseconds")? == 50_000, "the cpu is {cpu}");
    let id = manifest::container(node, "load", "main").await?.id;
    // How often it was held back depends on how much time the machine had to spare, and it may just have been.
    let kernels = hierarchy::of_process(pid(node, &id)?, "cpu")?.join("cpu.stat");
    eventually("the kernel's count of throttling", async || {
        let pod = top(node, "load").await?;
        let held = number(container(&pod, "main")?, "/usage/cpu/throttledPeriods")?;
        Ok(fs::read_to_string(&kernels)?.contains(&format!("nr_throttled {held}\n")).then_some(()))
    })
    .await?;

    disk.count_transfers_of(node, &id)?;
    manifest.touch("write")?;
    eventually("everything to be in use", async || Ok(manifest.has("ready").then_some(()))).await?;
    let pod = eventually("64 MiB that have been touched", async || {
        let pod = top(node, "load").await?;
        let touched = number(container(&pod, "main")?, "/usage/memory/anonymousBytes")?;
        // The pod's own cgroup has all of it: the kernel adds up in the cgroups above now and then, every 2 seconds at last.
        let has_come_up = number(&pod["usage"], "/memory/anonymousBytes")? >= touched;
        Ok((touched >= 64 * MIB && has_come_up).then_some(pod))
    })
    .await?;
    let usage = &container(&pod, "main")?["usage"];
    about("anonymous memory", number(usage, "/memory/anonymousBytes")?, 64 * MIB)?;
    ensure!(number(usage, "/memory/limitBytes")? == 512 * MIB, "the memory is {}", usage["memory"]);
    ensure!(number(usage, "/pids/processes")? == 20 && number(usage, "/pids/tasks")? == 20, "pids: {}", usage["pids"]);
    disk.check(&usage["io"]["devices"], 100 * MIB)?;
    // And the sandbox's.
    let total = &pod["usage"];
    let expected = 20 + node.sandbox_processes();
    ensure!(number(total, "/pids/processes")? == expected, "the pod's pids are {}", total["pids"]);
    loment.ok(&["delete", "pod", "load", "--now"]).await.map(drop)
}

/// The pid of a container's first process, as the node sees it.
fn pid(node: &Node<'_>, container: &str) -> Result<i32> {
    let tasks = node.lab.ctr().args(["tasks", "list"]).output()?;
    let text = String::from_utf8_lossy(&tasks.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with(container)).context("the container's task")?;
    Ok(line.split_whitespace().nth(1).context("its pid")?.parse()?)
}

/// A directory on a disk of the machine, removed when it is dropped.
struct Disk {
    directory: PathBuf,
    major: u64,
    minor: u64,
}

impl Disk {
    fn new() -> Result<Self> {
        let directory = std::env::current_dir()?.join(format!("loment-test-disk-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let device = stat(&directory)?.st_dev;
        Ok(Self { directory, major: major(device), minor: minor(device) })
    }

    /// A machine may have its files over a network or in memory: then there is nothing that counts.
    fn is_one(&self) -> bool {
        self.major != 0
    }

    /// Has what a container transfers counted: the kernel (from 6.10) does so for cgroup v1 only where something is
    /// throttled. This limit is out of reach.
    fn count_transfers_of(&self, node: &Node<'_>, container: &str) -> Result<()> {
        let directory = hierarchy::of_process(pid(node, container)?, "blkio");
        match directory.map(|directory| directory.join("blkio.throttle.write_bps_device")) {
            Ok(file) if self.is_one() && file.exists() => {
                Ok(fs::write(file, format!("{}:{} {}", self.major, self.minor, 1_u64 << 40))?)
            }
            _ => Ok(()),
        }
    }

    fn check(&self, devices: &Value, written: u64) -> Result<()> {
        let is_it =
            |one: &&Value| (one["major"].as_u64(), one["minor"].as_u64()) == (Some(self.major), Some(self.minor));
        let found = devices.as_array().into_iter().flatten().find(is_it);
        match found {
            Some(device) => about("bytes written", number(device, "/writtenBytes")?, written),
            None if self.is_one() => bail!("disk {}:{} is not among {devices}", self.major, self.minor),
            None => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) async fn a_pods_total_has_what_its_init_container_has_used(node: &Node<'_>) -> Result<()> {
    let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; times > /shared/times";
    let manifest = Manifest::new(node, "total")?.init("burn", burn).app("main", RUNS);
    let loment = manifest.create(node).await?;
    loment.phase("total", "Running").await?;
    let burnt = nanoseconds(&manifest.lines("times"))?;
    eventually("the init container to be gone", async || {
        let pod = top(node, "total").await?;
        if container(&pod, "burn").is_ok() {
            return Ok(None);
        }
        let cpu = |value: &Value| number(value, "/usage/cpu/totalNanoseconds");
        let (total, main) = (cpu(&pod)?, cpu(container(&pod, "main")?)?);
        ensure!(
            total >= main + burnt * 95 / 100,
            "the pod has used {total}, main {main}, and the init container {burnt}"
        );
        Ok(Some(()))
    })
    .await?;
    loment.delete("total").await
}

pub(crate) async fn a_pod_without_a_cgroup_of_its_own_is_the_sum_of_its_containers_with_the_dead(
    node: &Node<'_>,
) -> Result<()> {
    let pod = node.pod("sum").with_linux(|linux| linux.cgroup_parent = "/pods/beside".to_owned()).run().await?;
    let burn = shell("burn", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; times");
    let burnt = nanoseconds(&pod.output_of(burn).await?.lines().map(str::to_owned).collect::<Vec<_>>())?;
    let _main = pod.start(shell("main", "exec sleep 1000")).await?;
    let seen = top(node, "sum").await?;
    ensure!(seen["cgroup"] == "", "the pod has a cgroup of its own: {}", seen["cgroup"]);
    ensure!(container(&seen, "burn").is_err(), "the container has been removed");
    let total = number(&seen, "/usage/cpu/totalNanoseconds")?;
    ensure!(total >= burnt * 95 / 100, "the pod has used {total}, and what has gone {burnt}");
    let expected = 1 + node.sandbox_processes();
    ensure!(number(&seen, "/usage/pids/processes")? == expected, "the sandbox and main: {}", seen["usage"]["pids"]);
    pod.remove().await
}

pub(crate) async fn a_container_that_dies_at_once_for_memory_is_told_before_its_exit_each_time(
    node: &Node<'_>,
) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("at-once").run().await?;
    for attempt in 0..5 {
        let greedy = command("main", &["dd", "if=/dev/zero", "of=/dev/null", "bs=100M"]);
        let container = pod.start(greedy.attempt(attempt).resources(small())).await?;
        let seen = events.until("the exit", |event| event.is_exit(&container.id, &container.id)).await?;
        let told =
            seen.iter().filter(|event| event.topic == "/tasks/oom" && event.text("container_id") == container.id);
        ensure!(told.count() == 1, "attempt {attempt}: want of memory is not told once before the exit");
        let status = container.exited().await?;
        ensure!(status.exit_code == 137, "it ended with {}", status.exit_code);
    }
    pod.remove().await
}

pub(crate) async fn a_container_that_only_lost_a_child_ends_as_it_ends(node: &Node<'_>) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("child").run().await?;
    let script = format!("{GREEDY}; echo the child ended with $?; read go < /tmp/go; exit 0");
    let script = format!("mkfifo /tmp/go; {script}");
    let main = pod.start(shell("main", &script).resources(small())).await?;
    eventually("the child's end", async || {
        let lines = main.logs()?;
        Ok(lines.iter().any(|line| line.text == "the child ended with 137").then_some(()))
    })
    .await?;
    let seen = top(node, "child").await?;
    ensure!(number(container(&seen, "main")?, "/usage/memory/oomKills")? == 1, "the kill is not counted: {seen}");
    // The same of a process that was executed in it.
    let killed = main.exec(&["sh", "-c", &format!("exec {GREEDY}")]).await?;
    ensure!(killed.code == 137, "the exec ended with {}", killed.code);
    main.exec(&["sh", "-c", "echo > /tmp/go"]).await?;
    let seen = events.until("the exit", |event| event.is_exit(&main.id, &main.id)).await?;
    ensure!(!seen.iter().any(|event| event.topic == "/tasks/oom"), "it is told to have run out of memory");
    let status = main.exited().await?;
    ensure!((status.exit_code, status.reason.as_str()) == (0, "Completed"), "it is {status:?}");
    let log = node.lab.log_since(0);
    ensure!(
        log.contains("for want of memory (1 so far") && log.contains("has not ended"),
        "the shim's log has no word of it"
    );
    // One that is killed by its client was not killed for memory, whatever it has lost before.
    let stopped =
        pod.start(shell("stopped", &format!("trap '' TERM; {GREEDY}; echo lost; sleep 1000")).resources(small()));
    let stopped = stopped.await?;
    eventually("the child's end", async || Ok(stopped.logs()?.iter().any(|line| line.text == "lost").then_some(())))
        .await?;
    stopped.stop(Duration::ZERO).await?;
    let status = stopped.exited().await?;
    ensure!(status.exit_code == 137 && status.reason == "Error", "it is {status:?}");
    pod.remove().await
}

pub(crate) async fn a_container_that_is_killed_as_a_group_has_run_out_of_memory(node: &Node<'_>) -> Result<()> {
    let events = Events::follow(node.lab).await?;
    let pod = node.pod("group").run().await?;
    let mut together = small();
    together.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    let main = shell("main", &format!("{GREEDY}; echo lives on; sleep 1000")).resources(together);
    if !is_v2()? {
        let said = pod.start(main).await.err().context("v1 takes a file of v2")?;
        ensure!(format!("{said:#}").contains("files of cgroup v2"), "it says {said:#}");
        return pod.remove().await;
    }
    let main = pod.start(main).await?;
    let seen = events.until("the exit", |event| event.is_exit(&main.id, &main.id)).await?;
    let told = seen.iter().filter(|event| event.topic == "/tasks/oom" && event.text("container_id") == main.id);
    ensure!(told.count() == 1, "want of memory is not told once before the exit");
    ensure!(main.exited().await?.exit_code == 137 && main.logs()?.is_empty(), "it has not ended as a whole");
    pod.remove().await
}

pub(crate) async fn a_pod_that_the_shim_runs_tells_whom_the_kernel_killed(node: &Node<'_>) -> Result<()> {
    let limits = json!({ "limits": { "memory": "24Mi" } });
    let script = format!("{GREEDY}; until [ -e /shared/go ]; do sleep 0.02; done; exec {GREEDY}");
    let fields = json!({ "command": ["sh", "-c", script], "resources": limits });
    let manifest = Manifest::new(node, "killed")?.restart_policy("Never").app_with("main", fields);
    let loment = manifest.create(node).await?;
    // On v2 containers are made to be killed as a whole.
    if !is_v2()? {
        eventually("the child's end in the timeline", async || {
            let story = loment.story("killed").await?;
            Ok(story.iter().any(|line| line == "main lost a process for want of memory and lives on").then_some(()))
        })
        .await?;
    }
    manifest.touch("go")?;
    let status = loment.until("killed", "its end", |status| status["phase"] == "Failed").await?;
    let ended = &loment_integration::loment::container_status(&status, "main")?["state"]["terminated"];
    ensure!(ended["reason"] == "OOMKilled" && ended["exitCode"] == 137, "it ended as {ended}");
    loment.delete("killed").await
}

pub(crate) async fn top_shows_pods_with_their_containers_below_and_refuses_what_there_is_not(
    node: &Node<'_>,
) -> Result<()> {
    let burn = "while :; do :; done";
    let busy = json!({ "command": ["sh", "-c", burn], "resources": { "limits": { "cpu": "200m", "memory": "64Mi" } } });
    let loment = Manifest::new(node, "busy")?.app("idle", RUNS).app_with("work", busy).create(node).await?;
    let other = node.pod("another").run().await?;
    let _main = other.start(shell("main", "exec sleep 1000")).await?;
    loment.phase("busy", "Running").await?;
    let text = loment.ok(&["top", "--sort-by", "cpu"]).await?;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    ensure!(names == ["NAME", "busy", "work", "idle", "another", "main"], "top says\n{text}");
    let cpu: u64 = rows[2][1].parse()?;
    ensure!((50..=400).contains(&cpu) && rows[2][2].ends_with('%') && rows[2][4] == "64Mi", "top says\n{text}");
    ensure!(text.lines().nth(2).is_some_and(|line| line.starts_with("  work ")), "top says\n{text}");
    let one = loment.ok(&["top", "pod/another", "-A"]).await?;
    ensure!(one.lines().count() == 3 && one.contains("default"), "top says\n{one}");
    let said = loment.refused(&["top", "nobody"], "").await?;
    ensure!(said.contains("pods \"nobody\" not found"), "top says {said:?}");
    other.remove().await?;
    loment.ok(&["delete", "pod", "busy", "--now"]).await.map(drop)
}

pub(crate) async fn a_pod_of_another_runtime_is_shown_as_containerd_knows_it(node: &Node<'_>) -> Result<()> {
    let other = Node::connect(node.lab, "runc").await?;
    let pod = other.pod("foreign").run().await?;
    let main = pod.start(shell("main", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000")).await?;
    eventually("its usage", async || {
        let seen = top(node, "foreign").await?;
        let Ok(found) = container(&seen, "main") else { return Ok(None) };
        ensure!(found["id"] == main.id.as_str(), "it is {found}");
        let usage = &found["usage"];
        let some = |place: &str| number(usage, place).is_ok_and(|value| value > 0);
        Ok((some("/cpu/totalNanoseconds") && some("/memory/workingSetBytes")).then_some(()))
    })
    .await?;
    pod.remove().await
}

pub(crate) async fn top_refreshes_on_a_terminal_until_it_is_interrupted(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("seen").run().await?;
    let terminal = openpty(&Winsize { ws_row: 5, ws_col: 30, ws_xpixel: 0, ws_ypixel: 0 }, None)?;
    let mut top = tokio::process::Command::from(node.lab.command(programs::COMMAND));
    top.args(["top", "--interval", "1"]).stdin(Stdio::null()).stdout(Stdio::from(terminal.slave)).kill_on_drop(true);
    let mut child = top.spawn()?;
    // The command's copy of the terminal goes with it, so that its end is seen.
    drop(top);
    let pid = Pid::from_raw(i32::try_from(child.id().context("the pid of loment top")?)?);
    let mut master = fs::File::from(terminal.master);
    let reader = std::thread::spawn(move || {
        let (mut text, mut chunk, mut interrupted) = (Vec::new(), [0; 4096], false);
        // A terminal that nobody holds any more answers with an error.
        while let Ok(n @ 1..) = master.read(&mut chunk) {
            text.extend_from_slice(&chunk[..n]);
            if !interrupted && text.windows(3).filter(|part| part == b"\x1b[H").count() > 1 {
                interrupted = kill(pid, Signal::SIGINT).is_ok();
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let status =
        tokio::time::timeout(Duration::from_secs(30), child.wait()).await.context("loment top does not end")??;
    let text = reader.join().map_err(|_| anyhow::anyhow!("the reader of the terminal has failed"))?;
    ensure!(status.success(), "loment top ended with {status}");
    ensure!(text.starts_with("\x1b[?1049h") && text.trim_end().ends_with("\x1b[?1049l"), "the screen is {text:?}");
    ensure!(text.contains("pods 1") && text.contains("seen"), "the screen is {text:?}");
    // Nothing is wider or higher than the terminal.
    let screen = text.split("\x1b[H").nth(1).context("a screen")?;
    let lines: Vec<&str> = screen.split("\r\n").collect();
    let width = |line: &str| line.split('\x1b').next().unwrap_or_default().chars().count();
    ensure!(lines.len() <= 5 && lines.iter().all(|line| width(line) <= 30), "the screen is {screen:?}");
    pod.remove().await
}

pub(crate) async fn prometheus_reads_what_cadvisors_users_know(node: &Node<'_>) -> Result<()> {
    let limits = json!({ "limits": { "cpu": "300m", "memory": "64Mi" } });
    let script = "trap 'exit 0' TERM; sleep 1000 & : > /shared/up; wait";
    let fields = json!({ "command": ["sh", "-c", script], "resources": limits });
    let manifest = Manifest::new(node, "watched")?.app_with("main", fields);
    let loment = manifest.create(node).await?;
    eventually("both processes to run", async || Ok(manifest.has("up").then_some(()))).await?;
    let page = Page::parse(&loment.ok(&["stats", "--prometheus"]).await?)?;
    let main = [("namespace", "default"), ("pod", "watched"), ("container", "main")];
    ensure!(page.one("container_cpu_usage_seconds_total", &main)? > 0.0, "it has used no time");
    let memory = page.one("container_memory_usage_bytes", &main)?;
    let working_set = page.one("container_memory_working_set_bytes", &main)?;
    ensure!(0.0 < working_set && working_set <= memory && memory < 64.0 * MIB as f64, "{working_set} of {memory}");
    for (name, expected) in [
        ("container_spec_memory_limit_bytes", 64.0 * MIB as f64),
        ("container_spec_cpu_quota", 30_000.0),
        ("container_spec_cpu_period", 100_000.0),
        ("container_processes", 2.0),
        ("container_oom_events_total", 0.0),
    ] {
        let value = page.one(name, &main)?;
        ensure!(value == expected, "{name} is {value}");
    }
    let all = page.lines("container_processes", &[("pod", "watched")]);
    let sandboxes = node.sandbox_processes();
    ensure!(all.len() as u64 == 2 + sandboxes, "the pod, its sandbox and its container: {all:?}");
    let image = all.iter().find(|line| line.label("container") == "main").map(|line| line.label("image"));
    ensure!(image.is_some_and(|image| image.contains("busybox")), "the image is {image:?}");
    let own = all.iter().find(|line| line.label("container").is_empty()).context("the pod's own line")?;
    ensure!(own.label("id").starts_with("/loment/pod") && own.value == (2 + sandboxes) as f64, "the pod is {own:?}");

    let mut server = tokio::process::Command::from(node.lab.command(programs::COMMAND));
    server.args(["stats", "--prometheus", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = server.spawn()?;
    let mut said = String::new();
    BufReader::new(child.stderr.take().context("its messages")?).read_line(&mut said).await?;
    let address = said.trim().strip_prefix("serving http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.with_context(|| format!("it says {said:?}"))?;
    let (head, body) = get(address, "/metrics")?;
    ensure!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "the answer is {head}");
    ensure!(Page::parse(&body)?.one("container_processes", &main)? == 2.0, "the page is {body}");
    ensure!(get(address, "/")?.0.starts_with("HTTP/1.1 404 "), "there is something at /");
    kill(Pid::from_raw(i32::try_from(child.id().context("its pid")?)?), Signal::SIGINT)?;
    ensure!(child.wait().await?.success(), "an interrupt is how it ends");
    let said = loment.refused(&["stats", "--prometheus", "--listen", "0.0.0.0:0"], "").await?;
    ensure!(said.contains("loopback"), "it says {said:?}");
    loment.delete("watched").await
}

fn get(address: &str, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("the end of the head")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// A page in Prometheus' text format, checked as it is read: each family once and announced before its values, names and
/// labels well formed, no line twice, counters not below nothing and named as such.
#[derive(Debug)]
struct Page(Vec<Line>);

#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Line {
    fn label(&self, key: &str) -> &str {
        self.labels.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    fn parse(line: &str) -> Result<Self> {
        let broken = || format!("a line of a page: {line:?}");
        let (name, rest) = line.split_once('{').with_context(broken)?;
        let (mut rest, mut labels) = (rest, Vec::new());
        while !rest.starts_with('}') {
            let (key, quoted) = rest.split_once("=\"").with_context(broken)?;
            let mut end = 0;
            while !quoted[end..].starts_with('"') {
                end += if quoted[end..].starts_with('\\') {
                    2
                } else {
                    quoted[end..].chars().next().with_context(broken)?.len_utf8()
                };
            }
            labels.push((key.to_owned(), quoted[..end].to_owned()));
            rest = quoted[end + 1..].trim_start_matches(',');
        }
        let value = rest.strip_prefix("} ").with_context(broken)?.parse().with_context(broken)?;
        let well_formed = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        ensure!(well_formed(name) && labels.iter().all(|(key, _)| well_formed(key)), broken());
        Ok(Self { name: name.to_owned(), labels, value })
    }
}

impl Page {
    fn parse(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n'), "the page has no end");
        let (mut families, mut lines): (Vec<(String, String)>, Vec<Line>) = Default::default();
        let mut helped = None;
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split(' ').next();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').with_context(|| format!("{line:?}"))?;
                ensure!(
                    helped == Some(name) && ["counter", "gauge"].contains(&kind),
                    "{line:?} after help for {helped:?}"
                );
                ensure!(!families.iter().any(|(known, _)| known == name), "{name} comes twice");
                families.push((name.to_owned(), kind.to_owned()));
            } else {
                let line = Line::parse(line)?;
                let (family, kind) = families.last().context("a value before all families")?;
                ensure!(*family == line.name, "{line:?} among the values of {family}");
                ensure!(kind != "counter" || line.value >= 0.0, "{line:?} counts below nothing");
                ensure!(
                    !lines.iter().any(|other| (&other.name, &other.labels) == (&line.name, &line.labels)),
                    "{line:?} twice"
                );
                lines.push(line);
            }
        }
        Ok(Self(lines))
    }

    fn lines(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Line> {
        let is_it = |line: &&Line| line.name == name && labels.iter().all(|(key, value)| line.label(key) == *value);
        self.0.iter().filter(is_it).collect()
    }

    fn one(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        match self.lines(name, labels)[..] {
            [line] => Ok(line.value),
            ref other => bail!("{name} with {labels:?}: {other:?}"),
        }
    }
}
