//! Memory kills of a container: counted, told before its end, and told apart from an end for other reasons.
//!
//! containerd's event for it says no more than the container's id, and its CRI takes it for the reason of the
//! container's end, whenever and however that comes. So it is published for an end that a kill has brought about, and a
//! process that was lost while the container lives on is told where there are words for it: in the log, and in the
//! timeline of a pod that the shim runs.

use std::{path::Path, sync::Arc, time::Duration};

use containerd_shim_protos::events::task::TaskOOM;
use loment_cgroups::Cgroup;
use loment_sandbox::{container::Container, process::Exit};

use super::{Task, ready::readable};
use crate::{
    events::Event,
    slice::{Account, Standing},
};

/// How often, and after how long, the count is looked at when the kernel has said that memory ran out: on v1 it says so
/// before it kills.
const LOOKS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
/// How long a first process that was among the killed may take to be gone.
const DYING: Duration = Duration::from_millis(100);
/// How long after one another the slice around a scope that is gone is looked at again: the kernel counts a kill there an
/// instant after it has counted it in a scope, and it takes a moment until the shim hears of a shortage.
const LATE_LOOKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];
/// What the exit code of a process is that SIGKILL has ended, or that says so of one of its own.
const KILLED: u32 = 128 + nix::libc::SIGKILL.unsigned_abs();

/// Memory kills in a container.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kills {
    /// The cgroup's count when it was last looked at.
    seen: u64,
    /// Those in the present attempt.
    attempt: u64,
    /// Whether a client has sent SIGKILL to the present attempt.
    by_client: bool,
    /// Whether memory ran short a moment ago: the kernel has said so, and may be killing for it.
    shortage: bool,
    /// What the present attempt has ended with.
    code: Option<u32>,
    /// Whether it has, and its kills are all known, as far as they can be.
    settled: bool,
}

impl Kills {
    /// Counts from here.
    fn from(seen: u64) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Counts from what the cgroup of a fresh attempt, which may have been that of the last one, has counted.
    pub(super) fn before(attempt: &Container) -> Self {
        Self::from(attempt.cgroup().oom_kills().unwrap_or_default())
    }

    /// A client sends this signal.
    pub(super) fn sent(&mut self, signal: i32) {
        self.by_client |= signal == nix::libc::SIGKILL;
    }

    /// The cgroup's count when it was last looked at.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes the cgroup's present count; answers what is new.
    fn count(&mut self, now: u64) -> u64 {
        let new = now.saturating_sub(self.seen);
        self.seen = self.seen.max(now);
        self.attempt += new;
        new
    }

    /// Whether the attempt was ended by want of memory: it was killed, or passes on that the process was for which it
    /// stood (a shell does), and no client has asked for it.
    fn ended_it(&self) -> bool {
        self.attempt > 0 && self.code == Some(KILLED) && !self.by_client
    }

    /// Whether there may be more than are known, when the cgroup is gone.
    fn standing(&self) -> Standing {
        match self.code.unwrap_or(KILLED) {
            _ if self.settled => Standing::Closed,
            KILLED if self.attempt == 0 && !self.by_client => Standing::Wanting,
            _ => Standing::Open,
        }
    }
}

