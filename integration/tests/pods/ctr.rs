//! Containers as `ctr run` writes their specifications, with each of its flags, looked at from inside.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    config, images,
    pod::{Node, eventually},
    results::LeftOut,
};
use nix::pty::openpty;
use serde_json::json;

use super::exec::Screen;

/// What a container said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `ctr run` with these words after the runtime's name, and removes what it leaves.
pub(crate) async fn ctr_run(node: &Node<'_>, words: &[&str]) -> Result<Said> {
    let runtime = node.runtime_type();
    let output = node.lab.ctr_output(&[&["run", "--rm", "--runtime", &runtime], words].concat(), b"").await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Runs a shell script in the test image, with flags; what it writes, when it ends well.
pub(crate) async fn script(node: &Node<'_>, flags: &[&str], script: &str) -> Result<String> {
    let words = [flags, &[images::BUSYBOX_IMAGE, "ctr-run", "sh", "-c", script]].concat();
    let said = ctr_run(node, &words).await?;
    ensure!(said.code == 0, "ctr run {flags:?}: {said:?}");
    Ok(said.stdout)
}

/// A run that must fail, and what was said.
async fn refused(node: &Node<'_>, flags: &[&str]) -> Result<String> {
    let said = ctr_run(node, &[flags, &[images::BUSYBOX_IMAGE, "ctr-refused", "true"]].concat()).await?;
    // Without a task there is nothing that `--rm` would remove with it.
    node.lab.ctr_output(&["container", "rm", "ctr-refused"], b"").await?;
    ensure!(said.code != 0, "ctr run {flags:?} succeeded: {said:?}");
    Ok(said.stderr)
}

/// A container of `ctr run --detach`, which has to be removed.
pub(crate) struct Detached<'a> {
    node: &'a Node<'a>,
    pub(crate) id: &'a str,
}

impl<'a> Detached<'a> {
    pub(crate) async fn run(node: &'a Node<'a>, id: &'a str, flags: &[&str]) -> Result<Self> {
        let runtime = node.runtime_type();
        let start = ["run", "--detach", "--null-io", "--runtime", &runtime];
        let image = [images::BUSYBOX_IMAGE, id, "sleep", "1000"];
        let output = node.lab.ctr_output(&[&start[..], flags, &image].concat(), b"").await?;
        ensure!(output.status.success(), "ctr run --detach {flags:?}: {output:?}");
        Ok(Self { node, id })
    }

    pub(crate) async fn pid(&self) -> Result<i32> {
        let output = self.node.lab.ctr_output(&["task", "ls"], b"").await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(self.id));
        let pid = line.and_then(|line| line.split_whitespace().nth(1)).context("the task's pid")?;
        Ok(pid.parse()?)
    }

    /// Executes a script in it, with flags of `ctr task exec`.
    pub(crate) async fn exec(&self, flags: &[&str], script: &str) -> Result<Said> {
        let words = [&["task", "exec", "--exec-id", "e"], flags, &[self.id, "sh", "-c", script]].concat();
        let output = self.node.lab.ctr_output(&words, b"").await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Ok(Said { code, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    pub(crate) async fn remove(self) -> Result<()> {
        for words in [["task", "rm", "--force", self.id], ["container", "rm", self.id, ""]] {
            let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let output = self.node.lab.ctr_output(&words, b"").await?;
            // The answer to a forced removal is the exit code of what was removed.
            ensure!(words[0] == "task" || output.status.success(), "ctr {words:?}: {output:?}");
        }
        Ok(())
    }
}

/// The value of a field as in `/proc/PID/status`.
pub(crate) fn field(status: &str, name: &str) -> Result<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("{name} in {status:?}"))?.trim().to_owned())
}

fn capabilities(status: &str, name: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&field(status, name)?, 16)?)
}

/// What containerd may give away.
fn own_capabilities() -> Result<u64> {
    capabilities(&fs::read_to_string("/proc/self/status")?, "CapBnd")
}

/// Numbers of capabilities in linux/capability.h.
const CAP_CHOWN: u32 = 0;
const CAP_SYS_ADMIN: u32 = 21;

