//! Containers on the real kernel, looked at from inside. Needs root and busybox-static.
//!
//! The tests run one after the other in the only thread, as the runtime does: see `loment_sys::clone`.

#[macro_use]
mod support;
mod ambient;
mod attacks;
mod capabilities;
mod create;
mod directory;
mod exec;
mod failures;
mod fields;
mod filtered;
mod hooks;
mod mounts;
mod mutations;
mod network;
mod notify;
mod null;
mod pins;
mod secrecy;
mod stubs;
mod systemd;
mod traces;
mod users;

fn main() {
    support::keep_mounts_to_ourselves();
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = [
        ambient::TESTS,
        attacks::TESTS,
        capabilities::TESTS,
        create::TESTS,
        directory::TESTS,
        exec::TESTS,
        failures::TESTS,
        fields::TESTS,
        filtered::TESTS,
        hooks::TESTS,
        mounts::TESTS,
        mutations::TESTS,
        network::TESTS,
        notify::TESTS,
        null::TESTS,
        pins::TESTS,
        secrecy::TESTS,
        stubs::TESTS,
        traces::TESTS,
        users::TESTS,
    ];
    let tests = tests.concat();
    // Real systemd, in a guest at least: see scripts/guest.
    let systemd = if systemd::runs() { systemd::TESTS } else { systemd::TESTS_WITHOUT };
    let tests = [&tests[..], systemd].concat();
    let trials = tests.into_iter().map(|(name, test)| {
        libtest_mimic::Trial::test(name, move || {
            support::leaves_the_machine_as_found(test);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
