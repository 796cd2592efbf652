//! Filters loaded for real: each in a process of its own, which is this test program again with one test chosen.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use loment_sandbox::seccomp::Filter;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use oci_spec::runtime::LinuxSeccomp;

use super::default_profile;

const PART: &str = "LOMENT_TEST_SECCOMP_PART";
/// The code with which the child says that all was as promised.
const AS_PROMISED: i32 = 42;

fn child(part: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "in_the_kernel::a_part", "--ignored", "--nocapture"]).env(PART, part);
    let output = command.output().expect("the child starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status
}

#[test]
fn an_errno_is_returned_by_the_kernel() {
    assert_eq!(child("errno").code(), Some(AS_PROMISED));
}

#[test]
fn a_killed_process_dies_of_sigsys() {
    assert_eq!(child("kill").signal(), Some(nix::libc::SIGSYS));
}

#[test]
fn a_notifying_filter_has_a_listener() {
    assert_eq!(child("listener").code(), Some(AS_PROMISED));
}

#[test]
fn under_the_default_profile_a_process_works_and_is_confined() {
    assert_eq!(child("default").code(), Some(AS_PROMISED));
}

#[test]
fn a_program_with_far_jumps_is_taken_by_the_kernel() {
    assert_eq!(child("long").code(), Some(AS_PROMISED));
}

/// What the child does: it loads a filter and does not come back from here.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn a_part() {
    match std::env::var(PART).as_deref() {
        Ok("errno") => errno(),
        Ok("kill") => kill(),
        Ok("listener") => listener(),
        Ok("default") => default(),
        Ok("long") => long(),
        _ => return,
    }
    std::process::exit(AS_PROMISED);
}

fn load(profile: &LinuxSeccomp) -> Option<std::os::fd::OwnedFd> {
    let filter = Filter::compile(profile).expect("a good profile").expect("with rules");
    nix::sys::prctl::set_no_new_privs().expect("no_new_privs");
    filter.load().expect("the kernel takes the filter")
}

fn load_json(profile: &str) -> Option<std::os::fd::OwnedFd> {
    load(&serde_json::from_str(profile).expect("a profile"))
}

fn make_directory(path: &str) -> nix::Result<()> {
    nix::unistd::mkdir(path, Mode::S_IRWXU)
}

fn errno() {
    let listener = load_json(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
             "args": [{"index": 1, "value": 15, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#,
    );
    assert!(listener.is_none());
    assert_eq!(make_directory("/nowhere/loment"), Err(Errno::EXDEV));
    let open = |kind| socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).map(drop);
    assert_eq!(open(SockType::Stream), Ok(()));
    assert_eq!(open(SockType::Datagram), Err(Errno::EAFNOSUPPORT));
}

fn kill() {
    load_json(
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    let _ = make_directory("/nowhere/loment");
}

fn listener() {
    let listener = load_json(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}"#,
    )
    .expect("a listener");
    let flags = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_GETFD).expect("its flags");
    assert_eq!(flags, nix::libc::FD_CLOEXEC);
}

fn default() {
    load(&default_profile());
    assert_eq!(nix::sched::unshare(CloneFlags::CLONE_NEWUTS), Err(Errno::EPERM));
    assert_eq!(make_directory("/nowhere/loment"), Err(Errno::ENOENT));
    let vsock = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None).map(drop);
    assert_eq!(vsock, Err(Errno::EPERM));
    // A thread is born by clone, because clone3 gets ENOSYS and not EPERM.
    let thread = std::thread::Builder::new().spawn(|| 7).expect("a thread");
    assert_eq!(thread.join().expect("its value"), 7);
}

fn long() {
    let rules = super::default_names().into_iter().enumerate().map(|(index, name)| {
        format!(
            r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {},
                "args": [{{"index": 5, "value": {}, "op": "SCMP_CMP_EQ"}},
                         {{"index": 4, "value": 3735928559, "op": "SCMP_CMP_GT"}}]}}"#,
            index + 1,
            0xfeed_0000_dead_0000u64 + index as u64
        )
    });
    let rules = rules.collect::<Vec<_>>().join(",");
    let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rules}]}}"#);
    let profile: LinuxSeccomp = serde_json::from_str(&profile).expect("a profile");
    let filter = Filter::compile(&profile).expect("a good profile").expect("with rules");
    assert!(filter.len() > 2000, "{} instructions", filter.len());
    load(&profile);
    assert_eq!(make_directory("/nowhere/loment"), Err(Errno::ENOENT));
}
