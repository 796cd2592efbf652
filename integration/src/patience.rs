//! How long to wait on a machine that is slower than others.

use std::{env, sync::LazyLock, time::Duration};

/// Names how many times slower than a real one this machine is, as an emulated one. Only patience changes by it.
const SLOWNESS: &str = "LOMENT_TEST_SLOWNESS";

/// How long to wait here for what elsewhere takes at most `usual`.
pub fn patience(usual: Duration) -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| env::var(SLOWNESS).ok().and_then(|f| f.parse().ok()).unwrap_or(1));
    usual.saturating_mul(*FACTOR)
}
