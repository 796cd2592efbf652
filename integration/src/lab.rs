//! A containerd of its own, in the namespaces that the process has entered.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use loment_cri::Client;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    census::Census,
    config, gate, hierarchy, hooks, images,
    isolate::LAB_DIR,
    patience,
    requirements::{self, Machine},
    slices,
    version::{Containerd, Sandboxer, Version},
};

/// The containerd namespace of everything that CRI makes.
const NAMESPACE: &str = "k8s.io";

/// Parent of the cgroups of pods, as a kubelet has one.
pub const POD_CGROUPS: &str = "/pods";

/// How long containerd may take to become ready, or to end. Generous: it only matters when something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long what was removed may take to vanish.
const SETTLE: Duration = Duration::from_secs(5);

/// What is to be chosen of a lab's containerd: the arguments of each program that starts labs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Choice {
    /// The containerd to run: a version that scripts/containerds has unpacked, as 2.1, or a path. Without it the machine's
    #[arg(long, value_name = "VERSION|PATH")]
    pub containerd: Option<String>,
    /// Who makes the sandboxes of the runtime class loment: podsandbox (containerd) or shim. From containerd 2.1 on the
    /// class loment-shim has the latter anyway
    #[arg(long, default_value_t = Sandboxer::Podsandbox)]
    pub sandboxer: Sandboxer,
}

/// How a lab is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// containerd logs all that it does.
    pub debug: bool,
    /// On a machine with both versions of cgroups, only v1 is seen in the lab.
    pub legacy_cgroups: bool,
    /// The containerd, and who makes its sandboxes.
    pub choice: Choice,
    /// The program at which the shim waits for whoever watches it (see [`crate::gate`]).
    pub tracee: Option<PathBuf>,
}

/// A running containerd with images, a network and two runtime classes.
#[derive(Debug)]
pub struct Lab {
    machine: Machine,
    sandboxer: Sandboxer,
    path: OsString,
    containerd: Mutex<Child>,
    before: Census,
}

