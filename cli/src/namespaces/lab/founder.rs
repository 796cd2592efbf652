//! The process that a sandbox's namespaces are born with: it sets them up and waits until they are pinned. In a sandbox
//! with a pid namespace it stays, as the first process there, and reaps.

use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Context as _;
use loment_sys::credentials::{set_gid, set_groups, set_uid};
use loment_sys::fd::close_all_except;
use loment_sys::memory::rest;
use loment_sys::net::loopback_up;
use nix::mount::{MsFlags, mount};
use nix::sched::{setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, sethostname, setsid};

use super::super::kind::Kind;
use super::super::look::open_namespace;
use super::wanted::{Clocks, Wanted};

/// What the maker says: the ids of the user namespace stand for some now.
pub(super) const MAPPED: u8 = b'm';
/// What the maker says: all is pinned, and you are needed.
pub(super) const STAY: u8 = b's';
/// What the founder says when all is set up; anything else is what went wrong.
pub(super) const READY: &str = "ready";

/// Of the clocks that this process's children will have.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// What ends it.
const ENDS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// The founder's life; answers with its exit status. When its maker is killed, it reads the end of `orders` and ends.
pub(super) fn live(wanted: &Wanted, mut report: PipeWriter, mut orders: PipeReader) -> i32 {
    let set_up = close_all_except(&[report.as_fd(), orders.as_fd()])
        .context("close the maker's descriptors")
        .and_then(|()| set_up(wanted, &mut orders));
    let said = set_up.as_ref().map_or_else(|error| format!("{error:#}"), |()| READY.to_owned());
    let told = report.write_all(said.as_bytes());
    drop(report);
    if set_up.is_err() || told.is_err() {
        return 1;
    }
    match order(&mut orders) {
        Some(STAY) => rest(&ENDS),
        _ => 0,
    }
}

fn order(orders: &mut PipeReader) -> Option<u8> {
    let mut byte = [0];
    orders.read_exact(&mut byte).ok().map(|()| byte[0])
}

fn set_up(wanted: &Wanted, orders: &mut PipeReader) -> anyhow::Result<()> {
    // Opened as the machine's root, whose the file is.
    let clocks = fs::File::options().write(true).open(OFFSETS);
    if wanted.has(Kind::User) {
        anyhow::ensure!(order(orders) == Some(MAPPED), "the maker has gone away");
        // Who was root outside is nobody inside, and may not write kernel parameters.
        set_groups(&[]).context("give up additional groups")?;
        set_gid(0).context("become group 0 of the user namespace")?;
        set_uid(0).context("become user 0 of the user namespace")?;
    }
    if wanted.has(Kind::Time) {
        enter_clocks(wanted.clocks, clocks.with_context(|| format!("open {OFFSETS}"))?)?;
    }
    if wanted.has(Kind::Pid) {
        prepare_to_stay()?;
    }
    if wanted.has(Kind::Mount) && wanted.has(Kind::Pid) {
        let proc = Some("proc");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(proc, "/proc", proc, flags, None::<&str>).context("mount the /proc of the pid namespace")?;
    }
    if let Some(hostname) = &wanted.hostname {
        sethostname(hostname).with_context(|| format!("set the host name {hostname}"))?;
    }
    if wanted.has(Kind::Net) {
        loopback_up().context("bring the loopback up")?;
    }
    for sysctl in &wanted.sysctls {
        fs::write(&sysctl.path, &sysctl.value).with_context(|| {
            format!("set kernel parameter {} to {:?} (sysctl -a lists them)", sysctl.name, sysctl.value)
        })?;
    }
    Ok(())
}

/// Makes a time namespace, sets its clocks before anybody is in it, which is when that can be done, and goes there.
/// time_namespaces(7)
fn enter_clocks(ahead: Clocks, mut clocks: fs::File) -> anyhow::Result<()> {
    unshare(Kind::Time.flag()).context("make a time namespace (it needs Linux 5.6)")?;
    let lines: String = ahead.by_name().iter().map(|(name, ahead)| format!("{name} {ahead} 0\n")).collect();
    clocks.write_all(lines.as_bytes()).with_context(|| {
        let Clocks { monotonic, boottime } = ahead;
        format!(
            "set the clocks, --monotonic {monotonic} --boottime {boottime} (they count from the boot, as /proc/uptime, and \
             none may fall below 0 or go beyond 146 years)"
        )
    })?;
    let made = open_namespace(Path::new("/proc/self/ns/time_for_children")).context("open the time namespace")?;
    setns(made, Kind::Time.flag()).context("join the time namespace")
}

/// Before anyone can know of it: the first process of a pid namespace loses a signal that it has no handler for, unless
/// it blocks it. pid_namespaces(7) It must not keep its maker's terminal or pipes either.
fn prepare_to_stay() -> anyhow::Result<()> {
    let awaited: SigSet = ENDS.into_iter().chain([Signal::SIGCHLD]).collect();
    awaited.thread_block().context("block signals")?;
    prctl::set_name(c"pause").context("set the name of the holder")?;
    setsid().context("begin a session")?;
    chdir("/").context("go to /")?;
    let null = fs::File::options().read(true).write(true).open("/dev/null").context("open /dev/null")?;
    dup2_stdin(&null)
        .and_then(|()| dup2_stdout(&null))
        .and_then(|()| dup2_stderr(&null))
        .context("turn the standard streams to /dev/null")
}