/// The 14 of containerd's default.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

pub(crate) async fn a_plain_run_has_the_defaults_of_containerd(node: &Node<'_>) -> Result<()> {
    let look = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; echo; id; pwd; tty; ls /proc/self/fd | wc -l; cat /proc/kcore | wc -c; \
                ls /proc/scsi /sys/firmware | grep -v :; touch /proc/sys/kernel/domainname; hostname x";
    let said = ctr_run(node, &[images::BUSYBOX_IMAGE, "ctr-run", "sh", "-c", look]).await?;
    let text = &said.stdout;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(capabilities(text, set)? == DEFAULT_CAPABILITIES, "{set}: {text}");
    }
    ensure!(capabilities(text, "CapInh")? == 0 && capabilities(text, "CapAmb")? == 0, "{text}");
    ensure!(field(text, "NoNewPrivs")? == "1" && field(text, "Seccomp")? == "0", "{text}");
    ensure!(text.contains("uid=0(root) gid=0(root) groups=0(root)\n/\nnot a tty\n4\n0\n"), "{text}");
    ensure!(said.stderr.contains("Read-only file system") && said.stderr.contains("sethostname"), "{said:?}");
    Ok(())
}

pub(crate) async fn a_privileged_run_has_all_that_containerd_has(node: &Node<'_>) -> Result<()> {
    let look = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; mount -t tmpfs t /mnt 2>/dev/null || { mkdir /mnt; mount -t tmpfs t /mnt; }; \
                grep ' /mnt ' /proc/mounts; grep ' /sys ' /proc/mounts; mkdir /sys/fs/no 2>&1; : > /dev/kmsg && echo log";
    let text = script(node, &["--privileged"], look).await?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(capabilities(&text, set)? == own_capabilities()?, "{set}: {text}");
    }
    ensure!(text.contains("t /mnt tmpfs rw") && text.contains("sysfs /sys sysfs rw"), "{text}");
    ensure!(text.ends_with("\nlog\n"), "{text}");
    // Every device of the host: those that stay where they are.
    let stay = ["null", "kmsg", "tty0", "loop-control", "mem", "fuse"];
    for name in stay.into_iter().filter(|name| Path::new("/dev").join(name).exists()) {
        let (inside, outside) = (format!("stat -c %t:%T:%a /dev/{name}"), Path::new("/dev").join(name));
        let text = script(node, &["--privileged"], &inside).await?;
        let output = std::process::Command::new("stat").args(["-c", "%t:%T:%a"]).arg(&outside).output()?;
        ensure!(text.as_bytes() == output.stdout, "{name} is {text}");
    }
    Ok(())
}

pub(crate) async fn a_run_in_the_hosts_network_has_its_interfaces_and_name(node: &Node<'_>) -> Result<()> {
    let text = script(node, &["--net-host"], "readlink /proc/self/ns/net; hostname; cat /etc/hosts").await?;
    let own = fs::read_link("/proc/self/ns/net")?;
    let hostname = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let hosts = fs::read_to_string("/etc/hosts")?;
    ensure!(text == format!("{}\n{hostname}\n{hosts}", own.display()), "{text}");
    Ok(())
}

pub(crate) async fn a_run_attached_by_cni_has_an_address(node: &Node<'_>) -> Result<()> {
    // The place is fixed in ctr; what is there is the machine's, and the lab's own network is put over it.
    let configured = Path::new("/etc/cni/net.d");
    if !configured.is_dir() {
        bail!(LeftOut(format!(
            "ctr takes networks from {} alone, which this machine does not have",
            configured.display()
        )));
    }
    let lab = node.lab.directory("cni", "")?;
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&lab), configured, None::<&str>, flags, None::<&str>).context("show the lab's network")?;
    let text = script(node, &["--cni"], "ip -4 addr show eth0; readlink /proc/self/ns/net").await;
    nix::mount::umount(configured).context("take the lab's network away")?;
    let text = text?;
    ensure!(text.contains("inet 10.88."), "{text}");
    ensure!(!text.contains(&fs::read_link("/proc/self/ns/net")?.display().to_string()), "{text}");
    Ok(())
}

