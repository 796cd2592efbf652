//! The lifecycle of a pod against its specification. Tests are named after the numbered statements of the project's
//! page on pod semantics: I init containers, S sidecars, R restart rules, A app containers.

mod apps;
mod conditions;
mod exhaustive;
mod handlers;
mod hooks;
mod host;
mod init;
mod manifest;
mod probes;
mod properties;
mod replace;
mod rewind;
mod sidecars;
mod status;
mod whole;
mod world;
