//! Faults around pods for which it takes a containerd. Those of a shim alone are tested with it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::container_status,
    pod::{Node, eventually, shell},
    process,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::manifest::{COUNTED, Manifest};

/// The lab's containerd, stopped until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn now() -> Result<Self> {
        let own = nix::unistd::getpid().as_raw();
        let is_it = |line: &str| {
            let program = line.split(' ').next().map(Path::new).and_then(Path::file_name);
            program.is_some_and(|name| name == "containerd")
        };
        let found = process::descendants(own).into_iter().find(|process| is_it(&process::command_line(process)));
        let containerd = Pid::from_raw(found.context("find containerd")?.pid);
        kill(containerd, Signal::SIGSTOP).context("stop containerd")?;
        Ok(Self(containerd))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that has ended is reported by what asks it next.
        let _ended = kill(self.0, Signal::SIGCONT);
    }
}

/// It accepts connections as long as its queue has room, and answers nobody.
pub(crate) async fn a_containerd_that_is_stopped_stops_no_pod_and_hears_of_every_end_afterwards(
    node: &Node<'_>,
) -> Result<()> {
    let data = node.lab.directory("volumes", "stopped")?;
    let plain = node.pod("plain").run().await?;
    let waits = "until [ -e /data/go ]; do sleep 0.01; done; exit 7";
    let first = plain.start(shell("first", waits).volume(&data, "/data")).await?;
    let second = plain.start(shell("second", waits).volume(&data, "/data")).await?;
    let hosted = Manifest::new(node, "hosted")?
        .restart_policy("Always")
        .annotation("io.loment.pod.backoff-max", "50ms")
        .app("again", &format!("{COUNTED}; exit 3"));
    let loment = hosted.create(node).await?;
    loment.phase("hosted", "Running").await?;
    let pids = (first.pid().await?, second.pid().await?);
    let tries = || hosted.lines("tries").first().and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();

    let stopped = Stopped::now()?;
    let before = tries();
    fs::write(data.join("go"), "")?;
    let is_gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
    eventually("the ends of two containers", async || Ok((is_gone(pids.0) && is_gone(pids.1)).then_some(()))).await?;
    eventually("more attempts", async || Ok((tries() > before + 3).then_some(()))).await?;
    drop(stopped);

    for container in [first, second] {
        let status = container.exited().await?;
        ensure!(status.exit_code == 7, "the exit code is {}", status.exit_code);
        container.remove().await?;
    }
    let status = &loment.get("hosted").await?["status"];
    ensure!(container_status(status, "again")?["restartCount"].as_i64() > Some(3), "nobody has run it again: {status}");
    loment.delete("hosted").await?;
    plain.remove().await
}
