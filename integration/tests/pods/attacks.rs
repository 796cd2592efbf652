//! Attacks that other runtimes have met, from inside real pods. docs/security.md says what stands against each.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_cri::v1;
use loment_integration::pod::{Container, ContainerBuilder, Node, Pod, command, eventually, shell, text_of};

use super::ctr::{Detached, field};

const STAY: &str = "exec sleep 1000";

/// How often a race is run. Whoever loses one of these loses it within a few.
const ROUNDS: usize = 40;

/// The program of the shim that runs a container: the parent of its first process.
async fn shim_of(container: &Container<'_>) -> Result<PathBuf> {
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid().await?))?;
    let parent = field(&status, "PPid")?;
    fs::read_link(format!("/proc/{parent}/exe")).with_context(|| format!("the program of {parent}"))
}

/// Why a container did not run.
async fn refusal(pod: &Pod<'_>, container: ContainerBuilder) -> Result<String> {
    match pod.create(container).await {
        Err(error) => Ok(format!("{error:#}")),
        Ok(container) => match container.start().await {
            Err(error) => Ok(format!("{error:#}")),
            Ok(()) => bail!("a container ran that must not: {:?}", container.logs()?),
        },
    }
}

/// CVE-2019-5736: an image whose program, or whose program's interpreter, is the runtime.
pub(crate) async fn an_image_does_not_get_the_runtime_executed(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "own-program")?;
    let script = volume.join("script");
    fs::write(&script, "#!/proc/self/exe\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let pod = node.pod("own-program").shared_pids().run().await?;
    let with_ptrace = shell("main", STAY).volume(&volume, "/v").security(|security| {
        security.capabilities.get_or_insert_default().add_capabilities.push("SYS_PTRACE".to_owned());
    });
    let main = pod.start(with_ptrace).await?;
    let shim = shim_of(&main).await?;
    let before = fs::read(&shim)?;
    for (index, program) in ["/proc/self/exe", "/v/script", "/proc/1/exe"].into_iter().enumerate() {
        let container = command(&format!("c{index}"), &[program]).volume(&volume, "/v");
        let text = refusal(&pod, container).await?;
        ensure!(text.contains("the runtime's own program") || text.contains("permission denied"), "{program}: {text}");
        let Err(error) = main.exec(&[program]).await else { bail!("{program} was executed") };
        ensure!(format!("{error:#}").contains("the runtime's own program"), "{program}: {error:#}");
    }
    // The holder of the pod's namespaces runs the same program. Who may look into it may not write to it.
    let output =
        main.exec(&["sh", "-c", "(: >> /proc/1/exe) && echo opened; (: > /proc/1/exe) && echo opened"]).await?;
    ensure!(output.stdout.is_empty() && output.stderr.matches("Text file busy").count() == 2, "{output:?}");
    ensure!(fs::read(&shim)? == before, "{} has been changed", shim.display());
    pod.remove().await?;
    fs::remove_dir_all(&volume)?;
    Ok(())
}

/// CVE-2024-21626: a descriptor of the node's, named directly or by a link.
pub(crate) async fn no_working_directory_is_one_of_the_nodes(node: &Node<'_>) -> Result<()> {
    let volume = node.lab.directory("volumes", "directories")?;
    let pod = node.pod("directories").run().await?;
    let main = Detached::run(node, "attacked-exec", &[]).await?;
    let result = async {
        for number in 3..24 {
            let magic = format!("/proc/self/fd/{number}");
            let link = volume.join(number.to_string());
            symlink(&magic, &link)?;
            for (kind, cwd) in [("name", magic.clone()), ("link", format!("/v/{number}"))] {
                let look = shell(&format!("{kind}{number}"), "ls -d etc/passwd ../etc; pwd").volume(&volume, "/v");
                let container = pod.create(look.with(|config| config.working_dir.clone_from(&cwd))).await;
                let error = match container {
                    Ok(container) => container.start().await.err().with_context(|| format!("{cwd} was entered"))?,
                    Err(error) => error,
                };
                let text = format!("{error:#}");
                ensure!(text.contains("working directory") || text.contains("cwd"), "{cwd}: {text}");
            }
            let said = main.exec(&["--cwd", &magic], "pwd").await?;
            ensure!(said.code != 0, "an exec entered {magic}: {said:?}");
        }
        anyhow::Ok(())
    };
    let result = result.await;
    main.remove().await?;
    result?;
    pod.remove().await?;
    fs::remove_dir_all(&volume)?;
    Ok(())
}

/// Paths below a directory with their modes, and what the lab has mounted.
fn state(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let mode = entry.metadata()?.permissions().mode();
        names.push(format!("{} {mode:o}", entry.path().display()));
        if entry.file_type()?.is_dir() {
            names.extend(state(&entry.path())?);
        }
    }
    names.sort();
    Ok(names)
}

