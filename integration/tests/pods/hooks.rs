//! Hooks: of a runtime class, of a specification that somebody has written, and as tools for devices write them.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use loment_integration::{
    config, hooks, images,
    loment::Loment,
    pod::{Node, eventually, shell},
    requirements::BUSYBOX,
};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use super::{
    command::shim_of,
    manifest::{COUNTED, Manifest, log},
};

/// Notes the moment and what of the container is there.
const NOTE: &str = "echo $(basename $0) $(ls $bundle/rootfs/etc/passwd) >> notes";

fn lines(directory: &Path, file: &str) -> Vec<String> {
    fs::read_to_string(directory.join(file)).unwrap_or_default().lines().map(str::to_owned).collect()
}

pub(crate) async fn a_container_of_a_class_with_hooks_has_what_they_give_it(node: &Node<'_>) -> Result<()> {
    let give = format!(
        "{NOTE}; touch $bundle/rootfs/library; mount -o bind library $bundle/rootfs/library; echo \"$state\" > created"
    );
    let runtime = format!("{NOTE}; echo made > $bundle/rootfs/made");
    let directory = hooks::set(
        node.lab,
        &[("createRuntime", &runtime), ("createContainer", &give), ("poststart", NOTE), ("poststop", NOTE)],
    )?;
    fs::write(directory.join("library"), "of the host\n").context("write the library")?;
    let node = Node::connect(node.lab, &hooks::class(&node.handler)).await?;
    let pod = node.pod("hooked").run().await?;
    let container = pod.start(shell("main", "cat /library /made; exec sleep 1000")).await?;
    let said = eventually("what the program says", async || {
        let said: Vec<_> = container.logs()?.into_iter().map(|line| line.text).collect();
        Ok((said.len() >= 2).then_some(said))
    })
    .await?;
    ensure!(said == ["of the host", "made"], "the program says {said:?}");
    let state: Value = serde_json::from_slice(&fs::read(directory.join("created")).context("read the state")?)?;
    ensure!(state["id"] == container.id.as_str() && state["status"] == "creating", "the state is {state}");
    ensure!(state["annotations"]["io.kubernetes.cri.container-name"] == "main", "the state is {state}");
    let place = format!("{}/rootfs/etc/passwd", state["bundle"].as_str().unwrap_or_default());
    pod.remove().await?;
    let expected = ["createRuntime", "createContainer", "poststart", "poststop"].map(|kind| format!("{kind} {place}"));
    ensure!(lines(&directory, "notes") == expected, "the hooks note {:?}", lines(&directory, "notes"));
    Ok(())
}

pub(crate) async fn a_failing_hook_fails_the_container_with_what_it_said_and_leaves_nothing(
    node: &Node<'_>,
) -> Result<()> {
    let node_with_hooks = Node::connect(node.lab, &hooks::class(&node.handler)).await?;
    let pod = node_with_hooks.pod("failing-hooks").run().await?;
    for kind in ["createRuntime", "createContainer"] {
        let directory =
            hooks::set(node.lab, &[(kind, "echo no library for you; exit 7"), ("poststop", "echo stopped >> notes")])?;
        let container = pod.create(shell(kind, "true")).await?;
        let Err(error) = container.start().await else { bail!("the container was started") };
        let text = format!("{error:#}");
        ensure!(text.contains("no library for you"), "it says {text}");
        container.remove().await?;
        // runc forgets those of a container that was never there.
        if node.handler == config::HANDLER {
            ensure!(text.contains(&format!("hooks.{kind}[0] {BUSYBOX}: ended with status 7")), "it says {text}");
            ensure!(lines(&directory, "notes") == ["stopped"], "{:?}", lines(&directory, "notes"));
        }
    }
    // What fails after the start is a matter for the log, and the container runs.
    if node.handler == config::HANDLER {
        hooks::set(node.lab, &[("poststart", "exit 1"), ("poststop", "exit 1")])?;
        ensure!(pod.output_of(shell("runs", "echo runs")).await? == "runs\n", "the container does not run");
    }
    pod.remove().await
}

