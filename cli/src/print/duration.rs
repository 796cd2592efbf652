//! Durations as kubectl's flags have them: `90s`, `5m`, `1h30m`, `1.5s`, `200ms`; a number alone is seconds.

use std::time::Duration;

/// Nanoseconds of each unit, the longest names first where one begins another.
const UNITS: [(&str, f64); 7] =
    [("ms", 1e6), ("us", 1e3), ("µs", 1e3), ("ns", 1.0), ("h", 3600e9), ("m", 60e9), ("s", 1e9)];

pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("invalid duration {text:?} (as in \"90s\", \"5m\", \"1h30m\")");
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut nanos = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest[digits..].starts_with(unit)).ok_or_else(wrong)?;
        nanos += number * scale;
        rest = &rest[digits + unit.len()..];
    }
    // The kernel's own clocks end there, too.
    if text.is_empty() || nanos >= u64::MAX as f64 {
        return Err(wrong());
    }
    Ok(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_sum_of_numbers_with_units() {
        for (text, millis) in
            [("0", 0), ("5", 5000), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("200ms", 200)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1s", "5 m", "m", "5x", "1.2.3s", "99999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
