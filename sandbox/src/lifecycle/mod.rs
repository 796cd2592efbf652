//! The lifecycle of a pod: one machine without I/O.