pub(crate) async fn a_hook_that_takes_its_time_keeps_no_other_container_waiting(node: &Node<'_>) -> Result<()> {
    if node.handler != config::HANDLER {
        // The distribution's shim for runc does not do anything else during a Create.
        return Ok(());
    }
    let wait = |name: &str| format!("touch {name}; until [ -e {name}-go ]; do sleep 0.02; done");
    let [before, after, last] = ["createRuntime", "poststart", "poststop"].map(wait);
    let first = hooks::set(node.lab, &[])?;
    let node = Node::connect(node.lab, &hooks::class(&node.handler)).await?;
    let pod = node.pod("slow-hooks").run().await?;
    let other = pod.start(shell("other", "exec sleep 1000")).await?;
    let directory = hooks::set(node.lab, &[("createRuntime", &before), ("poststart", &after), ("poststop", &last)])?;
    ensure!(first == directory, "the scripts are in {} and {}", first.display(), directory.display());
    let container = pod.create(shell("slow", "exec sleep 1000")).await?;
    let look = async |names: &[&str]| {
        for name in names {
            eventually("the hook", async || Ok(directory.join(name).exists().then_some(()))).await?;
            ensure!(other.exec(&["true"]).await?.code == 0, "no exec in another container beside {name}");
            fs::write(directory.join(format!("{name}-go")), "").context("let the hook go on")?;
        }
        anyhow::Ok(())
    };
    let (started, looked) = tokio::join!(container.start(), look(&["createRuntime", "poststart"]));
    looked?;
    started?;
    let (stopped, looked) = tokio::join!(container.stop(Duration::ZERO), look(&["poststop"]));
    looked?;
    stopped?;
    container.remove().await?;
    hooks::set(node.lab, &[])?;
    pod.remove().await
}

pub(crate) async fn a_client_that_gives_up_waiting_for_a_hook_ends_it_with_its_container(
    node: &Node<'_>,
) -> Result<()> {
    if node.handler != config::HANDLER {
        // The distribution's shim for runc waits for the hook's timeout.
        return Ok(());
    }
    let with_hooks = Node::connect(node.lab, &hooks::class(&node.handler)).await?;
    let pod = with_hooks.pod("given-up").run().await?;
    for kind in ["createRuntime", "createContainer", "poststart"] {
        let directory =
            hooks::set(node.lab, &[(kind, "touch waits; exec sleep 4741"), ("poststop", "echo stopped >> notes")])?;
        let container = pod.create(shell(kind, "exec sleep 1000")).await?;
        tokio::select! {
            started = container.start() => bail!("the start did not wait for the hook: {started:?}"),
            begun = eventually("the hook", async || Ok(directory.join("waits").exists().then_some(()))) => begun?,
        }
        // Its client gone, containerd deletes what it has asked for.
        eventually(kind, async || Ok((lines(&directory, "notes") == ["stopped"]).then_some(()))).await?;
    }
    pod.remove().await
}

