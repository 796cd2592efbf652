//! What the containers of a pod share, and pods do not.

use anyhow::{Result, ensure};
use loment_integration::pod::{Node, eventually, shell};

/// Keeps a container there to be looked at.
const STAY: &str = "exec sleep 1000";

pub(crate) async fn containers_of_a_pod_reach_each_other_over_localhost(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("localhost").run().await?;
    let server = "echo served > /tmp/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp";
    pod.start(shell("server", server)).await?;
    let client = pod.start(shell("client", STAY)).await?;
    let page = eventually("the page", async || {
        let output = client.exec(&["wget", "-q", "-O-", "http://127.0.0.1:8080/index.html"]).await?;
        Ok((output.code == 0).then_some(output.stdout))
    })
    .await?;
    ensure!(page == "served\n", "the page is {page:?}");
    pod.remove().await
}

pub(crate) async fn pods_have_different_addresses_and_reach_each_other(node: &Node<'_>) -> Result<()> {
    let (one, two) = (node.pod("one").run().await?, node.pod("two").run().await?);
    let (address, other) = (one.address().await?, two.address().await?);
    ensure!(!address.is_empty() && address != other, "addresses are {address:?} and {other:?}");
    one.start(shell("server", "echo one > /tmp/index.html; exec httpd -f -p 8080 -h /tmp")).await?;
    let client = two.start(shell("client", STAY)).await?;
    let url = format!("http://{address}:8080/index.html");
    eventually("the other pod's page", async || {
        let output = client.exec(&["wget", "-q", "-O-", &url]).await?;
        Ok((output.stdout == "one\n").then_some(()))
    })
    .await?;
    let seen = client.exec(&["ip", "-o", "-4", "addr", "show", "eth0"]).await?.stdout;
    ensure!(seen.contains(&format!("inet {other}/")), "CRI says {other}, the container sees {seen:?}");
    one.remove().await?;
    two.remove().await
}

pub(crate) async fn the_hostname_is_the_pods_name(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("its-own-name").run().await?;
    for container in ["first", "second"] {
        let seen = pod.output_of(shell(container, "hostname; cat /etc/hostname")).await?;
        ensure!(seen == "its-own-name\nits-own-name\n", "{container} sees {seen:?}");
    }
    pod.remove().await
}

pub(crate) async fn sysv_semaphores_are_shared_inside_a_pod_only(node: &Node<'_>) -> Result<()> {
    let (pod, other) = (node.pod("semaphores").run().await?, node.pod("stranger").run().await?);
    pod.start(shell("maker", &format!("loment-probe sem-create 4711 7 && touch /tmp/made; {STAY}"))).await?;
    let reader = pod.start(shell("reader", STAY)).await?;
    eventually("the semaphore in the same pod", async || {
        let output = reader.exec(&["loment-probe", "sem-value", "4711"]).await?;
        Ok((output.code == 0 && output.stdout == "7\n").then_some(()))
    })
    .await?;
    let stranger = other.start(shell("reader", STAY)).await?;
    let output = stranger.exec(&["loment-probe", "sem-value", "4711"]).await?;
    ensure!(output.code == 1 && output.stderr.contains("No such file"), "another pod sees {output:?}");
    pod.remove().await?;
    other.remove().await
}

pub(crate) async fn posix_shared_memory_is_shared_inside_a_pod_only(node: &Node<'_>) -> Result<()> {
    let (pod, other) = (node.pod("memory").run().await?, node.pod("stranger").run().await?);
    let maker = pod.start(shell("maker", STAY)).await?;
    let made = maker.exec(&["loment-probe", "shm-write", "/lot", "of things"]).await?;
    ensure!(made.code == 0, "{made:?}");
    let reader = pod.start(shell("reader", STAY)).await?;
    let read = reader.exec(&["loment-probe", "shm-read", "/lot"]).await?;
    ensure!(read.stdout == "of things\n", "the same pod sees {read:?}");
    let stranger = other.start(shell("reader", STAY)).await?;
    let output = stranger.exec(&["loment-probe", "shm-read", "/lot"]).await?;
    ensure!(output.code == 1 && output.stderr.contains("ENOENT"), "another pod sees {output:?}");
    pod.remove().await?;
    other.remove().await
}

pub(crate) async fn containers_with_shared_pids_see_each_other(node: &Node<'_>) -> Result<()> {
    let (shared, apart) = (node.pod("shared").shared_pids().run().await?, node.pod("apart").run().await?);
    for (pod, expected) in [(&shared, true), (&apart, false)] {
        pod.start(shell("neighbour", "exec sleep 4711")).await?;
        let seen = pod.output_of(shell("looker", "ps")).await?;
        let found = seen.contains("sleep 4711");
        ensure!(found == expected, "{} sees {seen}", pod.config.hostname);
    }
    shared.remove().await?;
    apart.remove().await
}

pub(crate) async fn a_volume_survives_a_restart_of_its_container(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "survivor")?;
    let pod = node.pod("volume").run().await?;
    let script = "echo attempt $N >> /data/log; touch /layer-$N; ls / | grep -c layer; cat /data/log";
    let attempt =
        |number: u32| shell("writer", script).attempt(number).env("N", &number.to_string()).volume(&volume, "/data");
    let first = pod.output_of(attempt(0)).await?;
    ensure!(first == "1\nattempt 0\n", "the first attempt says {first:?}");
    let second = pod.output_of(attempt(1)).await?;
    ensure!(second == "1\nattempt 0\nattempt 1\n", "the second attempt says {second:?}");
    let neighbour = pod.output_of(shell("neighbour", "cat /data/log").volume(&volume, "/data")).await?;
    ensure!(neighbour == "attempt 0\nattempt 1\n", "a neighbour reads {neighbour:?}");
    pod.remove().await
}
