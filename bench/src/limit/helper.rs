//! The process that makes pods by hand: one thread, no containerd, small enough that its clones are cheap.

use std::{
    fs,
    io::{BufRead as _, Write as _, stdin, stdout},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use loment_sandbox::seccomp::Filter;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::resource::{UsageWho, getrusage},
};

use super::{
    Answer,
    cgroups::Hierarchies,
    container::Container,
    plan::Plan,
    sandbox::{self, Sandbox},
};

/// What is known before the first pod.
pub(super) struct Pods {
    pub(super) plan: Plan,
    pub(super) filter: Option<Filter>,
    hierarchies: Hierarchies,
    /// Of this process alone.
    directory: PathBuf,
}

/// Reads a plan from standard input, and then makes a pod for each line and answers with a line of what it took. Ends with
/// its input.
///
/// Errors: the plan cannot be read, or its filter cannot be compiled; nobody reads the answers.
pub fn serve() -> Result<()> {
    let mut lines = stdin().lock().lines();
    let plan = lines.next().context("a plan")?.context("read the plan")?;
    let plan: Plan = serde_json::from_str(&plan).context("parse the plan")?;
    let filter = plan.seccomp.as_ref().map(Filter::compile).transpose()?.flatten();
    // What is mounted here is seen by nobody else, and goes with this process.
    unshare(CloneFlags::CLONE_NEWNS).context("enter a new mount namespace")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("make every mount private")?;
    let pods = Pods { plan, filter, hierarchies: Hierarchies::find()?, directory: directory()? };
    for line in lines {
        line.context("read a request")?;
        let answer =
            pods.cycle().unwrap_or_else(|error| Answer { error: Some(format!("{error:#}")), ..Answer::default() });
        let answer = serde_json::to_string(&answer).context("write an answer")?;
        writeln!(stdout(), "{answer}").context("answer")?;
    }
    Ok(())
}

/// A new directory for temporary files, which nobody else enters or has foreseen.
fn directory() -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("loment-bench-limit-{:016x}", fastrand::u64(..)));
    fs::DirBuilder::new().mode(0o700).create(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

impl Pods {
    fn cycle(&self) -> Result<Answer> {
        let cpu = cpu_time()?;
        let (sandbox, run) = timed(|| Sandbox::run(&self.plan, &self.hierarchies, &self.pod()))?;
        let mut answer = Answer { run, ..Answer::default() };
        let lived = self.live(&sandbox, &mut answer);
        let (removed, remove) = timed(|| Ok(sandbox.remove()))?;
        lived?;
        removed?;
        answer.remove = remove;
        answer.cpu = nanos(cpu_time()?.saturating_sub(cpu));
        Ok(answer)
    }

    /// The directory of a pod: there is one at a time.
    fn pod(&self) -> PathBuf {
        self.directory.join("pod")
    }

    fn live(&self, sandbox: &Sandbox, answer: &mut Answer) -> Result<()> {
        let mut containers = Vec::new();
        for number in 0..self.plan.containers {
            let (created, create) = timed(|| Container::create(self, sandbox, &self.hierarchies, number))?;
            let (started, start) = timed(|| created.start())?;
            answer.creates.push(create);
            answer.starts.push(start);
            containers.push(started);
        }
        if self.plan.execs {
            for container in &containers {
                answer.execs.push(timed(|| container.exec(self, &["true".to_owned()]))?.1);
            }
        }
        for container in containers {
            answer.kills.push(timed(|| container.kill())?.1);
            container.remove()?;
        }
        Ok(())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        // There is none unless it has failed.
        let _ = sandbox::clean(&self.pod());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let begun = Instant::now();
    let done = work()?;
    Ok((done, nanos(begun.elapsed())))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Of this process and of all that it has reaped. getrusage(2)
fn cpu_time() -> Result<Duration> {
    let of = |who| {
        let usage = getrusage(who).context("read the cpu time that was used")?;
        let micros = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
        anyhow::Ok(Duration::from_micros(u64::try_from(micros.iter().sum::<i64>()).unwrap_or_default()))
    };
    Ok(of(UsageWho::RUSAGE_SELF)? + of(UsageWho::RUSAGE_CHILDREN)?)
}
