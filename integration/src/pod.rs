//! Pods through CRI.
