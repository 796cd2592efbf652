//! What new limits build upon.

use oci_spec::runtime::LinuxResources;

/// Adds the present period to a quota without one and the present quota to a period without one: systemd knows both as one
/// share, which it rounds and writes back, so that what is there afterwards is not what was there.
///
/// `present` is the content of a file of the cgroup, of v2 or v1.
pub(crate) fn complete(resources: &mut LinuxResources, present: impl Fn(&str) -> Option<String>) {
    let Some(cpu) = resources.cpu_mut() else { return };
    match (cpu.quota().filter(|quota| *quota != 0), cpu.period().filter(|period| *period != 0)) {
        (Some(_), None) => {
            cpu.set_period(bandwidth(present).1);
        }
        (None, Some(_)) => {
            cpu.set_quota(bandwidth(present).0);
        }
        _ => {}
    }
}

/// Quota and period; a quota of -1 is none.
fn bandwidth(present: impl Fn(&str) -> Option<String>) -> (Option<i64>, Option<u64>) {
    let text = present("cpu.max")
        .or_else(|| Some(format!("{} {}", present("cpu.cfs_quota_us")?.trim(), present("cpu.cfs_period_us")?.trim())));
    let text = text.unwrap_or_default();
    let mut words = text.split_whitespace();
    let quota = words.next().map(|word| if word == "max" { Ok(-1) } else { word.parse() });
    (quota.and_then(Result::ok), words.next().and_then(|word| word.parse().ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn completed(cpu: Value, files: &[(&str, &str)]) -> Value {
        let mut resources = serde_json::from_value(json!({"cpu": cpu})).unwrap();
        let present = |file: &str| files.iter().find(|(name, _)| *name == file).map(|(_, text)| (*text).to_owned());
        complete(&mut resources, present);
        serde_json::to_value(resources).unwrap()["cpu"].clone()
    }

    #[test]
    fn a_quota_and_a_period_are_told_together() {
        const V1: &[(&str, &str)] = &[("cpu.cfs_quota_us", "25000\n"), ("cpu.cfs_period_us", "50000\n")];
        for files in [&[("cpu.max", "25000 50000\n")], V1] {
            assert_eq!(completed(json!({"period": 10_000}), files), json!({"period": 10_000, "quota": 25_000}));
            assert_eq!(completed(json!({"quota": 10_000}), files), json!({"period": 50_000, "quota": 10_000}));
            assert_eq!(completed(json!({"quota": -1, "period": 0}), files), json!({"period": 50_000, "quota": -1}));
            for whole in [json!({"quota": 7000, "period": 9000}), json!({"shares": 7})] {
                assert_eq!(completed(whole.clone(), files), whole);
            }
        }
        const UNLIMITED: &[(&str, &str)] = &[("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")];
        for files in [&[("cpu.max", "max 100000\n")], UNLIMITED] {
            assert_eq!(completed(json!({"period": 10_000}), files), json!({"period": 10_000, "quota": -1}));
        }
        assert_eq!(completed(json!({"period": 10_000}), &[]), json!({"period": 10_000}));
    }
}
