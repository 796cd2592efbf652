//! The kernel's few text forms. What is not a number counts as 0: accounting must not fail for one odd line.

/// The value of `key` in lines of `key value`; 0 when it is not there.
pub(crate) fn keyed(text: &str, key: &str) -> u64 {
    pairs(text).find(|(k, _)| *k == key).map_or(0, |(_, value)| value)
}

/// Lines of `key value`.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// A file of one number. `max` is the largest.
pub(crate) fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}
