//! A seccomp profile of the node that asks an agent.

use std::{
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1;
use loment_integration::pod::{ContainerBuilder, Node, shell};
use loment_sys::agent::{self, Answer};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde_json::{Value, json};

const STAY: &str = "mkdir /made; exec sleep 1000";
const METADATA: &str = "of the test";

/// Writes a profile that asks `agent` about new directories.
fn profile(directory: &Path, agent: &Path) -> Result<String> {
    let path = directory.join("profile.json");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "listenerMetadata": METADATA,
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]
    });
    fs::write(&path, profile.to_string()).context("write the profile")?;
    Ok(path.display().to_string())
}

fn under(profile: String, container: ContainerBuilder) -> ContainerBuilder {
    container.security(|security| {
        let localhost = v1::security_profile::ProfileType::Localhost.into();
        security.seccomp = Some(v1::SecurityProfile { profile_type: localhost, localhost_ref: profile });
    })
}

/// Takes one connection and what is said on it, and answers every call of that process with EXDEV until it has ended.
fn serve(connection: &UnixStream) -> Result<Value> {
    let mut text = vec![0; 64 << 10];
    let (length, listener) = loment_sys::socket::receive(connection.as_fd(), &mut text)?;
    let listener: OwnedFd = listener.context("the message has no descriptor")?;
    let state = serde_json::from_slice(text.get(..length).unwrap_or_default())?;
    loop {
        let mut news = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut news, PollTimeout::NONE)?;
        if news.iter().filter_map(PollFd::revents).any(|news| news.contains(PollFlags::POLLHUP)) {
            return Ok(state);
        }
        match agent::receive(listener.as_fd()) {
            Ok(call) => agent::answer(listener.as_fd(), &call, Answer::Error(Errno::EXDEV as i32))?,
            Err(Errno::ENOENT) => {}
            Err(errno) => bail!(errno),
        }
    }
}

pub(crate) async fn an_agent_answers_for_a_container_and_its_execs(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("seccomp", "agent")?;
    let socket = directory.join("agent.sock");
    let agent = UnixListener::bind(&socket)?;
    let profile = profile(&directory, &socket)?;
    // One for init, one for the exec.
    let served: Vec<_> = (0..2)
        .map(|_| {
            let agent = agent.try_clone()?;
            Ok(thread::spawn(move || serve(&agent.accept()?.0)))
        })
        .collect::<Result<_>>()?;
    let pod = node.pod("agent").run().await?;
    let container = pod.start(under(profile, shell("main", STAY))).await?;
    let output = container.exec(&["sh", "-c", "mkdir /also; ls -d /made /also"]).await?;
    ensure!(output.stderr.contains("Invalid cross-device link"), "{output:?}");
    ensure!(output.stdout.is_empty(), "no directory has been made: {output:?}");
    let id = container.id.clone();
    pod.remove().await?;
    for served in served {
        let state = served.join().map_err(|_| anyhow::anyhow!("the agent panicked"))??;
        ensure!(state["metadata"] == METADATA && state["state"]["id"] == id.as_str(), "{state}");
    }
    fs::remove_dir_all(directory).context("remove the agent's directory")
}

pub(crate) async fn a_container_whose_agent_is_missing_is_refused(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("seccomp", "missing")?;
    let profile = profile(&directory, &directory.join("agent.sock"))?;
    let pod = node.pod("no-agent").run().await?;
    let Err(error) = pod.start(under(profile, shell("main", STAY))).await else { bail!("it must be refused") };
    let error = format!("{error:#}");
    let expected = "linux.seccomp.listenerPath: connect to the seccomp agent at";
    ensure!(error.contains(expected) && error.contains("is the agent running"), "{error}");
    pod.remove().await?;
    fs::remove_dir_all(directory).context("remove the profile's directory")
}