impl Lab {
    /// Starts containerd and gives it its images. `bin` is the directory that holds the shim.
    pub(crate) fn up(machine: &Machine, bin: &Path, options: Options) -> Result<Self> {
        let directory = Path::new(LAB_DIR);
        for name in ["cni", "images", "logs", "volumes"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        let settings = config::Settings {
            directory,
            cni: &machine.cni,
            pause_image: images::PAUSE,
            version: machine.containerd.version,
            sandboxer: options.choice.sandboxer,
            may_lower_oom_score: requirements::may_lower_oom_score(),
            debug: options.debug,
            runc: machine.runc.as_deref(),
            crun: machine.crun.as_deref(),
        };
        hooks::write_base_spec(&machine.containerd.ctr, directory)?;
        write(&directory.join("config.toml"), &config::containerd(&settings))?;
        write(&directory.join("cni/10-loment.conflist"), &config::network(directory))?;
        let gate = options.tracee.as_deref().map(gate::place).transpose()?;
        let path = search_path(gate, bin, &machine.containerd)?;
        let sandboxer = options.choice.sandboxer;
        let containerd = Mutex::new(start(machine, sandboxer, &path)?);
        let mut lab = Self { machine: machine.clone(), sandboxer, path, containerd, before: Census::default() };
        block_on(lab.wait_until_ready())??;
        lab.import_images(bin)?;
        lab.before = lab.census();
        Ok(lab)
    }

    /// Which version containerd is of.
    pub fn version(&self) -> Version {
        self.machine.containerd.version
    }

    /// Who makes the sandboxes of the runtime class `loment`.
    pub fn sandboxer(&self) -> Sandboxer {
        self.sandboxer
    }

    /// containerd's socket, for CRI and for containerd's own API.
    pub fn socket(&self) -> PathBuf {
        Path::new(LAB_DIR).join("containerd.sock")
    }

    /// Where containerd logs.
    pub fn log(&self) -> PathBuf {
        Path::new(LAB_DIR).join("containerd.log")
    }

    /// A new directory for a pod's logs or volumes, named for a person who reads it.
    pub fn directory(&self, kind: &str, name: &str) -> Result<PathBuf> {
        let path = Path::new(LAB_DIR).join(kind).join(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// A connection for CRI requests.
    pub async fn connect(&self) -> Result<Client> {
        Ok(Client::connect(&self.socket()).await?)
    }

    /// containerd's own client, in the namespace where CRI's containers are.
    pub fn ctr(&self) -> Command {
        let mut command = self.command(&self.machine.containerd.ctr);
        // A shim that does not answer fails a test; it does not stop all tests.
        command.arg("--address").arg(self.socket()).args(["--namespace", NAMESPACE, "--timeout", "60s"]);
        command
    }

    /// Runs containerd's own client, which must succeed. What it prints.
    pub async fn ctr_ok(&self, words: &[&str]) -> Result<String> {
        let output = self.ctr_output(words, b"").await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "ctr {}: {}", words.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs containerd's own client to its end, which must come in time: a shim that does not answer fails one test and
    /// does not stop all. What it is given to read comes from `input`.
    pub async fn ctr_output<S: AsRef<OsStr>>(&self, words: &[S], input: &[u8]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.ctr());
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("run ctr")?;
        let mut stdin = child.stdin.take().context("the standard input of ctr")?;
        let fed = async {
            // Who ends without reading all has its reasons, and an exit code for them.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let done = async { tokio::join!(fed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(patience(PATIENCE), done).await;
        let words: Vec<_> = words.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let output = output.map_err(|_| anyhow!("ctr {}: no end within {PATIENCE:?}", words.join(" ")))?;
        output.with_context(|| format!("wait for ctr {}", words.join(" ")))
    }

    /// A command that finds this lab's containerd and this project's programs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("PATH", &self.path)
            .env("CONTAINERD_ADDRESS", self.socket())
            .env("CONTAINERD_NAMESPACE", NAMESPACE)
            .env("CONTAINER_RUNTIME_ENDPOINT", format!("unix://{}", self.socket().display()))
            .env("IMAGE_SERVICE_ENDPOINT", format!("unix://{}", self.socket().display()))
            .env_remove(crate::programs::BIN_DIR)
            .env_remove(crate::supervise::ID);
        command
    }

    /// containerd's pid.
    pub fn containerd_pid(&self) -> u32 {
        self.containerd().id()
    }

    /// What exists now, containerd apart.
    pub fn census(&self) -> Census {
        Census::take(&[self.containerd().id()])
    }

    /// Ids of the containers and sandboxes that containerd itself has on record, of whichever client, in all of its namespaces.
    pub async fn on_record(&self) -> Result<BTreeSet<String>> {
        let client = self.connect().await?;
        let mut ids = BTreeSet::new();
        for namespace in client.list_namespaces().await? {
            ids.extend(client.inventory(&namespace).await?.into_iter().map(|known| known.id));
        }
        Ok(ids)
    }

    /// What is there now and was not `before`.
    pub fn left_now(&self, before: &Census) -> Vec<String> {
        let mut left = self.census().since(before);
        left.retain(|entry| !self.sandboxer.leaves_behind(self.version(), entry));
        left
    }

    /// What is left since `before`, once things have settled.
    pub fn left_since(&self, before: &Census) -> Vec<String> {
        let own = self.containerd().id();
        let counts = |entry: &str| !self.sandboxer.leaves_behind(self.version(), entry);
        Census::settle(before, &[own], counts, patience(SETTLE))
    }

    /// Ends containerd as a package upgrade does, pods staying, and starts it again.
    pub async fn restart_containerd(&self) -> Result<()> {
        self.restart_containerd_after(async || Ok(())).await
    }

    /// The same with something that happens while containerd is away.
    pub async fn restart_containerd_after(&self, happens: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        stop(&mut self.containerd())?;
        let happened = happens().await;
        let new = start(&self.machine, self.sandboxer, &self.path)?;
        *self.containerd() = new;
        happened?;
        self.wait_until_ready().await
    }

    /// Starts containerd where it has ended by itself, and says whether it had: it does not take all that comes later
    /// with it.
    pub async fn revive_containerd(&self) -> Result<bool> {
        if self.containerd().try_wait().context("look at containerd")?.is_none() {
            return Ok(false);
        }
        self.restart_containerd().await.map(|()| true)
    }

    /// Removes every pod, with its containers and its cgroup.
    pub async fn remove_pods(&self) -> Result<()> {
        let removed = tokio::time::timeout(patience(PATIENCE), self.remove_each_pod()).await;
        removed.unwrap_or_else(|_| bail!("remove the pods: they are still there after {PATIENCE:?}"))?;
        hierarchy::prune_everywhere(POD_CGROUPS)
    }

    async fn remove_each_pod(&self) -> Result<()> {
        let client = self.connect().await?;
        for pod in client.list_pod_sandboxes(None).await? {
            client.stop_pod_sandbox(&pod.id).await?;
            client.remove_pod_sandbox(&pod.id).await?;
        }
        Ok(())
    }

    /// Removes the pods, ends containerd and tells whether anything was left behind by them.
    pub(crate) fn down(&self) -> Result<()> {
        let removed = block_on(self.remove_pods())?;
        let left = self.left_since(&self.before);
        let mut containerd = self.containerd();
        stop(&mut containerd)?;
        drop(containerd);
        removed?;
        if !left.is_empty() {
            bail!("left behind when every pod was removed:\n  {}", left.join("\n  "));
        }
        Ok(())
    }

    /// A panic elsewhere does not change which process containerd is.
    fn containerd(&self) -> MutexGuard<'_, Child> {
        self.containerd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + patience(PATIENCE);
        loop {
            let reason = match self.unready().await {
                Ok(conditions) if conditions.is_empty() => return Ok(()),
                Ok(conditions) => conditions.join("; "),
                Err(error) => format!("{error:#}"),
            };
            let ended = self.containerd().try_wait().context("look at containerd")?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or_else(|| "not ready".to_owned(), |status| format!("ended with {status}"));
                bail!("start containerd: {state}: {reason}\nits log ends:\n{}", self.end_of_log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The conditions that containerd says are not met yet.
    async fn unready(&self) -> Result<Vec<String>> {
        let status = self.connect().await?.status(false).await?.status.unwrap_or_default();
        if status.conditions.is_empty() {
            return Ok(vec!["no conditions are reported".to_owned()]);
        }
        let unmet = status.conditions.into_iter().filter(|condition| !condition.status);
        Ok(unmet.map(|condition| format!("{}: {}", condition.r#type, condition.message)).collect())
    }

    fn import_images(&self, bin: &Path) -> Result<()> {
        let directory = Path::new(LAB_DIR).join("images");
        for file in images::write_all(&directory, bin)? {
            let output = self.ctr().args(["images", "import"]).arg(&file).output().context("run ctr")?;
            if !output.status.success() {
                let reason = String::from_utf8_lossy(&output.stderr);
                bail!("import {}: {}\ncontainerd's log ends:\n{}", file.display(), reason.trim(), self.end_of_log());
            }
            // containerd has it now, and the lab's files are in memory.
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
        images::ALL.into_iter().try_for_each(|name| self.wait_for_image(name))
    }

    /// CRI learns of an import from an event.
    fn wait_for_image(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + patience(PATIENCE);
        loop {
            let known = block_on(async { anyhow::Ok(self.connect().await?.image_status(name).await?) })??;
            if known.is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("import image {name}: CRI does not know it\ncontainerd's log ends:\n{}", self.end_of_log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many lines containerd has logged.
    pub fn log_lines(&self) -> usize {
        fs::read_to_string(self.log()).unwrap_or_default().lines().count()
    }

    /// The last lines that containerd has logged after `line`.
    pub fn log_since(&self, line: usize) -> String {
        let log = self.log_all_since(line);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// All that containerd has logged after `line`.
    pub fn log_all_since(&self, line: usize) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().skip(line).collect::<Vec<_>>().join("\n")
    }

    /// The last lines of containerd's log.
    fn end_of_log(&self) -> String {
        self.log_since(0)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut containerd = self.containerd();
        if let Ok(None) = containerd.try_wait() {
            // The outer process ends what is then left.
            let _ = containerd.kill();
            let _ = containerd.wait();
        }
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    Ok(runtime.block_on(future))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// What stands before the shim, the shim's directory, that of the program that runs (where `loment` is), that of containerd, which has its own shim
/// beside, and the caller's own path.
fn search_path(gate: Option<PathBuf>, bin: &Path, containerd: &Containerd) -> Result<OsString> {
    let own = env::current_exe().ok().and_then(|program| Some(program.parent()?.to_path_buf()));
    let given = env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    // Who names the directories of programs has said in which order.
    let beside = containerd.directory().filter(|directory| env::split_paths(&given).all(|one| one != **directory));
    let first = gate.into_iter().chain([bin.to_path_buf()]).chain(own).chain(beside.map(Path::to_path_buf));
    let all = first.chain(env::split_paths(&given)).chain(administrators);
    env::join_paths(all).context("join the directories of PATH")
}

fn start(machine: &Machine, sandboxer: Sandboxer, path: &OsStr) -> Result<Child> {
    let log = Path::new(LAB_DIR).join("containerd.log");
    let file = File::options().create(true).append(true).open(&log);
    let file = file.with_context(|| format!("open {}", log.display()))?;
    let errors = file.try_clone().with_context(|| format!("open {}", log.display()))?;
    let Containerd { program, version, .. } = &machine.containerd;
    let mut command = Command::new(program);
    if sandboxer.is_experiment(*version) {
        command.env("ENABLE_CRI_SANDBOXES", "1");
    }
    let child = command
        .arg("--config")
        .arg(Path::new(LAB_DIR).join("config.toml"))
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        // Its own group: an interrupt at the terminal is for the lab, which then ends containerd in its turn.
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    if !slices::are_used() {
        hierarchy::set_containerd_apart(child.id())?;
    }
    Ok(child)
}

fn stop(containerd: &mut Child) -> Result<()> {
    let pid = i32::try_from(containerd.id()).context("a pid that fits")?;
    if containerd.try_wait().context("look at containerd")?.is_some() {
        return Ok(());
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM).context("end containerd")?;
    let deadline = Instant::now() + patience(PATIENCE);
    while containerd.try_wait().context("look at containerd")?.is_none() {
        if Instant::now() > deadline {
            containerd.kill().context("kill containerd")?;
            containerd.wait().context("reap containerd")?;
            bail!("end containerd: it did not end on SIGTERM within {PATIENCE:?} and was killed");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
