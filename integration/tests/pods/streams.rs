//! Where the output of containers goes, by containerd's own client: files, loggers, and readers that go away or stand
//! still.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use super::run::{Run, succeeded};
use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    config, images,
    pod::{Node, eventually, shell, text_of},
};
use nix::pty::openpty;
use serde_json::json;

/// Says that it is ready by closing its pipe, notes who it is for and with which arguments, then what it reads, stream by
/// stream, and its own end.
const FAITHFUL: &str = r#"exec 5>&-
log=$2
echo "for $CONTAINER_ID in $CONTAINER_NAMESPACE: $*" >> $log
while read -r line; do echo "out $line" >> $log; done <&3 &
while read -r line; do echo "err $line" >> $log; done <&4 &
wait
echo end >> $log
"#;

impl Run<'_> {
    /// The logger that writes into the file `log`.
    fn faithful(&self) -> Result<String> {
        self.logger("binary", FAITHFUL, &format!("&log={}&mode=faithful", self.path("log").display()))
    }
}

/// Lines of one stream in a log of [`FAITHFUL`].
fn of_stream(log: &str, stream: &str) -> Vec<String> {
    log.lines().filter_map(|line| Some(line.strip_prefix(stream)?.trim_start().to_owned())).collect()
}

pub(crate) async fn a_logger_takes_both_streams_to_their_ends(node: &Node<'_>) -> Result<()> {
    let run = Run::new(node, "logged")?;
    let uri = run.faithful()?;
    run.started(&["--log-uri", &uri], "seq 1 2000; echo oops >&2; printf 'no newline'; echo >&2").await?;
    run.ended().await?;
    run.removed().await?;
    run.no_logger().await?;
    let log = run.read("log");
    let (first, path) = (log.lines().next().unwrap_or_default(), run.path("log"));
    let expected = format!("for logged in k8s.io: log {} mode faithful", path.display());
    ensure!(first.starts_with(&expected), "it was started {first:?}");
    let mut lines: Vec<String> = (1..=2000).map(|number| number.to_string()).collect();
    // read(1) drops a line without end, which a logger may.
    ensure!(of_stream(&log, "out") == lines, "standard output is {:?}", of_stream(&log, "out").len());
    lines.clear();
    ensure!(of_stream(&log, "err") == ["oops", ""], "standard error is {:?}", of_stream(&log, "err"));
    ensure!(log.ends_with("end\n"), "it was not left to end by itself: {log}");
    Ok(())
}

pub(crate) async fn an_exec_has_a_logger_of_its_own(node: &Node<'_>) -> Result<()> {
    let run = Run::new(node, "exec-logged")?;
    run.started(&["--null-io"], "sleep 1000").await?;
    let uri = run.faithful()?;
    let words = ["task", "exec", "--exec-id", "talker", "--log-uri", &uri, run.id, "sh", "-c", "echo a; echo b >&2"];
    succeeded(&run.ctr(&words).await?)?;
    run.no_logger().await?;
    let log = run.read("log");
    ensure!(log.starts_with("for talker in k8s.io:"), "it is for {log:?}");
    ensure!(of_stream(&log, "out") == ["a"] && of_stream(&log, "err") == ["b"], "the log is {log:?}");
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    run.removed().await
}

/// `binary-v2` came with containerd 2.3, whose other shims do not know it before.
pub(crate) async fn a_logger_may_say_that_it_is_ready_by_a_byte(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let run = Run::new(node, "v2")?;
    // It keeps its ready pipe open.
    let script = format!("printf R >&5\n{}", FAITHFUL.trim_start_matches("exec 5>&-\n"));
    let uri = run.logger("binary-v2", &script, &format!("&log={}", run.path("log").display()))?;
    run.started(&["--log-uri", &uri], "echo hello").await?;
    run.ended().await?;
    run.removed().await?;
    run.no_logger().await?;
    ensure!(of_stream(&run.read("log"), "out") == ["hello"], "the log is {:?}", run.read("log"));
    Ok(())
}

