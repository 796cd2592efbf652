//! `loment attach`: the streams of a container's own process, through its attempts.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::pod::{Node, eventually};
use serde_json::json;

use super::{
    manifest::{COUNTED, Manifest, RUNS, wait_for},
    screen::Screen,
};

pub(crate) async fn who_attaches_before_a_container_runs_sees_all_of_its_attempts(node: &Node<'_>) -> Result<()> {
    let script = format!(
        "{COUNTED}; echo oops >&2; until [ -e /shared/end-$n ]; do echo \"attempt $n\"; sleep 0.02; done; [ $n = 2 ]"
    );
    let pod = Manifest::new(node, "watched")?.init("before", &wait_for("go")).app("app", &script);
    let loment = pod.create(node).await?;
    let mut child = loment
        .command(&["attach", "watched", "-c", "app", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take().context("its output")?, child.stderr.take().context("its errors")?);
    let said = Arc::new(Mutex::new(String::new()));
    let errors = std::thread::spawn(move || std::io::read_to_string(stderr));
    let sink = Arc::clone(&said);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            *sink.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
        }
    });
    let says = async |text: &str| {
        let now = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = eventually(text, async || Ok((now().contains(text)).then_some(()))).await;
        found.with_context(|| format!("it says {:?}", now()))
    };
    let late = ["attach", "watched", "-c", "app", "-q", "--pod-running-timeout", "100ms"];
    let late = loment.refused(&late, "").await?;
    ensure!(late == "error: unable to attach because pod is not running. Current status=Pending\n", "{late:?}");
    pod.touch("go")?;
    says("attempt 1\n").await?;
    pod.touch("end-1")?;
    says("attempt 2\n").await?;
    pod.touch("end-2")?;
    let status = eventually("the end of the session", async || Ok(child.try_wait()?)).await?;
    let errors = errors.join().ok().context("the reader")??;
    ensure!(status.success() && errors.ends_with("oops\n"), "it ended with {status} and said {errors:?}");
    let ended = loment.refused(&["attach", "watched"], "").await?;
    let expected = "error: cannot attach a container in a completed pod; current phase is Succeeded\n";
    ensure!(ended == expected, "{ended:?}");
    loment.delete("watched").await
}

pub(crate) async fn what_is_typed_reaches_the_container_and_has_an_end(node: &Node<'_>) -> Result<()> {
    let script = "echo up; wc -c; echo over >&2";
    let fields = json!({ "command": ["sh", "-c", script], "stdin": true, "stdinOnce": true });
    let pod = Manifest::new(node, "typed")?.restart_policy("Never").app_with("app", fields);
    let loment = pod.create(node).await?;
    loment.phase("typed", "Running").await?;
    let mut child = loment
        .command(&["attach", "-i", "typed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("its input")?;
    let writer = std::thread::spawn(move || stdin.write_all(&[b'x'; 1_000_000]));
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    writer.join().ok().context("the writer")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success() && stdout.ends_with("1000000\n"), "{} {stdout:?} {stderr:?}", output.status);
    ensure!(stderr.contains("If you don't see a command prompt, try pressing enter.\nover\n"), "{stderr:?}");
    loment.phase("typed", "Succeeded").await?;
    loment.delete("typed").await
}

pub(crate) async fn a_terminal_is_attached_to_left_and_attached_to_again(node: &Node<'_>) -> Result<()> {
    let fields = json!({ "command": ["sh"], "stdin": true, "tty": true });
    let pod = Manifest::new(node, "shell")?.restart_policy("Never").app_with("app", fields);
    let loment = pod.create(node).await?;
    loment.phase("shell", "Running").await?;
    let mut screen = Screen::start(loment.command(&["attach", "-it", "shell"]), 31, 97)?;
    screen.types("echo he''llo\n")?;
    screen.shows("hello").await?;
    screen.types("until [ \"$(stty size)\" = '31 97' ]; do :; done; echo si''zed; word=kept\n")?;
    screen.shows("sized").await?;
    ensure!(!screen.is_cooked()?, "the terminal keeps lines to itself");
    screen.signal(nix::sys::signal::Signal::SIGTERM)?;
    ensure!(screen.ended().await?.code() == Some(143), "it did not end as it was told");
    ensure!(screen.is_cooked()?, "the terminal was not given back");
    let mut screen = Screen::start(loment.command(&["attach", "-it", "shell"]), 24, 80)?;
    screen.types("echo $word\"-word\"; stty size\n")?;
    screen.shows("kept-word").await?;
    screen.types("exit\n")?;
    ensure!(screen.ended().await?.code() == Some(0), "it ended with {}", screen.ended().await?);
    loment.phase("shell", "Succeeded").await?;
    loment.delete("shell").await
}

/// The words that a shell is offered, by its own means.
pub(crate) async fn a_shell_completes_names_of_pods_and_containers(node: &Node<'_>) -> Result<()> {
    let pod = Manifest::new(node, "complete-me")?.init("before", "true").app("app", RUNS).app("other", RUNS);
    let loment = pod.create(node).await?;
    let offered = async |line: &str| -> Result<Vec<String>> {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.last().copied().unwrap_or_default();
        let script = format!(
            "set -e; source <(loment completion bash); COMP_WORDS=({line}); COMP_CWORD={}; \
             [ -n \"{last}\" ] || COMP_WORDS+=(''); _clap_complete_loment loment '{last}' x; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
        );
        let mut command = tokio::process::Command::from(node.lab.command("bash"));
        let output = command.args(["-c", &script]).output().await?;
        ensure!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(|word| word.trim().to_owned()).collect())
    };
    ensure!(offered("loment port-f").await? == ["port-forward"], "{:?}", offered("loment port-f").await?);
    ensure!(offered("loment exec comp").await? == ["complete-me"], "{:?}", offered("loment exec comp").await?);
    ensure!(offered("loment logs pod/c").await? == ["pod/complete-me"], "{:?}", offered("loment logs pod/c").await?);
    let containers = offered("loment exec complete-me -c ").await?;
    ensure!(["before", "app", "other"].iter().all(|name| containers.iter().any(|one| one == name)), "{containers:?}");
    let source = offered("loment cp compl").await?;
    ensure!(source == ["complete-me:"], "{source:?}");
    for shell in ["zsh", "fish"] {
        let script = loment.ok(&["completion", shell]).await?;
        ensure!(script.contains("LOMENT_COMPLETE"), "{shell}: {script}");
    }
    loment.delete("complete-me").await
}
