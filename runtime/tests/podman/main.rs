//! The distribution's podman with this runtime, offline, in mount and network namespaces of its own.

mod cases;
mod lab;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    if arguments.list {
        libtest_mimic::run(&arguments, trials(None)).exit();
    }
    // Before there is another thread.
    let lab: &'static lab::Lab = Box::leak(Box::new(lab::Lab::new()));
    let conclusion = libtest_mimic::run(&arguments, trials(Some(lab)));
    lab.end();
    conclusion.exit();
}

fn trials(lab: Option<&'static lab::Lab>) -> Vec<Trial> {
    let trial = |(name, test): &cases::Case| {
        let test = *test;
        Trial::test(*name, move || {
            let lab = lab.ok_or_else(|| Failed::from("no lab"))?;
            test(lab);
            Ok(())
        })
    };
    cases::ALL.iter().map(trial).collect()
}