pub(crate) async fn each_attempt_of_an_init_container_has_its_hooks_and_a_fresh_layer(node: &Node<'_>) -> Result<()> {
    if node.handler != config::HANDLER {
        // Only loment's shim runs pods by itself.
        return Ok(());
    }
    let look = "echo $(basename $0) $(ls $bundle/rootfs/trace 2>/dev/null) >> notes";
    let directory = hooks::set(
        node.lab,
        &[
            ("createRuntime", &format!("{look}; echo given > $bundle/rootfs/given")),
            ("poststop", "echo poststop >> notes"),
        ],
    )?;
    let pod = Manifest::new(node, "attempts")?
        .init("init", &format!("{COUNTED}; cat /given; touch /trace; [ $n -ge 3 ]"))
        .app("app", "true");
    let loment = Loment::new(node.lab);
    let class = hooks::class(&node.handler);
    let created = loment.run(&["--runtime-handler", &class, "create", "-f", "-"], &pod.text()).await?;
    ensure!(created.code == 0, "create says {}", created.stderr);
    loment.phase("attempts", "Succeeded").await?;
    let said: Vec<_> = log(node, "attempts", "init").await?.into_iter().map(|line| line.text).collect();
    ensure!(said == ["given"; 3], "the attempts say {said:?}");
    loment.delete("attempts").await?;
    let mut notes = lines(&directory, "notes");
    notes.sort();
    let expected = [["createRuntime"; 4], ["poststop"; 4]].concat();
    // The app is made while an attempt may run, so that only their number is certain, and that none saw a trace.
    ensure!(notes == expected, "the hooks note {notes:?}");
    Ok(())
}

pub(crate) async fn a_pod_is_deleted_while_an_attempt_waits_for_its_hooks(node: &Node<'_>) -> Result<()> {
    if node.handler != config::HANDLER {
        return Ok(());
    }
    let loment = Loment::new(node.lab);
    let class = hooks::class(&node.handler);
    // The second attempt of the app's.
    let again = "touch waits; exec sleep 4742";
    let create = format!("b=$(basename $bundle); if [ -e $b ]; then {again}; fi; touch $b");
    let start = format!("if [ -e ready ]; then {again}; fi; touch ready");
    for (name, kind, script) in [("remade", "createRuntime", &create), ("restarted", "poststart", &start)] {
        let directory = hooks::set(node.lab, &[(kind, script), ("poststop", "echo $(basename $bundle) >> notes")])?;
        let pod = Manifest::new(node, name)?.app("app", "sleep 0.5; exit 1");
        let created = loment.run(&["--runtime-handler", &class, "create", "-f", "-"], &pod.text()).await?;
        ensure!(created.code == 0, "create says {}", created.stderr);
        eventually("the hook of an attempt", async || Ok(directory.join("waits").exists().then_some(()))).await?;
        loment.delete(name).await?;
    }
    Ok(())
}

/// A root file system of busybox and a specification that uses it, which tests change.
struct Written {
    spec: Value,
    directory: PathBuf,
}

impl Written {
    fn new(node: &Node<'_>, name: &str, script: &str) -> Result<Self> {
        let directory = node.lab.directory("volumes", name)?;
        let root = directory.join("root");
        for path in ["bin", "etc", "proc", "sys", "dev", "run", "tmp", "usr/lib"] {
            fs::create_dir_all(root.join(path)).context("make a root file system")?;
        }
        fs::copy(BUSYBOX, root.join("bin/busybox")).context("copy busybox")?;
        for applet in ["sh", "cat", "ls", "id", "readlink", "env", "echo", "sleep", "stat", "dd"] {
            symlink("busybox", root.join("bin").join(applet)).context("link an applet")?;
        }
        let mut spec = hooks::default_spec(Path::new(node.lab.ctr().get_program()))?;
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["root"] = json!({ "path": root });
        spec["linux"]["cgroupsPath"] = json!(format!("/pods/{name}"));
        Ok(Self { spec, directory })
    }

    fn push(&mut self, pointer: &str, values: &[Value]) -> Result<()> {
        let list = self.spec.pointer_mut(pointer).with_context(|| format!("find {pointer} in the specification"))?;
        list.as_array_mut().context("a list")?.extend_from_slice(values);
        Ok(())
    }