pub(crate) async fn capabilities_are_added_and_dropped_by_name(node: &Node<'_>) -> Result<()> {
    let flags = ["--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_CHOWN"];
    let text =
        script(node, &flags, "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; ! chown 1 /bin; hostname x")
            .await?;
    let expected = DEFAULT_CAPABILITIES & !(1 << CAP_CHOWN) | 1 << CAP_SYS_ADMIN;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        ensure!(capabilities(&text, set)? == expected, "{set}: {text}");
    }
    Ok(())
}

pub(crate) async fn seccomp_is_containerds_profile_or_an_own_one(node: &Node<'_>) -> Result<()> {
    let text = script(
        node,
        &["--seccomp"],
        "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; ! mkdir -m 700 /x || echo made",
    )
    .await?;
    ensure!(field(&text, "Seccomp")? == "2" && text.ends_with("made\n"), "{text}");
    let profile = node.lab.directory("volumes", "seccomp")?.join("profile.json");
    let no_directories = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
    });
    fs::write(&profile, no_directories.to_string())?;
    let profile = profile.display().to_string();
    let flags = ["--seccomp", "--seccomp-profile", &profile];
    let text =
        script(node, &flags, "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; mkdir /x 2>&1; true").await?;
    fs::remove_file(&profile)?;
    ensure!(field(&text, "Seccomp")? == "2" && text.contains("not supported"), "{text}");
    Ok(())
}

pub(crate) async fn devices_are_given_one_by_one_or_as_a_tree(node: &Node<'_>) -> Result<()> {
    let look = "stat -c '%n %t:%T' $(find /dev -type c -o -type b) | sort; head -c 1 /dev/tty1 > /dev/null; \
                mknod /dev/other c 1 11; cat /dev/other 2>&1 | head -n 1; for d in fuse net/tun; do \
                [ -e /dev/$d ] && (: < /dev/$d) && echo opened $d; done; true";
    let text = script(node, &[], look).await?;
    ensure!(text.contains("/dev/null 1:3") && !text.contains("tun") && !text.contains("fuse"), "{text}");
    ensure!(text.contains("Operation not permitted"), "the kernel's log is open: {text}");
    let given: Vec<&str> = ["/dev/fuse", "/dev/net"].into_iter().filter(|path| Path::new(path).exists()).collect();
    for path in given {
        let text = script(node, &["--device", path], look).await?;
        let name = if path == "/dev/net" { "net/tun" } else { "fuse" };
        ensure!(text.contains(&format!("opened {name}")), "{path}: {text}");
        ensure!(text.contains("Operation not permitted"), "more is open than {path}: {text}");
    }
    Ok(())
}

pub(crate) async fn mounts_have_their_kind_options_and_propagation(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "ctr-mounts")?;
    fs::write(volume.join("file"), "from the host\n")?;
    let mount = |destination: &str, options: &str| {
        format!("type=bind,src={},dst={destination},options={options}", volume.display())
    };
    let (ro, private, shared) =
        (mount("/ro", "rbind:ro"), mount("/private", "rbind:rw:rprivate"), mount("/shared", "bind:rshared:nosuid"));
    let file = format!("type=bind,src={},dst=/etc/one,options=bind:ro", volume.join("file").display());
    let tmpfs = "type=tmpfs,dst=/t,options=size=64k:mode=700:noexec";
    let flags = ["--mount", &ro, "--mount", &private, "--mount", &shared, "--mount", &file, "--mount", tmpfs];
    let look = "cat /ro/file /etc/one; touch /ro/x 2>&1; touch /private/made; stat -c %a /t; \
                grep -E ' /(ro|private|shared|t) ' /proc/self/mountinfo";
    let text = script(node, &flags, look).await?;
    let made = volume.join("made").exists();
    fs::remove_dir_all(&volume)?;
    ensure!(made, "what is written to a volume is the host's: {text}");
    ensure!(text.starts_with("from the host\nfrom the host\n"), "{text}");
    ensure!(text.contains("touch: /ro/x: Read-only file system\n") && text.contains("\n700\n"), "{text}");
    let line = |place: &str| {
        let line = text.lines().find(|line| line.split(' ').nth(4) == Some(place));
        line.with_context(|| format!("{place} in {text}"))
    };
    ensure!(line("/ro")?.contains(" ro,"), "{text}");
    ensure!(!line("/private")?.contains("shared:") && !line("/private")?.contains("master:"), "{text}");
    ensure!(line("/shared")?.contains("shared:") && line("/shared")?.contains("nosuid"), "{text}");
    // Inside: what is mounted there does not come out to the host.
    ensure!(line("/shared")?.contains("master:"), "{text}");
    ensure!(line("/t")?.contains("noexec") && line("/t")?.contains("size=64k"), "{text}");
    Ok(())
}

