//! `loment exec`: terminals, streams, and how it refuses.

use std::{io::Read as _, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    loment::Loment,
    pod::{Node, eventually},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    manifest::{Manifest, RUNS, container},
    screen::Screen,
};

const FLOOD: u64 = 256 << 20;

async fn running<'a>(node: &Node<'a>, name: &str) -> Result<(Manifest, Loment<'a>)> {
    let pod = Manifest::new(node, name)?.app("app", RUNS);
    let loment = pod.create(node).await?;
    loment.phase(name, "Running").await?;
    Ok((pod, loment))
}

pub(crate) async fn a_shell_on_a_terminal_follows_its_size_and_keys_and_gives_the_terminal_back(
    node: &Node<'_>,
) -> Result<()> {
    let (_pod, loment) = running(node, "terminal").await?;
    let mut screen = Screen::start(loment.command(&["exec", "-it", "pod/terminal", "--", "sh"]), 31, 97)?;
    // The echo of what is typed is no answer: what is shown has been put together.
    screen.types("tty; stty size; echo $TERM; echo re''ady\n")?;
    screen.shows("ready").await?;
    let first = screen.text();
    ensure!(first.contains("/dev/pts/") && first.contains("31 97") && first.contains("xterm"), "{first:?}");
    ensure!(!screen.is_cooked()?, "the terminal keeps lines to itself");
    screen.resize(41, 123)?;
    screen.types("until [ \"$(stty size)\" = '41 123' ]; do :; done; echo resi''zed\n")?;
    screen.shows("resized").await?;
    // A process that says something is in the foreground: the shell that starts it waits as if nobody had pressed a key while it
    // is not there yet.
    screen.types("sh -c \"echo in''side; exec sleep 1000\"\n")?;
    screen.shows("inside").await?;
    screen.types("\x03")?;
    screen.types("echo interru''pted $?\n")?;
    screen.shows("interrupted 130").await?;
    screen.types("exit 7\n")?;
    let status = screen.ended().await?;
    ensure!(status.code() == Some(7), "it ended with {status}: {}", screen.text());
    screen.shows("command terminated with exit code 7").await?;
    ensure!(screen.is_cooked()?, "the terminal was not given back");
    // Also when the command is asked to end.
    let screen = &mut Screen::start(loment.command(&["exec", "-it", "terminal", "--", "sh"]), 24, 80)?;
    screen.types("echo re''ady\n")?;
    screen.shows("ready").await?;
    screen.signal(Signal::SIGTERM)?;
    ensure!(screen.ended().await?.code() == Some(143), "it ended with {}", screen.ended().await?);
    ensure!(screen.is_cooked()?, "the terminal was not given back");
    loment.delete("terminal").await
}

