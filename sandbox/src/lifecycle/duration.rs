//! Durations as Go writes them (`1m30s`, `200ms`), because annotations and messages of Kubernetes do.

use std::{fmt, time::Duration};

const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration that is not negative; `None` if it is none.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(unit);
        let scale = UNITS.iter().find(|(unit, _)| *unit == name)?.1;
        nanos += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    let known = !text.is_empty() && nanos < 1e9 * 3600.0 * 24.0 * 366.0 * 290.0;
    // Bounded to Go's own range just above; the fraction of a nanosecond is nobody's.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    known.then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Shows a duration as Go's `Duration.String` does, to the millisecond.
#[derive(Debug, Clone, Copy)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if secs == 0 && millis > 0 {
            return write!(f, "{millis}ms");
        }
        let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if secs >= 60 {
            write!(f, "{minutes}m")?;
        }
        match millis {
            0 => write!(f, "{seconds}s"),
            _ => write!(f, "{seconds}.{}s", format!("{millis:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Shown, parse};

    #[test]
    fn go_durations_are_read() {
        let millis = |n| Some(Duration::from_millis(n));
        for (text, expected) in [
            ("200ms", millis(200)),
            ("10s", millis(10_000)),
            ("1m30s", millis(90_000)),
            ("1.5s", millis(1_500)),
            ("1h0m0.25s", millis(3_600_250)),
            ("0s", millis(0)),
            ("1000us", millis(1)),
            ("1000µs", millis(1)),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "10", "s", "-1s", "1x", "1..5s", "ten", "10 s", "1s ", "99999999999999h", ".s", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_go_shows_them() {
        for (millis, expected) in
            [(0, "0s"), (200, "200ms"), (10_000, "10s"), (300_000, "5m0s"), (1_500, "1.5s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(Shown(Duration::from_millis(millis)).to_string(), expected);
        }
    }
}
