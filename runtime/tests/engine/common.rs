//! What every engine has to do in the same words.

use std::{io::Write, process::Stdio};

use super::{Engine, answer, at_terminal, eventually};

pub(crate) fn an_exec_has_user_environment_and_directory(lab: &impl Engine) {
    lab.start("exec", &["--user", "app"], "exec sleep 1000");
    let flags = ["exec", "--user", "5:6", "--env", "A=b", "--workdir", "/etc", "exec"];
    let script = "id -u; id -g; echo $A; pwd; exit 5";
    let answer = lab.call(&[&flags[..], &["sh", "-c", script]].concat());
    assert_eq!((answer.status, answer.out.as_str()), (5, "5\n6\nb\n/etc\n"), "{}", answer.err);
    assert_eq!(lab.call(&["exec", "exec", "id", "-u"]).ok(), "1000\n");
    lab.call(&["exec", "--detach", "--user", "0", "exec", "sh", "-c", "echo x > /tmp/detached"]).ok();
    eventually("the file", || lab.call(&["exec", "exec", "cat", "/tmp/detached"]).out == "x\n");
    lab.remove("exec");
}

pub(crate) fn input_and_output_go_through(lab: &impl Engine) {
    let mut command = lab.command(&["run", "--rm", "--network", "none", "--interactive", "busybox", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = "0123456789abcdef".repeat(20_000);
    let mut stdin = child.stdin.take().unwrap();
    let input = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == text.as_bytes(), "{} bytes came back", output.stdout.len());
}

pub(crate) fn a_terminal_is_the_containers_own(lab: &impl Engine) {
    let args = ["run", "--rm", "--network", "none", "-it", "busybox", "sh", "-c", "tty; test -t 0 && exit 4"];
    let (status, shown) = at_terminal(lab.command(&args));
    assert!(status == Some(4) && shown.contains("/dev/pts/0"), "{status:?} {shown}");
}

pub(crate) fn an_exec_may_have_a_terminal(lab: &impl Engine) {
    lab.start("tty", &["--tty"], "exec sleep 1000");
    let (status, shown) = at_terminal(lab.command(&["exec", "-it", "tty", "sh", "-c", "tty; test -t 0 && exit 4"]));
    assert!(status == Some(4) && shown.contains("/dev/pts/1"), "{status:?} {shown}");
    lab.remove("tty");
}

/// Starts so many at once, with these flags.
pub(crate) fn many_start_at_once(lab: &impl Engine, count: usize, flags: &[&str]) {
    let names: Vec<_> = (0..count).map(|n| format!("many{n}")).collect();
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let args = [&["run", "--detach", "--name", name], flags, &["busybox", "sleep", "1000"]].concat();
            lab.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in children {
        answer(child.wait_with_output().unwrap()).ok();
    }
    for name in &names {
        assert_eq!(lab.inspect(name, ".State.Status"), "running");
        lab.remove(name);
    }
}
