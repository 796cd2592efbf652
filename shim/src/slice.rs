//! Memory kills in scopes that are gone.
//!
//! On cgroup v2 systemd removes a scope, and its count of memory kills with it, as soon as the last process has left:
//! often before the shim has read it. The slice around the scope has counted the same kills, and stays. What of its
//! count is in no scope that is there, and was in none that has gone before, is of the one that has just gone.

use std::sync::Arc;

use loment_cgroups::Cgroup;

use crate::{shim::Shim, task::Task};

/// How often a slice is read until its count has stood still while the scopes were read.
const READINGS: usize = 4;

/// The slice that the pod's scopes are in.
#[derive(Debug)]
pub(crate) struct Slice {
    cgroup: Cgroup,
    /// Kills that it has counted, and that are of no container which the shim has now.
    past: u64,
}

/// What is known of the memory kills in one container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// How many there are, at least.
    pub(crate) kills: u64,
    /// Whether more may be found.
    pub(crate) standing: Standing,
}

/// Whether there may be more kills in a container than its account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There are none: its scope is there, or was when its last count was read, or the slice has been asked.
    Closed,
    /// Its scope has gone before, and it may have ended for a kill of which nothing is known.
    Wanting,
    /// Its scope has gone before; its end is explained without.
    Open,
}

/// What makes a kill that the slice has counted the kill of a container whose scope is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// The slice is the pod's own: it can be nobody else's.
    OwnSlice,
    /// The slice has others in it; but a moment ago memory ran short in the container's own scope.
    Shortage,
    /// None: others are in the slice.
    Missing,
}

/// A slice's count beside those of its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Survey {
    /// Kills that are in no account.
    unexplained: u64,
    /// Accounts that are not closed.
    open: u64,
    /// Those of them that want a kill.
    wanting: u64,
}

impl Survey {
    fn of(count: u64, past: u64, accounts: &[Account]) -> Self {
        // A kill is in a scope's count an instant before it is in the slice's.
        let explained = accounts.iter().fold(past, |sum, account| sum.saturating_add(account.kills));
        let number = |is_one: fn(Standing) -> bool| accounts.iter().filter(|account| is_one(account.standing)).count();
        Self {
            unexplained: count.saturating_sub(explained),
            open: number(|standing| standing != Standing::Closed) as u64,
            wanting: number(|standing| standing == Standing::Wanting) as u64,
        }
    }

    /// How many of the unexplained kills are of a container whose account stands so and is about to be closed.
    fn share(self, standing: Standing, evidence: Evidence) -> u64 {
        let wants = standing == Standing::Wanting;
        match evidence {
            // Of several that have gone at the same time each gets one that wants one, as far as they go.
            Evidence::OwnSlice => {
                let of_others = self.wanting.saturating_sub(wants.into());
                self.unexplained.saturating_sub(of_others).max(self.unexplained.min(wants.into()))
            }
            // How many of them are of others is not known.
            Evidence::Shortage => self.unexplained.min(wants.into()),
            Evidence::Missing => 0,
        }
    }

    /// How many of them are of nobody who could still claim them.
    fn nobodys(self) -> u64 {
        if self.open == 0 { self.unexplained } else { 0 }
    }
}

impl Slice {
    /// Reads the counts. Nothing when the slice itself is gone.
    fn survey(&self, tasks: &[Arc<Task>]) -> Option<Survey> {
        let mut count = self.cgroup.oom_kills().ok()?;
        let mut readings = 0;
        loop {
            // After the slice's count: what is in that is in the scopes' already.
            let accounts: Vec<_> = tasks.iter().filter_map(|task| task.account_in(self.cgroup.path())).collect();
            let later = self.cgroup.oom_kills().ok()?;
            readings += 1;
            if later == count || readings == READINGS {
                return Some(Survey::of(count, self.past, &accounts));
            }
            count = later;
        }
    }

    fn write_off(&mut self, tasks: &[Arc<Task>]) {
        let nobodys = self.survey(tasks).map_or(0, Survey::nobodys);
        self.past = self.past.saturating_add(nobodys);
    }
}

impl Shim {
    /// A container has been made. If it is in a scope, the slice around that is the one whose count is asked; what it
    /// has counted so far is of nobody who is to come.
    pub(crate) fn note_slice(&self, task: &Task) {
        let Some(around) = task.slice() else { return };
        let tasks = self.tasks();
        let mut slice = crate::lock(&self.slice);
        // One that was stopped with its last container has been made anew.
        if slice.as_ref().is_none_or(|slice| slice.cgroup.oom_kills().is_err()) {
            *slice = Some(Slice { cgroup: around, past: 0 });
        }
        if let Some(slice) = slice.as_mut() {
            slice.write_off(&tasks);
        }
    }

    /// Kills that the slice has counted by now, and that no container has had or may have had, are nobody's: they were in
    /// a container that was never made, or, where pods share the slice, in another pod.
    pub(crate) fn write_off_kills(&self) {
        // Only where there is a slice there is anything to do.
        if crate::lock(&self.slice).is_none() {
            return;
        }
        let tasks = self.tasks();
        if let Some(slice) = crate::lock(&self.slice).as_mut() {
            slice.write_off(&tasks);
        }
    }

