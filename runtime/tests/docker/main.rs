//! The distribution's dockerd with this runtime, offline, in pid, mount and network namespaces of its own, and a dockerd
//! that is new enough with the shim.

mod cases;
#[path = "../engine/mod.rs"]
mod engine;
mod lab;
mod way;

use std::io::{self, Write as _};

use engine::Ground;
use libtest_mimic::Arguments;
use loment_sys::fork::{Fork, fork};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
};

fn main() {
    // One after the other: one of them stops the daemon.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    if arguments.list {
        engine::run(&arguments, &cases::all(None), None).exit();
    }
    // What is there already is looked for, and what is not is built, where the machine's own files are.
    let status = way::Way::all().into_iter().fold(0, |worst, way| worst.max(under(&arguments, way)));
    std::process::exit(status);
}

/// Runs the cases in a process of its own, because a process enters a pid namespace only once; answers with its status.
fn under(arguments: &Arguments, way: way::Way) -> i32 {
    say(&format!("docker with {}:", way.name()));
    let ground = Ground::of("docker");
    let status = match fork().unwrap() {
        Fork::Child => apart(arguments, ground, way),
        Fork::Parent(child) => waitpid(child, None).unwrap(),
    };
    ground.remove_cgroups();
    ground.remove_directory();
    if let WaitStatus::Exited(_, status) = status { status } else { 1 }
}

/// What dockerd and its containerd leave running, also when a case fails, ends with the first process of these pids.
fn apart(arguments: &Arguments, ground: Ground, way: way::Way) -> ! {
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    unshare(CloneFlags::CLONE_NEWPID).expect("these tests need root");
    match fork().unwrap() {
        Fork::Child => inside(arguments, ground, way),
        Fork::Parent(child) => {
            let status = waitpid(child, None).unwrap();
            std::process::exit(if let WaitStatus::Exited(_, status) = status { status } else { 1 });
        }
    }
}

fn inside(arguments: &Arguments, ground: Ground, way: way::Way) -> ! {
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    let lab: &'static lab::Lab = Box::leak(Box::new(lab::Lab::new(ground, way)));
    let conclusion = engine::run(arguments, &cases::all(Some(&lab.way)), Some(lab));
    lab.end();
    conclusion.exit()
}

fn say(text: &str) {
    let _nobody_reads = writeln!(io::stderr(), "{text}");
}
