//! What a start has to do that finds a container which another command has made.

use std::{fs, os::unix::net::UnixListener};

use serde_json::json;

use crate::support::*;

#[test]
fn a_hook_of_the_start_runs_also_when_whoever_made_the_container_is_gone() {
    let mut bundle = Bundle::new("cat /tmp/hooked");
    bundle.config["root"]["readonly"] = json!(false);
    let args = ["sh", "-c", "echo by $(cat) > /tmp/hooked"];
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": args}]});
    let output = bundle.start("c");
    let text = read(output);
    assert!(text.contains(r#""id":"c""#) && text.contains(r#""status":"created""#), "{text}");
    bundle.wait_until("c", "stopped");
    bundle.delete("c");
}

#[test]
fn a_start_without_the_seccomp_agent_leaves_the_container_at_its_gate() {
    let mut bundle = Bundle::new("echo hello");
    let socket = bundle.path.join("agent.sock");
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": &socket,
        "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}],
    });
    let agent = UnixListener::bind(&socket).unwrap();
    let output = bundle.create("c", &[]);
    drop(agent);
    let error = bundle.call(&["start", "c"]).refused();
    assert!(error.contains("seccomp agent") && error.contains("agent.sock"), "{error}");
    assert_eq!(bundle.status("c"), "created");

    fs::remove_file(&socket).unwrap();
    let _agent = UnixListener::bind(&socket).unwrap();
    bundle.call(&["start", "c"]).ok();
    assert_eq!(read(output), "hello\n");
    bundle.wait_until("c", "stopped");
    bundle.delete("c");
}
