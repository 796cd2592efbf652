//! Limits as properties of a unit (systemd.resource-control(5)), taken from what the cgroup's files will hold: systemd
//! has to know them, or it would undo them when it is reloaded.

use super::wire::{Property, Value};
use crate::plan::{Group, Write};

/// The properties that stand for the planned files; a file that systemd has no property for has none.
pub(crate) fn of(groups: &[Group]) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    let mut set = |property: Property| {
        found.retain(|(name, _)| *name != property.0);
        found.push(property);
    };
    let (mut quota, mut period) = (None, None);
    for Write { file, value, .. } in groups.iter().flatten() {
        match file.as_ref() {
            "cpu.max" => {
                let mut words = value.split_whitespace();
                quota = words.next().map(number);
                period = words.next().map(number).or(period);
            }
            "cpu.cfs_quota_us" => quota = Some(number(value)),
            "cpu.cfs_period_us" => period = Some(number(value)),
            "cpuset.cpus" => set(("AllowedCPUs", Value::Bytes(bits(value)))),
            "cpuset.mems" => set(("AllowedMemoryNodes", Value::Bytes(bits(value)))),
            file => {
                if let Some((_, name)) = NUMBERS.iter().find(|(known, _)| *known == file) {
                    set((name, Value::U64(number(value))));
                }
            }
        }
    }
    if let Some(period) = period {
        set(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if let Some(quota) = quota {
        set(("CPUQuotaPerSecUSec", Value::U64(per_second(quota, period.unwrap_or(100_000)))));
    }
    found
}

/// Files that hold one number, of v2 and of v1.
const NUMBERS: [(&str, &str); 9] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("cpu.weight", "CPUWeight"),
    ("pids.max", "TasksMax"),
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.shares", "CPUShares"),
];

/// `max` and -1 are what systemd calls infinity.
fn number(value: &str) -> u64 {
    value.trim().parse().unwrap_or(u64::MAX)
}

/// Microseconds in each second. systemd keeps whole per cents, so that what is between them is given rather than taken.
fn per_second(quota: u64, period: u64) -> u64 {
    const ONE_PER_CENT: u64 = 10_000;
    match quota {
        u64::MAX => u64::MAX,
        quota => {
            let exact = quota.saturating_mul(1_000_000).div_ceil(period.max(1));
            exact.checked_next_multiple_of(ONE_PER_CENT).unwrap_or(u64::MAX)
        }
    }
}

/// What a kernel takes at once for a file of a cgroup. fs/kernfs/file.c, `PAGE_SIZE`
const LONGEST_LIST: usize = 4096;

/// A list like `0-2,5` as bits, the lowest first. One that no kernel takes has none.
fn bits(list: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if list.len() > LONGEST_LIST {
        return bytes;
    }
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>()) else { continue };
        for bit in usize::from(first)..=usize::from(last) {
            if bytes.len() <= bit / 8 {
                bytes.resize(bit / 8 + 1, 0);
            }
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    bytes
}

/// What v1 is told about devices, for systemd: its own list, which it writes again when it is reloaded, must not be wider
/// than ours. `names` is the content of /proc/devices. (On v2 our program stays, whatever systemd does.)
pub(crate) fn of_devices(groups: &[Group], names: &str) -> Vec<Property> {
    let lines = groups.iter().flatten();
    if lines.clone().any(|write| write.file == "devices.allow" && write.value == "a") {
        return Vec::new();
    }
    let allowed = lines.filter(|write| write.file == "devices.allow").filter_map(|write| device(&write.value, names));
    vec![("DevicePolicy", Value::Text("strict".to_owned())), ("DeviceAllow", Value::Pairs(allowed.collect()))]
}

