//! Containers that begin over the empty root of their pod's holder.

use std::{fs, os::fd::OwnedFd};

use loment_cgroups::Layout;
use loment_sandbox::container::{Container, Creating, Extras, Role};
use loment_sys::{clone::exit_now, fork, pidfd};
use nix::{
    sched::{CloneFlags, setns},
    sys::wait::{WaitStatus, waitpid},
};

use crate::{attacks::with_capability, support::*};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    over_a_stub_a_container_sees_the_same_mounts,
    over_a_stub_who_joins_begins_at_the_containers_root,
    over_a_stub_a_container_may_make_user_namespaces,
    below_a_containers_root_there_is_nothing,
    a_stub_that_is_no_more_is_not_needed,
    nobody_stands_on_a_stub_that_has_not_left_the_host,
];

/// Mount points with their file systems and options, without the numbers that differ.
const MOUNTS: &str = "sed 's/^[0-9]* [0-9]* [0-9:]* [^ ]* //; s/ master:[0-9]*//' /proc/self/mountinfo";

/// A holder's bundle and the holder, started.
fn holder() -> (Running, Bundle) {
    let mut bundle = Bundle::new("");
    bundle.role = Role::Holder;
    (bundle.started(), bundle)
}

fn create(bundle: &Bundle, stub: OwnedFd) -> (Container, OwnedFd) {
    let (io, output) = output();
    let extras = Extras { stub: Some(stub), ..Extras::default() };
    let creating = Creating::begin_with(bundle.request(io), extras, &Layout::detect().unwrap()).unwrap();
    (creating.finish().unwrap_or_else(|error| panic!("{error}")), output)
}

/// A container over `stub` that runs, and what it writes.
fn start(bundle: &Bundle, stub: OwnedFd) -> (Running, OwnedFd) {
    let (mut container, output) = create(bundle, stub);
    container.start().unwrap().finish().unwrap();
    (Running(container), output)
}

/// Runs a script in a container over `stub`; its exit code and output.
fn run(bundle: &Bundle, stub: OwnedFd) -> (u32, String) {
    let (mut running, output) = start(bundle, stub);
    let text = read(output);
    (wait(running.0.init_mut()).code, text)
}

/// The next line of what a container writes.
fn line(output: &OwnedFd) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && nix::unistd::read(output, &mut byte) == Ok(1) {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn over_a_stub_a_container_sees_the_same_mounts() {
    let (holder, _holder) = holder();
    let bundle = Bundle::new(&format!("{MOUNTS}; ls / /..; readlink /proc/1/root"));
    let (code, text) = run(&bundle, holder.0.stub().unwrap());
    assert_eq!((code, text), bundle.run());
}

fn over_a_stub_who_joins_begins_at_the_containers_root() {
    let (holder, _holder) = holder();
    let bundle = Bundle::new("echo mine > /work/mine; echo written; exec sleep 100");
    let (running, output) = start(&bundle, holder.0.stub().unwrap());
    assert_eq!(line(&output), "written\n");
    let (_, text) = running.exec(&format!("cat /work/mine; ls /; ls /..; {MOUNTS}"));
    let (mine, mounts) = text.split_once('\n').unwrap();
    assert_eq!(mine, "mine");
    assert_eq!(mounts, Bundle::new(&format!("ls /; ls /..; {MOUNTS}")).output());
    assert_eq!(entries_of_the_root(&running), fs::read_dir(bundle.rootfs()).unwrap().count());
}

fn over_a_stub_a_container_may_make_user_namespaces() {
    let (holder, _holder) = holder();
    let bundle = Bundle::new("unshare -U echo made");
    assert_eq!(run(&bundle, holder.0.stub().unwrap()), (0, "made\n".to_owned()));
}

fn below_a_containers_root_there_is_nothing() {
    let (holder, _holder) = holder();
    // Whoever may mount may take its root away from its namespace.
    let mut bundle = Bundle::new("umount -l / && echo done; exec sleep 100");
    with_capability(&mut bundle, "CAP_SYS_ADMIN");
    let (running, output) = start(&bundle, holder.0.stub().unwrap());
    assert_eq!(line(&output), "done\n");
    assert_eq!(entries_of_the_root(&running), 0, "the root of the namespace is the stub now");
}

fn a_stub_that_is_no_more_is_not_needed() {
    let (mut holder, _holder) = holder();
    let stub = holder.0.stub().unwrap();
    holder.0.delete().unwrap();
    let bundle = Bundle::new(&format!("{MOUNTS}; ls /"));
    assert_eq!(run(&bundle, stub), bundle.run());
}

fn nobody_stands_on_a_stub_that_has_not_left_the_host() {
    // This process is over the host's root.
    let own = pidfd::open(std::process::id().try_into().unwrap()).unwrap();
    let mut bundle = Bundle::new("umount -l / && echo done; exec sleep 100");
    with_capability(&mut bundle, "CAP_SYS_ADMIN");
    let (running, output) = start(&bundle, own);
    assert_eq!(line(&output), "done\n");
    let host = fs::read_dir("/").unwrap().count();
    assert_ne!(entries_of_the_root(&running), host, "the host's root is in the container's namespace");
}

/// How many entries of its root somebody sees who joins the mount namespace of a container.
fn entries_of_the_root(running: &Running) -> usize {
    let init = pidfd::open(running.0.init().pid()).unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            setns(init, CloneFlags::CLONE_NEWNS).unwrap_or_else(|_| exit_now(255));
            exit_now(fs::read_dir("/").map_or(254, |entries| entries.count().try_into().unwrap_or(253)))
        }
        fork::Fork::Parent(child) => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, count) => count.try_into().unwrap(),
            other => panic!("{other:?}"),
        },
    }
}
