//! Cgroups that a container makes below its own, and cgroups that are there before it.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use loment_sandbox::container::Creating;
use nix::libc::SIGKILL;
use serde_json::json;

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    runc_2356_an_exec_gets_into_a_container_that_has_handed_controllers_down,
    an_exec_does_not_follow_an_init_that_has_left_its_cgroup,
    the_next_attempt_begins_where_the_last_one_has_made_cgroups,
    the_next_attempt_of_a_paused_container_runs,
    a_paused_container_dies_of_sigkill,
    controllers_that_are_mounted_together_are_found_by_each_name,
    runc_3132_a_container_does_not_get_into_anothers_cgroup_and_its_failure_harms_nobody,
    runc_3132_a_frozen_cgroup_is_refused,
    an_empty_cgroup_that_was_there_before_is_taken,
    what_others_have_put_into_a_cgroup_that_was_there_before_outlives_a_create_that_fails,
];

/// The directory of v2's hierarchy that a process can be born in. Where there are v1 hierarchies the container needs a limit
/// on huge pages for it.
fn unified(path: &str) -> Option<PathBuf> {
    let root = if is_unified() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/unified" };
    Some(PathBuf::from(root).join(path.trim_start_matches('/'))).filter(|directory| directory.exists())
}

/// As docker:dind, kind and systemd do: the first process moves to `leaf`, and all others get controllers.
fn nest(directory: &Path, leaf: &Path, pid: i32) {
    fs::create_dir(leaf).unwrap();
    fs::write(leaf.join("cgroup.procs"), pid.to_string()).unwrap();
    // All of them: with those for threads alone (cpu, cpuset, pids) processes may stay.
    let controllers = fs::read_to_string(directory.join("cgroup.controllers")).unwrap();
    let all: Vec<_> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    assert!(!all.is_empty(), "this machine leaves no controller to v2");
    fs::write(directory.join("cgroup.subtree_control"), all.join(" ")).unwrap();
}

fn runc_2356_an_exec_gets_into_a_container_that_has_handed_controllers_down() {
    let mut bundle = Bundle::new("sleep 100");
    limit_huge_pages(&mut bundle);
    let running = bundle.started();
    let Some(directory) = unified(running.0.cgroup().path().to_str().unwrap()) else { return };
    nest(&directory, &directory.join("init"), running.0.init().pid());
    let (code, text) = running.exec("grep ^0:: /proc/self/cgroup");
    assert_eq!(code, 0, "{text}");
    assert!(text.trim_end().ends_with(&format!("/{}/init", bundle.id)), "{text}");
}

fn an_exec_does_not_follow_an_init_that_has_left_its_cgroup() {
    let mut bundle = Bundle::new("sleep 100");
    limit_huge_pages(&mut bundle);
    let mut running = bundle.started();
    let Some(directory) = unified(running.0.cgroup().path().to_str().unwrap()) else { return };
    let outside = directory.with_file_name("outside");
    nest(&directory, &outside, running.0.init().pid());
    let process = json!({"args": ["/bin/true"], "cwd": "/", "user": {}, "env": [PATH]});
    let refused = running.0.exec(&serde_json::from_value(process).unwrap(), no_io()).unwrap_err().to_string();
    let pid = running.0.init().pid().to_string();
    running.0.delete().unwrap();
    fs::remove_dir(outside).unwrap();
    assert!(refused.contains(&pid) && refused.contains("is not in it"), "{refused}");
}

fn the_next_attempt_begins_where_the_last_one_has_made_cgroups() {
    let mut bundle = Bundle::new("sleep 100");
    limit_huge_pages(&mut bundle);
    let mut first = bundle.create(no_io()).unwrap();
    first.start().unwrap().finish().unwrap();
    let path = first.cgroup().path().to_str().unwrap().to_owned();
    if let Some(directory) = unified(&path) {
        nest(&directory, &directory.join("init"), first.init().pid());
    }
    let own = cgroup_directory("devices", &path).join("docker");
    fs::create_dir_all(own.join("deeper")).unwrap();
    while !first.try_end_attempt().unwrap() {
        sleep(Duration::from_millis(1));
    }
    let second = bundle.started();
    assert!(!exists(own));
    assert_eq!(second.exec("exit 5").0, 5);
    assert_eq!(second.0.cgroup().pids().unwrap(), [second.0.init().pid()]);
}

fn the_next_attempt_of_a_paused_container_runs() {
    let bundle = Bundle::new("sleep 100");
    let mut first = bundle.create(no_io()).unwrap();
    first.start().unwrap().finish().unwrap();
    first.pause().unwrap();
    first.end_attempt().unwrap();
    // Born frozen it would never come to its gate.
    assert!(!first.cgroup().is_frozen().unwrap());
    let second = bundle.started();
    assert_eq!(second.exec("exit 5").0, 5);
}

