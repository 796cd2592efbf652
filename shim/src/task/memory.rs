//! Memory kills of a container: counted, told before its end, and told apart from an end for other reasons.
//!
//! containerd's event for it says no more than the container's id, and its CRI takes it for the reason of the
//! container's end, whenever and however that comes. So it is published for an end that a kill has brought about, and a
//! process that was lost while the container lives on is told where there are words for it: in the log, and in the
//! timeline of a pod that the shim runs.

use std::{sync::Arc, time::Duration};

use containerd_shim_protos::events::task::TaskOOM;
use loment_sandbox::process::Exit;

use super::{Task, ready::readable};
use crate::events::Event;

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
}

impl Kills {
    /// Counts from here.
    pub(super) fn from(seen: u64) -> Self {
        Self { seen, ..Self::default() }
    }

    /// The same for a fresh attempt in the same cgroup.
    pub(super) fn renewed(self) -> Self {
        Self::from(self.seen)
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

    /// Whether an attempt that ended with `code` was ended by want of memory: it was killed, or passes on that the
    /// process was for which it stood (a shell does), and no client has asked for it.
    fn ended_it(&self, code: u32) -> bool {
        self.attempt > 0 && code == KILLED && !self.by_client
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
            watch.acknowledge();
            self.tell_kills().await;
        }
    }

    /// Waits for the kills that were announced, and tells of them if the container survives.
    async fn tell_kills(&self) {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            let kills = self.count_oom_kills();
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

    /// Memory kills since this was last asked. Says in the log what is known of them.
    fn count_oom_kills(&self) -> u64 {
        let mut live = crate::lock(&self.live);
        // Without a memory controller nothing is killed for memory on the container's account.
        let count = live.container().and_then(|container| container.cgroup().oom_kills().ok());
        let Some(count) = count else { return 0 };
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
        new
    }

    /// Whether an attempt that has been reaped was ended by want of memory.
    pub(super) fn ended_for_memory(&self, exit: Exit) -> bool {
        // The kernel counts a kill before it sends the signal: for a process that is gone it is complete.
        self.count_oom_kills();
        crate::lock(&self.live).kills.ended_it(exit.code)
    }

    /// Publishes that want of memory has ended the container.
    pub(super) fn publish_oom(&self) {
        self.shim.events.send(&Event::Oom(TaskOOM { container_id: self.plan.id.clone(), ..TaskOOM::default() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_for_want_of_memory_when_a_kill_has_brought_it_about() {
        let lost_two = || {
            let mut kills = Kills::from(3);
            assert_eq!((kills.count(5), kills.count(5)), (2, 0));
            kills
        };
        assert!(lost_two().ended_it(137));
        assert!(!lost_two().ended_it(0), "it has come to its own end");
        assert!(!lost_two().ended_it(143), "somebody has asked it to end");
        assert!(!Kills::from(3).ended_it(137), "nothing was killed for memory");
        let mut killed = lost_two();
        killed.sent(nix::libc::SIGTERM);
        assert!(killed.ended_it(137));
        killed.sent(nix::libc::SIGKILL);
        assert!(!killed.ended_it(137), "a client has killed it");
        assert!(!lost_two().renewed().ended_it(137), "that was another attempt");
    }
}
