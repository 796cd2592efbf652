//! When an operation is over: when the shim waits and nobody else does anything that it could wait for.
//!
//! How often the shim is woken depends on who is how fast. Here it is not told of anything before everybody else, the
//! container's processes and the client, waits too: so what it does is the same in each run, to the instruction.

use libc::{c_int, epoll_event};

use crate::raw::{self, ProcPath, answered, call};

/// Whom the client is told by that the shim rests.
const RESTS: &std::ffi::CStr = c"/run/count/rests";
/// The harness has a pid namespace of its own, in which no process gets a higher number.
const HIGHEST_PID: u32 = 100;

/// Callgrind writes down what it has counted when this is called, and begins anew.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn loment_count_mark() {
    std::hint::black_box(());
}

/// What has been done until now is one operation.
pub(crate) fn mark() {
    loment_count_mark();
}

/// epoll_wait(2)
///
/// # Safety
/// There is room for so many events.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    room: c_int,
    timeout: c_int,
) -> c_int {
    loop {
        wait_for_the_others();
        // SAFETY: see above.
        let found = unsafe { call(libc::SYS_epoll_wait, [epoll as usize, events as usize, room as usize, 0, 0, 0]) };
        if found != 0 || timeout == 0 {
            return answered(found) as c_int;
        }
        mark();
        say_so();
        // By this no event is taken: when it comes the others are waited for once more.
        let mut waiting = libc::pollfd { fd: epoll, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        unsafe { call(libc::SYS_poll, [&raw mut waiting as usize, 1, usize::MAX, 0, 0, 0]) };
    }
}

fn say_so() {
    let fd = raw::open(libc::AT_FDCWD, RESTS, libc::O_WRONLY | libc::O_NONBLOCK);
    if fd >= 0 {
        // SAFETY: one byte that is there.
        unsafe { call(libc::SYS_write, [fd as usize, b".".as_ptr() as usize, 1, 0, 0, 0]) };
        raw::close(fd);
    }
}

/// Returns when every other process has been seen asleep twice without having been awake in between.
fn wait_for_the_others() {
    let mut before = None;
    loop {
        let now = others_asleep();
        if now.is_some() && now == before {
            return;
        }
        before = now;
        let pause = libc::timespec { tv_sec: 0, tv_nsec: 3_000_000 };
        // SAFETY: a time, which outlives the call.
        unsafe { call(libc::SYS_nanosleep, [&raw const pause as usize, 0, 0, 0, 0, 0]) };
    }
}

/// How often all others have gone to sleep by now; `None` if one of them is awake.
fn others_asleep() -> Option<u64> {
    // SAFETY: has no arguments.
    let own = unsafe { call(libc::SYS_getpid, [0; 6]) } as u32;
    let mut page = [0; 4096];
    let mut sum: u64 = 0;
    for pid in (1..HIGHEST_PID).filter(|pid| *pid != own) {
        let status = raw::read(ProcPath::new("/proc/", pid, "/status").as_c_str(), &mut page);
        for line in status.split(|byte| *byte == b'\n') {
            if let Some(state) = line.strip_prefix(b"State:\t")
                && !matches!(state.first(), Some(b'S' | b'Z'))
            {
                return None;
            }
            let switches = line.strip_prefix(b"voluntary_ctxt_switches:\t");
            if let Some(count) = switches.and_then(|digits| str::from_utf8(digits).ok()?.parse::<u64>().ok()) {
                sum = sum.wrapping_mul(31).wrapping_add(count).wrapping_add(u64::from(pid));
            }
        }
    }
    Some(sum)
}