impl Task {
    /// Tells of memory kills as long as the container has an end to come.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        let watch = match self.with_container(|container| Ok(container.cgroup().watch_oom()?)) {
            Ok(watch) => watch,
            Err(failure) => return log::warn!("watch memory of container {}: {failure}", self.plan.id),
        };
        while self.exit.get().is_none() {
            tokio::select! {
                ready = readable(&watch) => if ready.is_err() { return },
                _ended = self.exit.wait() => return,
            }
            crate::lock(&self.live).kills.shortage = true;
            watch.acknowledge();
            self.tell_kills().await;
            crate::lock(&self.live).kills.shortage = false;
        }
    }

    /// Waits for the kills that were announced, and tells of them if the container survives.
    async fn tell_kills(&self) {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            let kills = self.count_oom_kills().unwrap_or(0);
            self.shim.write_off_kills();
            if kills > 0 {
                let pid = self.pid();
                tokio::time::sleep(DYING).await;
                // Another pid is another attempt: the one that lost processes has ended, and that was told.
                if let (false, Some(member), true) = (self.has_ended(), &self.plan.member, self.pid() == pid) {
                    member.lost(&self.plan.id, kills);
                }
                return;
            }
        }
    }

    /// Memory kills since this was last asked; `None` when the cgroup cannot say it any more. Says in the log what is
    /// known of them.
    fn count_oom_kills(&self) -> Option<u64> {
        let mut live = crate::lock(&self.live);
        // Without a memory controller nothing is killed for memory on the container's account.
        let count = live.container().and_then(|container| container.cgroup().oom_kills().ok())?;
        let new = live.kills.count(count);
        if let Some(container) = live.container().filter(|_| new > 0) {
            let below = count.saturating_sub(container.cgroup().own_oom_kills().unwrap_or(count));
            let fate = if container.init().has_ended() { "has ended" } else { "has not ended yet" };
            let init = container.init().pid();
            log::warn!(
                "container {}: the kernel killed {new} of its processes for want of memory ({count} so far, {below} of \
                 them in cgroups that it has made); its first process, {init}, {fate}",
                self.plan.id
            );
        }
        Some(new)
    }

    /// Whether an attempt that has been reaped was ended by want of memory.
    pub(super) async fn ended_for_memory(&self, exit: Exit) -> bool {
        crate::lock(&self.live).kills.code = Some(exit.code);
        // The kernel counts a kill before it sends the signal: for a process that is gone it is complete.
        if self.count_oom_kills().is_none() {
            self.ask_slice().await;
        }
        let mut live = crate::lock(&self.live);
        let unexplained = live.kills.standing() == Standing::Wanting;
        live.kills.settled = true;
        let ended_it = live.kills.ended_it();
        drop(live);
        if unexplained {
            self.tell_unexplained();
        }
        ended_it
    }

    /// Says in the log what the counts were at an end by SIGKILL that neither a client nor a memory kill explains.
    fn tell_unexplained(&self) {
        let own = self.with_container(|container| Ok(container.cgroup().oom_kills()?));
        let own = own.map_or_else(|failure| failure.to_string(), |count| format!("its cgroup counts {count}"));
        let around = self.shim.describe_slice().unwrap_or_default();
        log::warn!(
            "container {}: it ended with {KILLED}, but no client has sent SIGKILL, and no memory kill is found ({own}{around}): \
             somebody else on the machine has killed it, or it has chosen the code",
            self.plan.id
        );
    }

    /// Takes from the slice around a scope that is gone what it knows of kills in there. Waits only where it should know
    /// of one and does not.
    async fn ask_slice(&self) {
        let mut pauses = LATE_LOOKS.into_iter();
        loop {
            let kills = crate::lock(&self.live).kills;
            let Some(new) = self.shim.kills_in_gone(self, kills.shortage) else { return };
            if new > 0 {
                crate::lock(&self.live).kills.count(kills.seen + new);
                return log::warn!(
                    "container {}: the kernel killed {new} of its processes for want of memory, by the count of the slice \
                     around its scope, which is gone",
                    self.plan.id
                );
            }
            let Some(pause) = pauses.next().filter(|_| kills.standing() == Standing::Wanting) else { return };
            tokio::time::sleep(pause).await;
        }
    }

    /// The slice that counts with its cgroup, if that is in one.
    pub(crate) fn slice(&self) -> Option<Cgroup> {
        let around = crate::lock(&self.live).container()?.cgroup().slice();
        around.inspect_err(|error| log::warn!("look for the slice around container {}: {error}", self.plan.id)).ok()?
    }

    /// What is known of its memory kills, if its cgroup is in the slice at `around`.
    pub(crate) fn account_in(&self, around: &Path) -> Option<Account> {
        let live = crate::lock(&self.live);
        let cgroup = live.container()?.cgroup();
        if cgroup.path().parent() != Some(around) {
            return None;
        }
        let count = cgroup.oom_kills().ok();
        let standing = if count.is_some() { Standing::Closed } else { live.kills.standing() };
        Some(Account { kills: count.unwrap_or_default().max(live.kills.seen), standing })
    }

    /// Publishes that want of memory has ended the container.
    pub(super) fn publish_oom(&self) {
        self.announce(&Event::Oom(TaskOOM { container_id: self.plan.id.clone(), ..TaskOOM::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attempt that has lost two, after three that others have lost.
    fn lost_two(code: u32) -> Kills {
        let mut kills = Kills::from(3);
        assert_eq!((kills.count(5), kills.count(5)), (2, 0));
        Kills { code: Some(code), ..kills }
    }

    #[test]
    fn an_end_is_for_want_of_memory_when_a_kill_has_brought_it_about() {
        assert!(lost_two(137).ended_it());
        assert!(!lost_two(0).ended_it(), "it has come to its own end");
        assert!(!lost_two(143).ended_it(), "somebody has asked it to end");
        assert!(!Kills { code: Some(137), ..Kills::from(3) }.ended_it(), "nothing was killed for memory");
        let mut killed = lost_two(137);
        killed.sent(nix::libc::SIGTERM);
        assert!(killed.ended_it());
        killed.sent(nix::libc::SIGKILL);
        assert!(!killed.ended_it(), "a client has killed it");
    }

    #[test]
    fn one_whose_cgroup_is_gone_wants_a_kill_if_nothing_else_explains_its_end() {
        let ended = |code| Kills { code, ..Kills::from(3) };
        assert_eq!(ended(Some(137)).standing(), Standing::Wanting);
        assert_eq!(ended(None).standing(), Standing::Wanting, "it has not been reaped yet");
        assert_eq!(ended(Some(0)).standing(), Standing::Open);
        assert_eq!(lost_two(137).standing(), Standing::Open, "there was one");
        let mut killed = ended(Some(137));
        killed.sent(nix::libc::SIGKILL);
        assert_eq!(killed.standing(), Standing::Open);
        assert_eq!(Kills { settled: true, ..ended(Some(137)) }.standing(), Standing::Closed);
    }
}
