//! Commands that are killed half way.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::support::{Lab, wait_for};

#[test]
fn what_a_killed_command_has_begun_is_removed_like_a_whole_sandbox() {
    let lab = Lab::new("killed");
    let (mut partial, mut whole) = (0, 0);
    for round in 0..60 {
        let mut making = lab.command("create k --net --ipc --uts --pid --user --mount --time --cgroup");
        let mut making = making.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(300 * round));
        making.kill().unwrap();
        making.wait().unwrap();
        let directory = lab.pins.join("k");
        if directory.exists() {
            let is_whole =
                fs::read_to_string(directory.join("record.json")).is_ok_and(|text| text.contains("\"complete\": true"));
            if is_whole {
                whole += 1;
            } else {
                partial += 1;
            }
            lab.run("rm --force k");
            assert!(!directory.exists());
        }
        wait_for("the end of what was born", || lab.processes().is_empty());
    }
    assert!(partial + whole > 0, "no command came far enough");
    // One that was killed before there was a sandbox may leave the directory that all of them are in.
    lab.run("create k --uts");
    lab.run("rm k");
    lab.is_gone();
}

#[test]
fn a_sandbox_without_record_or_with_mounts_on_mounts_is_removed() {
    let lab = Lab::new("torn");
    lab.run("create t --net --pid");
    let directory = lab.pins.join("t");
    fs::remove_file(directory.join("record.json")).unwrap();
    File::create(directory.join("record.new")).unwrap();
    let none: Option<&str> = None;
    for _ in 0..2 {
        mount(Some("/proc/self/ns/uts"), &directory.join("net"), none, MsFlags::MS_BIND, none).unwrap();
    }
    lab.run("rm --force t");
    lab.is_gone();
}