/// containerd's own shim takes the end of such a logger for its being ready.
pub(crate) async fn a_logger_that_cannot_serve_fails_the_create_and_leaves_nothing(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let run = Run::new(node, "no-logger")?;
    let cases = [
        ("binary:///no/such/logger".to_owned(), vec!["/no/such/logger", "No such file"]),
        (run.logger("binary", "exit 7", "")?, vec!["ended with status 7 before it was ready"]),
        (run.logger("binary-v2", "exit 7", "&v=2")?, vec!["ended with status 7 before it was ready"]),
        ("binary://relative".to_owned(), vec!["not absolute"]),
        ("pigeon:///x".to_owned(), vec!["scheme pigeon", "binary-v2://"]),
    ];
    for (uri, expected) in &cases {
        let text = run.refused(&["--log-uri", uri]).await?;
        ensure!(expected.iter().all(|part| text.contains(part)), "{uri}: it says {text}");
        ensure!(run.loggers() == 0, "{uri}: a logger is left");
    }
    for (scheme, script) in [("binary", "sleep 1000"), ("binary-v2", "exec 5>&-; sleep 1000")] {
        let uri = run.logger(scheme, script, "")?;
        let text = run.refused(&["--log-uri", &uri]).await?;
        ensure!(text.contains("ready") && text.contains("descriptor 5"), "{scheme}: it says {text}");
        ensure!(run.loggers() == 0, "{scheme}: a logger is left");
    }
    Ok(())
}

pub(crate) async fn a_logger_that_never_ends_does_not_hold_up_a_delete_and_is_killed(node: &Node<'_>) -> Result<()> {
    let run = Run::new(node, "endless-logger")?;
    let uri = run.logger("binary", "exec 5>&-; trap '' TERM; while :; do sleep 1; done", "")?;
    run.started(&["--log-uri", &uri], "echo lost").await?;
    run.ended().await?;
    // It comes back, in a time that the client's own limit bounds.
    run.removed().await?;
    run.no_logger().await
}

pub(crate) async fn a_log_file_is_appended_to_by_one_container_after_the_other(node: &Node<'_>) -> Result<()> {
    let run = Run::new(node, "filed")?;
    let path = run.path("deep/er/file.log");
    let uri = format!("file://{}", path.display());
    for _ in 0..2 {
        run.started(&["--log-uri", &uri], "echo one; echo two >&2").await?;
        run.ended().await?;
        run.removed().await?;
    }
    ensure!(run.read("deep/er/file.log") == "one\ntwo\none\ntwo\n", "{:?}", run.read("deep/er/file.log"));
    let modes = [&path, Path::new(path.parent().unwrap_or(&path))]
        .map(|path| fs::metadata(path).map(|it| it.permissions().mode() & 0o777));
    ensure!(matches!(modes, [Ok(0o644), Ok(0o755)]), "the modes are {modes:?}");
    Ok(())
}

/// The reader of the fifos goes away with containerd; the logger does not. The app got SIGPIPE there: docs/faults-of-others.md
pub(crate) async fn rust_extensions_154_an_app_that_writes_while_containerd_restarts_lives_on(
    node: &Node<'_>,
) -> Result<()> {
    let run = Run::new(node, "writer")?;
    let uri = run.faithful()?;
    let count = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done";
    run.started(&["--log-uri", &uri], count).await?;
    let pod = node.pod("pod-writer").run().await?;
    let container = pod.start(shell("main", count)).await?;
    eventually("the first lines", async || {
        Ok((run.read("log").lines().count() > 3 && container.logs()?.len() > 3).then_some(()))
    })
    .await?;
    let pid = container.pid().await?;
    node.lab.restart_containerd().await?;
    let (before, log) = (container.logs()?.len(), run.read("log").lines().count());
    // It has written many more lines since, and neither of them has met an end.
    eventually("more lines in the logger's file", async || {
        Ok((run.read("log").lines().count() > log + 20).then_some(()))
    })
    .await?;
    ensure!(Path::new(&format!("/proc/{pid}")).exists(), "the app whose reader was gone has ended");
    eventually("more lines in the pod's log", async || Ok((container.logs()?.len() > before + 20).then_some(())))
        .await?;
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    run.removed().await?;
    run.no_logger().await?;
    // The logger has missed nothing.
    let lines = of_stream(&run.read("log"), "out");
    ensure!(lines.iter().zip(1..).all(|(line, number)| *line == format!("{number}")), "lines are missing: {lines:?}");
    let numbers = text_of(&container.logs()?, "stdout");
    ensure!(numbers.starts_with("1\n2\n3\n"), "the pod's log begins {numbers:?}");
    drop(pod);
    node.lab.remove_pods().await
}