    /// How many more processes of a container whose scope is gone were killed for want of memory, as far as the slice
    /// can tell; `None` when it cannot be asked. `shortage` says whether memory ran short in the scope a moment ago.
    pub(crate) fn kills_in_gone(&self, task: &Task, shortage: bool) -> Option<u64> {
        let tasks = self.tasks();
        let slice = crate::lock(&self.slice);
        let slice = slice.as_ref()?;
        let account = task.account_in(slice.cgroup.path())?;
        let evidence = match (self.has_own_slice(slice.cgroup.path()), shortage) {
            (true, _) => Evidence::OwnSlice,
            (false, true) => Evidence::Shortage,
            (false, false) => Evidence::Missing,
        };
        Some(slice.survey(&tasks)?.share(account.standing, evidence))
    }

    /// The slice's count beside those of its containers, for the log; `None` where there is no slice.
    pub(crate) fn describe_slice(&self) -> Option<String> {
        let tasks = self.tasks();
        let slice = crate::lock(&self.slice);
        let slice = slice.as_ref()?;
        let count = slice.cgroup.oom_kills().map_or_else(|error| error.to_string(), |count| count.to_string());
        let accounts: Vec<_> = tasks.iter().filter_map(|task| task.account_in(slice.cgroup.path())).collect();
        let here: u64 = accounts.iter().map(|account| account.kills).sum();
        Some(format!(
            "; the slice around it counts {count}, {} of them in containers that are forgotten and {here} in {} others",
            slice.past,
            accounts.len()
        ))
    }

    /// A container is forgotten, or its next attempt gets a scope of its own: its kills have been, all the same.
    pub(crate) fn close_account(&self, task: &Task) {
        if let Some(slice) = crate::lock(&self.slice).as_mut() {
            let kills = task.account_in(slice.cgroup.path()).map_or(0, |account| account.kills);
            slice.past = slice.past.saturating_add(kills);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(kills: u64, standing: Standing) -> Account {
        Account { kills, standing }
    }

    fn closed(kills: u64) -> Account {
        account(kills, Standing::Closed)
    }

    fn wanting(kills: u64) -> Account {
        account(kills, Standing::Wanting)
    }

    fn open(kills: u64) -> Account {
        account(kills, Standing::Open)
    }

    /// The shares of all accounts, closed one after the other, in the pod's own slice.
    fn shares(count: u64, past: u64, accounts: &[Account]) -> Vec<u64> {
        let mut accounts = accounts.to_vec();
        let mut shares = Vec::new();
        for turn in 0..accounts.len() {
            if accounts[turn].standing != Standing::Closed {
                shares.push(Survey::of(count, past, &accounts).share(accounts[turn].standing, Evidence::OwnSlice));
                accounts[turn] = closed(accounts[turn].kills + shares[shares.len() - 1]);
            }
        }
        shares
    }

    #[test]
    fn what_no_other_container_explains_was_in_the_one_that_has_gone() {
        assert_eq!(shares(1, 0, &[wanting(0)]), [1]);
        assert_eq!(shares(0, 0, &[wanting(0)]), [0]);
        // A whole group, beside a neighbour that has lost two, after some that are forgotten.
        assert_eq!(shares(10, 5, &[closed(2), wanting(0)]), [3]);
        // In an earlier attempt it had lost some.
        assert_eq!(shares(4, 1, &[wanting(2), closed(1)]), [0]);
        assert_eq!(shares(5, 1, &[wanting(2), closed(1)]), [1]);
        // It has lost a process, and ended well.
        assert_eq!(shares(1, 0, &[open(0)]), [1]);
        // A neighbour's, which the slice does not have yet.
        assert_eq!(shares(4, 4, &[closed(1), wanting(0)]), [0]);
    }

    #[test]
    fn of_several_that_have_gone_together_each_gets_the_kill_that_it_wants() {
        for (count, expected) in [(3, [0, 0]), (4, [1, 0]), (5, [1, 1]), (9, [5, 1])] {
            assert_eq!(
                shares(count, 0, &[wanting(0), wanting(0), closed(3)]),
                expected,
                "the slice has counted {count}"
            );
        }
    }

    #[test]
    fn a_container_whose_end_is_explained_leaves_the_kill_to_one_that_wants_it() {
        assert_eq!(shares(2, 0, &[open(1), wanting(0)]), [0, 1]);
        assert_eq!(shares(1, 0, &[open(0), wanting(0)]), [0, 1]);
        assert_eq!(shares(3, 0, &[open(0), wanting(0)]), [2, 1]);
    }

    #[test]
    fn in_a_slice_with_others_it_takes_a_sign_of_the_container_itself() {
        let share = |past, standing, evidence| Survey::of(7, past, &[account(0, standing)]).share(standing, evidence);
        assert_eq!(share(0, Standing::Wanting, Evidence::Missing), 0);
        assert_eq!(share(0, Standing::Wanting, Evidence::Shortage), 1);
        assert_eq!(share(0, Standing::Open, Evidence::Shortage), 0, "it explains nothing");
        assert_eq!(share(7, Standing::Wanting, Evidence::Shortage), 0);
    }

    #[test]
    fn a_kill_is_nobodys_when_nobody_can_claim_it() {
        assert_eq!(Survey::of(3, 1, &[closed(1)]).nobodys(), 1);
        assert_eq!(Survey::of(3, 1, &[closed(1), open(0)]).nobodys(), 0);
        assert_eq!(Survey::of(3, 1, &[closed(1), wanting(0)]).nobodys(), 0);
        assert_eq!(Survey::of(2, 1, &[closed(1)]).nobodys(), 0);
    }
}
