//! What a container does not have from whoever started the runtime.

use std::os::fd::AsFd;

use loment_sandbox::container::Io;
use loment_sys::{ambient, sched};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        personality::{self, Persona},
        prctl,
        signal::{SigSet, Signal},
        stat::{Mode, umask},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::json;

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    what_the_starter_has_set_for_itself_is_not_handed_down,
    limits_and_oom_score_that_are_not_given_stay_the_callers,
    a_session_keyring_that_somebody_offers_is_not_joined,
    a_holder_has_no_huge_pages,
    what_belongs_to_a_namespace_of_the_host_is_not_changed,
    a_device_that_is_a_standard_stream_keeps_its_owner,
];

/// Runs `parent` in a process of its own, which may change what it likes of itself.
pub(crate) fn in_another_process(parent: impl FnOnce()) {
    let run = || {
        parent();
        0
    };
    let (pid, _pidfd) = loment_sys::clone::clone3(0, None, run).unwrap();
    assert_eq!(waitpid(Pid::from_raw(pid), None).unwrap(), WaitStatus::Exited(Pid::from_raw(pid), 0));
}

/// Everything of a process that the kernel keeps through fork and execve and shows in procfs.
const LOOK: &str = "grep -E '^(Umask|Sig(Blk|Ign|Cgt)|NoNewPrivs|Cpus_allowed_list|THP_enabled|CapEff)' \
                    /proc/self/status; sed 's/.*) //' /proc/self/stat | (read a b; set -- $b; \
                    echo priority $(eval echo '${15} ${16} ${37} ${38}')); cat /proc/self/timerslack_ns \
                    /proc/self/personality; ionice -p $$; env; tr '\\0' ' ' < /proc/self/environ";

fn ordinary() -> (Bundle, String) {
    let bundle = Bundle::new(LOOK);
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/ionice")).unwrap();
    let text = bundle.output();
    (bundle, text)
}

fn what_the_starter_has_set_for_itself_is_not_handed_down() {
    let (bundle, expected) = ordinary();
    assert!(expected.contains("priority 20 0 0 0"), "{expected}");
    assert!(expected.contains("THP_enabled:\t1") && expected.contains("\n50000\n"), "{expected}");
    in_another_process(|| {
        prctl::set_thp_disable(true).unwrap();
        prctl::set_timerslack(1).unwrap();
        umask(Mode::from_bits_truncate(0o777));
        SigSet::from_iter([Signal::SIGUSR1, Signal::SIGTERM]).thread_block().unwrap();
        // And Rust's runtime ignores SIGPIPE.
        sched::set_io_priority(3, 0).unwrap();
        sched::set_scheduler(sched::Attributes { policy: 3, nice: 7, ..Default::default() }).unwrap();
        let mut first = CpuSet::new();
        first.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &first).unwrap();
        // User 0 is nobody special, and addresses are not random.
        ambient::set_secure_bits(1).unwrap();
        personality::set(Persona::ADDR_NO_RANDOMIZE | Persona::READ_IMPLIES_EXEC).unwrap();
        assert_eq!(bundle.output(), expected);
        let running = Bundle::new("sleep 100");
        std::os::unix::fs::symlink("busybox", running.rootfs().join("bin/ionice")).unwrap();
        let exec = running.started().exec_process(json!({
            "args": ["/bin/sh", "-c", LOOK], "cwd": "/", "user": {"additionalGids": [10]}, "env": [PATH, "HOSTNAME=pod"]
        }));
        assert_eq!(exec, (0, expected));
    });
}

/// "the runtime MUST NOT change the value of oom_score_adj", says the specification of one that is not given; and limits
/// are what administrators give to containerd for its containers.
fn limits_and_oom_score_that_are_not_given_stay_the_callers() {
    let mut bundle = Bundle::new("cat /proc/self/oom_score_adj /proc/self/limits");
    bundle.spec["process"].as_object_mut().unwrap().remove("oomScoreAdj");
    in_another_process(|| {
        std::fs::write("/proc/self/oom_score_adj", "321").unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 333, 444).unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert_eq!(bundle.output(), format!("321\n{limits}"));
    });
}