    /// Runs it under `ctr run` with these further words; returns what it prints.
    async fn run(&self, node: &Node<'_>, id: &str, words: &[&str]) -> Result<String> {
        let config = self.directory.join("spec.json");
        fs::write(&config, self.spec.to_string()).with_context(|| format!("write {}", config.display()))?;
        let (runtime, config) = (node.runtime_type(), config.display().to_string());
        let words = [&["run", "--runtime", &runtime, "--config", &config], words, &[id]].concat();
        let output = node.lab.ctr_output(&words, b"").await?;
        ensure!(output.status.success(), "ctr run: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A program for a hook in the directory of this specification.
    fn program(&self, name: &str, script: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        write_program(&path, script)?;
        Ok(path)
    }
}

fn write_program(path: &Path, script: &str) -> Result<()> {
    let text = format!("#!{BUSYBOX} sh\nset -e\n{script}\n");
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", path.display()))
}

/// What the Container Device Interface makes of a specification when a device is asked for: nodes, variables, mounts, a
/// group, and hooks that finish in the container what a mount cannot say.
pub(crate) async fn a_specification_with_the_edits_of_a_device_interface_has_them(node: &Node<'_>) -> Result<()> {
    let script = "env | grep VENDOR; id -G; stat -c '%a %t %T %u:%g' /dev/vendor0; dd if=/dev/vendor0 bs=4 count=1 2>/dev/null | wc -c; \
                  cat /usr/lib/libvendor.so.1; readlink /usr/lib/libvendor.so; cat /run/started; \
                  echo x 2>/dev/null > /usr/lib/libvendor.so.1 || echo read-only";
    let mut written =
        Written::new(node, "edits", &script.replace("wc -c", "busybox wc -c").replace("grep", "busybox grep"))?;
    let library = written.directory.join("libvendor.so.535");
    fs::write(&library, "a library\n").context("write the library")?;
    written.spec["process"]["env"] = json!(["PATH=/bin", "VENDOR_VISIBLE_DEVICES=void"]);
    written.spec["process"]["user"]["additionalGids"] = json!([109]);
    written.spec["linux"]["devices"] = json!([{ "path": "/dev/vendor0", "type": "c", "major": 1, "minor": 5, "fileMode": 0o660, "uid": 0, "gid": 109 }]);
    let access = json!({ "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rw" });
    written.push("/linux/resources/devices", &[access])?;
    let mount = json!({ "destination": "/usr/lib/libvendor.so.1", "source": library, "type": "bind",
                        "options": ["ro", "nosuid", "nodev", "bind"] });
    written.push("/mounts", &[mount])?;
    // As vendors' tools do: the bundle's config.json says where the root is.
    let tool = written.program(
        "vendor-cdi-hook",
        "bundle=$(/bin/busybox sed 's/.*\"bundle\":\"\\([^\"]*\\)\".*/\\1/')\n\
         root=$(/bin/busybox sed 's/.*\"root\":{[^}]*\"path\":\"\\([^\"]*\\)\".*/\\1/' $bundle/config.json)\n\
         [ $1 = create-symlinks ] && [ $2 = --link ]\n\
         /bin/busybox ln -s ${3%::*} $root/${3#*::}",
    )?;
    written.spec["hooks"] = json!({
        "createContainer": [{
            "path": tool, "args": ["vendor-cdi-hook", "create-symlinks", "--link", "libvendor.so.1::/usr/lib/libvendor.so"],
            "env": ["VENDOR_DEBUG=0"], "timeout": 10
        }],
        "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo $WHO > /run/started"], "env": ["WHO=hook"] }]
    });
    let said = written.run(node, "edits", &["--rm"]).await?;
    let expected = "VENDOR_VISIBLE_DEVICES=void\n0 109\n660 1 5 0:109\n4\na library\nlibvendor.so.1\nhook\nread-only\n";
    ensure!(said == expected, "the program says {said:?}");
    Ok(())
}

