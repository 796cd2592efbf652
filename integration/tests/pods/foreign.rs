//! Specifications that other tools write, run as they are.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use loment_integration::{
    config, hierarchy,
    pod::{Node, eventually},
    requirements,
};
use nix::pty::openpty;
use serde_json::{Value, json};

use super::{
    ctr::{Said, ctr_run, field, rootfs},
    exec::Screen,
};

/// Looks at what a container without a terminal got.
const LOOK: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Umask)' /proc/self/status; hostname; cat /proc/mounts; \
                    grep 'open files' /proc/self/limits; ls /dev; ls /proc/self/fd";

/// Writes a specification below a directory of the lab's and runs it.
async fn run(node: &Node<'_>, directory: &Path, spec: &Value) -> Result<Said> {
    let file = directory.join("config.json");
    fs::write(&file, spec.to_string())?;
    let said = ctr_run(node, &["--config", &file.display().to_string(), "of-others"]).await?;
    // Without a task there is nothing that `--rm` would remove with it.
    if said.code != 0 {
        node.lab.ctr_output(&["container", "rm", "of-others"], b"").await?;
    }
    Ok(said)
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// What `runc spec` writes. Its root is relative to a bundle, which containerd makes itself: only that is changed, and
/// what is run.
fn spec_of_runc(node: &Node<'_>, root: &Path) -> Result<(PathBuf, Value)> {
    let directory = node.lab.directory("volumes", "runc-spec")?;
    let status = node.lab.command("runc").arg("spec").current_dir(&directory).status().context("run runc spec")?;
    ensure!(status.success(), "runc spec: {status}");
    let mut spec = read(&directory.join("config.json"))?;
    spec["root"]["path"] = json!(root);
    Ok((directory, spec))
}

pub(crate) async fn the_default_specification_of_runc_runs_at_a_terminal(node: &Node<'_>) -> Result<()> {
    let root = rootfs(node, "runc-rootfs")?;
    let (directory, spec) = spec_of_runc(node, &root)?;
    ensure!(spec["process"]["terminal"] == json!(true) && spec["process"]["args"] == json!(["sh"]), "{spec}");
    let file = directory.join("config.json");
    fs::write(&file, spec.to_string())?;
    let terminal = openpty(None, None).context("make a terminal")?;
    let slave = || terminal.slave.try_clone().map(Stdio::from);
    let screen = Screen::watch(File::from(terminal.master.try_clone()?));
    let mut ctr = node.lab.ctr();
    let runtime = node.runtime_type();
    ctr.args(["run", "--rm", "--tty", "--runtime", &runtime, "--config"]).arg(&file).arg("of-runc");
    let mut child = ctr.stdin(slave()?).stdout(slave()?).stderr(slave()?).spawn().context("run ctr")?;
    screen.shows("# ").await?;
    let typed = "tty; hostname; touch /x; grep CapEff /proc/self/status; ls /proc/self/fd | wc -l; exit 5\n";
    std::io::Write::write_all(&mut File::from(terminal.master), typed.as_bytes()).context("type")?;
    let status = eventually("the end of ctr", async || Ok(child.try_wait()?)).await?;
    fs::remove_dir_all(&root)?;
    fs::remove_dir_all(&directory)?;
    let text = screen.text();
    ensure!(status.code() == Some(5), "{status}: {text}");
    for part in ["/dev/pts/0", "\nrunc\r", "Read-only file system", "0000000020000420"] {
        ensure!(text.contains(part), "{part} in {text}");
    }
    Ok(())
}

pub(crate) async fn the_default_specification_of_runc_runs_without_a_terminal(node: &Node<'_>) -> Result<()> {
    let root = rootfs(node, "runc-rootfs")?;
    let (directory, mut spec) = spec_of_runc(node, &root)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["sh", "-c", LOOK]);
    let said = run(node, &directory, &spec).await?;
    fs::remove_dir_all(&root)?;
    fs::remove_dir_all(&directory)?;
    ensure!(said.code == 0, "{said:?}");
    let text = &said.stdout;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(field(text, set)? == "0000000020000420", "{set}: {said:?}");
    }
    ensure!(field(text, "NoNewPrivs")? == "1" && text.contains("\nrunc\n") && text.contains(" / "), "{said:?}");
    ensure!(text.contains("1024                 1024"), "{said:?}");
    ensure!(text.ends_with("0\n1\n2\n3\n"), "{said:?}");
    Ok(())
}

