//! A chain of init containers, from the command that makes the pod to the app that runs: through loment, and through
//! `podman kube play`, which runs a manifest on one machine too.

use std::{
    fmt,
    fs::{self, File},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use crate::{
    histogram::{Durations, Figures},
    interrupt::Stop,
    samples::Samples,
    statistics::{self, Ratio},
    table::{millis, with_interval},
};

/// How long one pod may take. Only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What to run.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Init containers, each of which ends at once.
    pub length: u32,
    /// An image with `sleep` and `true`, present for both.
    pub image: String,
    /// Rounds that count.
    pub rounds: u32,
    /// Rounds before them.
    pub warmup: u32,
    /// `loment` with the flags that lead it to its containerd.
    pub loment: Vec<String>,
    /// `podman` with its flags.
    pub podman: Vec<String>,
}

/// The outcome. Displays as text; serialises as JSON with durations in microseconds.
#[derive(Debug, Serialize)]
pub struct ChainReport {
    init_containers: u32,
    rounds: u32,
    loment: Option<Figures>,
    podman: Option<Figures>,
    /// Loment's time by podman's, round by round.
    ratio: Option<Ratio>,
}

/// Times the chain, in turns. `until_runs` returns when the app of loment's pod of this name runs; podman's command
/// returns when its app does. `stop` ends it between two pods.
///
/// Errors: one of the commands fails. The pod of that round is removed.
pub async fn run(chain: &Chain, stop: &Stop, until_runs: impl AsyncFn(&str) -> Result<()>) -> Result<ChainReport> {
    let file = ManifestFile::create()?;
    let (loment, podman) = rounds(chain, stop, &file, until_runs).await?;
    Ok(ChainReport {
        init_containers: chain.length,
        rounds: chain.rounds,
        loment: Durations::of(loment.iter())?.figures(),
        podman: Durations::of(podman.iter())?.figures(),
        ratio: statistics::ratio(loment.ratios_to(&podman)),
    })
}

/// The file that both commands read. It goes with this value.
struct ManifestFile {
    path: PathBuf,
    file: File,
}

impl ManifestFile {
    fn create() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("loment-bench-chain-{:016x}.json", fastrand::u64(..)));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn write(&self, text: &str) -> Result<()> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all_at(text.as_bytes(), 0));
        written.with_context(|| format!("write {}", self.path.display()))
    }
}

impl Drop for ManifestFile {
    fn drop(&mut self) {
        // A manifest without secrets: one that stays harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

async fn rounds(
    chain: &Chain,
    stop: &Stop,
    file: &ManifestFile,
    until_runs: impl AsyncFn(&str) -> Result<()>,
) -> Result<(Samples, Samples)> {
    let (mut loment, mut podman) = (Samples::default(), Samples::default());
    for round in 0..chain.warmup + chain.rounds {
        let name = format!("bench-chain-{round}-{}", std::process::id());
        file.write(&manifest(chain, &name))?;
        let mut took = [Duration::ZERO; 2];
        // Each round begins with the other one.
        for turn in 0..2 {
            stop.check()?;
            if (turn + round) % 2 == 0 {
                took[0] = by_loment(chain, &file.path, &name, &until_runs).await?;
            } else {
                took[1] = by_podman(chain, &file.path).await?;
            }
        }
        if round >= chain.warmup {
            loment.push(round, took[0]);
            podman.push(round, took[1]);
        }
    }
    Ok((loment, podman))
}

async fn by_loment(
    chain: &Chain,
    file: &Path,
    name: &str,
    until_runs: &impl AsyncFn(&str) -> Result<()>,
) -> Result<Duration> {
    let file = file.display().to_string();
    let begun = Instant::now();
    let ran = async {
        call(&chain.loment, &["create", "-f", &file]).await?;
        let ran = tokio::time::timeout(PATIENCE, until_runs(name)).await;
        ran.with_context(|| format!("pod {name}: its app does not run"))?
    };
    let ran = ran.await;
    let took = begun.elapsed();
    // A pod that was not made cannot be deleted either: the first error says why.
    let deleted = call(&chain.loment, &["delete", "pod", name, "--force", "--grace-period=0"]).await;
    ran.and(deleted).map(|()| took)
}

async fn by_podman(chain: &Chain, file: &Path) -> Result<Duration> {
    let file = file.display().to_string();
    let begun = Instant::now();
    let played = call(&chain.podman, &["kube", "play", &file]).await;
    let took = begun.elapsed();
    let removed = call(&chain.podman, &["kube", "play", "--down", &file]).await;
    played.and(removed).map(|()| took)
}

async fn call(program: &[String], words: &[&str]) -> Result<()> {
    let (first, flags) = program.split_first().context("a command without a program")?;
    let what = || format!("{first} {}", words.join(" "));
    // In a group of its own: an interrupt at the terminal is for this program, which then removes the pod.
    let output = Command::new(first).args(flags).args(words).process_group(0).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.with_context(|| format!("{}: no end", what()))?.with_context(|| format!("run {}", what()))?;
    if !output.status.success() {
        bail!("{}: {}: {}", what(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn manifest(chain: &Chain, name: &str) -> String {
    let container = |name: String, command: [&str; 2]| {
        let command: Vec<&str> = command.into_iter().filter(|word| !word.is_empty()).collect();
        json!({ "name": name, "image": chain.image, "imagePullPolicy": "IfNotPresent", "command": command })
    };
    let inits: Vec<_> = (0..chain.length).map(|number| container(format!("init-{number}"), ["true", ""])).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "hostNetwork": true,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "initContainers": inits,
            "containers": [container("app".to_owned(), ["sleep", "3600"])],
        },
    })
    .to_string()
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} init containers that end at once, then the app: from the command to the app that runs\n{} rounds in turns; \
             milliseconds, p50 (p90)\n",
            self.init_containers, self.rounds
        )?;
        let figures = |figures: Option<Figures>| {
            figures.map_or_else(|| "-".to_owned(), |all| format!("{} ({})", millis(all.p50_us), millis(all.p90_us)))
        };
        writeln!(f, "{:<20}{:>20}", "loment create", figures(self.loment))?;
        writeln!(f, "{:<20}{:>20}", "podman kube play", figures(self.podman))?;
        let ratio = self.ratio.map_or_else(|| "-".to_owned(), |ratio| with_interval(&ratio));
        writeln!(f, "{:<20}{ratio:>20}", "ratio")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_as_long_as_it_is_said_to_be() {
        let chain =
            Chain { length: 10, image: "busybox".into(), rounds: 1, warmup: 0, loment: Vec::new(), podman: Vec::new() };
        let pod: serde_json::Value = serde_json::from_str(&manifest(&chain, "chain")).unwrap();
        assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 10);
        assert_eq!(pod["spec"]["initContainers"][9]["command"], json!(["true"]));
    }
}
