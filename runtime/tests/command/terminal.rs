//! Terminals: sent to a socket, or copied to the caller's.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    process::{Command, Stdio},
};

use nix::pty::openpty;
use serde_json::json;

use crate::support::Bundle;

/// Reads until `end` has come, or there is nothing more.
fn read_until(terminal: &mut File, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 256];
    while !text.contains(end) {
        match terminal.read(&mut buffer) {
            Ok(count @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
            _ => break,
        }
    }
    text
}

/// Runs a command that sends a terminal, and takes it.
fn terminal_of(bundle: &Bundle, args: &[&str]) -> File {
    let listener = UnixListener::bind(bundle.path.join("console")).unwrap();
    let mut command = bundle.command(args);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let (length, terminal) = loment_sys::socket::receive(stream.as_fd(), &mut name).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(length > 0, "runc sends a name with it, and some receivers take an empty message for an end");
    std::fs::remove_file(bundle.path.join("console")).unwrap();
    terminal.expect("a descriptor").into()
}

#[test]
fn the_terminal_of_a_container_is_sent_to_its_console_socket() {
    let mut bundle = Bundle::new("tty; stty size; read line; echo got $line; exit 3");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({ "height": 30, "width": 100 });
    bundle.write("c");
    let mut terminal = terminal_of(&bundle, &["create", "--console-socket", "console", "c"]);
    bundle.call(&["start", "c"]).ok();
    assert_eq!(read_until(&mut terminal, "100\r\n"), "/dev/pts/0\r\n30 100\r\n");
    terminal.write_all(b"words\n").unwrap();
    assert_eq!(read_until(&mut terminal, "got words\r\n"), "words\r\ngot words\r\n");
    bundle.wait_until("c", "stopped");
    bundle.call(&["delete", "c"]).ok();
}

#[test]
fn the_terminal_of_an_exec_is_sent_to_its_console_socket() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let args = ["exec", "--tty", "--detach", "--console-socket", "console", "c", "sh", "-c", "tty; read x; echo $x"];
    let mut terminal = terminal_of(&bundle, &args);
    assert!(read_until(&mut terminal, "\n").starts_with("/dev/pts/"));
    terminal.write_all(b"in\n").unwrap();
    assert_eq!(read_until(&mut terminal, "in\r\nin\r\n"), "in\r\nin\r\n");
    bundle.delete("c");
}

#[test]
fn a_terminal_that_nobody_would_hold_is_refused() {
    let mut bundle = Bundle::new("true");
    bundle.write("c");
    assert!(bundle.call(&["create", "--console-socket", "x", "c"]).refused().contains("--console-socket"));
    bundle.config["process"]["terminal"] = json!(true);
    bundle.write("c");
    for args in [&["create", "c"][..], &["run", "--detach", "c"]] {
        assert!(bundle.call(args).refused().contains("--console-socket"));
    }
    let error = bundle.call(&["create", "--console-socket", "/nonexistent/socket", "c"]).refused();
    assert!(error.contains("/nonexistent/socket"), "{error}");
    assert!(bundle.call(&["list", "-q"]).ok().is_empty());
}

/// Runs a command at a terminal of its own; answers with that and the child.
fn at_terminal(mut command: Command) -> (File, std::process::Child, OwnedFd) {
    let size = nix::pty::Winsize { ws_row: 20, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let side = || Stdio::from(pty.slave.try_clone().unwrap());
    let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    drop(command);
    (pty.master.into(), child, pty.slave)
}

#[test]
fn run_copies_the_callers_terminal() {
    let mut bundle = Bundle::new("tty; stty size; read line; echo got $line; exit 6");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.write("c");
    let (mut terminal, mut child, slave) = at_terminal(bundle.command(&["run", "c"]));
    let before = nix::sys::termios::tcgetattr(&slave).unwrap();
    assert_eq!(read_until(&mut terminal, "70\r\n"), "/dev/pts/0\r\n20 70\r\n");
    terminal.write_all(b"words\r").unwrap();
    assert_eq!(read_until(&mut terminal, "got words\r\n"), "words\r\ngot words\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    let after = nix::sys::termios::tcgetattr(&slave).unwrap();
    assert!(after.local_flags.contains(nix::sys::termios::LocalFlags::ECHO | nix::sys::termios::LocalFlags::ICANON));
    drop((before, slave));
}

#[test]
fn an_interrupt_typed_at_the_terminal_reaches_the_program() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let script = "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let (mut terminal, mut child, slave) = at_terminal(bundle.command(&["exec", "-t", "c", "sh", "-c", script]));
    assert_eq!(read_until(&mut terminal, "ready\r\n"), "ready\r\n");
    terminal.write_all(b"\x03").unwrap();
    assert!(read_until(&mut terminal, "interrupted").contains("interrupted"));
    assert_eq!(child.wait().unwrap().code(), Some(7));
    drop(slave);
    bundle.delete("c");
}

#[test]
fn much_output_of_a_terminal_arrives_to_the_last_byte() {
    let mut bundle =
        Bundle::new("i=0; while test $i -lt 2000; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.write("c");
    let answer = bundle.call(&["run", "c"]);
    assert_eq!((answer.status, answer.out.lines().count()), (0, 2000), "{}", answer.err);
    assert!(answer.out.lines().all(|line| line.len() == 40));
}
