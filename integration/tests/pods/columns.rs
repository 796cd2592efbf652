//! Which tests a run has, by its runtime class, its version of containerd and who makes its sandboxes, and why it lacks
//! the others. This is the only place where a test is left out, but for what a machine lacks.

use loment_integration::{Sandboxer, Version, config, results::Column};

/// The modules whose pods are run by the shim, made by `loment create`, or that ask it what only it answers.
const BY_THE_SHIM: &[&str] = &[
    "acceptance",
    "accounting",
    "bench",
    "command",
    "command_attach",
    "command_cp",
    "command_exec",
    "command_forward",
    "command_logs",
    "content",
    "evictions",
    "footprint",
    "init",
    "lifecycle_hooks",
    "memory",
    "messages",
    "objects",
    "pauseless",
    "probes",
    "sandboxes",
    "seed",
    "supervised",
    "traces",
    "volumes",
    "whole",
];

/// The module of what an older runc does not withstand.
const AGAINST_ATTACKS: &str = "attacks";

/// The modules that are about the command `loment`, what it prints and how it refuses: one run asks them, the one on the
/// machine's own containerd.
const ABOUT_THE_COMMAND: &[&str] = &["bench"];

/// Tests that cannot hold in some runs.
struct Exception {
    /// The runs.
    is_meant: fn(Column) -> bool,
    /// The beginning of the names of the tests.
    tests: &'static str,
    /// What keeps them from holding there.
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception { is_meant: is_pauseless, tests: "sandboxes::sandbox_8_a_pod_whose_sandbox_was_lost", why: NO_HOLDER },
    Exception { is_meant: is_pauseless, tests: "sandboxes::sandbox_8_under_never", why: NO_HOLDER },
    Exception { is_meant: is_pauseless_2_1, tests: "probes::p6_the_host_network", why: HOST_NETWORK },
    Exception { is_meant: is_pauseless_2_1, tests: "security::a_pod_in_the_nodes_namespaces", why: HOST_NETWORK },
    Exception { is_meant: is_with_a_pause, tests: "pauseless::", why: "about sandboxes that the shim makes" },
];

const NO_HOLDER: &str = "no process holds the namespaces, so none can be lost";
const HOST_NETWORK: &str = "containerd 2.1 itself falls over a pod on the host's network whose sandbox is left to the shim \
    (its issue 12983, mended since)";

fn is_pauseless(column: Column) -> bool {
    column.sandboxer == Sandboxer::Shim
}

fn is_pauseless_2_1(column: Column) -> bool {
    is_pauseless(column) && column.version == Version::new(2, 1)
}

fn is_with_a_pause(column: Column) -> bool {
    !is_pauseless(column)
}

/// What a run is made on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// Version and sandboxer.
    pub(crate) column: Column,
    /// Whether it is the machine's own containerd as it comes: the run of all tests.
    pub(crate) is_own: bool,
    /// The runtime class.
    pub(crate) handler: String,
}

impl Ground {
    /// Why this run does not have a test, if it does not.
    pub(crate) fn lacks(&self, module: &str, case: &str) -> Option<String> {
        let ours = BY_THE_SHIM.contains(&module) || module == AGAINST_ATTACKS;
        if ours && self.handler != config::HANDLER {
            return Some("only this project's shim answers it".to_owned());
        }
        if !self.is_own && ABOUT_THE_COMMAND.contains(&module) {
            return Some("about the command, not about containerd: asked once, on the machine's own".to_owned());
        }
        let name = format!("{module}::{case}");
        let exception = EXCEPTIONS.iter().find(|one| name.starts_with(one.tests) && (one.is_meant)(self.column));
        exception.map(|exception| exception.why.to_owned())
    }
}
