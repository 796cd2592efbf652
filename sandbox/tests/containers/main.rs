//! Containers on the real kernel, looked at from inside. Needs root and busybox-static.
//!
//! The tests run one after the other in the only thread, as the runtime does: see `loment_sys::clone`.

#[macro_use]
mod support;
mod ambient;
mod attacks;
mod capabilities;
mod cgroups;
mod create;
mod exec;
mod failures;
mod fields;
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
    // Real systemd, in a guest at least: see scripts/guest.
    let systemd = if systemd::runs() { systemd::TESTS } else { systemd::TESTS_WITHOUT };
    let modules = [
        ("ambient", ambient::TESTS),
        ("attacks", attacks::TESTS),
        ("capabilities", capabilities::TESTS),
        ("cgroups", cgroups::TESTS),
        ("create", create::TESTS),
        ("exec", exec::TESTS),
        ("failures", failures::TESTS),
        ("fields", fields::TESTS),
        ("hooks", hooks::TESTS),
        ("mounts", mounts::TESTS),
        ("mutations", mutations::TESTS),
        ("network", network::TESTS),
        ("notify", notify::TESTS),
        ("null", null::TESTS),
        ("pins", pins::TESTS),
        ("secrecy", secrecy::TESTS),
        ("stubs", stubs::TESTS),
        ("systemd", systemd),
        ("traces", traces::TESTS),
        ("users", users::TESTS),
    ];
    let tests = modules.into_iter().flat_map(|(module, tests)| tests.iter().map(move |test| (module, *test)));
    let trials = tests.map(|(module, (name, test))| {
        libtest_mimic::Trial::test(format!("{module}::{name}"), move || {
            support::leaves_the_machine_as_found(test);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
