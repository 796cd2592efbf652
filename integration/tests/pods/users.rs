//! Containers and pods whose root is nobody on the host.

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1;
use loment_integration::{
    images,
    pod::{Node, eventually, shell},
    results::LeftOut,
};

const FIRST: u32 = 100_000;
const COUNT: u32 = 65_536;

pub(crate) async fn root_of_a_container_with_its_own_users_is_nobody_on_the_host(node: &Node<'_>) -> Result<()> {
    let map = format!("0:{FIRST}:{COUNT}");
    let runtime = node.runtime_type();
    let script =
        "id -u; cat /proc/self/uid_map; touch /mine; stat -c %u:%g /mine /dev/null /dev/shm; echo x > /dev/null";
    let words = ["run", "--rm", "--runtime", &runtime, "--uidmap", &map, "--gidmap", &map];
    let words = [&words[..], &[images::BUSYBOX_IMAGE, "users", "sh", "-c", script]].concat();
    let output = node.lab.ctr_output(&words, b"").await?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = text.split_whitespace().collect();
    ensure!(words == ["0", "0", "100000", "65536", "0:0", "0:0", "0:0"], "it says {text}");
    Ok(())
}

fn own_users() -> v1::UserNamespace {
    let map = v1::IdMapping { container_id: 0, host_id: FIRST, length: COUNT };
    v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: vec![map], gids: vec![map] }
}

/// What `hostUsers: false` asks for. containerd 1.6 knows nothing of it, and 1.7 refuses the volume of such a pod.
pub(crate) async fn a_pod_may_have_users_of_its_own(node: &Node<'_>) -> Result<()> {
    if node.cri.version().await?.runtime_version.trim_start_matches('v').starts_with("1.") {
        bail!(LeftOut("a pod has users of its own from containerd 2.0 on".to_owned()));
    }
    let pod = node.pod("users").with_linux(|linux| {
        let security = linux.security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().userns_options = Some(own_users());
    });
    let pod = pod.run().await?;
    let volume = node.lab.directory("volumes", "users")?;
    std::fs::write(volume.join("file"), "").context("write into the volume")?;
    let script = "id -u; stat -c %u:%g /mine /volume/file; touch /volume/new; httpd -p 80; exec sleep 1000";
    let web = shell("web", &format!("touch /mine; {script}")).with(|config| {
        let map = v1::IdMapping { container_id: 0, host_id: FIRST, length: COUNT };
        config.mounts.push(v1::Mount {
            host_path: volume.display().to_string(),
            container_path: "/volume".to_owned(),
            uid_mappings: vec![map],
            gid_mappings: vec![map],
            ..Default::default()
        });
    });
    let web = pod.start(web).await?;
    let other = pod.start(shell("other", "exec sleep 1000")).await?;
    let lines = eventually("the container's first lines", async || {
        let lines = web.logs()?;
        Ok((lines.len() >= 3).then_some(lines))
    });
    let lines: Vec<_> = lines.await?.into_iter().map(|line| line.text).collect();
    ensure!(lines == ["0", "0:0", "0:0"], "it says {lines:?}");
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/user")).context("look at a user namespace");
    let (first, second) = (namespace(web.pid().await?)?, namespace(other.pid().await?)?);
    ensure!(first == second && first != namespace(std::process::id().cast_signed())?, "{first:?} {second:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", web.pid().await?)).context("look at a process")?;
    ensure!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}")), "{status}");
    let told = other.exec(&["sh", "-c", "id -u; wget -q -O - http://127.0.0.1/nothing 2>&1"]).await?;
    ensure!(told.stdout.contains("404") && told.stdout.starts_with("0\n"), "the pod's web server says {told:?}");
    use std::os::unix::fs::MetadataExt as _;
    let new = std::fs::metadata(volume.join("new")).context("look at what was written")?;
    ensure!((new.uid(), new.gid()) == (0, 0), "written as {}:{}", new.uid(), new.gid());
    pod.remove().await
}
