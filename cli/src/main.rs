//! The command for people: pods on one machine, through containerd.

fn main() {}
