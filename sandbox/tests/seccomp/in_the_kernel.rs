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
fn a_trapped_call_raises_sigsys() {
    assert_eq!(child("trap").signal(), Some(nix::libc::SIGSYS));
}

#[test]
fn a_logged_call_is_made_and_a_traced_one_without_tracer_is_not() {
    assert_eq!(child("log and trace").code(), Some(AS_PROMISED));
}

#[test]
fn every_operator_compares_all_64_bits() {
    assert_eq!(child("operators").code(), Some(AS_PROMISED));
}

#[test]
fn an_errno_of_the_default_action_is_returned_by_the_kernel() {
    assert_eq!(child("default errno").code(), Some(AS_PROMISED));
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
        Ok("kill") => kill("SCMP_ACT_KILL_PROCESS"),
        Ok("trap") => kill("SCMP_ACT_TRAP"),
        Ok("log and trace") => log_and_trace(),
        Ok("operators") => operators(),
        Ok("default errno") => default_errno(),
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

fn load_for_mkdir(action: &str) {
    load_json(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{{"names": ["mkdir", "mkdirat"], "action": "{action}"}}]}}"#
    ));
}

fn kill(action: &str) {
    load_for_mkdir(action);
    let _ = make_directory("/nowhere/loment");
}

fn log_and_trace() {
    load_json(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"},
                         {"names": ["rmdir", "unlinkat"], "action": "SCMP_ACT_TRACE", "errnoRet": 7}]}"#,
    );
    assert_eq!(make_directory("/nowhere/loment"), Err(Errno::ENOENT));
    let removed = std::fs::remove_dir("/nowhere/loment").expect_err("nobody traces");
    assert_eq!(removed.raw_os_error(), Some(Errno::ENOSYS as i32));
}

/// Each operator decides about the offset of lseek by an errno of its own, on another whence.
fn operators() {
    const HALF: u64 = 1 << 32;
    let rule = |whence: u64, operator: &str, value: u64, two: u64| {
        format!(
            r#"{{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": {}, "args": [
                {{"index": 2, "value": {whence}, "op": "SCMP_CMP_EQ"}},
                {{"index": 1, "value": {value}, "valueTwo": {two}, "op": "SCMP_CMP_{operator}"}}]}}"#,
            100 + whence
        )
    };
    // Operator, its values, offsets for which it holds, offsets for which it does not.
    type Case = (&'static str, u64, u64, &'static [u64], &'static [u64]);
    let cases: [Case; 5] = [
        ("NE", HALF + 1, 0, &[1, HALF, HALF + 2], &[HALF + 1]),
        ("LT", HALF, 0, &[0, HALF - 1], &[HALF, HALF + 1, 3 * HALF]),
        ("GE", HALF, 0, &[HALF, HALF + 1, 2 * HALF], &[0, HALF - 1]),
        ("GT", HALF + 5, 0, &[HALF + 6, 2 * HALF], &[HALF + 5, 9]),
        ("MASKED_EQ", HALF | 2, HALF, &[HALF, HALF + 1], &[HALF | 2, 0, 2]),
    ];
    // SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE
    let rules: Vec<_> = cases
        .iter()
        .zip(0..)
        .map(|((operator, value, two, ..), whence)| rule(whence, operator, *value, *two))
        .collect();
    load_json(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{}]}}"#, rules.join(",")));
    let (pipe, _writer) = nix::unistd::pipe().expect("a pipe");
    use nix::unistd::Whence;
    let whences = [Whence::SeekSet, Whence::SeekCur, Whence::SeekEnd, Whence::SeekData, Whence::SeekHole];
    for (((operator, .., caught, passed), whence), errno) in cases.iter().zip(whences).zip(100..) {
        let seek = |offset: u64| nix::unistd::lseek64(&pipe, offset as i64, whence).expect_err("a pipe has no offset");
        for offset in *caught {
            assert_eq!(seek(*offset) as i32, errno, "{operator} {offset:x}");
        }
        for offset in *passed {
            assert_eq!(seek(*offset), Errno::ESPIPE, "{operator} {offset:x}");
        }
    }
}

fn default_errno() {
    let mut profile = serde_json::to_value(default_profile()).expect("JSON");
    profile["defaultErrnoRet"] = 18.into();
    load(&serde_json::from_value(profile).expect("a profile"));
    assert_eq!(nix::sched::unshare(CloneFlags::CLONE_NEWUTS), Err(Errno::EXDEV));
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
