//! The tutorial in docs/namespaces.md, as it is written there.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Lab, Stay, inode, sleeping_in, wait_for};

const PAGE: &str = include_str!("../../../docs/namespaces.md");

/// Each command of the page's tutorial, and what the page says that it prints.
fn steps() -> Vec<(&'static str, &'static str)> {
    let (_, tutorial) = PAGE.split_once("## A pod by hand").unwrap();
    let (tutorial, _) = tutorial.split_once("\n## ").unwrap();
    let blocks = tutorial.split("```console\n$ ").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.split_once('\n').unwrap()).collect()
}

/// A text without what differs from machine to machine: numbers, and the width of columns that have them.
fn shape(text: &str) -> Vec<Vec<String>> {
    let shape = |word: &str| word.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    text.lines().map(|line| line.split_whitespace().map(shape).collect()).collect()
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
    let steps = steps();
    let [create, share, join, sidecar, map, diff, why, refused, kill, remove] = steps.as_slice() else {
        panic!("the tutorial has {} commands", steps.len());
    };
    let run = |(line, said): &(&str, &str)| {
        let output = shell(&lab, line).output().unwrap();
        // What the page says of the directory is that of this test.
        let printed = text(&output).replace(lab.pins.to_str().unwrap(), "/run/loment-ns");
        // Where root may not trace all processes (a container's), that is told as well.
        let printed: Vec<&str> = printed.lines().filter(|line| !line.starts_with("Not seen: ")).collect();
        let printed = printed.join("\n");
        assert_eq!(shape(&printed), shape(said), "{line}\n{printed}");
        output
    };
    let start = |(line, said): &(&str, &str)| {
        assert_eq!(*said, "", "{line}");
        Stay(shell(&lab, line.strip_suffix(" &").unwrap()).spawn().unwrap())
    };

    let made = text(&run(create));
    let holder = made.trim_end().rsplit(' ').next().unwrap().to_owned();
    let network = inode(&holder, "net").unwrap();
    assert!(made.contains(&format!("net:[{network}]")), "{made}");
    let mut app = start(share);
    wait_for("the app", || shell(&lab, join.0).output().unwrap().stdout == b"web-0\n");
    run(join);
    let side = start(sidecar);
    wait_for("the sidecar", || sleeping_in(network).is_some());
    run(map);
    run(diff);
    run(why);
    assert!(!run(refused).status.success());
    assert!(run(kill).status.success());
    assert_eq!(app.0.wait().unwrap().code(), Some(137));
    assert!(run(remove).status.success());
    let left = lab.holders(&format!("net:[{network}]"));
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0]["pid"].as_i64(), sleeping_in(network).map(i64::from));
    drop(side);
    lab.is_gone();
}