/// `c 1:3 rwm` as `/dev/char/1:3` and `rwm`; all devices of a driver by its name. A driver that is not there now has
/// no device to be allowed.
fn device(line: &str, names: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let kind = if kind == "b" { "block" } else { "char" };
    let device = match numbers.split_once(':')? {
        ("*", _) => format!("{kind}-*"),
        (major, "*") => format!("{kind}-{}", driver(kind, major, names)?),
        _ => format!("/dev/{kind}/{numbers}"),
    };
    Some((device, access.to_owned()))
}

fn driver<'a>(kind: &str, major: &str, names: &'a str) -> Option<&'a str> {
    let (chars, blocks) = names.split_once("Block devices:")?;
    let list = if kind == "block" { blocks } else { chars };
    list.lines()
        .find_map(|line| line.trim().split_once(' ').filter(|(number, _)| *number == major))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{v1, v2};

    fn of_v2(resources: serde_json::Value) -> Vec<Property> {
        of(&v2::plan(&serde_json::from_value(resources).unwrap(), |_| None).unwrap())
    }

    #[test]
    fn limits_become_properties() {
        let found = of_v2(json!({
            "memory": {"limit": 100 << 20, "swap": 150 << 20, "reservation": 50 << 20},
            "cpu": {"shares": 1024, "quota": 25_500, "period": 50_000, "cpus": "0-1,9"},
            "pids": {"limit": 7}, "unified": {"memory.high": "max", "memory.min": "4096"},
        }));
        let expected = [
            ("MemorySwapMax", Value::U64(50 << 20)),
            ("MemoryMax", Value::U64(100 << 20)),
            ("MemoryLow", Value::U64(50 << 20)),
            ("CPUWeight", Value::U64(100)),
            ("AllowedCPUs", Value::Bytes(vec![3, 2])),
            ("TasksMax", Value::U64(7)),
            ("MemoryHigh", Value::U64(u64::MAX)),
            ("MemoryMin", Value::U64(4096)),
            ("CPUQuotaPeriodUSec", Value::U64(50_000)),
            ("CPUQuotaPerSecUSec", Value::U64(510_000)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_limit_is_infinity() {
        let found = of_v2(json!({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}));
        assert!(found.iter().all(|(_, value)| *value == Value::U64(u64::MAX)), "{found:?}");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_is_beyond_all_bounds_has_one() {
        let quota = |period: u64| of_v2(json!({"cpu": {"quota": i64::MAX, "period": period}}));
        for period in [1, 2, 100_000] {
            assert!(quota(period).contains(&("CPUQuotaPeriodUSec", Value::U64(period))), "{period}");
        }
        assert!(quota(1).contains(&("CPUQuotaPerSecUSec", Value::U64(u64::MAX))), "{:?}", quota(1));
        let cpus = vec!["0-65535"; 1_000_000].join(",");
        assert_eq!(of_v2(json!({"cpu": {"cpus": cpus}})), [("AllowedCPUs", Value::Bytes(Vec::new()))]);
    }

    #[test]
    fn v1_has_names_of_its_own() {
        let resources = json!({"memory": {"limit": 4096}, "cpu": {"shares": 512, "quota": 1000}});
        let groups = v1::plan(&serde_json::from_value(resources).unwrap(), v1::Hugetlb::V1).unwrap();
        let expected = [
            ("MemoryLimit", Value::U64(4096)),
            ("CPUShares", Value::U64(512)),
            ("CPUQuotaPerSecUSec", Value::U64(10_000)),
        ];
        assert_eq!(of(&groups), expected);
    }

    #[test]
    fn devices_are_named_as_systemd_does() {
        const NAMES: &str = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
        for (line, expected) in [
            ("c 1:3 rwm", Some("/dev/char/1:3")),
            ("c *:* m", Some("char-*")),
            ("c 136:* rw", Some("char-pts")),
            ("b 8:* r", Some("block-sd")),
            ("c 8:* r", None),
        ] {
            assert_eq!(device(line, NAMES).map(|(name, _)| name).as_deref(), expected, "{line}");
        }
    }
}
