//! The command for people: pods on one machine, through containerd.

mod error;
mod lower;
mod manifest;

fn main() {}
