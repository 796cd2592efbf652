//! The lifecycle of a pod: one machine without I/O.
//!
//! A host (the shim) feeds [`Machine::step`] with what happened and does what it answers. The machine decides the order
//! in which containers start, when one is started again, in which order they are stopped and what the pod's status is.
//! It reads no clock and touches no process, so that a property test can drive it through years of a pod's life.
//!
//! | file | subject |
//! |---|---|
//! | `manifest` | the part of a `v1.Pod` that is read, as it is written |
//! | `spec` | the same, checked |
//! | `handler` | probes and hooks |
//! | `event` | what happens, and what is to be done about it |
//! | `machine` | events in, actions out |
//! | `stage` | the stages of a container, as one table |
//! | `container`, `run` | one container: what is known of it |
//! | `life`, `hook`, `probe`, `kill`, `ending`, `replace` | what happens to it: making and end, hooks and probes, being ended, its successor |
//! | `restart`, `backoff` | whether and when a container is started again |
//! | `stop`, `rewind`, `resume` | the pod as a whole: stopped, begun again, begun again after a reboot |
//! | `phase`, `conditions`, `told`, `status`, `qos`, `column`, `message` | what is told about the pod |
//! | `moment`, `timeline` | what happened, in order |
//! | `time`, `duration`, `rfc3339` | the machine's clock; how spans and times are written |

pub mod column;
pub mod conditions;
pub mod container;
pub mod duration;
pub mod ending;
pub mod event;
pub mod handler;
pub mod machine;
pub mod message;
pub mod moment;
pub mod phase;
pub mod qos;
pub mod restart;
pub mod rfc3339;
pub mod run;
pub mod spec;
pub mod stage;
pub mod status;
pub mod stop;
pub mod time;
pub mod timeline;

mod backoff;
mod hook;
mod kill;
mod life;
pub mod manifest;
mod probe;
mod replace;
mod resume;
mod rewind;
mod told;

pub use container::ContainerState;
pub use event::{Action, Event};
pub use handler::{HookKind, Outcome, ProbeKind};
pub use machine::Machine;
pub use moment::Moment;
pub use phase::Phase;
pub use spec::{Backoff, ContainerId, ContainerSpec, Kind, PodSpec, RestartPolicy};
pub use stage::Stage;
pub use stop::Cause;
pub use time::Time;
pub use timeline::Entry;
