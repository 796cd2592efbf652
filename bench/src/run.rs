//! The story of a run.

use std::{future::Future, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use futures_util::future::join_all;
use loment_cri::Client;

use crate::{
    cpu::Meter,
    cycle::{self, Cycle},
    handlers::{self, Driver, Handler},
    interrupt::Stop,
    leftovers,
    limit::Limit,
    measured::{AtOnce, Measured},
    memory,
    pod::{CROWD, Maker, Pod, Started},
    progress::Progress,
    report::{Found, Report},
    settings::Settings,
    shims::{self, End},
};

/// After so long without a change a pod is idle.
const UNTIL_IDLE: Duration = Duration::from_secs(3);

/// Measures all that the settings ask for, through the containerd that listens at `socket`, and removes all pods and
/// cgroups that were made, whatever happens.
///
/// Errors: containerd refuses a request or lacks a handler or the image; what was made cannot be removed; `stop` has
/// asked for the end.
pub async fn run(client: &Client, socket: &Path, settings: &Settings, stop: &Stop) -> Result<Report> {
    settings.check()?;
    let containerd = client.version().await?;
    let handlers = handlers::find(client, &settings.handlers).await?;
    ensure!(
        client.image_status(&settings.image).await?.is_some(),
        "image {} is not on this machine: pull or import it first, or name another one with --image",
        settings.image
    );
    let driver = Driver::of(&handlers);
    let maker = Maker::new(client, socket, settings, driver, stop);
    let (meter, no_cpu) = match Meter::find(socket, &maker.parent()) {
        Ok(meter) => (Some(meter), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let mut run = Run {
        order: Rng::with_seed(settings.seed),
        progress: Progress::new(pods(settings)),
        measured: Measured::new(handlers.len(), settings),
        maker: &maker,
        handlers: &handlers,
        meter,
        limit: None,
        no_limit: None,
    };
    let done = run.measure().await;
    let Run { measured, meter, progress, limit, no_limit, .. } = run;
    progress.phase("removing what is left");
    // It removes its own before it ends.
    let ended = match limit {
        Some(limit) => limit.end().await,
        None => Ok(()),
    };
    let removed = leftovers::remove(&maker).await;
    drop(progress);
    outcome(done, ended.and(removed))?;
    let found = Found {
        containerd: containerd.runtime_version,
        handlers,
        cpu_source: meter.map(|meter| meter.description()),
        no_cpu,
        no_limit,
    };
    Report::new(settings, found, &measured)
}

struct Run<'a> {
    maker: &'a Maker<'a>,
    handlers: &'a [Handler],
    order: Rng,
    meter: Option<Meter>,
    measured: Measured,
    progress: Progress,
    limit: Option<Limit>,
    /// Why there is none.
    no_limit: Option<String>,
}

impl Run<'_> {
    async fn measure(&mut self) -> Result<()> {
        self.prepare_limit().await?;
        self.rounds().await?;
        for place in 0..self.maker.settings.parallel.len() {
            self.at_once(place).await?;
        }
        self.crowded().await?;
        self.idle().await
    }

    /// Looks at a pod of the baseline to see what one that is made by hand has to be made of.
    async fn prepare_limit(&mut self) -> Result<()> {
        if !self.maker.settings.limit {
            return Ok(());
        }
        let handler = &self.handlers[self.maker.settings.baseline_index()];
        let (pod, _) = self.maker.make(handler).await?;
        match Limit::start(self.maker, &pod).await {
            Ok(limit) => self.limit = Some(limit),
            Err(error) => self.no_limit = Some(format!("{error:#}")),
        }
        self.maker.remove(&pod.sandbox).await?;
        // Whether it can be done on this machine shows at the first pod, which does not count.
        self.by_hand().await;
        Ok(())
    }

    /// A pod made by hand. When one fails none of them is in the report, but the reason.
    async fn by_hand(&mut self) -> Option<Cycle> {
        let error = match self.limit.as_mut()?.cycle().await {
            Ok(cycle) => return Some(cycle),
            Err(error) => error,
        };
        self.no_limit = Some(format!("{error:#}"));
        self.measured.forget_limit();
        if let Some(limit) = self.limit.take()
            && let Err(error) = limit.end().await
        {
            self.no_limit = self.no_limit.take().map(|reason| format!("{reason}; then: {error:#}"));
        }
        None
    }

    /// One pod of each handler after the other, in each round in another order.
    async fn rounds(&mut self) -> Result<()> {
        let settings = self.maker.settings;
        for round in 0..settings.warmup + settings.rounds {
            self.progress.phase(if round < settings.warmup { "warming up" } else { "one pod at a time" });
            for number in self.turns(self.handlers.len() + usize::from(self.limit.is_some())) {
                self.maker.stop.check()?;
                let cycle =
                    if number < self.handlers.len() { Some(self.cycle(number).await?) } else { self.by_hand().await };
                if let Some(cycle) = cycle.filter(|_| round >= settings.warmup) {
                    self.measured.add(number, round, cycle);
                }
            }
        }
        Ok(())
    }

    async fn cycle(&mut self, number: usize) -> Result<Cycle> {
        let handler = &self.handlers[number];
        let cycle = cycle::run(self.maker, handler, &mut self.meter).await;
        self.progress.pod();
        cycle.with_context(|| format!("a pod under runtime handler {}", handler.name))
    }

    /// The order of so many in one round.
    fn turns(&mut self, count: usize) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..count).collect();
        self.order.shuffle(&mut turns);
        turns
    }

    /// Several pods of a handler at once, in turns.
    async fn at_once(&mut self, place: usize) -> Result<()> {
        let settings = self.maker.settings;
        let pods = settings.parallel[place];
        self.progress.phase(format!("{pods} pods at once"));
        let warmup = bursts_before(settings);
        for round in 0..warmup + settings.rounds {
            for number in self.turns(self.handlers.len()) {
                let found = self.burst(&self.handlers[number], pods).await?;
                if round >= warmup {
                    self.measured.at_once[place].add(number, round, found);
                }
            }
        }
        Ok(())
    }

    async fn burst(&self, handler: &Handler, pods: u32) -> Result<AtOnce> {
        let begun = std::time::Instant::now();
        let made = all((0..pods).map(|_| self.maker.make(handler))).await?;
        let wall = begun.elapsed();
        let (made, started): (Vec<Pod>, Vec<_>) = made.into_iter().unzip();
        let removal = self.remove(&made).await?;
        (0..pods).for_each(|_| self.progress.pod());
        Ok(AtOnce { wall, pods: started.iter().map(Started::total).collect(), removal })
    }

    /// Removes pods at once and waits until their shims have ended. Answers how long the requests took.
    async fn remove(&self, pods: &[Pod]) -> Result<Duration> {
        let shims = join_all(pods.iter().map(|pod| End::of_shim(self.maker.client, &pod.sandbox))).await;
        let begun = std::time::Instant::now();
        all(pods.iter().map(|pod| self.maker.remove(&pod.sandbox))).await?;
        let took = begun.elapsed();
        shims::ended(shims.into_iter().flatten()).await;
        Ok(took)
    }

    /// One pod more beside many, for each handler. Half of the rounds are done while the crowd grows and half while it
    /// shrinks: what else changes on the machine meanwhile does not look like the work of the crowd.
    async fn crowded(&mut self) -> Result<()> {
        let steps = self.maker.settings.present.len();
        if steps == 0 {
            return Ok(());
        }
        for number in self.turns(self.handlers.len()) {
            let mut crowd: Vec<Pod> = Vec::new();
            for (half, place) in (0..steps).map(|place| (0, place)).chain((0..steps).rev().map(|place| (1, place))) {
                let wanted = self.maker.settings.present[place] as usize;
                self.resize(number, &mut crowd, wanted).await?;
                let rounds = self.maker.settings.rounds;
                for round in half * rounds..half * rounds + (rounds + half) / 2 {
                    let cycle = self.cycle(number).await?;
                    self.measured.present[place].add(number, round, &cycle);
                }
            }
            self.resize(number, &mut crowd, 0).await?;
        }
        Ok(())
    }

    /// Makes or removes pods until there are as many as are wanted.
    async fn resize(&self, number: usize, crowd: &mut Vec<Pod>, wanted: usize) -> Result<()> {
        let handler = &self.handlers[number];
        self.progress.phase(format!("{wanted} pods of {}", handler.name));
        while crowd.len() < wanted {
            let more = (wanted - crowd.len()).min(CROWD);
            let made = all((0..more).map(|_| self.maker.make(handler))).await?;
            crowd.extend(made.into_iter().map(|(pod, _)| pod));
            (0..more).for_each(|_| self.progress.pod());
        }
        while crowd.len() > wanted {
            self.maker.stop.check()?;
            let less = crowd.split_off(crowd.len() - (crowd.len() - wanted).min(CROWD));
            self.remove(&less).await?;
        }
        Ok(())
    }

    /// Several idle pods of a handler, and what each of them keeps.
    async fn idle(&mut self) -> Result<()> {
        for number in self.turns(self.handlers.len()) {
            let mut crowd = Vec::new();
            self.resize(number, &mut crowd, self.maker.settings.idle as usize).await?;
            let mut found = Vec::new();
            for pod in &crowd {
                found.push(memory::processes(self.maker.client, &pod.sandbox).await);
            }
            // Idle is a pod of which nobody has wanted anything for a while: shims may then give memory back.
            if !crowd.is_empty() {
                tokio::time::sleep(UNTIL_IDLE).await;
            }
            for processes in found {
                match processes.and_then(memory::read) {
                    Ok(idle) => self.measured.memory[number].push(idle),
                    // A pod without a shim of its own has no such figure.
                    Err(error) => self.measured.no_memory[number] = Some(format!("{error:#}")),
                }
            }
            self.resize(number, &mut crowd, 0).await?;
        }
        Ok(())
    }
}

