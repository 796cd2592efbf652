//! Limits and what is used.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::support::Bundle;

#[test]
fn limits_are_updated_by_flags_and_by_a_file() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    bundle.call(&["update", "--memory", "32M", "--pids-limit", "17", "--cpu-share", "512", "c"]).ok();
    assert_eq!(bundle.limit("c", "memory", "memory.limit_in_bytes"), (32 << 20).to_string());
    assert_eq!(bundle.limit("c", "pids", "pids.max"), "17");
    assert_eq!(bundle.limit("c", "cpu", "cpu.shares"), "512");
    let resources = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": -1 } }).to_string();
    fs::write(bundle.path.join("resources.json"), &resources).unwrap();
    bundle.call(&["update", "-r", "resources.json", "c"]).ok();
    assert_eq!(bundle.limit("c", "memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(bundle.limit("c", "pids", "pids.max"), "max");
    let mut child = bundle.command(&["update", "--resources=-", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(br#"{"cpu":{"quota":50000,"period":100000}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(bundle.limit("c", "cpu", "cpu.cfs_quota_us"), "50000");
    assert!(bundle.call(&["update", "c"]).refused().contains("no limit"));
    assert!(bundle.call(&["update", "--memory", "much", "c"]).refused().contains("--memory"));
    bundle.delete("c");
}

#[test]
fn statistics_have_the_shape_of_runcs() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let event: Value = serde_json::from_str(&bundle.call(&["events", "--stats", "c"]).ok()).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("c")));
    let data = &event["data"];
    assert_eq!(data["pids"]["current"], 1);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["memory"]["raw"]["rss"].is_u64() || data["memory"]["raw"]["anon"].is_u64());
    for key in ["blkio", "hugetlb", "intel_rdt", "cpuset"] {
        assert!(data[key].is_object(), "{key}");
    }
    bundle.delete("c");
}

#[test]
fn events_tell_of_a_lack_of_memory_and_end_with_the_container() {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20 });
    bundle.start("c");
    let mut watcher = bundle.command(&["events", "--interval", "1h", "c"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(next().unwrap()["type"], "stats");
    // It has begun to watch before it says anything.
    bundle.call(&["exec", "c", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]).refused_by_kill();
    assert_eq!(next().unwrap(), json!({ "type": "oom", "id": "c" }));
    bundle.call(&["kill", "c", "KILL"]).ok();
    assert!(watcher.wait().unwrap().success());
    bundle.wait_until("c", "stopped");
    assert!(bundle.call(&["events", "--stats", "c"]).refused().contains("not running"));
    bundle.call(&["delete", "c"]).ok();
}

impl crate::support::Answer {
    #[track_caller]
    fn refused_by_kill(self) {
        assert_eq!(self.status, 137, "{}{}", self.out, self.err);
    }
}
