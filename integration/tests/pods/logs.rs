//! What containers write.

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config,
    pod::{Node, eventually, shell, text_of},
};

pub(crate) async fn a_container_writes_both_streams_in_order(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("streams").run().await?;
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done";
    let container = pod.start(shell("writer", script)).await?;
    container.exited().await?;
    let lines = container.logs()?;
    let (stdout, stderr) = (text_of(&lines, "stdout"), text_of(&lines, "stderr"));
    ensure!(stdout == "out 1\nout 2\nout 3\n" && stderr == "err 1\nerr 2\nerr 3\n", "the log is {lines:?}");
    pod.remove().await
}

pub(crate) async fn a_last_line_without_newline_is_kept(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("unended").run().await?;
    let container = pod.start(shell("writer", "printf 'whole\\nunended'")).await?;
    container.exited().await?;
    let lines = container.logs()?;
    ensure!(lines.iter().map(|line| line.text.as_str()).eq(["whole", "unended"]), "the log is {lines:?}");
    pod.remove().await
}

/// Not so with containerd 1.6's own shim: of these lines, it loses the last 70 kB whenever the writer ends at once.
pub(crate) async fn output_written_just_before_the_exit_is_not_lost(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let pod = node.pod("burst").run().await?;
    // More than a pipe holds, so that some is still on its way when the process has ended.
    let container = pod.start(shell("writer", "seq 1 50000")).await?;
    let status = container.exited().await?;
    ensure!(status.exit_code == 0, "it ended with {}", status.exit_code);
    let expected: String = (1..=50_000).map(|number| format!("{number}\n")).collect();
    // containerd copies on after it has told of the exit.
    let all =
        eventually("the whole output", async || Ok((text_of(&container.logs()?, "stdout") == expected).then_some(())));
    all.await
        .with_context(|| format!("{:?} is the last of the log", container.logs().map(|lines| lines.last().cloned())))?;
    pod.remove().await
}
