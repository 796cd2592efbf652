//! Times as containerd's messages carry them.

use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::well_known_types::timestamp::Timestamp;

/// A moment of the wall clock.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    // A clock before 1970 is shown as 1970: nothing depends on it.
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut stamp = Timestamp::new();
    stamp.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    stamp.nanos = i32::try_from(since.subsec_nanos()).unwrap_or_default();
    stamp
}

/// This moment, in nanoseconds since 1970.
pub(crate) fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// This moment.
pub(crate) fn now() -> Timestamp {
    timestamp(SystemTime::now())
}
