//! `loment doctor` on a real machine with a real containerd, in which faults are planted.
//!
//! Each fault is a piece of shell in a mount namespace of its own: what it puts over the machine's files is gone with it.

use std::{
    fs,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{Lab, Sandboxer, Version, loment::Loment, patience, pod::Node};
use serde_json::Value;

/// A fault: the check that has to find it, how it ends then, words of the remedy, how it is planted and what more the
/// doctor is told.
struct Fault(&'static str, &'static str, &'static str, &'static str, &'static str);

/// `$T` is an empty directory, `$DOCTOR` runs the doctor, `$SHIM` and `$PROBER` are the programs, `$CNI` is the directory of
/// the plugins, `$CONTAINERD` is containerd's program. `cover FILE` puts standard input over a file.
const FAULTS: &[Fault] = &[
    Fault("root", "fail", "sudo loment doctor", "DOCTOR=\"setpriv --reuid 65534 --clear-groups $DOCTOR\"", ""),
    Fault("capabilities", "fail", "--privileged", "DOCTOR=\"setpriv --bounding-set -sys_admin $DOCTOR\"", ""),
    Fault("kernel", "fail", "Linux 5.14", "echo 5.10.0-28-amd64 | cover /proc/sys/kernel/osrelease", ""),
    Fault("cgroups", "fail", "mount -t cgroup2", "umount -l -R /sys/fs/cgroup", ""),
    Fault("seccomp", "fail", "CONFIG_SECCOMP_FILTER", ": | cover /proc/sys/kernel/seccomp/actions_avail", ""),
    Fault("seccomp", "warn", "user_notif", "echo errno allow | cover /proc/sys/kernel/seccomp/actions_avail", ""),
    Fault("user namespaces", "warn", "sysctl -w", "echo 0 | cover /proc/sys/user/max_user_namespaces", ""),
    Fault(
        "overlay",
        "fail",
        "modprobe overlay",
        "grep -v overlay /proc/filesystems > $T/x; if [ -d /lib/modules ]; then cover_all /lib/modules; fi; cover /proc/filesystems < $T/x",
        "",
    ),
    Fault(
        "disk",
        "warn",
        "crictl rmi --prune",
        "mount -t tmpfs -o size=1m none /var/lib; dd if=/dev/zero of=/var/lib/x bs=4k count=250 2>/dev/null",
        "",
    ),
    Fault(
        "shim",
        "fail",
        "loment install",
        "cp $(command -v loment) $T; DOCTOR=$T/loment; cover_all $(dirname $SHIM)",
        "",
    ),
    Fault("shim", "fail", "chmod 755", "cover $SHIM < /dev/null; chmod 644 $SHIM", ""),
    Fault("shim", "fail", "scripts/build", "head -c 64 $SHIM | cover $SHIM; chmod 755 $SHIM", ""),
    Fault("shim", "warn", "newer one", "printf '#!/bin/sh\necho Version: 0.0.1\n' | cover $SHIM; chmod 755 $SHIM", ""),
    Fault("prober", "fail", "chmod 755", "cover $PROBER < /dev/null; chmod 644 $PROBER", ""),
    Fault("containerd", "fail", "systemctl start", "", "--address $T/nothing.sock"),
    Fault(
        "containerd",
        "fail",
        "1.6 or later",
        "printf '#!/bin/sh\necho containerd x 1.4.0 y\n' | cover $CONTAINERD; chmod 755 $CONTAINERD",
        "",
    ),
    Fault("CRI", "fail", "disabled_plugins", "edit '/^disabled_plugins = /a \"io.containerd.grpc.v1.cri\",'", ""),
    Fault("configuration", "fail", "mend it first", "edit '$a [plugins'", ""),
    Fault("configuration", "fail", "--runtime-handler", "", "--runtime-handler runc"),
    Fault("runtime class", "fail", "loment install --restart", "edit 's/runtimes.loment]/runtimes.other]/'", ""),
    Fault("runtime class", "fail", "io.containerd.loment.v2", "edit 's/containerd.loment.v2/containerd.runc.v2/'", ""),
    Fault("annotations", "fail", "write pod_annotations", "edit '/^  pod_annotations/d'", ""),
    Fault("annotations", "fail", "container_annotations", "edit '/^  container_annotations/d'", ""),
    Fault(
        "restart",
        "fail",
        "start containerd again",
        "edit 's/runtimes.loment]/runtimes.late]/'",
        "--runtime-handler late",
    ),
    Fault("CNI plugins", "fail", "containernetworking-plugins", "cover_all $CNI", ""),
    Fault("CNI network", "fail", "10-containerd-net.conflist", "cover_all /run/loment-lab/cni", ""),
];

/// Up to 1.7 a class that is written hides what is built in.
const OF_1: &[Fault] =
    &[Fault("default class", "warn", "io.containerd.runc.v2", "edit 's/runtimes.runc\\b/runtimes.other/'", "")];

/// Who makes sandboxes is said since 2.0.
const OF_2: &[Fault] = &[Fault(
    "sandboxer",
    "fail",
    "podsandbox",
    "edit '/^  sandboxer/d; /containerd.loment.v2/a sandboxer = \"nobody\"'",
    "",
)];

/// What is in front of each fault.
const BEFORE: &str = r#"
set -eu
cover() { new=$(mktemp $T/XXXXXX); cat > $new; mount --bind $new "$1"; }
cover_all() { mount -t tmpfs none "$1"; }
edit() {
    new=$(mktemp $T/XXXXXX)
    sed "$1" $CONFIG > $new
    if cmp -s $new $CONFIG; then echo "nothing to edit: $1" >&2; exit 9; fi
    mount --bind $new $CONFIG
}
CONFIG=/run/loment-lab/config.toml
CNI=$(sed -n 's/^  bin_dir = "\(.*\)"/\1/p' $CONFIG)
SHIM=$(readlink -f $(command -v containerd-shim-loment-v2))
PROBER=$(dirname $SHIM)/loment-prober
DOCTOR=loment
mount -t tmpfs none $T
chmod 755 $T
"#;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the doctor where a fault is planted.
async fn examine(lab: &Lab, plant: &str, words: &str) -> Result<Value> {
    let directory = lab.directory("doctor", "fault")?;
    let script = format!("{BEFORE}{plant}\nexec $DOCTOR doctor -o json {words}\n");
    let mut command = tokio::process::Command::from(lab.command("unshare"));
    let program = fs::read_link(format!("/proc/{}/exe", lab.containerd_pid())).context("find containerd's program")?;
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).env("T", &directory);
    command.env("CONTAINERD", program).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(patience(PATIENCE), command.output()).await;
    let Output { status, stdout, stderr } =
        output.with_context(|| format!("{plant}: no end within {PATIENCE:?}"))??;
    ensure!(
        [Some(0), Some(2)].contains(&status.code()),
        "{plant}: {status}: {}{}",
        String::from_utf8_lossy(&stderr),
        String::from_utf8_lossy(&stdout)
    );
    let said: Value = serde_json::from_slice(&stdout).context("read what loment doctor prints")?;
    ensure!((said["failed"] != 0) == (status.code() == Some(2)), "{status} with {said}");
    Ok(said)
}

fn find<'a>(said: &'a Value, name: &str) -> Result<&'a Value> {
    let mut all = said["checks"].as_array().into_iter().flatten();
    all.find(|check| check["check"] == name).with_context(|| format!("no check {name:?} in {said}"))
}

