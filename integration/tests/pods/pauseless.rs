//! Pods whose sandbox the shim makes: what is not there, and what must be there all the same.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    pod::{Node, Pod, command, eventually, shell},
    process::descendants,
};

use super::{command::shim_of, ctr::field};

/// Keeps a container there to be looked at.
const STAY: &[&str] = &["sleep", "1000"];

/// The processes of a pod, its shim not among them.
fn processes(pod: &Pod<'_>) -> Result<Vec<i32>> {
    let shim = shim_of(&pod.id)?.as_raw();
    Ok(descendants(shim).into_iter().map(|process| process.pid).collect())
}

pub(crate) async fn a_pod_of_one_container_has_two_processes(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("two").run().await?;
    ensure!(processes(&pod)?.is_empty(), "the sandbox has processes: {:?}", processes(&pod)?);
    let container = pod.start(command("app", STAY)).await?;
    let found = processes(&pod)?;
    ensure!(found == [container.pid().await?], "beside the shim there are {found:?}");
    pod.remove().await
}

pub(crate) async fn a_pod_that_shares_its_processes_has_one_to_reap_them(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("reaped").shared_pids().run().await?;
    let [holder] = processes(&pod)?[..] else { anyhow::bail!("its processes are {:?}", processes(&pod)?) };
    let app = pod.start(shell("app", "sh -c 'sleep 0.1 & echo $! > /tmp/orphan'; exec sleep 1000")).await?;
    let first = app.exec(&["cat", "/proc/1/comm"]).await?.stdout;
    ensure!(first == "pause\n", "its first process is {first:?}");
    eventually("the orphan to be reaped", async || {
        let left = app.exec(&["sh", "-c", "test -e /proc/$(cat /tmp/orphan)"]).await?;
        Ok((left.code != 0).then_some(()))
    })
    .await?;
    ensure!(Path::new(&format!("/proc/{holder}")).exists(), "the holder has ended");
    pod.remove().await
}

pub(crate) async fn a_container_never_sees_the_processes_of_the_node(node: &Node<'_>) -> Result<()> {
    use loment_cri::v1::NamespaceMode;
    let first = shell("first", "cat /proc/1/comm; ls /proc | grep -c '^[0-9]'");
    // As CRI has it, a pod that says nothing shares its processes.
    let silent = node.pod("silent").with_linux(|linux| linux.security_context = None).run().await?;
    let seen = silent.output_of(first.clone()).await?;
    ensure!(seen.starts_with("pause\n"), "in a pod that says nothing it sees {seen:?}");
    silent.remove().await?;
    // There is nothing to share in the pod that the container asks for.
    let pod = node.pod("private").run().await?;
    let asks = first.security(|security| {
        security.namespace_options.get_or_insert_default().pid = NamespaceMode::Pod.into();
    });
    let seen = pod.output_of(asks).await?;
    ensure!(seen.starts_with("sh\n"), "it sees {seen:?}");
    pod.remove().await
}

pub(crate) async fn a_pod_has_the_files_that_containerd_would_make(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("fitted").with(|config| {
        let dns = config.dns_config.get_or_insert_default();
        dns.searches = vec!["example.test".to_owned()];
    });
    let pod = pod.run().await?;
    let seen = pod.output_of(shell("files", "cat /etc/resolv.conf /etc/hostname; hostname; cat /etc/hosts")).await?;
    let hosts = fs::read_to_string("/etc/hosts").context("the node's hosts")?;
    ensure!(seen == format!("search example.test\nnameserver 10.88.0.1\nfitted\nfitted\n{hosts}"), "it sees {seen:?}");
    let memory =
        pod.output_of(shell("memory", "stat -c %a /dev/shm; df -k /dev/shm | awk 'NR == 2 {print $1, $2}'")).await?;
    ensure!(memory == "1777\nshm 65536\n", "its shared memory is {memory:?}");
    let readonly = shell("readonly", "echo x >> /etc/hosts || echo closed; echo x > /dev/shm/y && echo open");
    let readonly = readonly.security(|security| security.readonly_rootfs = true);
    let seen = pod.output_of(readonly).await?;
    ensure!(seen == "closed\nopen\n", "with a read-only root it says {seen:?}");
    pod.remove().await
}

pub(crate) async fn a_pod_has_a_network_and_parameters_of_its_own(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("parameters").with_linux(|linux| {
        linux.sysctls.insert("kernel.msgmax".to_owned(), "4321".to_owned());
        linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "99".to_owned());
    });
    let pod = pod.run().await?;
    let script = "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start \
         /proc/sys/net/ipv4/ping_group_range; ip -o -4 addr show eth0 | wc -l";
    let seen = pod.output_of(shell("app", script)).await?;
    ensure!(seen == "4321\n99\n0\t2147483647\n1\n", "it sees {seen:?}");
    pod.remove().await
}

pub(crate) async fn what_a_sandbox_uses_is_its_pods_cgroup(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("measured").run().await?;
    pod.start(shell("app", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000")).await?;
    let used = eventually("some time of a processor", async || {
        let stats = node.cri.pod_sandbox_stats(&pod.id).await?;
        let cpu = stats.linux.and_then(|linux| linux.cpu).and_then(|cpu| cpu.usage_core_nano_seconds);
        Ok(cpu.map(|cpu| cpu.value).filter(|value| *value > 20_000_000))
    })
    .await?;
    let app = pod.start(command("other", STAY)).await?;
    let stats = node.cri.pod_sandbox_stats(&pod.id).await?.linux.context("stats")?;
    let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).context("its processor time")?.value;
    ensure!(cpu >= used, "it has used {cpu}, and before {used}");
    let memory = stats.memory.and_then(|memory| memory.usage_bytes).context("its memory")?.value;
    ensure!(memory > 0, "it uses no memory");
    ensure!(stats.containers.len() == 2, "its containers are {:?}", stats.containers.len());
    app.remove().await.or_else(|_| Ok::<_, anyhow::Error>(()))?;
    pod.remove().await
}

pub(crate) async fn a_stopped_sandbox_keeps_nothing_and_takes_no_container(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("stopped").run().await?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").context("read the mounts");
    ensure!(mounts()?.contains(&format!("{}/shm", pod.id)), "it has no shared memory");
    node.cri.stop_pod_sandbox(&pod.id).await?;
    eventually("the pod to be not ready", async || Ok((pod.status().await?.state == 1).then_some(()))).await?;
    ensure!(!mounts()?.contains(&pod.id), "something is still mounted");
    let refused = match pod.create(command("late", STAY)).await {
        Ok(late) => late.start().await.map(|()| late.id),
        Err(error) => Err(error),
    };
    ensure!(refused.is_err(), "a container was started in a sandbox that has been stopped");
    pod.remove().await
}

pub(crate) async fn a_killed_shim_takes_its_sandbox_with_it(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("killed").run().await?;
    let container = pod.start(command("app", STAY)).await?;
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid().await?)).context("read its status")?;
    ensure!(field(&status, "PPid")? == shim_of(&pod.id)?.to_string(), "its parent is another one");
    nix::sys::signal::kill(shim_of(&pod.id)?, nix::sys::signal::Signal::SIGKILL).context("kill the shim")?;
    container.exited().await?;
    eventually("the pod to be not ready", async || {
        // Until containerd has taken notice it says that the connection is closed.
        let state = pod.status().await.map(|status| status.state);
        Ok(state.is_ok_and(|state| state == 1).then_some(()))
    })
    .await?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    ensure!(!mounts.contains(&format!("{}/shm", pod.id)), "its shared memory is still mounted");
    pod.remove().await
}
