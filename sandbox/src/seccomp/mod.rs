//! The seccomp profile of a spec, compiled to a BPF program.
