//! containerd's events.