pub(crate) async fn a_readonly_root_is_read_only_and_its_mounts_are_not(node: &Node<'_>) -> Result<()> {
    let text = script(node, &["--read-only"], "touch /x 2>&1; touch /dev/shm/x /run/x && echo good").await?;
    ensure!(text == "touch: /x: Read-only file system\ngood\n", "{text}");
    Ok(())
}

pub(crate) async fn directory_environment_and_privileges_are_the_given_ones(node: &Node<'_>) -> Result<()> {
    let file = node.lab.directory("volumes", "ctr-env")?.join("env");
    fs::write(&file, "FROM_FILE=of the file\n")?;
    let path = file.display().to_string();
    let flags = ["--cwd", "/new/directory", "--env", "ONE=1", "--env", "EMPTY=", "--env-file", &path];
    let text =
        script(node, &flags, "pwd; tr '\\0' '\\n' < /proc/$$/environ; grep NoNewPrivs /proc/self/status").await?;
    fs::remove_file(&file)?;
    let mut lines: Vec<&str> = text.lines().collect();
    ensure!(lines.first() == Some(&"/new/directory") && lines.last() == Some(&"NoNewPrivs:\t1"), "{text}");
    lines.sort_unstable();
    for line in ["ONE=1", "EMPTY=", "FROM_FILE=of the file", "HOME=/root"] {
        ensure!(lines.contains(&line), "{line} in {text}");
    }
    // The runtime's own environment has containerd's addresses, and names of labs.
    ensure!(lines.iter().filter(|line| line.contains('=')).count() == 5, "{text}");
    let text = script(node, &["--allow-new-privs"], "grep NoNewPrivs /proc/self/status").await?;
    ensure!(field(&text, "NoNewPrivs")? == "0", "{text}");
    Ok(())
}

/// A cgroup mount shows a container its own limits.
pub(crate) async fn limits_are_those_of_the_flags(node: &Node<'_>) -> Result<()> {
    if !Path::new("/sys/fs/cgroup/memory").is_dir() {
        bail!(LeftOut("about the files of cgroup v1, which this machine does not have".to_owned()));
    }
    let cgroup = ["--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro:nosuid:noexec:nodev"];
    let look = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us \
                cpu/cpu.shares; grep -c :/own/name /proc/self/cgroup; echo 0 > cpu/cgroup.procs";
    let with = |flags: &[&str]| [&cgroup[..], flags, &["--cgroup", "/own/name"]].concat().join("\n");
    let cases = [
        (with(&["--memory-limit", "33554432", "--cpus", "0.5"]), "33554432\n50000\n100000\n1024\n"),
        (
            with(&["--cpu-quota", "20000", "--cpu-period", "50000", "--cpu-shares", "333"]),
            "9223372036854771712\n20000\n50000\n333\n",
        ),
    ];
    for (flags, expected) in cases {
        let words: Vec<&str> = flags.split('\n').collect();
        let words = [&words[..], &[images::BUSYBOX_IMAGE, "ctr-run", "sh", "-c", look]].concat();
        let said = ctr_run(node, &words).await?;
        ensure!(said.stdout.starts_with(expected), "{words:?}: {said:?}");
        ensure!(said.stdout.lines().last().is_some_and(|count| count != "0"), "{said:?}");
        ensure!(said.stderr.contains("Read-only file system"), "{said:?}");
    }
    Ok(())
}

