//! Signals by name and number.

use std::str::FromStr;

use nix::sys::signal::Signal;

use crate::failure::{Failure, Result};

/// Real-time signals as the C library counts them: the first two are its own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// `SIGTERM`, `TERM`, `term`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            0..=RTMAX => Ok(number),
            _ => Err(Failure::new(format!("signal {text}: is not between 0 and {RTMAX}"))),
        };
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Ok(signal) = Signal::from_str(&format!("SIG{name}")) {
        return Ok(signal as i32);
    }
    real_time(name).ok_or_else(|| Failure::new(format!("signal {text:?}: there is none of this name")))
}

fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => RTMIN.checked_add(offset(rest).filter(|offset| *offset >= 0)?)?,
        (_, Some(rest)) => RTMAX.checked_add(offset(rest).filter(|offset| *offset <= 0)?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_its_names_and_its_number() {
        for text in ["SIGTERM", "TERM", "term", "15"] {
            assert_eq!(parse(text).unwrap(), 15);
        }
        for (text, number) in [("KILL", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("64", 64), ("0", 0)] {
            assert_eq!(parse(text).unwrap(), number);
        }
    }

    #[test]
    fn nonsense_is_no_signal() {
        for text in ["", "SIG", "SIGNONE", "65", "-1", "RTMIN-1", "RTMIN+31", "RTMAX+1", "9999999999999"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
