//! A containerd that is given this project's runtime class, and that is given back what it had. docs/install.md says which
//! file is written for which containerd, and why.
//!
//! | file | subject |
//! |---|---|
//! | `config` | a configuration of containerd, read |
//! | `found`, `patterns` | what there is of containerd on the machine; the files that it imports |
//! | `plan`, `managed`, `refused` | what has to be written: a function of what was found |
//! | `apply` | a file changed, and changed back |
//! | `carry_out` | the whole of an installation, step by step, and taken back |
//! | `record` | what was done, kept to undo it |
//! | `programs` | the programs that containerd starts |
//! | `restart`, `unreached` | containerd started again; what to do where it does not answer |

pub(crate) mod apply;
pub(crate) mod carry_out;
pub(crate) mod config;
pub(crate) mod found;
mod managed;
pub(crate) mod patterns;
pub(crate) mod plan;
pub(crate) mod programs;
pub(crate) mod record;
mod refused;
pub(crate) mod restart;
#[cfg(test)]
mod tests;
pub(crate) mod unreached;
