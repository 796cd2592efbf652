//! Start latency of runtime classes, side by side in one run.
//!
//! Every round runs each runtime class once, in an order that changes from round to round, through the same containerd:
//! what the machine does meanwhile falls on all alike. Compare the ratios of one run, never figures of two.

mod chain;
mod cycle;
mod report;
mod sample;

pub use chain::{Chain, ChainReport, run as run_chain};
pub use cycle::{Image, Phase, Settings, run};
pub use report::Report;
pub use sample::Samples;