/// A container of `ctr run --gpus`: the hook is containerd's own, which calls a vendor's tool, for which there is a
/// stand-in here. It enters the container's mount namespace and mounts below the root, where the bundle has it.
pub(crate) async fn a_hook_that_enters_the_mount_namespace_finds_the_root_there(node: &Node<'_>) -> Result<()> {
    let directory = node.lab.directory("volumes", "gpus")?;
    fs::write(directory.join("library"), "driver\n").context("write the library")?;
    write_program(
        &directory.join("nvidia-container-cli"),
        &format!(
            "cd {}\necho $* > told\nfor word; do\n case $word in --pid=*) pid=${{word#--pid=}};; esac\n root=$word\ndone\n\
             echo gpu > $root/etc/gpu\ntouch $root/library\n\
             {BUSYBOX} nsenter -t $pid -m {BUSYBOX} mount -o bind {}/library $root/library",
            directory.display(),
            directory.display()
        ),
    )?;
    let mut ctr = node.lab.ctr();
    let path = ctr.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
    let path = path.context("the path of ctr")?.to_owned();
    let path = env::join_paths([directory.clone()].into_iter().chain(env::split_paths(&path)))?;
    let runtime = node.runtime_type();
    let words =
        ["run", "--rm", "--gpus", "0", "--cgroup", "/pods/gpus", "--runtime", &runtime, images::BUSYBOX_IMAGE, "gpus"];
    ctr.env("PATH", path).args(words).args(["cat", "/etc/gpu", "/library"]).stdin(Stdio::null());
    let output = tokio::process::Command::from(ctr).output().await.context("run ctr")?;
    ensure!(output.status.success(), "ctr run: {}", String::from_utf8_lossy(&output.stderr).trim());
    let (said, told) = (String::from_utf8_lossy(&output.stdout).into_owned(), lines(&directory, "told").concat());
    ensure!(said == "gpu\ndriver\n", "the program says {said:?}, the tool was told {told:?}");
    ensure!(told.contains("--device=0") && told.ends_with("/gpus/rootfs"), "the tool was told {told:?}");
    Ok(())
}

pub(crate) async fn the_last_hooks_of_a_container_run_when_its_shim_was_killed(node: &Node<'_>) -> Result<()> {
    if node.handler != config::HANDLER {
        // Another shim is found by another name.
        return Ok(());
    }
    let mut written = Written::new(node, "killed", "exec sleep 1000")?;
    let tool = written.program("stopped", &format!("/bin/busybox cat > {}/state", written.directory.display()))?;
    written.spec["hooks"] = json!({ "poststop": [{ "path": tool }] });
    written.run(node, "killed-with-hooks", &["--detach", "--null-io"]).await?;
    kill(shim_of("killed-with-hooks")?, Signal::SIGKILL).context("kill the shim")?;
    let state = eventually("the hook", async || {
        let text = fs::read_to_string(written.directory.join("state")).unwrap_or_default();
        Ok(serde_json::from_str::<Value>(&text).ok())
    })
    .await?;
    ensure!(state["id"] == "killed-with-hooks" && state["status"] == "stopped", "the state is {state}");
    eventually("the removal of the container", async || {
        let removed = node.lab.ctr_output(&["container", "rm", "killed-with-hooks"], b"").await?;
        Ok(removed.status.success().then_some(()))
    })
    .await
}

pub(crate) async fn the_root_that_hooks_saw_is_unmounted_when_the_shim_was_killed(node: &Node<'_>) -> Result<()> {
    if node.handler != config::HANDLER {
        return Ok(());
    }
    let directory = hooks::set(node.lab, &[("poststop", "ls $bundle/rootfs/etc/passwd >> notes")])?;
    let node = Node::connect(node.lab, &hooks::class(&node.handler)).await?;
    let pod = node.pod("killed-class").run().await?;
    let container = pod.start(shell("main", "exec sleep 1000")).await?;
    kill(shim_of(&pod.id)?, Signal::SIGKILL).context("kill the shim")?;
    eventually("the hook", async || Ok((!lines(&directory, "notes").is_empty()).then_some(()))).await?;
    let place = format!("{}/rootfs", container.id);
    eventually("the end of the mount", async || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
        Ok((!mounts.contains(&place)).then_some(()))
    })
    .await?;
    pod.remove().await
}
