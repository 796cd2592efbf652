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
//! | `machine` | events in, actions out |
//! | `container` | one container: its stage and the table of stages |
//! | `restart`, `backoff` | whether and when a container is started again |
//! | `stop` | the order and the deadlines of stopping |
//! | `phase`, `conditions`, `status`, `column` | what is told about the pod |
//! | `timeline` | what happened, in order |

pub mod container;
pub mod machine;
mod manifest;
pub mod phase;
pub mod spec;
pub mod status;
pub mod time;
pub mod timeline;

pub use machine::{Action, Cause, Event, Machine};
pub use phase::Phase;
pub use spec::{Backoff, ContainerId, ContainerSpec, Kind, PodSpec, RestartPolicy};
pub use time::Time;
pub use timeline::{Entry, Moment};
