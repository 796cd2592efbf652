//! What to run.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::limit;

/// A seed that nobody has asked for: short enough to be typed, and exact in every reader of JSON.
pub fn any_seed() -> u64 {
    u64::from(fastrand::u32(..))
}

/// Where a pod's network comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Pods share the host's: no CNI in the figures.
    Host,
    /// Pods have one of their own, made by containerd's CNI plugins.
    Cni,
}

/// Which seccomp profile containers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// containerd's default profile.
    Default,
    /// None, which is what Kubernetes gives a pod that does not ask.
    Unconfined,
}

/// A part of a pod's life that can be left out of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The pod and its containers are made and started.
    Start,
    /// A further process runs in each container.
    Exec,
    /// Containers are killed, the pod is removed.
    Stop,
}

/// What to run.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Runtime handlers, as containerd's configuration names them.
    pub handlers: Vec<String>,
    /// The one of them that the others are compared to.
    pub baseline: String,
    /// Rounds that count: pods of each handler.
    pub rounds: u32,
    /// Rounds before them.
    pub warmup: u32,
    /// Containers in each pod.
    pub containers: u32,
    /// How many pods are started at once, one after the other.
    pub parallel: Vec<u32>,
    /// With how many pods present the start of one more is timed.
    pub present: Vec<u32>,
    /// How many pods of a handler stand idle when memory is read; none reads none.
    pub idle: u32,
    /// Image with `sleep` and `true`, present on the machine.
    pub image: String,
    /// Where a pod's network comes from.
    pub network: Network,
    /// Which seccomp profile containers have.
    pub seccomp: Seccomp,
    /// What is timed.
    pub operations: BTreeSet<Operation>,
    /// Whether a pod made by hand takes its turn.
    pub limit: bool,
    /// Draws the order of the handlers in each round.
    pub seed: u64,
}

impl Settings {
    /// Refuses what cannot be run.
    ///
    /// Errors: a handler twice, or of the name that what is made by hand has; a baseline that is none of the handlers; no
    /// operation.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.handlers.is_empty(), "no runtime handler is named: name some with --handlers");
        let distinct: BTreeSet<&String> = self.handlers.iter().collect();
        ensure!(
            distinct.len() == self.handlers.len(),
            "a runtime handler is named twice in {}",
            self.handlers.join(",")
        );
        ensure!(
            self.handlers.iter().all(|handler| handler != limit::NAME),
            "a runtime handler named {} cannot be measured: what is made by hand has that name in the report",
            limit::NAME
        );
        ensure!(
            self.handlers.contains(&self.baseline),
            "the baseline {} is none of the handlers {}: name one of them with --baseline",
            self.baseline,
            self.handlers.join(",")
        );
        ensure!(!self.operations.is_empty(), "no operation is named: name some with --ops");
        Ok(())
    }

    /// Whether an operation is timed.
    pub(crate) fn times(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// The place of the baseline among the handlers.
    pub(crate) fn baseline_index(&self) -> usize {
        self.handlers.iter().position(|handler| *handler == self.baseline).unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings(handlers: &[&str]) -> Settings {
        Settings {
            handlers: handlers.iter().map(|name| (*name).to_owned()).collect(),
            baseline: handlers.last().map_or_else(String::new, |name| (*name).to_owned()),
            rounds: 20,
            warmup: 2,
            containers: 1,
            parallel: vec![8],
            present: Vec::new(),
            idle: 10,
            image: "busybox".to_owned(),
            network: Network::Host,
            seccomp: Seccomp::Default,
            operations: BTreeSet::from([Operation::Start, Operation::Exec, Operation::Stop]),
            limit: false,
            seed: 1,
        }
    }

    #[test]
    fn a_baseline_must_be_one_of_the_handlers_and_no_handler_comes_twice() {
        assert!(settings(&["loment", "runc"]).check().is_ok());
        let twice = settings(&["runc", "runc"]).check().unwrap_err().to_string();
        assert!(twice.contains("twice"), "{twice}");
        let taken = settings(&["limit", "runc"]).check().unwrap_err().to_string();
        assert!(taken.contains("named limit"), "{taken}");
        let other = Settings { baseline: "crun".to_owned(), ..settings(&["loment", "runc"]) };
        let refused = other.check().unwrap_err().to_string();
        assert!(refused.contains("crun") && refused.contains("loment,runc"), "{refused}");
        assert!(Settings { operations: BTreeSet::new(), ..settings(&["runc"]) }.check().is_err());
    }
}
