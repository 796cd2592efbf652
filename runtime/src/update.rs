//! The limits that `update` is given.

use std::{fs, io::Read};

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use crate::{
    args::Update,
    failure::{Context, Failure, Result},
};

/// Limits from a file, or from flags.
pub(crate) fn resources(update: &Update) -> Result<LinuxResources> {
    let Some(path) = &update.resources else { return from_flags(update) };
    let text = match path.as_os_str() == "-" {
        true => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).at("read", "standard input").map(|_| text)?
        }
        false => fs::read_to_string(path).at("read", path.display())?,
    };
    serde_json::from_str(&text).at("understand resources in", path.display())
}

fn from_flags(update: &Update) -> Result<LinuxResources> {
    let size = |flag: &str, text: &Option<String>| text.as_deref().map(|text| bytes(flag, text)).transpose();
    let memory = given([
        ("limit", json!(size("--memory", &update.memory)?)),
        ("reservation", json!(size("--memory-reservation", &update.memory_reservation)?)),
        ("swap", json!(size("--memory-swap", &update.memory_swap)?)),
    ]);
    let cpu = given([
        ("shares", json!(update.cpu_share)),
        ("quota", json!(update.cpu_quota)),
        ("period", json!(update.cpu_period)),
        ("realtimeRuntime", json!(update.cpu_rt_runtime)),
        ("realtimePeriod", json!(update.cpu_rt_period)),
        ("cpus", json!(update.cpuset_cpus)),
        ("mems", json!(update.cpuset_mems)),
    ]);
    let resources = given([
        ("memory", memory),
        ("cpu", cpu),
        ("blockIO", given([("weight", json!(update.blkio_weight))])),
        ("pids", given([("limit", json!(update.pids_limit))])),
    ]);
    match resources {
        Value::Null => Err(Failure::new("update: no limit is given (loment-runtime update --help names them)")),
        resources => serde_json::from_value(resources).at("understand", "the limits"),
    }
}

/// An object of what there is; null when there is nothing.
fn given<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields: Map<_, _> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

/// `1048576`, `1024k`, `1M`, `1MiB`: powers of two, as runc counts.
fn bytes(flag: &str, text: &str) -> Result<i64> {
    let refuse =
        || Failure::new(format!("{flag} {text:?}: is not a size (a number of bytes, or one with k, m, g or t)"));
    let lower = text.trim().to_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = lower.strip_prefix(digits).unwrap_or_default();
    let shift = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(refuse()),
    };
    let number: i64 = digits.parse().map_err(|_| refuse())?;
    match number {
        -1 if unit.is_empty() => Ok(-1),
        0.. => number.checked_mul(1 << shift).ok_or_else(refuse),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_have_a_unit() {
        for (text, size) in
            [("0", 0), ("-1", -1), ("10", 10), ("2k", 2048), ("3M", 3 << 20), ("1GiB", 1 << 30), ("5b", 5)]
        {
            assert_eq!(bytes("--memory", text).unwrap(), size, "{text}");
        }
        for text in ["", "m", "-2", "-1k", "1x", "1.5g", "9999999999t"] {
            assert!(bytes("--memory", text).is_err(), "{text:?}");
        }
    }
}