fn a_paused_container_dies_of_sigkill() {
    let bundle = Bundle::new("sleep 100");
    let mut running = bundle.started();
    running.0.pause().unwrap();
    assert!(running.0.signal(SIGKILL).unwrap());
    // It is not waited for without end: it may never come.
    for _ in 0..1000 {
        if running.0.init().has_ended() {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    assert_eq!(running.0.init_mut().try_wait().unwrap().map(|exit| exit.code), Some(137));
    assert!(!running.0.cgroup().is_frozen().unwrap());
}

fn controllers_that_are_mounted_together_are_found_by_each_name() {
    let host = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir());
    let names = host.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| name.contains(','));
    let mut expected: Vec<_> =
        names.flat_map(|name| name.split(',').map(|part| format!("{part} {name}")).collect::<Vec<_>>()).collect();
    expected.sort();
    let script = "cd /sys/fs/cgroup; for name in *; do [ ! -L $name ] || echo $name $(readlink $name); done";
    let output = Bundle::new(script).output();
    let found: Vec<_> = output.lines().filter(|line| line.contains(' ')).collect();
    assert_eq!(found, expected, "{output}");
}

fn runc_3132_a_container_does_not_get_into_anothers_cgroup_and_its_failure_harms_nobody() {
    let (bundle, mut second) = (Bundle::new("sleep 100"), Bundle::new("sleep 100"));
    let running = bundle.started();
    second.spec["linux"]["cgroupsPath"] = bundle.spec["linux"]["cgroupsPath"].clone();
    let pid = running.0.init().pid();
    let refused = second.refused();
    assert!(refused.contains(&format!("holds process {pid}")), "{refused}");
    assert!(refused.contains("linux.cgroupsPath"), "{refused}");
    // As containerd has it done after a Create that has failed.
    assert_eq!(loment_sandbox::record::sweep(&second.path).unwrap(), Default::default());
    assert!(!running.0.init().has_ended());
    assert_eq!(running.exec("exit 5").0, 5);
}

/// A directory in each hierarchy, as an administrator makes it.
struct Standing(Vec<PathBuf>);

impl Standing {
    fn at(path: &str) -> Self {
        let layout = loment_cgroups::Layout::detect().unwrap();
        let places = layout.mount_points().map(|mount| mount.join(path.trim_start_matches('/')));
        let places: Vec<_> = places.filter(|place| !place.starts_with("/sys/fs/cgroup/unified")).collect();
        places.iter().for_each(|place| fs::create_dir_all(place).unwrap());
        Self(places)
    }

    fn freeze(&self, is_frozen: bool) {
        let (file, word) = match (is_unified(), is_frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let file = self.0.iter().map(|place| place.join(file)).find(|file| file.exists()).unwrap();
        fs::write(file, word).unwrap();
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.iter().for_each(|place| drop(fs::remove_dir(place)));
    }
}

fn runc_3132_a_frozen_cgroup_is_refused() {
    let bundle = Bundle::new("exit 5");
    let standing = Standing::at(bundle.spec["linux"]["cgroupsPath"].as_str().unwrap());
    standing.freeze(true);
    let refused = bundle.refused();
    assert!(refused.contains("frozen"), "{refused}");
    assert!(standing.0.iter().all(|place| place.exists()), "it is not ours to be removed");
    standing.freeze(false);
    assert_eq!(bundle.run().0, 5);
}

fn an_empty_cgroup_that_was_there_before_is_taken() {
    let bundle = Bundle::new("exit 5");
    let standing = Standing::at(bundle.spec["linux"]["cgroupsPath"].as_str().unwrap());
    assert_eq!(bundle.run().0, 5);
    assert!(standing.0.iter().all(|place| !place.exists()), "it goes with its container, as with runc");
}

fn what_others_have_put_into_a_cgroup_that_was_there_before_outlives_a_create_that_fails() {
    let bundle = Bundle::new("sleep 100");
    let standing = Standing::at(bundle.spec["linux"]["cgroupsPath"].as_str().unwrap());
    let creating = Creating::begin(bundle.request(no_io()), &loment_cgroups::Layout::detect().unwrap()).unwrap();
    let mut other = std::process::Command::new("/bin/busybox").args(["sleep", "100"]).spawn().unwrap();
    standing.0.iter().for_each(|place| fs::write(place.join("cgroup.procs"), other.id().to_string()).unwrap());
    drop(creating);
    assert_eq!(other.try_wait().unwrap(), None);
    other.kill().unwrap();
    other.wait().unwrap();
    // One that did not empty is on record.
    loment_sandbox::record::sweep(&bundle.path).unwrap();
}
