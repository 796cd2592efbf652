//! Several commands at once.

use std::{
    io::Read,
    process::{Child, Stdio},
};

use crate::support::{Bundle, read};

fn begin(bundle: &Bundle, args: &[&str]) -> Child {
    bundle.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn of_many_creates_of_one_name_one_wins() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.write("c");
    let creates: Vec<_> = (0..8)
        .map(|_| bundle.command(&["create", "c"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let won = creates.into_iter().filter(|_| true).map(|mut child| child.wait().unwrap().success());
    assert_eq!(won.filter(|won| *won).count(), 1);
    assert_eq!(bundle.status("c"), "created");
    bundle.delete("c");
}

#[test]
fn of_many_starts_one_wins_and_the_program_runs_once() {
    let bundle = Bundle::new("echo once; exec sleep 1000");
    let mut output = bundle.create("c", &[]);
    let starts: Vec<_> = (0..8).map(|_| begin(&bundle, &["start", "c"])).collect();
    let won = starts.into_iter().map(|child| child.wait_with_output().unwrap().status.success());
    assert_eq!(won.filter(|won| *won).count(), 1);
    output.read_exact(&mut [0; 5]).unwrap();
    bundle.delete("c");
    assert_eq!(read(output), "");
}

#[test]
fn thirty_execs_at_once_are_all_answered() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.start("c");
    let execs: Vec<_> =
        (0..30).map(|n| (n, begin(&bundle, &["exec", "c", "sh", "-c", &format!("exit {n}")]))).collect();
    for (n, child) in execs {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(n), "{}", String::from_utf8_lossy(&output.stderr));
    }
    bundle.delete("c");
}

#[test]
fn a_delete_by_force_at_any_moment_leaves_nothing() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.write("c");
    for round in 0..12 {
        let mut create = bundle.command(&["create", "c"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if round % 3 == 0 {
            create.wait().unwrap();
        }
        let start = begin(&bundle, &["start", "c"]);
        let exec = begin(&bundle, &["exec", "c", "true"]);
        let delete = begin(&bundle, &["delete", "--force", "c"]);
        assert!(delete.wait_with_output().unwrap().status.success());
        create.wait().unwrap();
        for child in [start, exec] {
            child.wait_with_output().unwrap();
        }
        bundle.delete("c");
    }
}

#[test]
fn readers_never_see_half_a_container() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.write("c");
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| {
            for _ in 0..10 {
                bundle.create("c", &[]);
                bundle.call(&["start", "c"]).ok();
                bundle.delete("c");
            }
        });
        while !changer.is_finished() {
            let listed = bundle.call(&["list", "--format", "json"]).ok();
            assert!(serde_json::from_str::<Vec<serde_json::Value>>(&listed).is_ok(), "{listed}");
            let state = bundle.call(&["state", "c"]);
            assert!(state.status == 0 || state.err.contains("does not exist"), "{}", state.err);
        }
        changer.join().unwrap();
    });
}
