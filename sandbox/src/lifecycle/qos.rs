//! Quality of service of a pod (pkg/apis/core/v1/helper/qos), and the quantities it is found from.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

/// `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum QosClass {
    /// Every container has limits for cpu and memory and requests exactly those.
    Guaranteed,
    /// Neither of the others.
    Burstable,
    /// Nothing is asked for.
    #[default]
    BestEffort,
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Amounts of cpu and memory, in the smallest unit that a quantity has (10⁻⁹); 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Billionths of a cpu.
    pub cpu: u128,
    /// Billionths of a byte.
    pub memory: u128,
}

/// The class of a pod whose containers (or which itself, where it has resources of its own) request and are limited
/// to this much. A request that is not there is the limit.
pub fn class(resources: impl IntoIterator<Item = (Amounts, Amounts)>) -> QosClass {
    let (mut any, mut all) = (false, true);
    for (request, limit) in resources {
        for (request, limit) in [(request.cpu, limit.cpu), (request.memory, limit.memory)] {
            let request = if request == 0 { limit } else { request };
            any |= request > 0;
            all &= limit > 0 && request.cmp(&limit) == Ordering::Equal;
        }
    }
    match (any, all) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

const NANO: u128 = 1_000_000_000;

/// A quantity (`100m`, `1.5`, `64Mi`, `1e3`) in billionths, rounded up; `None` if it is none or does not fit.
pub fn quantity(text: &str) -> Option<u128> {
    let number = text.strip_prefix('+').unwrap_or(text);
    let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
    let (number, suffix) = number.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 30 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (up, down) = scale(suffix)?;
    let down = down.checked_mul(10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    Some(digits.checked_mul(up)?.div_ceil(down))
}

/// What a suffix multiplies billionths by and divides them by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let decimal = |power: i32| {
        let factor = 10_u128.checked_pow(power.unsigned_abs())?;
        if power < 0 { Some((NANO, factor)) } else { Some((NANO.checked_mul(factor)?, 1)) }
    };
    let binary = |power: u32| Some((NANO << (10 * power), 1));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => decimal(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::{Amounts, NANO, QosClass, class, quantity};

    #[test]
    fn quantities_of_every_notation_are_read() {
        for (text, billionths) in [
            ("1", NANO),
            ("100m", NANO / 10),
            ("1.5", NANO * 3 / 2),
            (".5", NANO / 2),
            ("64Mi", NANO * 64 * 1024 * 1024),
            ("1k", NANO * 1000),
            ("1e3", NANO * 1000),
            ("1E-3", NANO / 1000),
            ("0.1n", 1),
            ("0", 0),
        ] {
            assert_eq!(quantity(text), Some(billionths), "{text}");
        }
        for text in ["", ".", "m", "1x", "-1", "1.2.3", "1e", "1 ", "1e99", "99999999999999999999999999999999999999Ei"]
        {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let none = Amounts::default();
        let some = Amounts { cpu: 1, memory: 1 };
        let cpu = Amounts { cpu: 1, memory: 0 };
        let more = Amounts { cpu: 2, memory: 1 };
        assert_eq!(class([(none, none), (none, none)]), QosClass::BestEffort);
        assert_eq!(class([(some, some)]), QosClass::Guaranteed);
        assert_eq!(class([(none, some)]), QosClass::Guaranteed, "a missing request is the limit");
        assert_eq!(class([(some, more)]), QosClass::Burstable);
        assert_eq!(class([(cpu, none)]), QosClass::Burstable);
        assert_eq!(class([(some, some), (none, none)]), QosClass::Burstable);
        assert_eq!(class([(cpu, cpu)]), QosClass::Burstable);
    }
}