pub(crate) async fn each_fault_that_is_planted_in_the_machine_is_found_and_its_remedy_is_named(
    node: &Node<'_>,
) -> Result<()> {
    let healthy = examine(node.lab, "", "").await?;
    let of_version = if node.lab.version() < Version::new(2, 0) { OF_1 } else { OF_2 };
    let mut wrong = Vec::new();
    for Fault(check, result, remedy, plant, words) in FAULTS.iter().chain(of_version) {
        ensure!(find(&healthy, check)?["result"] == "pass", "without a fault {}", find(&healthy, check)?);
        let said = examine(node.lab, plant, words).await?;
        let found = find(&said, check)?;
        let is_named = found["remedy"].as_str().is_some_and(|text| text.contains(remedy));
        if found["result"] != *result || !is_named {
            wrong.push(format!("{check} ({plant} {words}): {found}"));
        }
    }
    if !wrong.is_empty() {
        bail!("faults that are not found as they should be:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

pub(crate) async fn a_machine_on_which_pods_run_passes(node: &Node<'_>) -> Result<()> {
    let output = Loment::new(node.lab).run(&["doctor", "-o", "json", "--runtime-handler", "loment"], "").await?;
    ensure!(output.code == 0, "loment doctor: exit code {}: {}{}", output.code, output.stderr, output.stdout);
    let said: Value = serde_json::from_str(&output.stdout).context("read what loment doctor prints")?;
    for name in
        ["containerd", "CRI", "configuration", "runtime class", "annotations", "sandboxer", "restart", "shim", "prober"]
    {
        let check = find(&said, name)?;
        let is_experiment =
            name == "sandboxer" && node.lab.sandboxer() == Sandboxer::Shim && node.lab.version() < Version::new(2, 0);
        let expected = if is_experiment { "warn" } else { "pass" };
        ensure!(check["result"] == expected && check["remedy"].is_null() != is_experiment, "the doctor says {check}");
    }
    Ok(())
}
