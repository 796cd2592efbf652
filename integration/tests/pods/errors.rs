//! Bad input: a clear error, and nothing half made. What is left behind is counted after each test.

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1::ContainerState;
use loment_integration::{
    config, images,
    pod::{Node, command, shell},
};

pub(crate) async fn a_missing_program_is_a_start_error_with_code_128(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("missing").run().await?;
    let container = pod.create(command("main", &["/no/such/program", "argument"])).await?;
    let Err(error) = container.start().await else { bail!("a program that does not exist was started") };
    let text = format!("{error:#}");
    ensure!(text.contains("/no/such/program") && text.to_lowercase().contains("no such file"), "it says {text}");
    let status = container.status().await?;
    ensure!(status.state() == ContainerState::ContainerExited, "the container is {:?}", status.state());
    ensure!(status.exit_code == 128 && status.reason == "StartError", "{} {}", status.exit_code, status.reason);
    container.remove().await?;
    pod.remove().await
}

pub(crate) async fn an_exec_of_a_missing_program_fails_and_the_container_lives_on(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("missing-exec").run().await?;
    let container = pod.start(shell("main", "exec sleep 1000")).await?;
    let Err(error) = container.exec(&["/no/such/program"]).await else { bail!("a missing program was run") };
    let text = format!("{error:#}");
    ensure!(text.contains("/no/such/program") && text.to_lowercase().contains("no such file"), "it says {text}");
    ensure!(container.exec(&["true"]).await?.code == 0, "the container does not live on");
    pod.remove().await
}

/// runc only warns of a capability that it does not know, and runs the container without.
pub(crate) async fn an_unknown_capability_is_refused(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let pod = node.pod("capability").run().await?;
    let with_capability = shell("main", "true").security(|security| {
        security.capabilities.get_or_insert_default().add_capabilities.push("FLYING".to_owned());
    });
    let error = match pod.create(with_capability).await {
        Ok(container) => container.start().await.err().context("an unknown capability was granted")?,
        Err(error) => error,
    };
    let text = format!("{error:#}");
    ensure!(text.contains("CAP_FLYING"), "it says {text}");
    pod.remove().await
}

pub(crate) async fn a_cgroup_path_that_cannot_be_made_fails_the_pod_and_leaves_nothing(node: &Node<'_>) -> Result<()> {
    // The kernel refuses a newline in a cgroup's name: it would break /proc/<pid>/cgroup.
    let pod = node.pod("cgroup").with_linux(|linux| linux.cgroup_parent = "/two\nlines".to_owned()).run().await;
    let Err(error) = pod else { bail!("a cgroup with a newline in its name was made") };
    let text = format!("{error:#}");
    ensure!(text.contains("lines") && text.contains("cgroup"), "it does not name the path: {text}");
    ensure!(text.to_lowercase().contains("invalid argument") || text.contains("newline"), "it says {text}");
    Ok(())
}

pub(crate) async fn a_namespace_path_that_is_gone_is_named(node: &Node<'_>) -> Result<()> {
    let gone = "/run/netns/was-never-there";
    let text = ctr_run(node, "gone", &["--with-ns", &format!("network:{gone}"), images::BUSYBOX_IMAGE, "gone", "true"])
        .await?;
    ensure!(text.contains(gone) && text.to_lowercase().contains("no such file"), "it says {text}");
    Ok(())
}

pub(crate) async fn a_missing_root_filesystem_is_named(node: &Node<'_>) -> Result<()> {
    let text = ctr_run(node, "rootless", &["--rootfs", "/no/such/rootfs", "rootless", "true"]).await?;
    ensure!(text.contains("/no/such/rootfs") && text.to_lowercase().contains("no such file"), "it says {text}");
    Ok(())
}

/// Runs a container outside CRI, which must fail, removes what containerd knows of it and returns what was said.
async fn ctr_run(node: &Node<'_>, container: &str, words: &[&str]) -> Result<String> {
    let runtime = node.runtime_type();
    let output = node.lab.ctr_output(&[&["run", "--runtime", runtime.as_str()], words].concat(), b"").await?;
    // ctr leaves its container when the task could not be made; the task must not be there.
    let tasks = node.lab.ctr_output(&["task", "ls", "--quiet"], b"").await?;
    let removed = node.lab.ctr_output(&["container", "rm", container], b"").await?;
    ensure!(!output.status.success(), "ctr run {words:?} succeeded");
    ensure!(!String::from_utf8_lossy(&tasks.stdout).contains(container), "the task of {container} is left");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(removed.status.success() || text.contains(container), "{removed:?}");
    Ok(text)
}
