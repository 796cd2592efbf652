//! What a container can learn of the runtime's own processes that it sees, and do to them.

use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    a_holder_cannot_be_looked_into,
    the_runtimes_program_cannot_be_written_even_by_who_may_look_into_a_holder,
    a_process_on_its_way_into_a_container_cannot_be_looked_into,
];

/// A container in the pid namespace of a holder, where pid 1 runs the runtime's program.
pub(crate) fn beside_a_holder(script: &str, capability: Option<&str>) -> String {
    let mut holder = Bundle::new("this is never run");
    holder.role = loment_sandbox::container::Role::Holder;
    let running = holder.started();
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["namespaces"] =
        json!([{"type": "mount"}, {"type": "pid", "path": format!("/proc/{}/ns/pid", running.0.init().pid())}]);
    bundle.spec.as_object_mut().unwrap().remove("hostname");
    for set in ["bounding", "effective", "permitted"] {
        bundle.spec["process"]["capabilities"][set].as_array_mut().unwrap().extend(capability.map(Value::from));
    }
    bundle.output()
}

fn a_holder_cannot_be_looked_into() {
    let text = beside_a_holder(
        "cat /proc/1/comm; ls /proc/1/cwd/ /proc/1/root/; head -c 1 /proc/1/exe /proc/1/environ /proc/1/mem \
         /proc/1/maps /proc/1/fd/0; for file in exe cwd root fd/0 fd/1 ns/mnt; do readlink /proc/1/$file; done; true",
        None,
    );
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"pause"), "{text}");
    let refused = |line: &&&str| line.contains("Permission denied");
    assert_eq!(lines.iter().filter(refused).count(), 7, "two directories and five files: {text}");
    assert_eq!(lines.len(), 8, "the links say nothing: {text}");
}

/// CAP_SYS_PTRACE is what it takes to open /proc/1/exe. What is being executed cannot be written: ETXTBSY. execve(2)
fn the_runtimes_program_cannot_be_written_even_by_who_may_look_into_a_holder() {
    let script = "head -c 4 /proc/1/exe | tail -c 3; echo; (: >> /proc/1/exe) && echo opened; true";
    let text = beside_a_holder(script, Some("CAP_SYS_PTRACE"));
    assert!(text.contains("ELF") && text.contains("Text file busy") && !text.contains("opened"), "{text}");
}

fn a_process_on_its_way_into_a_container_cannot_be_looked_into() {
    let watch = "while [ ! -e /tmp/stop ]; do \
                 for p in /proc/[0-9]*; do readlink $p/exe; readlink $p/root; ls -l $p/fd; done; done 2> /dev/null";
    let bundle = Bundle::new(watch);
    let (io, output) = output();
    let mut container = bundle.create(io).unwrap();
    container.start().unwrap().finish().unwrap();
    for _ in 0..20 {
        let process = json!({"args": ["true"], "cwd": "/", "user": {"uid": 7}, "env": [PATH]});
        let executing = container.exec(&serde_json::from_value(process).unwrap(), no_io()).unwrap();
        wait(&mut executing.finish().unwrap().0);
    }
    std::fs::write(bundle.rootfs().join("tmp/stop"), "").unwrap();
    let text = read(output);
    container.delete().unwrap();
    let own = std::env::current_exe().unwrap();
    let own = own.file_name().unwrap().to_str().unwrap();
    assert!(text.contains("/bin/busybox") && !text.contains(own), "{text}");
    // Its descriptors are the cgroups, the channel and the private procfs.
    for name in ["tasks", "cgroup", "socket:"] {
        assert!(!text.contains(name), "{text}");
    }
}
