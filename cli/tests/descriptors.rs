//! A process that may hardly open a file.

use std::process::Command;

#[test]
fn without_descriptors_a_command_says_so_in_one_line_and_never_panics() {
    for limit in 4..12 {
        let script = format!("ulimit -n {limit} && exec \"$0\" --address /nowhere/containerd.sock get pods");
        let output = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_loment")]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
        assert_eq!(said.lines().count(), 1, "{limit}: {said}");
        let reasons = ["Too many open files (os error 24)", "No such file or directory (os error 2)"];
        assert_eq!(reasons.map(|reason| said.matches(reason).count()).iter().sum::<usize>(), 1, "{limit}: {said}");
    }
}