/// A keyring with a name may be found by it: a container could offer its own to others that come to join one of that
/// name, and share what keys they then have.
fn a_session_keyring_that_somebody_offers_is_not_joined() {
    if !exists("/proc/keys") {
        return;
    }
    let mut bundle = Bundle::new("cat /proc/keys > /work/keys; touch /work/done; sleep 100");
    bundle.spec["linux"]["maskedPaths"] = json!([]);
    let names = ["_ses".to_owned(), "_ses.exec".to_owned(), format!("_ses.{}", bundle.id), bundle.id.clone()];
    for name in names {
        let (reader, writer) = std::io::pipe().unwrap();
        let c_name = std::ffi::CString::new(name.clone()).unwrap();
        let offer = || {
            loment_sys::attacks::offer_session_keyring(&c_name).unwrap();
            drop(writer);
            loop {
                nix::unistd::pause();
            }
        };
        let (pid, pidfd) = loment_sys::clone::clone3(0, None, offer).unwrap();
        // The end of the pipe comes when the keyring is there.
        read(reader.into());
        let running = bundle.started();
        let of_init = running.exec("until [ -e /work/done ]; do :; done; rm /work/done; cat /work/keys").1;
        let of_exec = running.exec("cat /proc/keys").1;
        drop(running);
        loment_sys::pidfd::send_signal(pidfd.as_fd(), nix::libc::SIGKILL).unwrap();
        waitpid(Pid::from_raw(pid), None).unwrap();
        for text in [of_init, of_exec] {
            let joined = text.lines().find(|line| line.contains("3f080000") && line.contains(&format!(" {name}: ")));
            assert_eq!(joined, None);
            assert!(text.contains("_ses"), "the keyrings must be shown: {text}");
        }
    }
}

/// One would make all that it keeps of the runtime's memory 2 MiB large.
fn a_holder_has_no_huge_pages() {
    let mut bundle = Bundle::new("this is never run");
    bundle.role = loment_sandbox::container::Role::Holder;
    let running = bundle.started();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.0.init().pid())).unwrap();
    assert!(status.contains("THP_enabled:\t0"), "{status}");
}

/// A joined namespace may be the host's own.
fn what_belongs_to_a_namespace_of_the_host_is_not_changed() {
    let hostname = nix::unistd::gethostname().unwrap();
    let join = |kind: &str, file: &str| {
        let mut bundle = Bundle::new("true");
        bundle.spec.as_object_mut().unwrap().remove("hostname");
        let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != json!(kind));
        namespaces.push(json!({"type": kind, "path": format!("/proc/self/ns/{file}")}));
        bundle
    };
    let mut uts = join("uts", "uts");
    uts.spec["hostname"] = json!("not-the-host");
    assert_eq!(uts.refused(), "hostname not-the-host: would change the host's uts namespace");
    uts.spec.as_object_mut().unwrap().remove("hostname");
    uts.spec["linux"]["sysctl"] = json!({"kernel.domainname": "not-the-host"});
    assert_eq!(uts.refused(), "linux.sysctl kernel.domainname: would change the host's uts namespace");
    for (kind, file, parameter) in [("ipc", "ipc", "kernel.shmmni"), ("network", "net", "net.ipv4.ip_forward")] {
        let mut bundle = join(kind, file);
        bundle.spec["linux"]["sysctl"] = json!({parameter: "1"});
        assert_eq!(bundle.refused(), format!("linux.sysctl {parameter}: would change the host's {file} namespace"));
    }
    assert_eq!(nix::unistd::gethostname().unwrap(), hostname);
    assert!(join("uts", "uts").run().1.is_empty(), "to join it and change nothing is allowed");
}

/// A process that is not root gets its pipes and terminals, and no other device that it reads from.
fn a_device_that_is_a_standard_stream_keeps_its_owner() {
    use std::os::unix::fs::MetadataExt;
    let mut bundle = Bundle::new("head -c 4 | wc -c; sleep 100");
    bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let zero = bundle.path.join("zero");
    let mode = Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(&zero, nix::sys::stat::SFlag::S_IFCHR, mode, nix::sys::stat::makedev(1, 5)).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let stdin = Some(std::fs::File::open(&zero).unwrap().into());
    let io = Io::Plain { stdin, stdout: Some(writer.into()), stderr: None };
    let mut container = bundle.create(io).unwrap();
    container.start().unwrap().finish().unwrap();
    let running = Running(container);
    let mut line = [0; 2];
    std::io::Read::read_exact(&mut &reader, &mut line).unwrap();
    assert_eq!(&line, b"4\n");
    let pipe = format!("/proc/{}/fd/1", running.0.init().pid());
    assert_eq!(std::fs::metadata(pipe).unwrap().uid(), 1000, "the pipe is its own");
    assert_eq!(std::fs::metadata(&zero).unwrap().uid(), 0);
}