pub(crate) async fn a_run_with_a_terminal_has_one_of_its_own(node: &Node<'_>) -> Result<()> {
    let terminal = openpty(None, None).context("make a terminal")?;
    let slave = || terminal.slave.try_clone().map(Stdio::from);
    let screen = Screen::watch(File::from(terminal.master.try_clone()?));
    let look = "tty; ls -l /dev/console /proc/self/fd/0; echo on the console > /dev/console; exit 9";
    let runtime = node.runtime_type();
    let mut ctr = node.lab.ctr();
    ctr.args(["run", "--rm", "--tty", "--runtime", &runtime, images::BUSYBOX_IMAGE, "ctr-tty", "sh", "-c", look]);
    let mut child = ctr.stdin(slave()?).stdout(slave()?).stderr(slave()?).spawn().context("run ctr")?;
    screen.shows("on the console").await?;
    let status = eventually("the end of ctr", async || Ok(child.try_wait()?)).await?;
    ensure!(status.code() == Some(9), "{status}: {}", screen.text());
    ensure!(screen.text().starts_with("/dev/pts/0"), "{}", screen.text());
    Ok(())
}

pub(crate) async fn namespaces_of_another_container_are_joined(node: &Node<'_>) -> Result<()> {
    let pid_file = node.lab.directory("volumes", "ctr-pid")?.join("pid");
    let path = pid_file.display().to_string();
    let first = Detached::run(node, "ctr-first", &["--pid-file", &path]).await?;
    let pid = first.pid().await?;
    let written = fs::read_to_string(&pid_file)?;
    fs::remove_file(&pid_file)?;
    ensure!(written == pid.to_string(), "the file says {written}, containerd {pid}");
    let join = |kind: &str, name: &str| format!("{kind}:/proc/{pid}/ns/{name}");
    let (net, ipc, uts, pids) = (join("network", "net"), join("ipc", "ipc"), join("uts", "uts"), join("pid", "pid"));
    let flags = ["--with-ns", &net, "--with-ns", &ipc, "--with-ns", &uts, "--with-ns", &pids];
    let text = script(node, &flags, "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; ps").await;
    let mut expected = String::new();
    for name in ["net", "ipc", "uts", "pid"] {
        expected += &format!("{}\n", fs::read_link(format!("/proc/{pid}/ns/{name}"))?.display());
    }
    first.remove().await?;
    let text = text?;
    ensure!(text.starts_with(&expected) && text.contains("sleep 1000"), "{text} instead of {expected}");
    Ok(())
}

pub(crate) async fn a_directory_is_a_root_file_system(node: &Node<'_>) -> Result<()> {
    let root = rootfs(node, "ctr-rootfs")?;
    let path = root.display().to_string();
    for more in [&[][..], &["--no-pivot"], &["--rootfs-propagation", "shared"], &["--read-only"]] {
        let words = [
            more,
            &["--rootfs", &path, "ctr-rootfs", "/bin/sh", "-c", "ls /; grep -E '^([^ ]+ ){4}/ ' /proc/self/mountinfo"],
        ];
        let said = ctr_run(node, &words.concat()).await?;
        ensure!(said.code == 0, "{more:?}: {said:?}");
        for name in ["bin", "dev", "proc", "sys"] {
            ensure!(said.stdout.lines().any(|line| line == name), "{more:?}: {said:?}");
        }
        let shared = said.stdout.contains("shared:");
        ensure!(shared == more.contains(&"shared") || node.handler == config::RUNC, "{more:?}: {said:?}");
    }
    fs::remove_dir_all(&root)?;
    Ok(())
}

/// A root directory with a shell in it.
pub(crate) fn rootfs(node: &Node<'_>, name: &str) -> Result<std::path::PathBuf> {
    let root = node.lab.directory("volumes", name)?;
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in
        ["sh", "cat", "ls", "grep", "id", "sleep", "readlink", "mount", "true", "hostname", "touch", "tty", "stat"]
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    Ok(root)
}

