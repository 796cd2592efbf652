//! Further processes in a container.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config,
    events::Events,
    pod::{Container, Node, eventually, shell},
};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const STAY: &str = "exec sleep 1000";

pub(crate) async fn an_exec_has_its_own_exit_code_and_streams(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("exec").run().await?;
    let container = pod.start(shell("main", STAY).env("COLOUR", "blue")).await?;
    let output = container.exec(&["sh", "-c", "echo out $COLOUR; echo err >&2; exit 42"]).await?;
    ensure!(output.code == 42, "{output:?}");
    ensure!(output.stdout == "out blue\n" && output.stderr == "err\n", "{output:?}");
    let killed = container.exec(&["sh", "-c", "kill -KILL $$"]).await?;
    ensure!(killed.code == 137, "a killed exec ends with 128 and the signal: {killed:?}");
    pod.remove().await
}

pub(crate) async fn many_execs_at_once_all_answer(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("execs").run().await?;
    let container = pod.start(shell("main", STAY)).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..30 {
        let (cri, id) = (node.cri.clone(), container.id.clone());
        let words = ["sh".to_owned(), "-c".to_owned(), format!("echo {number}; exit {number}")];
        tasks.spawn(async move { (number, cri.exec_sync(&id, &words, Duration::from_secs(60)).await) });
    }
    while let Some(done) = tasks.join_next().await {
        let (number, answer) = done.context("an exec's task")?;
        let answer = answer?;
        ensure!(answer.exit_code == number, "exec {number} ended with {}", answer.exit_code);
        ensure!(answer.stdout == format!("{number}\n").into_bytes(), "exec {number} said {:?}", answer.stdout);
    }
    pod.remove().await
}

pub(crate) async fn an_exec_reads_its_standard_input_to_the_end(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("stdin").run().await?;
    let container = pod.start(shell("main", STAY)).await?;
    let words = ["task", "exec", "--exec-id", "reader", &container.id, "wc", "-c"];
    // More than a pipe holds.
    let output = node.lab.ctr_output(&words, &[b'x'; 200_000]).await?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stdout == b"200000\n", "it counted {}", String::from_utf8_lossy(&output.stdout));
    pod.remove().await
}

pub(crate) async fn an_exec_with_a_terminal_follows_its_size(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("terminal").run().await?;
    let container = pod.start(shell("main", STAY)).await?;
    let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).context("make a terminal")?;
    let mut ctr = node.lab.ctr();
    // The size travels after the start: the shell looks until it has changed.
    let script = "tty; until [ \"$(stty size)\" = '31 97' ]; do :; done; echo first; \
                  until [ \"$(stty size)\" = '41 123' ]; do :; done; echo second; read line; echo got $line; exit 7";
    ctr.args(["task", "exec", "--tty", "--exec-id", "terminal", &container.id, "sh", "-c", script]);
    let slave = || terminal.slave.try_clone().map(Stdio::from);
    let mut child = ctr.stdin(slave()?).stdout(slave()?).stderr(slave()?).spawn().context("run ctr")?;
    let screen = Screen::watch(File::from(terminal.master.try_clone()?));

    screen.shows("first").await?;
    let resize = std::process::Command::new("/bin/busybox")
        .args(["stty", "rows", "41", "cols", "123"])
        .stdin(slave()?)
        .status()
        .context("run busybox stty")?;
    ensure!(resize.success(), "set the size of the terminal: {resize}");
    // The kernel tells only the terminal's own session, which ctr is not in.
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGWINCH).context("tell ctr")?;
    screen.shows("second").await?;
    File::from(terminal.master).write_all(b"typed\n").context("type")?;
    screen.shows("got typed").await?;
    let status = eventually("the end of ctr", async || Ok(child.try_wait()?)).await?;
    ensure!(status.code() == Some(7), "ctr ended with {status}");
    ensure!(screen.text().contains("/dev/pts/"), "the exec's terminal is not of the container: {}", screen.text());
    pod.remove().await
}

/// What a terminal shows.
pub(crate) struct Screen(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Screen {
    pub(crate) fn watch(mut master: File) -> Self {
        let text = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = std::sync::Arc::clone(&text);
        // Ends when the last slave is closed, which makes reading an error.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = master.read(&mut buffer) {
                sink.lock().expect("the screen's lock").extend_from_slice(&buffer[..count]);
            }
        });
        Self(text)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the screen's lock")).into_owned()
    }

    pub(crate) async fn shows(&self, text: &str) -> Result<()> {
        let shown = eventually(text, async || Ok(self.text().contains(text).then_some(()))).await;
        shown.with_context(|| format!("the terminal shows {:?}", self.text()))
    }
}

/// Neither in a pid namespace of its own, where the kernel kills the exec, nor in the pod's, where the shim must.
pub(crate) async fn an_exec_outlasted_by_nobody_exits_before_its_container(node: &Node<'_>) -> Result<()> {
    for pod in [node.pod("own-pids"), node.pod("shared-pids").shared_pids()] {
        // containerd 1.6's own shim keeps this order only where the kernel does.
        if node.handler == config::RUNC && pod.has_shared_pids() {
            continue;
        }
        let events = Events::follow(node.lab).await?;
        let pod = pod.run().await?;
        let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done";
        let container = pod.start(shell("main", script)).await?;
        eventually("the trap", async || Ok((!container.logs()?.is_empty()).then_some(()))).await?;
        exec_detached(node, &container, "long", STAY).await?;
        container.stop(Duration::from_secs(30)).await?;
        let status = container.status().await?;
        ensure!(status.exit_code == 3, "the container ended with {}", status.exit_code);
        let seen = events.until("the container's exit", |event| event.is_exit(&container.id, &container.id)).await?;
        let exec = seen.iter().find(|event| event.is_exit(&container.id, "long"));
        let exec = exec.with_context(|| format!("{}: the exec's exit comes after", pod.config.hostname))?;
        ensure!(exec.body["exit_status"] == 137, "the exec was killed: {:?}", exec.body);
        pod.remove().await?;
    }
    Ok(())
}

async fn exec_detached(node: &Node<'_>, container: &Container<'_>, exec: &str, script: &str) -> Result<()> {
    // ctr would leave its fifos in /run/containerd.
    let fifos = node.lab.directory("volumes", "fifo")?.display().to_string();
    let words =
        ["task", "exec", "--detach", "--fifo-dir", &fifos, "--exec-id", exec, &container.id, "sh", "-c", script];
    let output = node.lab.ctr_output(&words, b"").await?;
    ensure!(output.status.success(), "exec {exec}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A container may stop every process that it sees, also one of the runtime's on its way to becoming the exec's program.
pub(crate) async fn a_container_that_stops_every_process_does_not_stop_its_shim(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("stopper").run().await?;
    let container = pod.start(shell("main", "while :; do kill -STOP -1; sleep 0.001; done")).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (cri, id) = (node.cri.clone(), container.id.clone());
        // Some run, others are stopped for ever, on their way or later: what becomes of each does not matter.
        tasks.spawn(async move {
            let patience = Duration::from_secs(2);
            drop(tokio::time::timeout(patience, cri.exec_sync(&id, &["true"], patience)).await);
        });
    }
    while tasks.join_next().await.is_some() {}
    let other = pod.start(shell("other", STAY)).await?;
    ensure!(other.exec(&["true"]).await?.code == 0, "the pod's shim serves nobody any more");
    container.stop(Duration::ZERO).await?;
    ensure!(container.status().await?.exit_code == 137, "it was not killed: {:?}", container.status().await?);
    pod.remove().await
}
