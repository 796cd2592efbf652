//! Standard streams and further descriptors.

use std::{fs, os::fd::AsRawFd, process::Command};

use crate::support::{Bundle, program};

const SHOW: &str = "ls -l /proc/$$/fd";

/// Descriptors of a program and what is behind them, without the one by which they are looked at.
fn shown(text: &str) -> Vec<(u32, &str)> {
    let links = text.lines().filter_map(|line| line.split_once(" -> "));
    let links = links.filter(|(_, path)| !path.starts_with("/proc/"));
    links.map(|(line, path)| (line.rsplit(' ').next().unwrap().parse().unwrap(), path)).collect()
}

/// Runs the program from a shell that opens files at the given numbers.
fn with_files(bundle: &Bundle, redirections: &str, args: &str) -> (i32, String) {
    let line = format!("exec {:?} --root {:?} {args} {redirections}", program().get_program(), bundle.root);
    let output = Command::new("sh").args(["-c", &line]).current_dir(&bundle.path).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_program_gets_the_descriptors_that_were_asked_for_and_no_others() {
    let bundle = Bundle::new("cat <&3; cat <&4; (cat <&5) 2>/dev/null || echo no fifth");
    for (file, text) in [("a", "three\n"), ("b", "four\n"), ("c", "five\n")] {
        fs::write(bundle.path.join(file), text).unwrap();
    }
    bundle.write("c1");
    let (status, text) = with_files(&bundle, "3<a 4<b 5<c </dev/null", "run --preserve-fds 2 c1");
    assert_eq!((status, text.as_str()), (0, "three\nfour\nno fifth\n"));
    bundle.write("c2");
    let (status, text) = with_files(&bundle, "3<a 4<b 5<c </dev/null", "run c2");
    assert!(status == 0 && !text.contains("three") && text.contains("no fifth"), "{text}");
}

#[test]
fn an_exec_gets_the_descriptors_that_were_asked_for() {
    let bundle = Bundle::new("exec sleep 1000");
    fs::write(bundle.path.join("a"), "three\n").unwrap();
    bundle.start("c");
    assert_eq!(with_files(&bundle, "3<a 4<a </dev/null", "exec --preserve-fds 1 c cat /proc/self/fd/3").1, "three\n");
    let (_, text) = with_files(&bundle, "3<a 4<a </dev/null", &format!("exec --preserve-fds 1 c sh -c '{SHOW}'"));
    let descriptors = shown(&text).into_iter().map(|(fd, _)| fd);
    assert_eq!(descriptors.collect::<Vec<_>>(), [0, 1, 2, 3], "{text}");
    bundle.delete("c");
}

#[test]
fn a_descriptor_that_is_not_open_is_refused() {
    let bundle = Bundle::new("true");
    bundle.write("c");
    let (status, text) = with_files(&bundle, "3</dev/null </dev/null", "run --preserve-fds 2 c");
    assert!(status == 1 && text.contains("descriptor 4 is not open"), "{text}");
}

#[test]
fn a_socket_activation_is_passed_on() {
    let bundle = Bundle::new("echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; cat <&3; cat <&4");
    fs::write(bundle.path.join("a"), "three\n").unwrap();
    fs::write(bundle.path.join("b"), "four\n").unwrap();
    bundle.write("c");
    let line = format!(
        "export LISTEN_FDS=1 LISTEN_FDNAMES=web; exec {:?} --root {:?} run --preserve-fds 1 c 3<a 4<b </dev/null",
        program().get_program(),
        bundle.root
    );
    let output = Command::new("sh").args(["-c", &line]).current_dir(&bundle.path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 1 web\nthree\nfour\n");
}

#[test]
fn a_program_has_its_callers_streams_and_nothing_of_the_runtime() {
    let bundle = Bundle::new(SHOW);
    let output = bundle.create("c", &[]);
    let pipe = fs::read_link(format!("/proc/self/fd/{}", output.as_raw_fd())).unwrap();
    bundle.call(&["start", "c"]).ok();
    let text = crate::support::read(output);
    let pipe = pipe.to_str().unwrap();
    assert_eq!(shown(&text), [(0, "/dev/null"), (1, pipe), (2, pipe)]);
    bundle.wait_until("c", "stopped");
    bundle.call(&["delete", "c"]).ok();
}