pub(crate) async fn streams_go_where_the_flags_say(node: &Node<'_>) -> Result<()> {
    let log = node.lab.directory("volumes", "ctr-log")?.join("log");
    let uri = format!("file://{}", log.display());
    let words = ["--log-uri", &uri, images::BUSYBOX_IMAGE, "ctr-run", "sh", "-c", "echo out; echo err >&2"];
    let said = ctr_run(node, &words).await?;
    let logged = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    ensure!(said.code == 0 && said.stdout.is_empty() && logged == "out\nerr\n", "{said:?} {logged:?}");
    let text = script(node, &["--null-io"], "echo nobody hears this").await?;
    ensure!(text.is_empty(), "{text}");
    Ok(())
}

pub(crate) async fn what_this_kernel_cannot_enforce_is_refused_by_name(node: &Node<'_>) -> Result<()> {
    // runc only says that writing a file of procfs failed.
    if node.handler == config::RUNC {
        return Ok(());
    }
    if !Path::new("/sys/module/apparmor").exists() {
        let text = refused(node, &["--apparmor-profile", "of-nobody"]).await?;
        ensure!(text.contains("process.apparmorProfile of-nobody") && text.contains("no AppArmor"), "{text}");
    }
    if !Path::new("/sys/fs/resctrl/schemata").exists() {
        let text = refused(node, &["--rdt-class", "of-nobody"]).await?;
        ensure!(text.contains("linux.intelRdt"), "{text}");
    }
    Ok(())
}

/// User, capabilities, filter, directory and cgroup of a process that is executed later.
pub(crate) async fn an_exec_is_as_confined_as_its_container(node: &Node<'_>) -> Result<()> {
    let look = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Cpus_allowed_list)' /proc/PID/status; \
                cat /proc/PID/cgroup /proc/PID/limits /proc/PID/oom_score_adj; \
                for n in net ipc uts pid mnt cgroup user; do readlink /proc/PID/ns/$n; done";
    let flags = ["--seccomp", "--cap-drop", "CAP_MKNOD", "--read-only", "--memory-limit", "67108864"];
    let container = Detached::run(node, "ctr-exec", &flags).await?;
    let result = async {
        let own = container.exec(&[], &look.replace("PID", "self")).await?;
        let init = container.exec(&[], &look.replace("PID", "1")).await?;
        ensure!(own.code == 0 && own.stdout == init.stdout, "{own:?} is not as {init:?}");
        ensure!(field(&own.stdout, "Seccomp")? == "2", "{own:?}");
        let user =
            container.exec(&["--user", "1000:2000", "--cwd", "/tmp"], "id -u; id -g; pwd; touch /x; exit 3").await?;
        ensure!(user.code == 3 && user.stdout == "1000\n2000\n/tmp\n", "{user:?}");
        ensure!(user.stderr.contains("Read-only file system") || user.stderr.contains("denied"), "{user:?}");
        let mut tasks = Vec::new();
        for _ in 0..4 {
            tasks.push(container.exec(&[], "ls /proc/self/fd | wc -l").await?.stdout);
        }
        ensure!(tasks.iter().all(|count| count == "4\n"), "descriptors: {tasks:?}");
        anyhow::Ok(())
    };
    let result = result.await;
    container.remove().await?;
    result
}

/// Refused by name: what `ctr` itself does not check.
pub(crate) async fn an_own_specification_without_a_root_is_refused(node: &Node<'_>) -> Result<()> {
    let file = node.lab.directory("volumes", "ctr-config")?.join("config.json");
    fs::write(
        &file,
        json!({"ociVersion": "1.0.2", "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}})
            .to_string(),
    )?;
    let path = file.display().to_string();
    let said = ctr_run(node, &["--config", &path, "ctr-bare"]).await?;
    node.lab.ctr_output(&["container", "rm", "ctr-bare"], b"").await?;
    fs::remove_file(&file)?;
    if said.code == 0 {
        bail!("a container without a root ran: {said:?}");
    }
    ensure!(
        said.stderr.contains("linux.namespaces") || said.stderr.contains("root") || node.handler == config::RUNC,
        "{said:?}"
    );
    Ok(())
}
