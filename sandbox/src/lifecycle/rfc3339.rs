//! Wall-clock times as the Kubernetes API writes them: RFC 3339 in UTC.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const DAY: i64 = 86_400;

/// A point in time, to the second (`2026-05-01T10:00:00Z`) or, when it has a fraction, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    secs: i64,
    micros: u32,
}

impl Timestamp {
    /// The whole second of `at` (`metav1.Time`).
    pub fn seconds(at: SystemTime) -> Self {
        Self { micros: 0, ..Self::micros(at) }
    }

    /// The microsecond of `at` (`metav1.MicroTime`).
    pub fn micros(at: SystemTime) -> Self {
        let (secs, micros) = match at.duration_since(UNIX_EPOCH) {
            Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_micros()),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_micros() {
                    0 => (-whole, 0),
                    micros => (-whole - 1, 1_000_000 - micros),
                }
            }
        };
        Self { secs, micros }
    }

    /// The same as the system's time.
    pub fn system_time(self) -> SystemTime {
        let whole = Duration::from_secs(self.secs.unsigned_abs());
        let base = if self.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        base.and_then(|base| base.checked_add(Duration::from_micros(self.micros.into()))).unwrap_or(UNIX_EPOCH)
    }

    /// Time since `earlier`; nothing if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.system_time().duration_since(earlier.system_time()).unwrap_or_default()
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms": years begin in March and come in eras of 400).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.secs.div_euclid(DAY));
        let second = self.secs.rem_euclid(DAY);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)?;
        match self.micros {
            0 => f.write_str("Z"),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

/// What was read is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTime;

impl fmt::Display for NoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time like 2026-05-01T10:00:00Z")
    }
}

impl FromStr for Timestamp {
    type Err = NoTime;

    /// Reads UTC and numeric offsets; digits behind the microsecond are dropped.
    fn from_str(text: &str) -> Result<Self, NoTime> {
        parse(text).ok_or(NoTime)
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let number = |part: Option<&str>| {
        part.filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).and_then(|part| part.parse::<i64>().ok())
    };
    let at = |from, to| number(text.get(from..to));
    let (year, month, day) = (at(0, 4)?, at(5, 7)?, at(8, 10)?);
    let (hour, minute, second) = (at(11, 13)?, at(14, 16)?, at(17, 19)?);
    let separated = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    let known = separated.iter().all(|(place, sign)| text.get(*place..place + 1) == Some(sign))
        && civil(days(year, month, day)) == (year, month, day)
        && hour < 24
        && minute < 60
        && second < 61;
    let rest = text.get(19..).filter(|_| known)?;
    let zone = rest.find(['Z', '+', '-'])?;
    let micros = match rest.get(..zone)? {
        "" => 0,
        fraction => {
            let digits = fraction.strip_prefix('.').filter(|digits| !digits.is_empty())?;
            number(format!("{digits:0<6}").get(..6)).filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?
        }
    };
    let offset = match rest.get(zone..)? {
        "Z" => 0,
        shifted => {
            let sign = if shifted.starts_with('-') { -60 } else { 60 };
            let colon = shifted.len() == 6 && shifted.get(3..4) == Some(":");
            sign * (number(shifted.get(1..3))? * 60 + number(shifted.get(4..6).filter(|_| colon))?)
        }
    };
    let secs = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { secs, micros: u32::try_from(micros).ok()? })
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::{prop_assert_eq, proptest};

    use super::Timestamp;

    #[test]
    fn known_instants_are_written_as_date_does() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_777_629_600, "2026-05-01T10:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(secs);
            assert_eq!(Timestamp::seconds(at).to_string(), expected);
            assert_eq!(expected.parse(), Ok(Timestamp::seconds(at)));
        }
        let at = UNIX_EPOCH + Duration::from_micros(1_500);
        assert_eq!(Timestamp::micros(at).to_string(), "1970-01-01T00:00:00.001500Z");
        assert_eq!(
            Timestamp::micros(UNIX_EPOCH - Duration::from_millis(250)).to_string(),
            "1969-12-31T23:59:59.750000Z"
        );
    }

    #[test]
    fn offsets_and_fractions_are_read() {
        let expected: Timestamp = "2026-05-01T10:00:00Z".parse().unwrap();
        assert_eq!("2026-05-01T12:30:00+02:30".parse(), Ok(expected));
        assert_eq!("2026-05-01T09:00:00-01:00".parse(), Ok(expected));
        assert_eq!(
            "2026-05-01T10:00:00.123456789Z".parse::<Timestamp>().unwrap().to_string(),
            "2026-05-01T10:00:00.123456Z"
        );
        assert_eq!("2026-05-01T10:00:00.5Z".parse::<Timestamp>().unwrap().to_string(), "2026-05-01T10:00:00.500000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-05-01T24:00:00Z",
            "2026-05-01 10:00:00Z",
            "2026-05-01T10:00:00",
            "2026-05-01T10:00:00.Z",
            "2026-05-01T10:00:00+2",
            "2026-05-01T10:00:00+02_00",
            "2026-05-01T10:00:00.12a456Z",
            "+026-05-01T10:00:00Z",
            "2026-05-01T10:00:0é",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_read_back_as_it_was_written(micros in 0_u64..253_402_300_800_000_000) {
            let at = Timestamp::micros(UNIX_EPOCH + Duration::from_micros(micros));
            prop_assert_eq!(at.to_string().parse(), Ok(at));
        }
    }
}
