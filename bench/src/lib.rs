//! Start latency, cpu and memory of runtime classes, side by side in one run.
//!
//! Every round runs each runtime class once, in an order that is drawn anew each time, through the same containerd: what
//! the machine does meanwhile falls on all alike. Compare the ratios of one run, never figures of two.
//!
//! | file | subject |
//! |---|---|
//! | `settings`, `handlers` | what to run; which runtime handlers containerd has |
//! | `run` | the story of a run: rounds, pods at once, pods present, memory, the end |
//! | `cycle`, `pod` | one pod's life, timed phase by phase; its requests |
//! | `traces` | what a shim notes of the starts in its pod |
//! | `shims` | the ends of shims, which are waited for |
//! | `cpu`, `memory`, `process` | what containerd, shims and pods cost, from cgroups and procfs |
//! | `samples`, `measured`, `histogram`, `statistics` | measured durations and what may be said of them |
//! | `report`, `machine` | the outcome as data; what it was measured on |
//! | `limit/` | what the kernel itself charges for a pod: one made by hand |
//! | `table`, `charts/`, `page` | the outcome as text, as pictures, as a page |
//! | `interrupt`, `leftovers`, `progress` | signals; what a run must not leave; a bar on the terminal |
//! | `chain` | a chain of init containers, beside podman |

mod chain;
mod charts;
mod cpu;
mod cycle;
mod handlers;
mod histogram;
mod interrupt;
mod leftovers;
mod limit;
mod machine;
mod measured;
mod memory;
mod page;
mod pod;
mod process;
mod progress;
mod report;
mod run;
mod samples;
mod settings;
mod shims;
mod statistics;
mod table;
mod traces;

pub use chain::{Chain, ChainReport, run as run_chain};
pub use charts::{Chart, charts};
pub use histogram::{Durations, Figures};
pub use interrupt::{Interrupted, Stop, attend};
pub use limit::serve as serve_limit;
pub use page::page;
pub use report::Report;
pub use run::run;
pub use settings::{Network, Operation, Seccomp, Settings, any_seed};
