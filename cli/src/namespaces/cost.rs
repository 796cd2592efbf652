//! What each kind of namespace costs on this machine: to make, to join, to drop.
//!
//! A sample of *make* is unshare(2) in a child that has no other work, of *join* setns(2) in another one, of *drop*
//! close(2) of the last descriptor when all processes have gone. What the kernel puts off (a network is taken down by a
//! worker of its) is not in it, nor are the children themselves.

use std::io::{PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use loment_bench::{Durations, Figures};
use loment_sys::clone::clone3;
use loment_sys::fd::close_all_except;
use loment_sys::pidfd::{self, Ending};
use nix::sched::{setns, unshare};
use serde::Serialize;

use super::kind::Kind;
use super::look::open_namespace;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    Make,
    Join,
    Drop,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Join => "join",
            Self::Drop => "drop",
        }
    }
}

/// Figures in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    #[serde(rename = "type", serialize_with = "by_name")]
    pub(crate) kind: Kind,
    pub(crate) step: Step,
    pub(crate) count: u64,
    pub(crate) min_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn by_name<S: serde::Serializer>(kind: &Kind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.file())
}

/// Measures so many rounds, after a few that do not count; each round has every kind once, so that what the machine does
/// meanwhile falls on all.
pub(crate) fn measure(kinds: &[Kind], rounds: u32) -> anyhow::Result<Vec<Cost>> {
    const WARM_UP: u32 = 3;
    let mut samples: Vec<(Kind, [Vec<Duration>; 3])> = kinds.iter().map(|kind| (*kind, Default::default())).collect();
    for round in 0..rounds + WARM_UP {
        for (kind, taken) in &mut samples {
            let measured = one(*kind).with_context(|| format!("measure {kind} namespaces"))?;
            if round >= WARM_UP {
                taken.iter_mut().zip(measured).for_each(|(taken, duration)| taken.push(duration));
            }
        }
    }
    let mut costs = Vec::new();
    for (kind, taken) in samples {
        for (step, taken) in [Step::Make, Step::Join, Step::Drop].into_iter().zip(taken) {
            costs.push(cost(kind, step, Durations::of(taken)?.figures().unwrap_or_default()));
        }
    }
    Ok(costs)
}

fn cost(kind: Kind, step: Step, figures: Figures) -> Cost {
    let Figures { count, min_us, p50_us, p90_us, p99_us, max_us } = figures;
    Cost { kind, step, count, min_us, p50_us, p90_us, p99_us, max_us }
}

/// Makes one, joins it, drops it.
fn one(kind: Kind) -> anyhow::Result<[Duration; 3]> {
    let (made, namespace) = make(kind)?;
    let joined = join(kind, &namespace)?;
    let begun = Instant::now();
    drop(namespace);
    Ok([made, joined, begun.elapsed()])
}

fn make(kind: Kind) -> anyhow::Result<(Duration, OwnedFd)> {
    let (mut answer, told) = std::io::pipe().context("make a pipe")?;
    let (gate, opener) = std::io::pipe().context("make a pipe")?;
    let (pid, maker) = clone3(0, None, || {
        if close_all_except(&[told.as_fd(), gate.as_fd()]).is_err() {
            return 1;
        }
        let begun = Instant::now();
        let made = unshare(kind.flag());
        let took = begun.elapsed();
        // A pid namespace cannot be opened before it has a first process.
        let first =
            if kind == Kind::Pid { Some(clone3(0, None, || i32::from(wait(gate.as_fd()).is_err()))) } else { None };
        if made.is_err() || matches!(first, Some(Err(_))) {
            return 1;
        }
        let is_told = tell(told, took).is_ok() && wait(gate.as_fd()).is_ok();
        // As long as it is not reaped it keeps the pid namespace.
        let is_over = first.is_none_or(|first| first.is_ok_and(|(_, first)| pidfd::reap(first.as_fd()).is_ok()));
        i32::from(!is_told || !is_over)
    })
    .context("make a child")?;
    let took = read(&mut answer).context("make one (root is needed)")?;
    let file = if Kind::FOR_CHILDREN.contains(&kind) { format!("{kind}_for_children") } else { kind.to_string() };
    let path = PathBuf::from(format!("/proc/{pid}/ns/{file}"));
    let namespace = open_namespace(&path).with_context(|| format!("open {}", path.display()));
    drop(opener);
    ended(maker.as_fd())?;
    Ok((took, namespace?))
}

fn join(kind: Kind, namespace: &OwnedFd) -> anyhow::Result<Duration> {
    let (mut answer, told) = std::io::pipe().context("make a pipe")?;
    let (_, joiner) = clone3(0, None, || {
        if close_all_except(&[told.as_fd(), namespace.as_fd()]).is_err() {
            return 1;
        }
        let begun = Instant::now();
        let joined = setns(namespace.as_fd(), kind.flag());
        let took = begun.elapsed();
        i32::from(joined.is_err() || tell(told, took).is_err())
    })
    .context("make a child")?;
    let took = read(&mut answer).context("join it");
    ended(joiner.as_fd())?;
    took
}

fn tell(mut to: PipeWriter, took: Duration) -> std::io::Result<()> {
    to.write_all(&u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).to_ne_bytes())
}

fn read(from: &mut std::io::PipeReader) -> anyhow::Result<Duration> {
    let mut nanos = [0; 8];
    from.read_exact(&mut nanos).context("the kernel has refused it to a child")?;
    Ok(Duration::from_nanos(u64::from_ne_bytes(nanos)))
}

/// Until the other end of a pipe is closed.
fn wait(gate: BorrowedFd<'_>) -> nix::Result<()> {
    nix::unistd::read(gate, &mut [0]).map(drop)
}

fn ended(child: BorrowedFd<'_>) -> anyhow::Result<()> {
    match pidfd::reap(child).context("wait for a child")? {
        Ending::Exited(0) => Ok(()),
        other => bail!("a child has ended unexpectedly: {other:?}"),
    }
}
