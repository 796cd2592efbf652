//! Start latency of runtime classes, side by side in one run.