/// How a run has ended. What could not be removed is the news that somebody has to act on.
fn outcome(done: Result<()>, removed: Result<()>) -> Result<()> {
    match (done, removed) {
        (Err(done), Err(removed)) => Err(removed.context(format!("{done:#}; not all that was made is removed"))),
        (done, removed) => done.and(removed),
    }
}

/// Waits for all, also when one of them has failed: a request that nobody awaits leaves things behind.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    join_all(futures).await.into_iter().collect()
}

/// How many times a handler starts several pods at once before it counts.
fn bursts_before(settings: &Settings) -> u32 {
    u32::from(settings.warmup > 0)
}

/// How many pods a run makes.
fn pods(settings: &Settings) -> u64 {
    let bursts = u64::from(settings.rounds + bursts_before(settings));
    let at_once: u64 = settings.parallel.iter().map(|pods| u64::from(*pods) * bursts).sum();
    // The crowd grows once and shrinks once; what it grows to again after a smaller one was asked for is not foreseen.
    let crowd: u64 = settings.present.iter().max().map_or(0, |most| u64::from(*most));
    let beside = u64::from(settings.rounds) * settings.present.len() as u64;
    let alone = u64::from(settings.warmup + settings.rounds);
    settings.handlers.len() as u64 * (alone + at_once + crowd + beside + u64::from(settings.idle))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::Interrupted;

    #[test]
    fn nobody_is_told_that_all_is_removed_when_it_is_not() {
        let interrupted = || Err(anyhow!(Interrupted::by(2)));
        let failed = outcome(interrupted(), Err(anyhow!("busy"))).unwrap_err();
        assert!(failed.downcast_ref::<Interrupted>().is_none());
        let said = format!("{failed:#}");
        assert!(said.contains("signal 2") && said.contains("not all") && said.ends_with("busy"), "{said}");
        assert!(outcome(interrupted(), Ok(())).unwrap_err().downcast_ref::<Interrupted>().is_some());
        assert_eq!(outcome(Ok(()), Err(anyhow!("busy"))).unwrap_err().to_string(), "busy");
        assert!(outcome(Ok(()), Ok(())).is_ok());
    }
}
