//! Disks that are full, or read-only: where the shim keeps what it has to keep, and below the root file systems of
//! containers.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use containerd_shim_protos::{
    api::{CreateTaskRequest, Mount, Status},
    ttrpc,
};
use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::Mode,
    unistd::mkfifo,
};
use serde_json::json;

use super::{SLEEP, lives, refusal, until};
use crate::{Place, clean_up, task::Task};

const FULL: &str = "No space left on device";
const READ_ONLY: &str = "Read-only file system";

/// A small disk. To be declared after the place that it is in.
struct Disk(PathBuf);

impl Disk {
    fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        mount(Some("disk"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=4m,nr_inodes=500,mode=755")).unwrap();
        Self(path)
    }

    fn remount(&self, flags: MsFlags) {
        mount(None::<&str>, &self.0, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("ballast")).unwrap();
        while file.write(&[b'x'; 1 << 12]).is_ok_and(|written| written > 0) {}
    }

    /// Has not even room for a name.
    fn fill_with_names(&self) {
        (0..).find(|number| File::create(self.0.join(format!("ballast{number}"))).is_err());
    }

    fn free(&self) {
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("ballast") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Makes it unusable in one way or the other; answers with what undoes that.
    fn spoil(&self, how: &str) {
        match how {
            FULL => self.fill(),
            _ => self.remount(MsFlags::MS_RDONLY),
        }
    }

    fn mend(&self, how: &str) {
        match how {
            FULL => self.free(),
            _ => self.remount(MsFlags::empty()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        clean_up(|| umount2(&self.0, MntFlags::MNT_DETACH).unwrap());
    }
}

#[test]
fn a_create_whose_record_cannot_be_written_says_so_and_makes_nothing() {
    for how in [FULL, READ_ONLY] {
        let place = Place::new();
        let disk = Disk::at(place.directory.join("bundle"));
        let task = place.task(false, SLEEP);
        disk.spoil(how);
        let refused = refusal(task.created());
        assert!(refused.contains(how) && refused.contains("/bundle/") && refused.contains("is that full"), "{refused}");
        place.is_clean();
        disk.mend(how);
        task.run().unwrap();
        task.removed();
        place.is_clean();
    }
}

#[test]
fn a_container_whose_bundle_is_unusable_starts_runs_others_and_is_deleted() {
    for how in [FULL, READ_ONLY] {
        let place = Place::new();
        let disk = Disk::at(place.directory.join("bundle"));
        let task = place.task(false, SLEEP);
        task.created().unwrap();
        disk.spoil(how);
        task.started().unwrap();
        assert_eq!(task.exec("e", "exit 3").unwrap(), 3);
        task.killed().unwrap();
        task.ended();
        if how == READ_ONLY {
            let refused = refusal(task.deleted());
            assert!(refused.contains(how) && refused.contains("loment.json"), "{refused}");
            assert_eq!(task.status(), Status::STOPPED);
            disk.mend(how);
        }
        task.deleted().unwrap();
        place.is_clean();
    }
}

#[test]
fn after_the_death_of_a_shim_a_delete_works_from_a_disk_that_is_full_and_waits_for_one_that_is_read_only() {
    for how in [FULL, READ_ONLY] {
        let place = Place::new();
        let disk = Disk::at(place.directory.join("bundle"));
        let task = place.task(false, SLEEP);
        task.run().unwrap();
        let pid = task.pid().cast_signed();
        disk.spoil(how);
        place.bereave();
        if how == READ_ONLY {
            let output = place.run("delete", "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(how) && said.contains("loment.json"), "{output:?}");
            assert!(!lives(pid), "that needs no disk");
            disk.mend(how);
        }
        place.deleted();
        assert!(!lives(pid));
        place.is_clean();
    }
}

#[test]
fn a_start_whose_address_cannot_be_written_leaves_no_shim() {
    for how in [FULL, READ_ONLY] {
        let place = Place::new();
        let disk = Disk::at(place.directory.join("bundle"));
        disk.spoil(how);
        let output = place.run("start", "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(how) && said.contains("/address"), "{output:?}");
        assert!(place.shims().is_empty());
        disk.mend(how);
        place.started("");
    }
}

/// The records of a sandbox's containers are where its shim was started.
#[test]
fn a_sandbox_without_room_for_another_container_refuses_it_and_has_half_of_none() {
    for how in [FULL, READ_ONLY] {
        let place = Place::new();
        let disk = Disk::at(place.directory.join("bundle/members"));
        let sandbox = place.sandbox(SLEEP);
        sandbox.created().unwrap();
        sandbox.started().unwrap();
        match how {
            FULL => disk.fill_with_names(),
            _ => disk.spoil(how),
        }
        let refused = refusal(sandbox.container.created());
        assert!(refused.contains(how) && refused.contains("/members/"), "{refused}");
        disk.mend(how);
        let members = || fs::read_dir(&disk.0).unwrap().count();
        assert_eq!(members(), 0);
        sandbox.container.run().unwrap();
        assert_eq!(members(), 1);
        sandbox.container.removed();
        assert_eq!(members(), 0);
        place.is_clean();
    }
}

/// A container whose root file system is made so.
fn rooted(place: &Place, rootfs: Mount) -> Task {
    let task = place.task(false, SLEEP);
    Task { create: CreateTaskRequest { rootfs: vec![rootfs], ..task.create.clone() }, ..task }
}

fn overlay(place: &Place, lower: &str, disk: &Path) -> Mount {
    for name in ["upper", "work"] {
        fs::create_dir_all(disk.join(name)).unwrap();
    }
    let option = |key: &str, path: PathBuf| format!("{key}={}", path.display());
    let options = vec![
        option("lowerdir", place.directory.join(lower)),
        option("upperdir", disk.join("upper")),
        option("workdir", disk.join("work")),
    ];
    Mount { type_: "overlay".into(), source: "overlay".into(), options, ..Mount::default() }
}

#[track_caller]
fn is_refused(place: &Place, answer: ttrpc::Result<()>, words: &[&str]) {
    let refused = refusal(answer);
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    place.is_clean();
}

#[test]
fn a_root_without_room_for_what_is_mounted_in_it_is_refused_and_taken_when_there_is_room() {
    let place = Place::new();
    let disk = Disk::at(place.directory.join("disk"));
    let task = rooted(&place, overlay(&place, "image", &disk.0));
    // The file system that is put on top makes what it needs.
    task.run().unwrap();
    task.removed();
    disk.fill_with_names();
    let elsewhere = json!({"destination": "/elsewhere", "type": "tmpfs", "source": "tmpfs"});
    task.change(|spec| spec["mounts"].as_array_mut().unwrap().push(elsewhere));
    is_refused(&place, task.created(), &[FULL, "overlay"]);
    disk.free();
    task.run().unwrap();
    // What it writes is its own affair.
    assert_ne!(task.exec("e", "busybox cat /dev/zero >/file").unwrap(), 0);
    task.removed();
    place.is_clean();
}

#[test]
fn a_root_that_is_read_only_and_lacks_a_place_for_a_mount_is_refused() {
    let place = Place::new();
    let source = place.directory.join("image").display().to_string();
    let options = vec!["rbind".into(), "ro".into()];
    let task = rooted(&place, Mount { type_: "bind".into(), source, options, ..Mount::default() });
    is_refused(&place, task.created(), &[READ_ONLY, "proc"]);
    for name in ["proc", "dev"] {
        fs::create_dir(place.directory.join("image").join(name)).unwrap();
    }
    task.run().unwrap();
    task.removed();
    place.is_clean();
}

#[test]
fn a_layer_that_is_missing_is_named() {
    let place = Place::new();
    let disk = Disk::at(place.directory.join("disk"));
    let task = rooted(&place, overlay(&place, "layer", &disk.0));
    is_refused(&place, task.created(), &["/layer", "was the snapshot removed?"]);
    fs::rename(place.directory.join("image"), place.directory.join("layer")).unwrap();
    task.run().unwrap();
    task.removed();
    place.is_clean();
}

/// What the pod's shim writes for others is behind, and catches up.
#[test]
fn a_pod_whose_directory_is_full_goes_on_and_is_told_of_when_there_is_room() {
    let place = Place::new();
    let disk = Disk::at(place.directory.join("pod"));
    let log = place.directory.join("bundle/log");
    mkfifo(&log, Mode::S_IRWXU).unwrap();
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(log).unwrap();
    let (sandbox, tasks) = place.pod(&["one"], json!({}), SLEEP);
    Place::keep(&sandbox, &disk.0);
    sandbox.run().unwrap();
    tasks[0].run().unwrap();
    let text = |file: &str| fs::read_to_string(disk.0.join(file)).unwrap_or_default();
    until("it runs", || text("status.json").contains("\"Running\""));
    disk.fill();
    tasks[0].killed().unwrap();
    tasks[0].ended();
    tasks[0].deleted().unwrap();
    let mut said = Vec::new();
    until("the shim says so", || {
        let _nothing_more = log.read_to_end(&mut said);
        String::from_utf8_lossy(&said).contains(FULL)
    });
    assert!(text("status.json").contains("\"Running\""), "half a status is none");
    disk.free();
    until("the end is told", || text("status.json").contains("\"Failed\""));
    let timeline = text("timeline.jsonl");
    for (index, line) in timeline.lines().enumerate() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(entry["index"], index, "{timeline}");
    }
    sandbox.removed();
    place.is_clean();
}
