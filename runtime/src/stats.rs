//! What a container uses, in the shape of runc's `events`.

use std::{fs, path::Path};

use loment_cgroups::{
    Cgroup, Stats,
    stats::{v1, v2},
};
use serde_json::{Map, Value, json};

use crate::failure::Result;

/// Reads and lays out the usage of a container.
pub(crate) fn read(cgroup: &Cgroup) -> Result<Value> {
    let mut data = match cgroup.stats()? {
        Stats::V1(stats) => of_v1(&stats),
        Stats::V2(stats) => of_v2(&stats),
    };
    let directories: Vec<_> = cgroup.directories().collect();
    let file = |name: &str| directories.iter().find_map(|directory| fs::read_to_string(directory.join(name)).ok());
    if let Some(raw) = file("memory.stat").map(|text| numbers(&text)) {
        data["memory"]["raw"] = raw;
    }
    data["cpuset"] = processors(&directories);
    data["intel_rdt"] = json!({});
    data["network_interfaces"] = Value::Null;
    Ok(data)
}

fn of_v1(stats: &v1::Stats) -> Value {
    let entry = |entry: &Option<v1::MemoryEntry>| match entry {
        None => json!({ "limit": 0, "failcnt": 0 }),
        Some(entry) => with_zeroes(
            json!({ "limit": entry.limit, "failcnt": entry.failcnt }),
            [("usage", entry.usage), ("max", entry.max)],
        ),
    };
    let cpu = stats.cpu.clone().unwrap_or_default();
    let throttling = cpu.throttling;
    let memory = stats.memory.clone().unwrap_or_default();
    let blkio = stats.blkio.clone().unwrap_or_default();
    let lists = [
        ("ioServiceBytesRecursive", &blkio.io_service_bytes_recursive),
        ("ioServicedRecursive", &blkio.io_serviced_recursive),
        ("ioQueueRecursive", &blkio.io_queued_recursive),
        ("ioServiceTimeRecursive", &blkio.io_service_time_recursive),
        ("ioWaitTimeRecursive", &blkio.io_wait_time_recursive),
        ("ioMergedRecursive", &blkio.io_merged_recursive),
        ("ioTimeRecursive", &blkio.io_time_recursive),
        ("sectorsRecursive", &blkio.sectors_recursive),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    let blkio: Map<_, _> =
        lists.map(|(name, list)| (name.to_owned(), list.iter().map(block_entry).collect())).collect();
    json!({
        "cpu": {
            "usage": with_zeroes(
                json!({ "kernel": cpu.usage.kernel, "user": cpu.usage.user, "percpu": cpu.usage.per_cpu }),
                [("total", cpu.usage.total)],
            ),
            "throttling": with_zeroes(json!({}), [
                ("periods", throttling.periods),
                ("throttledPeriods", throttling.throttled_periods),
                ("throttledTime", throttling.throttled_time),
            ]),
        },
        "memory": with_zeroes(
            json!({
                "usage": entry(&memory.usage),
                "swap": entry(&memory.swap),
                "kernel": entry(&memory.kernel),
                "kernelTCP": entry(&memory.kernel_tcp),
            }),
            [("cache", memory.cache)],
        ),
        "pids": stats.pids.map_or(json!({}), |pids| {
            with_zeroes(json!({}), [("current", pids.current), ("limit", pids.limit)])
        }),
        "blkio": blkio,
        "hugetlb": huge(stats.hugetlb.iter().map(|huge| (&huge.pagesize, huge.usage, huge.max, huge.failcnt))),
    })
}

fn of_v2(stats: &v2::Stats) -> Value {
    const NANOSECONDS: u64 = 1000;
    let cpu = stats.cpu.unwrap_or_default();
    let memory = stats.memory.unwrap_or_default();
    let entry = |limit: u64, usage: u64, max: u64| {
        with_zeroes(json!({ "limit": limit, "failcnt": 0 }), [("usage", usage), ("max", max)])
    };
    let usage = stats.io.as_ref().map(|io| io.usage.as_slice()).unwrap_or_default();
    let entries = |of: fn(&v2::IoEntry) -> [u64; 2]| -> Vec<Value> {
        let two = |io: &v2::IoEntry| {
            let [read, write] = of(io);
            [("Read", read), ("Write", write)].map(|(op, value)| {
                block_entry(&v1::BlkioEntry { op: op.to_owned(), major: io.major, minor: io.minor, value })
            })
        };
        usage.iter().flat_map(two).collect()
    };
    let mut blkio = Map::new();
    for (name, list) in [
        ("ioServiceBytesRecursive", entries(|io| [io.rbytes, io.wbytes])),
        ("ioServicedRecursive", entries(|io| [io.rios, io.wios])),
    ] {
        if !list.is_empty() {
            blkio.insert(name.to_owned(), Value::Array(list));
        }
    }
    json!({
        "cpu": {
            "usage": with_zeroes(
                json!({ "kernel": cpu.system_usec * NANOSECONDS, "user": cpu.user_usec * NANOSECONDS }),
                [("total", cpu.usage_usec * NANOSECONDS)],
            ),
            "throttling": with_zeroes(json!({}), [
                ("periods", cpu.nr_periods),
                ("throttledPeriods", cpu.nr_throttled),
                ("throttledTime", cpu.throttled_usec * NANOSECONDS),
            ]),
        },
        "memory": with_zeroes(
            json!({
                "usage": entry(memory.usage_limit, memory.usage, memory.max_usage),
                "swap": entry(memory.swap_limit, memory.swap_usage, memory.swap_max_usage),
                "kernel": entry(0, 0, 0),
                "kernelTCP": entry(0, 0, 0),
            }),
            [("cache", memory.file)],
        ),
        "pids": stats.pids.map_or(json!({}), |pids| {
            with_zeroes(json!({}), [("current", pids.current), ("limit", pids.limit)])
        }),
        "blkio": blkio,
        "hugetlb": huge(stats.hugetlb.iter().map(|huge| (&huge.pagesize, huge.current, huge.max, huge.failcnt))),
    })
}

/// Adds numbers; runc leaves out those that are 0.
fn with_zeroes<const N: usize>(mut object: Value, numbers: [(&str, u64); N]) -> Value {
    for (name, number) in numbers {
        if number != 0 {
            object[name] = json!(number);
        }
    }
    object
}

fn block_entry(entry: &v1::BlkioEntry) -> Value {
    let mut object = with_zeroes(json!({}), [("major", entry.major), ("minor", entry.minor), ("value", entry.value)]);
    if !entry.op.is_empty() {
        object["op"] = json!(entry.op);
    }
    object
}

fn huge<'a>(sizes: impl Iterator<Item = (&'a String, u64, u64, u64)>) -> Value {
    let sizes = sizes.map(|(size, usage, max, failcnt)| {
        (size.clone(), with_zeroes(json!({ "failcnt": failcnt }), [("usage", usage), ("max", max)]))
    });
    Value::Object(sizes.collect())
}

