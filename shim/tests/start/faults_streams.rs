//! Streams that nobody reads: fifos of a client, the log's, and loggers that hang.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
    sys::stat::Mode,
    unistd::mkfifo,
};

use super::{children, refusal, until};
use crate::Place;

/// Writes until it is ended.
const FLOOD: &str = "exec busybox yes";

fn fifo(place: &Place, name: &str) -> PathBuf {
    let path = place.directory.join(name);
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

/// Fills a fifo, whose reader, the answer, reads nothing.
fn filled(path: &Path) -> File {
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let mut writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    while writer.write(&[b'x'; 512]).is_ok() {}
    reader
}

#[test]
fn a_container_that_waits_for_its_reader_is_killed_and_deleted() {
    for terminal in [false, true] {
        let place = Place::new();
        let mut task = place.task(terminal, FLOOD);
        let out = fifo(&place, "out");
        let _reader = filled(&out);
        task.create.stdout = out.display().to_string();
        task.run().unwrap();
        task.exec_added("e", FLOOD).unwrap();
        task.exec_started("e").unwrap();
        let (code, _) = task.while_answered(&place, || {
            let task = task.again(&place);
            task.killed().unwrap();
            let code = task.ended();
            task.exec_deleted("e").unwrap();
            task.deleted().unwrap();
            code
        });
        assert_eq!(code, 137);
        place.is_clean();
    }
}

#[test]
fn a_fifo_that_no_client_opens_keeps_nobody_waiting() {
    let place = Place::new();
    let mut task = place.task(false, FLOOD);
    for stream in ["in", "out", "err"] {
        fifo(&place, stream);
    }
    let path = |stream: &str| place.directory.join(stream).display().to_string();
    (task.create.stdin, task.create.stdout, task.create.stderr) = (path("in"), path("out"), path("err"));
    let (created, _) = task.while_answered(&place, || task.again(&place).created());
    created.unwrap();
    task.started().unwrap();
    task.removed();
    place.is_clean();
}

/// containerd holds the log open and reads it; one that is stopped does not.
#[test]
fn a_log_that_nobody_drains_and_one_whose_reader_has_gone_are_done_without() {
    let place = Place::new();
    let log = place.directory.join("bundle/log");
    mkfifo(&log, Mode::S_IRWXU).unwrap();
    let reader = filled(&log);
    let task = place.task(false, "exec busybox true");
    // Each connection to where containerd is not is a line.
    for _ in 0..2 {
        task.run().unwrap();
        assert_eq!(task.ended(), 0);
        task.deleted().unwrap();
    }
    drop(reader);
    task.run().unwrap();
    assert_eq!(task.ended(), 0);
    task.deleted().unwrap();
    place.is_clean();
}

fn logger(place: &Place, text: &str) -> String {
    let script = place.directory.join("logger");
    fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!("binary://{}", script.display())
}

#[test]
fn a_logger_that_is_never_ready_fails_the_create_which_then_leaves_nothing() {
    let place = Place::new();
    let mut task = place.task(false, FLOOD);
    task.create.stdout = logger(&place, "exec busybox sleep 1000");
    let (answer, answers) = task.while_answered(&place, || task.again(&place).created());
    let refused = refusal(answer);
    assert!(refused.contains("logger") && refused.contains("descriptor 5"), "{refused}");
    assert!(answers > 10, "the shim waited with it: {answers} answers");
    place.is_clean();
    task.create.stdout.clear();
    task.run().unwrap();
    task.removed();
    place.is_clean();
}

#[test]
fn a_logger_that_reads_nothing_and_does_not_end_is_seen_off() {
    let place = Place::new();
    let mut task = place.task(false, FLOOD);
    task.create.stdout = logger(&place, "trap '' TERM\nexec 5>&-\nwhile :; do busybox sleep 1; done");
    task.run().unwrap();
    let (removed, answers) = task.while_answered(&place, || task.again(&place).removed());
    assert!(answers > 10, "the shim waited with it: {answers} answers");
    let () = removed;
    // It is killed afterwards.
    until("the logger is gone", || children(place.shim()).is_empty());
    place.is_clean();
}
