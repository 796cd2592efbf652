//! Which tests a run has, by its runtime class, its version of containerd and who makes its sandboxes, and why it lacks
//! the others. This is the only place where a test is left out, but for what a machine lacks.

use loment_integration::{Sandboxer, Version, config, results::Column};

/// The modules whose pods are run by the shim, made by `loment create`, or that ask it what only it answers.
const BY_THE_SHIM: &[&str] = &[
    "acceptance",
    "accounting",
    "attempts",
    "bench",
    "command",
    "command_attach",
    "command_cp",
    "command_exec",
    "command_forward",
    "command_logs",
    "content",
    "doctor",
    "evictions",
    "examples",
    "footprint",
    "init",
    "install",
    "leaks",
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
    "trackers_cost",
    "trackers_exits",
    "trackers_leaks",
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
    Exception {
        is_meant: ends_on_host_networks,
        tests: "probes::p6_the_host_network_is",
        why: WITHOUT_A_SPECIFICATION,
    },
    Exception { is_meant: ends_on_host_networks, tests: "security::a_pod_in_the_nodes", why: WITHOUT_A_SPECIFICATION },
    Exception { is_meant: is_pauseless, tests: "sandboxes::sandbox_8_a_pod_whose_sandbox", why: NOTHING_TO_LOSE },
    Exception { is_meant: is_pauseless, tests: "sandboxes::sandbox_8_under_never", why: NOTHING_TO_LOSE },
    Exception { is_meant: is_pauseless, tests: "leaks::what_containerd_has_forgotten", why: NOTHING_TO_TELL },
    Exception { is_meant: has_a_pause, tests: "pauseless::", why: "about sandboxes that the shim makes" },
    Exception { is_meant: is_experimental, tests: "command::a_pod_whose_shim_was_killed", why: EXPERIMENT },
    Exception { is_meant: is_experimental, tests: "hooks::the_root_that_hooks_saw", why: EXPERIMENT },
    Exception { is_meant: is_experimental, tests: "objects::s5_a_pod_whose_shim_is_gone", why: EXPERIMENT },
    Exception { is_meant: is_experimental, tests: "pauseless::a_killed_shim", why: EXPERIMENT },
    Exception { is_meant: is_experimental, tests: "whole::a_pod_that_has_lost_its_sandbox", why: EXPERIMENT },
];

/// Seen with 1.7.24: the bundles of the containers go before `delete` is run for the sandbox, and not always is it run.
const EXPERIMENT: &str =
    "an experiment in containerd 1.7, which does not see to what is left of a sandbox whose shim was killed";

fn is_experimental(column: Column) -> bool {
    is_pauseless(column) && column.version == Version::new(1, 7)
}

fn has_a_pause(column: Column) -> bool {
    !is_pauseless(column)
}

fn ends_on_host_networks(column: Column) -> bool {
    column.version == Version::new(2, 1) && column.sandboxer == Sandboxer::Shim
}

fn is_pauseless(column: Column) -> bool {
    column.sandboxer == Sandboxer::Shim
}

/// What the pod's namespaces are held by, and the shim's death is tested elsewhere.
const NOTHING_TO_LOSE: &str = "the sandbox has no process that could be lost: the shim itself holds the namespaces";

/// The network is named by `loment gc` and left alone.
const NOTHING_TO_TELL: &str = "of a sandbox without a holder nothing tells whose it was when shim and bundle are lost";

/// Seen with 2.1.9: `NewBundle` looks into what is no specification. containerd's issue 12983, mended since.
const WITHOUT_A_SPECIFICATION: &str =
    "containerd 2.1 ends with a nil pointer dereference when a shim is to make a sandbox in the host's network";

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