/// CVE-2021-30465, and with it CVE-2025-31133 and CVE-2025-52881: another container exchanges a directory of a volume that
/// both have for a link, while everything that the runtime makes, masks and enters for a container is in that directory.
pub(crate) async fn a_volume_that_is_exchanged_by_another_container_leads_nothing_outside(
    node: &Node<'_>,
) -> Result<()> {
    let (volume, outside) = (node.lab.directory("volumes", "race")?, node.lab.directory("volumes", "outside")?);
    let other = node.lab.directory("volumes", "mounted")?;
    for directory in [volume.join("place/sub"), outside.join("sub")] {
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("../secret"), "of the node\n")?;
    }
    symlink(&outside, volume.join("link"))?;
    let before = state(&outside)?;
    let pod = node.pod("race").run().await?;
    let device = |name: &str| v1::Device {
        container_path: format!("/v/place/{name}"),
        host_path: "/dev/zero".to_owned(),
        permissions: "rwm".to_owned(),
    };
    let victim = |name: &str, number: usize| {
        // By turns: where all of the place is read-only no working directory can be made in it.
        let (read_only, cwd) = [("/v/place", "/"), ("/v/place/made", "/v/place/cwd")][number % 2];
        let victim = shell(&format!("{name}{number}"), "true").volume(&volume, "/v").volume(&other, "/v/place/sub");
        let victim = victim.volume(&other, "/v/place/made/by/the/runtime").with(|config| {
            config.devices = vec![device("zero"), device("below/zero")];
            config.working_dir = cwd.to_owned();
        });
        victim.security(|security| {
            security.masked_paths = vec!["/v/place/secret".to_owned(), "/v/place/sub".to_owned()];
            security.readonly_paths = vec![read_only.to_owned()];
        })
    };
    // Undisturbed they run: what fails below fails for the exchange. Then all has to be made once more.
    for number in 0..2 {
        let undisturbed = pod.start(victim("undisturbed", number)).await?;
        ensure!(undisturbed.exited().await?.exit_code == 0, "undisturbed it fails");
        undisturbed.remove().await?;
    }
    fs::remove_dir_all(volume.join("place"))?;
    fs::create_dir(volume.join("place"))?;
    fs::create_dir(volume.join("place/sub"))?;
    fs::write(volume.join("place/secret"), "of the node\n")?;
    let exchange = ["loment-probe", "exchange", "/v/place", "/v/link"];
    let racer = pod.start(command("racer", &exchange).volume(&volume, "/v")).await?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut ran = 0;
    for round in 0..ROUNDS {
        // Whether it runs depends on the moment; that nothing is made outside does not.
        let victim = pod.create(victim("victim", round)).await?;
        if victim.start().await.is_ok() {
            victim.exited().await?;
            ran += 1;
        }
        victim.remove().await?;
        ensure!(state(&outside)? == before, "round {round}: {:?}", state(&outside)?);
    }
    ensure!(racer.status().await?.state() == v1::ContainerState::ContainerRunning, "nobody raced: {:?}", racer.logs()?);
    ensure!(fs::read_to_string("/proc/self/mountinfo")? == mounts, "{ran} containers ran");
    ensure!(fs::read_to_string(outside.join("secret"))? == "of the node\n", "what is outside has been changed");
    ensure!(ran > 0, "none ran: what can be exchanged after the first refusal was never come to");
    pod.remove().await?;
    for directory in [volume, outside, other] {
        fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// CVE-2025-31133 and CVE-2025-52565: a volume in the place of /dev, in which the null device and the console are links.
pub(crate) async fn what_masks_and_the_terminal_come_from_the_node_and_not_from_the_image(
    node: &Node<'_>,
) -> Result<()> {
    let (volume, target) = (node.lab.directory("volumes", "dev")?, node.lab.directory("volumes", "target")?);
    let file = target.join("file");
    fs::write(&file, "of the node\n")?;
    for name in ["null", "console", "ptmx", "tty"] {
        symlink("/t/file", volume.join(name))?;
    }
    let before = state(&target)?;
    let pod = node.pod("dev").run().await?;
    let look = "wc -c < /etc/passwd; tty; cat /t/file";
    for (name, tty) in [("plain", false), ("terminal", true)] {
        let container = shell(name, look).volume(&volume, "/dev").volume(&target, "/t").with(|config| config.tty = tty);
        let container = container.security(|security| security.masked_paths = vec!["/etc/passwd".to_owned()]);
        let container = pod.create(container).await?;
        // With a terminal it may be refused, for want of a devpts that is one.
        match container.start().await {
            Ok(()) => {
                container.exited().await?;
                let lines: Vec<String> = container.logs()?.into_iter().map(|line| line.text).collect();
                ensure!(lines.first().is_some_and(|line| line.trim() == "0"), "{name}: not masked: {lines:?}");
                ensure!(lines.iter().any(|line| line.trim() == "of the node"), "{name}: {lines:?}");
            }
            Err(error) => ensure!(tty, "{name}: {error:#}"),
        }
        ensure!(
            state(&target)? == before && fs::read_to_string(&file)? == "of the node\n",
            "{name}: {:?}",
            state(&target)?
        );
    }
    pod.remove().await?;
    fs::remove_dir_all(&volume)?;
    fs::remove_dir_all(&target)?;
    Ok(())
}

/// CVE-2016-9962: a process on its way into a container, seen from a container in the same pid namespace.
pub(crate) async fn a_process_on_its_way_into_a_pod_cannot_be_looked_into(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("watched").shared_pids().run().await?;
    let watch = "echo watching; while :; do for p in /proc/[0-9]*; do for l in exe cwd root; do readlink $p/$l; done; ls -l $p/fd; \
                 head -c 64 $p/environ; head -c 1 $p/mem > /dev/null && echo memory; done; done 2> /dev/null";
    let watcher = pod.start(shell("watcher", watch)).await?;
    eventually("the watch", async || Ok((!watcher.logs()?.is_empty()).then_some(()))).await?;
    let main = pod.start(shell("main", STAY)).await?;
    let shim = shim_of(&main).await?;
    for round in 0..20 {
        ensure!(main.exec(&["true"]).await?.code == 0, "exec {round}");
        pod.output_of(shell(&format!("c{round}"), "true")).await?;
    }
    watcher.stop(std::time::Duration::ZERO).await?;
    let shim = shim.file_name().context("the name of the shim's program")?.to_string_lossy().into_owned();
    let lines = watcher.logs()?;
    ensure!(lines.iter().any(|line| line.text.contains("/bin/busybox")), "it must have seen others");
    // Names of the shim's program, of what only the runtime has open, and of its environment.
    for secret in [shim.as_str(), "TTRPC_ADDRESS", "/tasks", "containerd.sock", "memory"] {
        let seen = lines.iter().find(|line| line.text.contains(secret) && !line.text.contains("sh -c"));
        ensure!(seen.is_none(), "{secret} is seen: {seen:?}");
    }
    pod.remove().await
}

/// What the kernel hands down from a process to those that it makes, and procfs shows.
const INHERITED: &str = "grep -E '^(Umask|Sig(Blk|Ign|Cgt)|CapInh|CapAmb|Cpus_allowed_list|THP_enabled)' \
                         /proc/self/status; cat /proc/self/timerslack_ns /proc/self/personality; \
                         sed 's/.*) //' /proc/self/stat | cut -d ' ' -f 16,17,38,39; ls /proc/self/fd; tr '\\0' '\\n' < \
                         /proc/$$/environ | sed 's/=.*//' | sort";

/// Not the shim's environment, signals, huge pages, timers, priorities, descriptors.
pub(crate) async fn nothing_of_the_shim_is_handed_down(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("handed-down").run().await?;
    let main = pod.start(shell("main", &format!("{INHERITED}; echo end; {STAY}"))).await?;
    let init = eventually("what it has", async || {
        let text = text_of(&main.logs()?, "stdout");
        Ok(text.strip_suffix("end\n").map(str::to_owned))
    })
    .await?;
    let output = main.exec(&["sh", "-c", INHERITED]).await?;
    let cpus = field(&fs::read_to_string("/proc/self/status")?, "Cpus_allowed_list")?;
    for text in [&init, &output.stdout] {
        ensure!(field(text, "Umask")? == "0022" && field(text, "THP_enabled")? == "1", "{text}");
        ensure!(field(text, "Cpus_allowed_list")? == cpus, "{text}");
        for name in ["SigBlk", "SigIgn", "CapInh", "CapAmb"] {
            ensure!(field(text, name)? == "0000000000000000", "{name}: {text}");
        }
        ensure!(text.contains("\n50000\n00000000\n20 0 0 0\n0\n1\n2\n3\nHOME\nHOSTNAME\nPATH\n"), "{text}");
        ensure!(text.ends_with("PATH\n"), "{text}");
    }
    pod.remove().await
}

/// CVE-2022-0492, and a program that the kernel runs on the node when a cgroup becomes empty: neither by the cgroups that
/// a container is shown nor by ones that it mounts, in a user namespace of its own either.
pub(crate) async fn a_release_agent_is_out_of_reach(node: &Node<'_>) -> Result<()> {
    let pod = node.pod("release-agent").run().await?;
    let attack = "mkdir -p /tmp/m; for o in rdma memory devices none,name=new; do mount -t cgroup -o $o cgroup /tmp/m \
                  && echo mounted; [ -e /tmp/m/release_agent ] && echo found; done; \
                  mount -t cgroup2 cgroup /tmp/m && echo mounted; mount -o remount,rw /sys/fs/cgroup && echo remounted; \
                  for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,rw $d && echo remounted; \
                  (echo 1 > $d/notify_on_release) && echo written; (echo /x > $d/release_agent) && echo written; \
                  mkdir $d/new && echo made; done";
    let script = format!("({attack}) 2>/dev/null; unshare -U -r -m sh -c '({attack}) 2>/dev/null'; echo tried");
    let text = pod.output_of(shell("main", &script)).await?;
    ensure!(text == "tried\n", "{text}");
    let look = "ls /sys/fs/cgroup | wc -l; find /sys/fs/cgroup/ -name release_agent";
    let text = pod.output_of(shell("look", look)).await?;
    ensure!(!text.starts_with("0\n") && !text.contains("release_agent"), "{text}");
    pod.remove().await
}