/// A client that has opened its streams and reads nothing, with and without a terminal.
pub(crate) async fn a_reader_that_stands_still_does_not_hold_up_a_delete(node: &Node<'_>) -> Result<()> {
    for id in ["still", "still-terminal"] {
        let run = Run::new(node, id)?;
        // What the client copies into its own output stops when that is full: from then on it reads no more.
        let terminal = openpty(None, None).context("a terminal")?;
        let (output, flag) =
            if id == "still" { (Stdio::piped(), "--rm=false") } else { (terminal.slave.try_clone()?.into(), "--tty") };
        let (runtime, fifos) = (node.runtime_type(), run.path("fifos").display().to_string());
        let words = ["run", "--runtime", &runtime, "--fifo-dir", &fifos, flag, images::BUSYBOX_IMAGE, id, "yes"];
        let mut command = node.lab.ctr();
        let client = command.args(words).stdin(terminal.slave).stdout(output).stderr(Stdio::null());
        let mut client = client.spawn().context("run ctr")?;
        let deleted = deleted_under(&run).await;
        let _ = client.kill();
        client.wait().context("wait for ctr")?;
        deleted?;
    }
    Ok(())
}

/// Ends a task whose client reads nothing.
async fn deleted_under(run: &Run<'_>) -> Result<()> {
    eventually("a task that runs", async || {
        let tasks = run.ctr(&["task", "ls"]).await?;
        Ok(String::from_utf8_lossy(&tasks.stdout).contains("RUNNING").then_some(()))
    })
    .await?;
    let pid = run.pid().await?;
    eventually("a writer that waits for its reader", async || {
        let channel = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        Ok(["pipe_write", "anon_pipe_write", "wait_woken"].contains(&channel.as_str()).then_some(()))
    })
    .await?;
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    succeeded(&run.ctr(&["task", "delete", run.id]).await?)?;
    succeeded(&run.ctr(&["container", "rm", run.id]).await?)
}

/// A pod that the shim runs: its containers are restarted in place, and what they write goes on in the same log.
pub(crate) async fn one_logger_serves_all_attempts_of_a_container(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC {
        return Ok(());
    }
    let (sandbox, run) = (Run::new(node, "one-log-sandbox")?, Run::new(node, "one-log")?);
    let container = json!({ "name": "app", "image": "busybox" });
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "one-log", "annotations": { "io.loment.pod.backoff-initial": "10ms" } },
        "spec": { "restartPolicy": "OnFailure", "containers": [container] },
    });
    let annotation = format!("io.loment.pod.manifest={manifest}");
    let flags = ["--null-io", "--annotation", "io.kubernetes.cri.container-type=sandbox", "--annotation", &annotation];
    sandbox.started(&flags, "true").await?;
    let uri = run.faithful()?;
    let volume = format!("type=bind,src={},dst=/shared,options=rbind:rw", run.directory.display());
    let group = format!("io.kubernetes.cri.sandbox-id={}", sandbox.id);
    let flags = ["--log-uri", &uri, "--mount", &volume, "--annotation", &group];
    let flags = [&flags[..], &["--annotation", "io.loment.container.name=app"]].concat();
    let script =
        "n=$(( $(cat /shared/tries 2>/dev/null || echo 0) + 1 )); echo $n > /shared/tries; echo try $n; [ $n -ge 3 ]";
    run.started(&flags, script).await?;
    run.ended().await?;
    run.removed().await?;
    run.no_logger().await?;
    let log = run.read("log");
    ensure!(of_stream(&log, "out") == ["try 1", "try 2", "try 3"], "the log is {log:?}");
    ensure!(log.matches("for one-log").count() == 1 && log.matches("end\n").count() == 1, "the log is {log:?}");
    succeeded(&sandbox.ctr(&["task", "kill", "--signal", "KILL", sandbox.id]).await?)?;
    sandbox.ended().await?;
    sandbox.removed().await
}

/// One that ends while its container writes takes nobody with it.
pub(crate) async fn an_app_survives_its_logger(node: &Node<'_>) -> Result<()> {
    let run = Run::new(node, "orphaned")?;
    let uri = run.logger("binary", "exec 5>&-; read -r line <&3; exit 1", "")?;
    let volume = format!("type=bind,src={},dst=/shared,options=rbind:rw", run.directory.display());
    // It has written when its logger is gone, or has been killed by that.
    let script =
        "echo first; until [ -e /shared/alone ]; do sleep 0.05; done; echo second; > /shared/written; exec sleep 1000";
    run.started(&["--log-uri", &uri, "--mount", &volume], script).await?;
    run.no_logger().await?;
    fs::write(run.path("alone"), "").context("tell the app that it is alone")?;
    eventually("what an app writes without its logger", async || Ok(run.path("written").exists().then_some(())))
        .await?;
    let tasks = run.ctr(&["task", "ls"]).await?;
    if !String::from_utf8_lossy(&tasks.stdout).contains("RUNNING") {
        bail!("the app has ended with its logger: {}", String::from_utf8_lossy(&tasks.stdout));
    }
    succeeded(&run.ctr(&["task", "kill", "--signal", "KILL", run.id]).await?)?;
    run.ended().await?;
    run.removed().await
}
