//! What a container must not have of the runtime's or the host's, by way of a real shim on a real host's mounts.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config,
    pod::{Node, shell},
};

/// A mount that is the peer of one of the host's hands on what a container mounts over it: /dev/null covered with a file
/// of the container's, for one.
pub(crate) async fn no_mount_of_a_container_is_a_peer_of_the_hosts(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("peers").run().await?;
    let main = shell("main", "cat /proc/self/mountinfo");
    let main = main.security(|security| security.masked_paths = vec!["/proc/keys".to_owned()]);
    let text = pod.output_of(main).await?;
    ensure!(text.contains(" /proc/keys "), "nothing is masked: {text}");
    ensure!(!text.contains("shared:"), "the mounts are {text}");
    pod.remove().await
}

/// The shim forbids itself huge pages, which programs would inherit. containerd's own shim does not.
pub(crate) async fn huge_pages_are_as_on_the_host(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let of = |status: &str| status.lines().find(|line| line.starts_with("THP_enabled")).map(str::to_owned);
    let pod = node.pod("pages").run().await?;
    let container = pod.start(shell("main", "exec sleep 1000")).await?;
    let host = of(&fs::read_to_string("/proc/self/status").context("read /proc/self/status")?);
    let init = of(&container.exec(&["cat", "/proc/1/status"]).await?.stdout);
    let exec = of(&container.exec(&["cat", "/proc/self/status"]).await?.stdout);
    ensure!(init == host && exec == host, "they are {host:?} on the host, {init:?} and {exec:?} in the container");
    pod.remove().await
}
