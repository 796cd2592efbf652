//! Terminals whose output goes elsewhere than into a fifo. containerd's own client offers this of newer versions only.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use crate::{Place, sleep, task::slowness};

impl Place {
    /// Runs a container to its end with its terminal's output there.
    fn run_at_a_terminal(&self, stdout: &str) {
        let mut task = self.task(true, "busybox tty; echo said");
        task.create.stdout = stdout.to_owned();
        task.created().unwrap();
        task.started().unwrap();
        assert_eq!(task.ended(), 0);
        task.deleted().unwrap();
    }
}

#[test]
fn a_terminals_output_may_be_appended_to_a_file() {
    let place = Place::new();
    let log = place.directory.join("terminal.log");
    fs::write(&log, "before\r\n").unwrap();
    place.run_at_a_terminal(&format!("file://{}", log.display()));
    assert_eq!(fs::read_to_string(log).unwrap(), "before\r\n/dev/pts/0\r\nsaid\r\n");
}

#[test]
fn a_terminals_output_may_go_to_a_logger_which_finds_its_end() {
    let place = Place::new();
    let (script, log) = (place.directory.join("logger"), place.directory.join("log"));
    let text = "#!/bin/sh\nexec 5>&-\ncat <&3 >\"$2\"\ncat <&4 >>\"$2\"\necho end >>\"$2\"\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    place.run_at_a_terminal(&format!("binary://{}?log={}", script.display(), log.display()));
    let deadline = Instant::now() + Duration::from_secs(20) * slowness();
    while !fs::read_to_string(&log).is_ok_and(|text| text.ends_with("end\n")) {
        assert!(Instant::now() < deadline, "the logger did not find the end: {:?}", fs::read_to_string(&log));
        sleep(Duration::from_millis(5));
    }
    assert_eq!(fs::read_to_string(log).unwrap(), "/dev/pts/0\r\nsaid\r\nend\n");
}
