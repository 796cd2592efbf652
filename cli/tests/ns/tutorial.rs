//! The tutorial in docs/namespaces.md, as it is written there.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Lab, Stay, inode, sleeping_in, wait_for};

const PAGE: &str = include_str!("../../../docs/namespaces.md");

/// The commands of the page's tutorial.
fn commands() -> Vec<&'static str> {
    let (_, tutorial) = PAGE.split_once("## A pod by hand").unwrap();
    let (_, block) = tutorial.split_once("```sh\n").unwrap();
    block.split_once("```").unwrap().0.lines().collect()
}

fn shell(lab: &Lab, line: &str) -> Command {
    let directory = Path::new(env!("CARGO_BIN_EXE_loment")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    // Without a shell in between: it is the command that is ended.
    command.arg("-c").arg(format!("exec {line}")).env("PATH", path).env("LOMENT_NS", &lab.pins).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_tutorial_goes_as_the_page_says() {
    let lab = Lab::new("tutorial");
    let commands = commands();
    let [create, share, join, sidecar, map, diff, why, refused, kill, remove] = commands.as_slice() else {
        panic!("the tutorial has {} commands", commands.len());
    };
    let run = |line: &str| shell(&lab, line).output().unwrap();
    let start = |line: &str| Stay(shell(&lab, line.strip_suffix(" &").unwrap()).spawn().unwrap());

    let made = run(create);
    let made = text(&made);
    let holder = made.trim_end().rsplit(' ').next().unwrap().to_owned();
    let network = inode(&holder, "net").unwrap();
    assert!(made.contains(&format!("net:[{network}]")), "{made}");
    let mut app = start(share);
    let hostname = std::fs::read("/etc/hostname").unwrap();
    wait_for("the answer of the web server", || run(join).stdout == hostname);
    let side = start(sidecar);
    wait_for("the sidecar", || sleeping_in(network).is_some());
    let shown = text(&run(map));
    assert!(["pause", "busybox", "sleep"].iter().all(|name| shown.contains(name)), "{shown}");
    assert!(text(&run(diff)).contains("own, A below B"));
    let kept = text(&run(why));
    assert!(kept.contains("is kept by 4 things"), "{kept}");
    let output = run(refused);
    assert!(!output.status.success() && text(&output).contains("(sleep)"), "{}", text(&output));

    assert!(run(&kill.replace("HOLDER", &holder)).status.success());
    assert_eq!(app.0.wait().unwrap().code(), Some(137));
    let output = run(remove);
    assert!(output.status.success(), "{}", text(&output));
    let left = lab.holders(&format!("net:[{network}]"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["pid"].as_i64(), sleeping_in(network).map(i64::from));
    drop(side);
    lab.is_gone();
}
