//! Containers that begin over the empty root of their pod's holder.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
};

use loment_cgroups::Layout;
use loment_sandbox::container::{Container, Creating, Extras, Role};
use loment_sys::{clone::exit_now, fork, pidfd};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{Signal, kill},
        statfs::{TMPFS_MAGIC, statfs},
        wait::{WaitStatus, waitpid},
    },
    unistd::pause,
};

use crate::{attacks::with_capability, support::*};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    over_a_stub_a_container_sees_the_same_mounts,
    over_a_stub_who_joins_begins_at_the_containers_root,
    over_a_stub_a_container_may_make_user_namespaces,
    below_a_containers_root_there_is_nothing,
    a_stub_that_is_no_more_is_not_needed,
    nobody_stands_on_a_stub_that_has_not_left_the_host,
    nobody_stands_on_a_stub_that_is_about_to_leave_the_host,
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
    assert_eq!(join(&running), Found::Entries(fs::read_dir(bundle.rootfs()).unwrap().count()));
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
    assert_eq!(join(&running), Found::Stub);
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
    assert_ne!(join(&running), Found::Entries(host), "the host's root is in the container's namespace");
}

/// The empty file system is attached, and the host's mounts are still below it.
fn nobody_stands_on_a_stub_that_is_about_to_leave_the_host() {
    let (told, tell) = std::io::pipe().unwrap();
    let child = match fork::fork().unwrap() {
        fork::Fork::Child => {
            attach_an_empty_root().unwrap_or_else(|_| exit_now(1));
            let _told = (&tell).write_all(b"!");
            loop {
                pause();
            }
        }
        fork::Fork::Parent(child) => child,
    };
    drop(tell);
    let attached = (&told).read_exact(&mut [0]);
    let mut bundle = Bundle::new("umount -l / && echo done; exec sleep 100");
    with_capability(&mut bundle, "CAP_SYS_ADMIN");
    let found = attached.map(|()| {
        let (running, output) = start(&bundle, pidfd::open(child.as_raw()).unwrap());
        assert_eq!(line(&output), "done\n");
        join(&running)
    });
    kill(child, Signal::SIGKILL).unwrap();
    waitpid(child, None).unwrap();
    let host = fs::read_dir("/").unwrap().count();
    let found = found.unwrap();
    assert!(found != Found::Stub && found != Found::Entries(host), "{found:?} of the host's {host}");
}

/// As a holder does it, up to the moment before it drops the host's mounts.
fn attach_an_empty_root() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    mount::<str, str, str, str>(None, "/", Some("tmpfs"), MsFlags::empty(), Some("nr_inodes=1,size=4k,mode=555"))
}

/// What somebody finds at the root who joins the mount namespace of a container.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A tmpfs that has room for nothing but its root directory.
    Stub,
    /// Something with so many entries.
    Entries(usize),
}

fn join(running: &Running) -> Found {
    const STUB: i32 = 250;
    let init = pidfd::open(running.0.init().pid()).unwrap();
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            setns(init, CloneFlags::CLONE_NEWNS).unwrap_or_else(|_| exit_now(255));
            if statfs("/").is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC && found.files() == 1) {
                exit_now(STUB);
            }
            exit_now(fs::read_dir("/").map_or(254, |entries| entries.count().try_into().unwrap_or(253)))
        }
        fork::Fork::Parent(child) => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, STUB) => Found::Stub,
            WaitStatus::Exited(_, count) => Found::Entries(count.try_into().unwrap()),
            other => panic!("{other:?}"),
        },
    }
}