/// A label that nobody enforces, and what else is not done here, is refused by the name of its field.
pub(crate) async fn a_specification_with_labels_that_this_kernel_lacks_is_refused(node: &Node<'_>) -> Result<()> {
    if node.handler == config::RUNC || Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(());
    }
    let root = rootfs(node, "runc-rootfs")?;
    let (directory, mut spec) = spec_of_runc(node, &root)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0:c1,c2");
    let said = run(node, &directory, &spec).await?;
    fs::remove_dir_all(&root)?;
    fs::remove_dir_all(&directory)?;
    ensure!(said.code != 0 && said.stderr.contains("process.selinuxLabel system_u"), "{said:?}");
    ensure!(said.stderr.contains("runs no SELinux"), "{said:?}");
    Ok(())
}

/// What podman would give to its runtime: one that only keeps the specification takes the runtime's place.
async fn spec_of_podman(node: &Node<'_>, directory: &Path, root: &Path) -> Result<Value> {
    let (runtime, kept) = (directory.join("runtime"), directory.join("kept.json"));
    let script = format!(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --bundle ] && cp \"$2/config.json\" {}; shift; done; exit 1\n",
        kept.display()
    );
    fs::write(&runtime, script)?;
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755))?;
    let own = |name: &str| directory.join(name).display().to_string();
    let mut podman = tokio::process::Command::from(node.lab.command("podman"));
    podman.args(["--root", &own("root"), "--runroot", &own("run"), "--tmpdir", &own("tmp"), "--storage-driver", "vfs"]);
    podman.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime"]).arg(&runtime);
    podman.args(["run", "--network", "none", "--rootfs"]).arg(root).args(["sh", "-c", LOOK]);
    let output = podman.output().await.context("run podman")?;
    // It fails, because nothing is run; and leaves what it has made for its container to be used here.
    read(&kept).with_context(|| format!("the specification of podman: {output:?}"))
}

pub(crate) async fn the_default_specification_of_podman_runs(node: &Node<'_>) -> Result<()> {
    let root = rootfs(node, "podman-rootfs")?;
    let directory = node.lab.directory("volumes", "podman")?;
    let mut spec = spec_of_podman(node, &directory, &root).await?;
    if !requirements::may_lower_oom_score() {
        // The same capability: without it nobody raises limits, which podman thinks that root may always.
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 600}]);
    }
    let said = run(node, &directory, &spec).await?;
    eventually("the end of what podman has left running", async || {
        hierarchy::prune_everywhere("/libpod_parent/conmon")?;
        hierarchy::prune_everywhere("/libpod_parent")?;
        let left = ["pids", "memory", "unified", ""].into_iter().map(|name| Path::new("/sys/fs/cgroup").join(name));
        Ok((!left.into_iter().any(|hierarchy| hierarchy.join("libpod_parent").exists())).then_some(()))
    })
    .await?;
    fs::remove_file("/dev/shm/libpod_lock").context("remove the lock of podman")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(place).starts_with(&directory) {
            nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH)?;
        }
    }
    fs::remove_dir_all(&root)?;
    fs::remove_dir_all(&directory)?;
    ensure!(said.code == 0, "{said:?} with {spec}");
    let text = &said.stdout;
    let hostname = spec["hostname"].as_str().context("podman's host name")?;
    ensure!(text.contains(&format!("\n{hostname}\n")), "{said:?}");
    ensure!(field(text, "Seccomp")? == "2" && field(text, "Umask")? == "0022", "{said:?}");
    // The eleven capabilities of podman 4.
    ensure!(field(text, "CapEff")? == "00000000800405fb", "{said:?}");
    for place in [" /etc/hosts ", " /dev/shm ", " /run/.containerenv ", " /sys/fs/cgroup "] {
        ensure!(text.contains(place), "{place} in {said:?}");
    }
    ensure!(text.contains("\nnull\n") && text.ends_with("0\n1\n2\n3\n"), "{said:?}");
    Ok(())
}
