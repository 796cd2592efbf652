//! The command for people: pods on one machine, through containerd.

mod error;
mod manifest;

fn main() {}
