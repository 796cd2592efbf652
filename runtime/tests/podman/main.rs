//! The distribution's podman with this runtime, offline, in mount and network namespaces of its own.

mod cases;
#[path = "../engine/mod.rs"]
mod engine;
mod lab;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    if arguments.list {
        engine::run(&arguments, cases::ALL, None).exit();
    }
    // Before there is another thread.
    let lab: &'static lab::Lab = Box::leak(Box::new(lab::Lab::new()));
    let conclusion = engine::run(&arguments, cases::ALL, Some(lab));
    lab.end();
    conclusion.exit();
}
