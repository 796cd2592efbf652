//! Pods on a real containerd.
fn main() {}
