//! `containerd-shim-loment-v2`, the containerd shim of loment.
//!
//! | module | subject |
//! |---|---|
//! | `args`, `bootstrap`, `address`, `socket`, `start` | how containerd starts a shim and finds it again |
//! | `server`, `rpc` | one thread that serves Task (v2 and v3), Sandbox and Pod |
//! | `shim`, `task` | the containers of one pod and their processes |
//! | `sandbox` | a pod's sandbox that containerd leaves to the shim |
//! | `slice` | memory kills in scopes that systemd has removed |
//! | `stdio`, `relay` | their standard streams, and the loggers that take them |
//! | `events` | what containerd is told |
//! | `quiet`, `home` | memory that is given back when there is nothing to do for a while, and whether anybody still knows of the shim |
//! | `traces` | when each phase of the last starts came |
//! | [`pod`] | a pod that the shim runs itself |
//! | [`client`] | the shim asked by another program |
//! | `members` | the containers of a shim, for who comes after its death |
//! | `delete`, `info` | the other two ways in which containerd runs this program |
//! | `departing` | processes that are on their way out |

mod address;
mod args;
mod bootstrap;
pub mod client;
mod delete;
mod departing;
mod events;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod home;
mod info;
mod logger;
mod members;
mod pids;
pub mod pod;
mod quiet;
mod relay;
mod rpc;
mod sandbox;
mod server;
mod shim;
mod slice;
mod socket;
mod spec;
mod start;
mod stdio;
mod task;
mod time;
mod traces;

pub use address::{SOCKET_PREFIX, socket_of};
pub use failure::Failure;
pub use socket::{is_answered, remove_stale};

/// Made from the definitions in `proto`, which have the docs.
#[allow(
    missing_docs,
    unused_imports,
    unused_qualifications,
    unreachable_pub,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The program: does what the command line says. `arguments` are without the program's name.
///
/// Errors: what the caller should print before it exits with status 1.
pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let invoked = loment_sandbox::trace::now();
    let flags = args::parse(arguments)?;
    if flags.version {
        return info::version();
    }
    if flags.info {
        return info::print();
    }
    match flags.action.as_str() {
        "start" => start::run(&flags, invoked),
        "delete" => delete::run(&flags),
        "" => Err(Failure::invalid(
            "this is a containerd shim, run by containerd (runtime_type = \"io.containerd.loment.v2\"); by hand: -v, -info",
        )),
        other => Err(Failure::invalid(format!("there is no action {other:?} (start, delete)"))),
    }
}

/// Locks. One thread never holds a lock across an await, so this never waits; and with `panic = "abort"` a lock is
/// never poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
