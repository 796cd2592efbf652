//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`), exact to a thousand millionth.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// An amount, counted in thousand millionths (nano) so that every quantity of the API is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Amount(i128);

const NANO: i128 = 1_000_000_000;

impl Amount {
    /// Reads a quantity; the grammar is `<number><suffix>` with suffix `n u m "" k M G T P E`, `Ki .. Ei` or `e<n>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits_end =
            text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        let (mantissa, decimals) = decimal(number)?;
        let (factor, exponent) = scale(suffix)?;
        let power = 9 + exponent - i32::try_from(decimals).ok()?;
        let scaled = mantissa.checked_mul(factor)?;
        let ten = 10_i128.checked_pow(power.unsigned_abs())?;
        Some(Amount(if power >= 0 { scaled.checked_mul(ten)? } else { ceil_div(scaled, ten) }))
    }

    /// Reads a quantity of the API, which validation has found to be one; anything else counts as zero.
    pub(crate) fn of(quantity: &Quantity) -> Self {
        Self::parse(&quantity.0).unwrap_or_default()
    }

    /// In thousandths, rounded up: CPU in millicores.
    pub(crate) fn milli(self) -> i64 {
        clamp(ceil_div(self.0, NANO / 1000))
    }

    /// In units, rounded up: memory in bytes.
    pub(crate) fn units(self) -> i64 {
        clamp(ceil_div(self.0, NANO))
    }

    /// As the API writes it: whole units without a suffix, else thousandths or less.
    pub(crate) fn quantity(self) -> Quantity {
        Quantity(match self.0 {
            nano if nano % NANO == 0 => (nano / NANO).to_string(),
            nano if nano % (NANO / 1000) == 0 => format!("{}m", nano / (NANO / 1000)),
            nano => format!("{nano}n"),
        })
    }

    pub(crate) fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub(crate) fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub(crate) fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// How often `divisor` fits, rounded up, as the downward API counts; a divisor of zero counts as one.
    pub(crate) fn divided_by(self, divisor: Amount) -> i64 {
        let divisor = if divisor.0 == 0 { NANO } else { divisor.0 };
        clamp(ceil_div(self.0, divisor))
    }
}

impl std::ops::Sub for Amount {
    type Output = Amount;

    fn sub(self, other: Amount) -> Amount {
        Amount(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount(self.0.saturating_add(other.0))
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// `-1.25` as (-125, 2).
fn decimal(number: &str) -> Option<(i128, usize)> {
    let (negative, unsigned) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.len() + fraction.len() == 0 || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((if negative { -mantissa } else { mantissa }, fraction.len()))
}

/// A suffix as (factor, power of ten).
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => (1, other.strip_prefix(['e', 'E'])?.parse().ok().filter(|power| (-30..=30).contains(power))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_their_kubernetes_values() {
        let milli = |text| Amount::parse(text).map(Amount::milli);
        let units = |text| Amount::parse(text).map(Amount::units);
        assert_eq!(milli("500m"), Some(500));
        assert_eq!(milli("1"), Some(1000));
        assert_eq!(milli("0.1"), Some(100));
        assert_eq!(milli("1u"), Some(1), "rounded up");
        assert_eq!(units("1.5Gi"), Some(1536 << 20));
        assert_eq!(units("128974848"), Some(128_974_848));
        assert_eq!(units("129e6"), Some(129_000_000));
        assert_eq!(units("129M"), Some(129_000_000));
        assert_eq!(units("123Mi"), Some(123 << 20));
        assert_eq!(units("1E"), Some(1_000_000_000_000_000_000));
        assert_eq!(units("100E"), Some(i64::MAX), "capped");
        assert_eq!(units("-1"), Some(-1));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "1x", "Mi", "1 Gi", "1.2.3", "--1", "1-2", "1e99", "e3", "1Kib", "."] {
            assert_eq!(Amount::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_amount_is_written_as_it_can_be_read() {
        for (text, written) in [("1", "1"), ("0.5", "500m"), ("1.5Gi", "1610612736"), ("1u", "1000n"), ("0", "0")] {
            assert_eq!(Amount::parse(text).unwrap().quantity().0, written);
            assert_eq!(Amount::parse(written), Amount::parse(text));
        }
    }

    #[test]
    fn the_divisor_rounds_up() {
        let amount = |text| Amount::parse(text).unwrap();
        assert_eq!(amount("250m").divided_by(amount("1")), 1);
        assert_eq!(amount("250m").divided_by(amount("1m")), 250);
        assert_eq!(amount("64Mi").divided_by(amount("1Mi")), 64);
        assert_eq!(amount("64Mi").divided_by(amount("0")), 64 << 20);
    }
}