pub(crate) async fn floods_go_through_unchanged(node: &Node<'_>) -> Result<()> {
    let (_pod, loment) = running(node, "wide").await?;
    let mut child = loment
        .command(&["exec", "wide", "--", "dd", "if=/dev/zero", "bs=1M", "count=256"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().context("its output")?;
    let count = std::thread::spawn(move || std::io::copy(&mut { stdout }, &mut std::io::sink()));
    let status = eventually("the end of the flood", async || Ok(child.try_wait()?)).await?;
    let count = count.join().ok().context("the reader")??;
    ensure!(status.success() && count == FLOOD, "{count} bytes came out, and {status}");

    // There and back.
    let mut child =
        loment.command(&["exec", "-i", "wide", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
    let sent = std::thread::spawn(move || send(stdin, 64));
    let received = std::thread::spawn(move || -> Result<Vec<u8>> {
        let (mut stdout, mut hash, mut chunk) = (stdout, Sha256::new(), vec![0; 1 << 16]);
        while let count @ 1.. = stdout.read(&mut chunk)? {
            hash.update(&chunk[..count]);
        }
        Ok(hash.finalize().to_vec())
    });
    let status = eventually("the end of cat", async || Ok(child.try_wait()?)).await?;
    let sent = sent.join().ok().context("the writer")??;
    let received = received.join().ok().context("the reader")??;
    ensure!(status.success() && sent == received, "what came back is not what was sent");
    loment.delete("wide").await
}

/// Writes so many mebibytes, no two alike, and returns their digest.
fn send(mut to: impl std::io::Write, mebibytes: u64) -> Result<Vec<u8>> {
    let (mut hash, mut chunk) = (Sha256::new(), vec![0x5a_u8; 1 << 20]);
    for number in 0..mebibytes {
        for block in chunk.chunks_mut(4096) {
            block[..8].copy_from_slice(&number.to_le_bytes());
        }
        hash.update(&chunk);
        to.write_all(&chunk)?;
    }
    Ok(hash.finalize().to_vec())
}

pub(crate) async fn what_is_written_last_is_not_lost_and_the_exit_code_is_told(node: &Node<'_>) -> Result<()> {
    let (_pod, loment) = running(node, "last").await?;
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    for round in 0..10 {
        // With dashes and without.
        let dashes: &[&str] = if round % 2 == 0 { &["--"] } else { &[] };
        let script = "seq 1 5000; echo oops >&2; exit 42";
        let words = [&["exec", "last"], dashes, &["sh", "-c", script]].concat();
        let output = loment.run(&words, "").await?;
        ensure!(output.stdout == expected, "{} bytes came out", output.stdout.len());
        ensure!(output.stderr == "oops\ncommand terminated with exit code 42\n", "{:?}", output.stderr);
        ensure!(output.code == 42, "it ended with {}", output.code);
    }
    let quiet = loment.run(&["exec", "-q", "last", "--", "sh", "-c", "kill -KILL $$"], "").await?;
    ensure!(quiet.code == 137 && quiet.stderr.is_empty(), "{quiet:?}");
    let read = loment.run(&["exec", "-i", "last", "--", "wc", "-c"], &"x".repeat(200_000)).await?;
    ensure!(read.stdout == "200000\n", "{read:?}");
    // Without a terminal of its own it gives none.
    let piped = loment.run(&["exec", "-it", "last", "--", "cat"], "text").await?;
    let said = "Unable to use a TTY - input is not a terminal or the right kind of file\n";
    ensure!(piped.stdout == "text" && piped.stderr == said, "{piped:?}");
    loment.delete("last").await
}

pub(crate) async fn a_process_is_as_confined_as_one_by_exec_sync(node: &Node<'_>) -> Result<()> {
    let confined = json!({
        "command": ["sh", "-c", RUNS],
        "env": [{ "name": "COLOUR", "value": "blue" }],
        "workingDir": "/tmp",
        "securityContext": {
            "runAsUser": 1234, "runAsGroup": 567, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
    });
    let pod = Manifest::new(node, "confined")?.app_with("app", confined);
    let loment = pod.create(node).await?;
    loment.phase("confined", "Running").await?;
    let id = container(node, "confined", "app").await?.id;
    let script = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id; pwd; env | sort | \
                  grep -v '^SHLVL'; cat /proc/self/cgroup; readlink /proc/self/ns/*; cat /proc/self/oom_score_adj; \
                  echo writable > /dev/stdout";
    let words = ["sh", "-c", script];
    let by_cri = node.cri.exec_sync(&id, &words, std::time::Duration::from_secs(30)).await?;
    let by_loment = loment.run(&["exec", "confined", "--", "sh", "-c", script], "").await?;
    ensure!(by_cri.exit_code == 0 && by_loment.code == 0, "{by_cri:?} {by_loment:?}");
    let by_cri = String::from_utf8_lossy(&by_cri.stdout).into_owned();
    ensure!(by_cri == by_loment.stdout, "by CRI {by_cri}\nby loment {}", by_loment.stdout);
    ensure!(by_cri.contains("COLOUR=blue") && by_cri.contains("uid=1234 gid=567"), "{by_cri}");
    loment.delete("confined").await
}

pub(crate) async fn a_killed_command_leaves_no_process_that_waits_for_it(node: &Node<'_>) -> Result<()> {
    let (pod, loment) = running(node, "killed").await?;
    let script = "touch /shared/reads; cat; touch /shared/end-of-input";
    let mut reader = loment
        .command(&["exec", "-i", "killed", "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    eventually("the reader", async || Ok(pod.has("reads").then_some(()))).await?;
    reader.kill()?;
    // Our end of its input is still open: it is the command's that counts.
    eventually("the end of the input", async || Ok(pod.has("end-of-input").then_some(()))).await?;
    reader.wait()?;
    let script = "trap 'touch /shared/hung-up; exit' HUP; touch /shared/sits; while :; do sleep 0.05; done";
    let mut screen = Screen::start(loment.command(&["exec", "-it", "killed", "--", "sh", "-c", script]), 24, 80)?;
    eventually("the shell", async || Ok(pod.has("sits").then_some(()))).await?;
    screen.signal(Signal::SIGKILL)?;
    screen.ended().await?;
    eventually("the hang-up", async || Ok(pod.has("hung-up").then_some(()))).await?;
    loment.delete("killed").await
}

pub(crate) async fn a_reader_that_goes_away_ends_the_process(node: &Node<'_>) -> Result<()> {
    let (_pod, loment) = running(node, "head").await?;
    let mut child =
        loment.command(&["exec", "head", "--", "yes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut first = [0; 4];
    child.stdout.take().context("its output")?.read_exact(&mut first)?;
    let status = eventually("the end of yes", async || Ok(child.try_wait()?)).await?;
    ensure!(&first == b"y\ny\n" && status.code() == Some(128 + 13), "it ended with {status}");
    loment.delete("head").await
}

pub(crate) async fn an_interrupt_reaches_the_process_and_ends_the_command(node: &Node<'_>) -> Result<()> {
    let (pod, loment) = running(node, "interrupted").await?;
    let script = "trap 'touch /shared/interrupted; exit' INT; touch /shared/up; while :; do sleep 0.05; done";
    let mut child = loment.command(&["exec", "interrupted", "--", "sh", "-c", script]).spawn()?;
    eventually("the process", async || Ok(pod.has("up").then_some(()))).await?;
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    let status = eventually("the end of the command", async || Ok(child.try_wait()?)).await?;
    ensure!(status.code() == Some(130), "it ended with {status}");
    eventually("the trap", async || Ok(pod.has("interrupted").then_some(()))).await?;
    loment.delete("interrupted").await
}

pub(crate) async fn what_cannot_be_executed_is_refused_in_kubectls_words(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "refusing")?
        .restart_policy("Never")
        .init("before", "until [ -e /shared/go ]; do sleep 0.02; done")
        .app("app", "until [ -e /shared/done ]; do sleep 0.02; done")
        .app("other", "true");
    let loment = pod.create(node).await?;
    let exec = async |words: &[&str]| loment.refused(&[&["exec"], words].concat(), "").await;
    let waiting = exec(&["refusing", "-c", "app", "--", "true"]).await?;
    let expected =
        "error: unable to upgrade connection: container not found (\"app\"): it is waiting (PodInitializing)\n";
    ensure!(waiting == expected, "{waiting:?}");
    let said = loment.run(&["exec", "refusing", "-c", "before", "--", "echo", "hello"], "").await?;
    ensure!(said.stdout == "hello\n", "{said:?}");
    pod.touch("go")?;
    loment.phase("refusing", "Running").await?;
    let missing = exec(&["refusing", "-c", "app", "--", "/no/such/program"]).await?;
    let begin = "error: Internal error occurred: error executing command in container: ";
    ensure!(missing.starts_with(begin) && missing.contains("/no/such/program"), "{missing:?}");
    let nobody = exec(&["refusing", "-c", "nobody", "--", "true"]).await?;
    ensure!(nobody == "error: container nobody not found in pod refusing\n", "{nobody:?}");
    let absent = exec(&["absent", "--", "true"]).await?;
    ensure!(absent == "Error from server (NotFound): pods \"absent\" not found\n", "{absent:?}");
    let defaulted = loment.run(&["exec", "refusing", "--", "true"], "").await?;
    let note = "Defaulted container \"app\" out of: app, other, before (init)\n";
    ensure!(defaulted.code == 0 && defaulted.stderr == note, "{defaulted:?}");
    pod.touch("done")?;
    loment.phase("refusing", "Succeeded").await?;
    let completed = exec(&["refusing", "--", "true"]).await?;
    ensure!(
        completed == "error: cannot exec into a container in a completed pod; current phase is Succeeded\n",
        "{completed:?}"
    );
    loment.delete("refusing").await
}
