//! The distribution's dockerd with this runtime, offline, in pid, mount and network namespaces of its own.

mod cases;
#[path = "../engine/mod.rs"]
mod engine;
mod lab;

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
        engine::run(&arguments, &cases::all(), None).exit();
    }
    let ground = Ground::of("docker");
    // What dockerd and its containerd leave running, also when a case fails, ends with the first process of these pids.
    unshare(CloneFlags::CLONE_NEWPID).expect("these tests need root");
    match fork().unwrap() {
        Fork::Child => inside(&arguments, ground),
        Fork::Parent(child) => {
            let status = waitpid(child, None).unwrap();
            ground.remove_cgroups();
            ground.remove_directory();
            std::process::exit(if let WaitStatus::Exited(_, status) = status { status } else { 1 });
        }
    }
}

fn inside(arguments: &Arguments, ground: Ground) {
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    let lab: &'static lab::Lab = Box::leak(Box::new(lab::Lab::new(ground)));
    let conclusion = engine::run(arguments, &cases::all(), Some(lab));
    lab.end();
    conclusion.exit();
}