/// Lines of a name and a number.
fn numbers(text: &str) -> Value {
    let numbers = text.lines().filter_map(|line| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), json!(number.trim().parse::<u64>().ok()?)))
    });
    Value::Object(numbers.collect())
}

/// Which processors and memory nodes the container may use; the names of v1's files, as runc has them.
fn processors(directories: &[impl AsRef<Path>]) -> Value {
    const FLAGS: [(&str, &str); 7] = [
        ("cpu_exclusive", "cpuset.cpu_exclusive"),
        ("mem_hardwall", "cpuset.mem_hardwall"),
        ("mem_exclusive", "cpuset.mem_exclusive"),
        ("memory_migrate", "cpuset.memory_migrate"),
        ("memory_spread_page", "cpuset.memory_spread_page"),
        ("memory_spread_slab", "cpuset.memory_spread_slab"),
        ("memory_pressure", "cpuset.memory_pressure"),
    ];
    let file = |name: &str| {
        let text = directories.iter().find_map(|directory| fs::read_to_string(directory.as_ref().join(name)).ok());
        text.map(|text| text.trim().to_owned())
    };
    let number = |name: &str| file(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let list = |names: [&str; 2]| names.into_iter().find_map(file).map(|text| members(&text)).unwrap_or_default();
    let mut set = json!({
        "cpus": list(["cpuset.cpus", "cpuset.cpus.effective"]),
        "mems": list(["cpuset.mems", "cpuset.mems.effective"]),
        "sched_load_balance": number("cpuset.sched_load_balance"),
        "sched_relax_domain_level": number("cpuset.sched_relax_domain_level"),
    });
    for (name, file) in FLAGS {
        set[name] = json!(number(file));
    }
    set
}

/// `0-2,7` as numbers.
fn members(list: &str) -> Vec<u16> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_is_read() {
        assert_eq!(members("0-2,7"), [0, 1, 2, 7]);
        assert_eq!(members(""), [0u16; 0]);
    }

    #[test]
    fn both_layouts_have_the_same_shape() {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (one, two) = (of_v1(&v1::Stats::default()), of_v2(&v2::Stats::default()));
        assert_eq!(keys(&one), keys(&two));
        assert_eq!(keys(&one["memory"]), keys(&two["memory"]));
    }
}
