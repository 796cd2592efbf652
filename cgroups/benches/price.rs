//! What a cgroup costs on this machine (v1 and hybrid; needs root), and what it costs through libcgroups.
#![allow(missing_docs, reason = "a program")]

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use libcgroups::common::{CgroupManager, ControllerOpt};
use loment_cgroups::{Cgroup, Entry, Layout};
use nix::{
    sys::wait::{Id, WaitPidFlag, waitid},
    time::{ClockId, clock_gettime},
    unistd::{Pid, pipe},
};
use oci_spec::runtime::LinuxResources;

const ROUNDS: usize = 200;

/// A benchmark answers with what went wrong, in whatever crate.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What was measured, by name, in the order of the first measurement.
#[derive(Default)]
struct Prices(Vec<(&'static str, Vec<Duration>)>);

impl Prices {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(name, start.elapsed());
        result
    }

    fn add(&mut self, name: &'static str, time: Duration) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, times)) => times.push(time),
            None => self.0.push((name, vec![time])),
        }
    }

    /// What this thread's processor does for it, waiting left out: the mean of a few, as they are asked for by who polls.
    fn processor_time<E>(&mut self, name: &'static str, work: impl Fn() -> Result<(), E>) -> Outcome<()>
    where
        Box<dyn std::error::Error>: From<E>,
    {
        const TIMES: u32 = 10;
        let now = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let start = now()?;
        for _ in 0..TIMES {
            work()?;
        }
        self.add(name, (now()? - start) / TIMES);
        Ok(())
    }

    fn print(&mut self, title: &str) {
        println!("{title}");
        for (name, times) in &mut self.0 {
            times.sort_unstable();
            let at = |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
            println!("  {name:<10} p50 {:>7} us   p90 {:>7} us", at(50), at(90));
        }
    }
}

fn resources() -> Outcome<LinuxResources> {
    Ok(serde_json::from_value(serde_json::json!({
        "cpu": {"shares": 102, "quota": 20_000, "period": 100_000},
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "pids": {"limit": 100},
        "devices": [{"allow": false, "access": "rwm"}],
    }))?)
}

/// A child that runs `work` and waits until it is told to end; answers with how long the work took.
fn child(work: impl FnOnce() -> bool) -> Outcome<(Pid, Duration, File)> {
    let (results, report) = pipe()?;
    let (gate, opener) = pipe()?;
    let (pid, _pidfd) = loment_sys::clone::clone3(0, None, || {
        let start = Instant::now();
        let done = work();
        let took = start.elapsed().as_nanos() as u64;
        let told = nix::unistd::write(&report, &took.to_ne_bytes()).is_ok();
        i32::from(!(done && told && nix::unistd::read(&gate, &mut [0]).is_ok()))
    })?;
    let mut took = [0; 8];
    File::from(results).read_exact(&mut took)?;
    Ok((Pid::from_raw(pid), Duration::from_nanos(u64::from_ne_bytes(took)), File::from(opener)))
}

fn end(pid: Pid, mut opener: File) -> Outcome<()> {
    opener.write_all(b"x")?;
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED)?;
    Ok(())
}

fn ours(prices: &mut Prices, path: &Path, resources: &LinuxResources) -> Outcome<()> {
    let layout = prices.time("detect", Layout::detect)?;
    let cgroup = prices.time("create", || Cgroup::create(&layout, path))?;
    prices.time("apply", || cgroup.apply(resources))?;
    let entry = prices.time("entry", || cgroup.entry())?;
    let Entry::Tasks(tasks) = &entry else { return Err("this benchmark is for v1 and hybrid".into()) };
    let (pid, took, opener) = child(|| tasks.iter().all(|t| nix::unistd::write(t.fd.as_fd(), b"0").is_ok()))?;
    prices.add("enter", took);
    prices.time("stats", || cgroup.stats())?;
    prices.processor_time("stats cpu", || cgroup.stats().map(drop))?;
    prices.processor_time("usage cpu", || cgroup.usage().map(drop))?;
    end(pid, opener)?;
    prices.time("remove", || cgroup.remove())?;
    prices.time("gone", || cgroup.remove())?;
    Ok(())
}

fn theirs(prices: &mut Prices, path: &Path, resources: &LinuxResources) -> Outcome<()> {
    let options = ControllerOpt { resources, disable_oom_killer: false, oom_score_adj: None, freezer_state: None };
    let (pid, _, opener) = child(|| true)?;
    let manager = prices.time("manager", || libcgroups::v1::Manager::new(path))?;
    // Makes the directories as well.
    prices.time("add_task", || manager.add_task(nix_of_libcgroups::unistd::Pid::from_raw(pid.as_raw())))?;
    prices.time("apply", || manager.apply(&options))?;
    prices.time("stats", || manager.stats())?;
    end(pid, opener)?;
    prices.time("remove", || manager.remove())?;
    Ok(())
}

fn main() -> Outcome<()> {
    let (mut us, mut them) = (Prices::default(), Prices::default());
    let resources = resources()?;
    for round in 0..ROUNDS {
        let path = PathBuf::from(format!("/loment-bench-{}-{round}", std::process::id()));
        ours(&mut us, &path, &resources)?;
        theirs(&mut them, &path, &resources)?;
    }
    us.print("loment-cgroups");
    them.print("libcgroups 0.7");
    Ok(())
}
