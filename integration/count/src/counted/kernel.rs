//! The kernel's part, pretended: calls that valgrind 3.19 (Debian 12) does not know, and those whose answers differ from
//! machine to machine.
//!
//! | what | becomes |
//! |---|---|
//! | `clone3` with its namespaces | a fork with a pidfd: the child runs its own code to `execve`, which is real |
//! | mounts (`fsopen`, `open_tree`, `move_mount`, ...) | directories that stand ready under [`ROOT`] |
//! | the switch of the root | `chroot`; nobody is found to stand on a pod's stub |
//! | the table of mounts, the tree of cgroups | files that stand ready: cgroup v2 |
//! | seccomp, device programs | taken, and not loaded |
//! | clocks, random numbers | always the same |

use std::ffi::CStr;

use libc::{c_char, c_int, c_long, c_uint, c_void, size_t};

use crate::{
    raw::{self, ProcPath, answered, call},
    rest::mark,
};

/// What stands ready of a container's root.
const ROOT: &CStr = c"/run/count/rootfs";
/// Instead of `/proc/self/mountinfo`.
const MOUNTINFO: &CStr = c"/run/count/mountinfo";
/// Instead of `/proc/self/cgroup`.
const CGROUPS: &CStr = c"/run/count/cgroups";
/// Instead of `/proc/PID/stat`, which has times in it, and longer ones for a process that has taken longer.
const STAT: &CStr = c"/run/count/stat";

const CLONE_PIDFD: usize = 0x1000;

/// syscall(2)
///
/// # Safety
/// That of the call.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: what the call needs, the caller has seen to; paths end with a NUL.
    let answer = unsafe {
        match number {
            libc::SYS_clone3 => clone(a as *const u64),
            libc::SYS_pidfd_send_signal => send_signal(a as u32, b),
            libc::SYS_fsopen => open_file_system(CStr::from_ptr(a as *const c_char)),
            libc::SYS_fsmount => call(libc::SYS_fcntl, [a, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0]),
            libc::SYS_open_tree => open_tree(a as c_int, CStr::from_ptr(b as *const c_char)),
            libc::SYS_openat2 => open_below(a as c_int, CStr::from_ptr(b as *const c_char), *(c as *const u64)),
            libc::SYS_pivot_root => call(libc::SYS_chroot, [c".".as_ptr() as usize, 0, 0, 0, 0, 0]),
            libc::SYS_bpf => bpf(a, b as *mut u8),
            libc::SYS_fsconfig | libc::SYS_move_mount | libc::SYS_mount_setattr | libc::SYS_seccomp => 0,
            libc::SYS_getrandom => fill(a as *mut u8, b),
            _ => call(number, [a, b, c, d, e, f]),
        }
    };
    answered(answer) as c_long
}

/// A fork with a pidfd. clone_args: flags, pidfd, ...
unsafe fn clone(arguments: *const u64) -> isize {
    let flags = libc::SIGCHLD as usize | CLONE_PIDFD;
    // SAFETY: as fork(2); the caller has a place for the pidfd.
    let pid = unsafe { call(libc::SYS_clone, [flags, 0, *arguments.add(1) as usize, 0, 0, 0]) };
    if pid == 0 {
        mark();
    }
    pid
}

unsafe fn send_signal(pidfd: u32, signal: usize) -> isize {
    let mut page = [0; 512];
    let page = raw::read(ProcPath::new("/proc/self/fdinfo/", pidfd, "").as_c_str(), &mut page);
    let digits = page.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:\t"));
    let pid = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse::<isize>().ok());
    match pid {
        // SAFETY: takes numbers.
        Some(pid) if pid > 0 => unsafe { call(libc::SYS_kill, [pid as usize, signal, 0, 0, 0, 0]) },
        _ => -(libc::ESRCH as isize),
    }
}

/// A file system that stands ready: a procfs is examined by who makes it.
fn open_file_system(kind: &CStr) -> isize {
    let place = if kind == c"proc" { c"/proc" } else { ROOT };
    raw::open(libc::AT_FDCWD, place, libc::O_PATH | libc::O_DIRECTORY)
}

fn open_tree(directory: c_int, path: &CStr) -> isize {
    if path.is_empty() {
        // SAFETY: takes numbers.
        return unsafe { call(libc::SYS_fcntl, [directory as usize, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0]) };
    }
    raw::open(directory, path, libc::O_PATH)
}

/// No path of what stands ready leads anywhere else.
fn open_below(directory: c_int, path: &CStr, flags: u64) -> isize {
    let mut relative = path;
    while let Some((b'/', _)) = relative.to_bytes_with_nul().split_first() {
        relative = CStr::from_bytes_with_nul(&relative.to_bytes_with_nul()[1..]).unwrap_or_default();
    }
    raw::open(directory, relative, flags as c_int)
}

/// Programs can be loaded and attached; there are none before.
unsafe fn bpf(command: usize, attributes: *mut u8) -> isize {
    const PROG_LOAD: usize = 5;
    const PROG_QUERY: usize = 16;
    /// Where `union bpf_attr` has the number of programs.
    const COUNT: usize = 24;
    match command {
        PROG_LOAD => return raw::open(libc::AT_FDCWD, c"/dev/null", libc::O_RDONLY),
        // SAFETY: the caller has the whole of it.
        PROG_QUERY => unsafe { attributes.add(COUNT).cast::<u32>().write(0) },
        _ => {}
    }
    0
}

unsafe fn fill(buffer: *mut u8, length: usize) -> isize {
    // SAFETY: the caller has that much room.
    unsafe { std::ptr::write_bytes(buffer, 7, length) };
    length as isize
}

/// getrandom(2)
///
/// # Safety
/// There is room for so many bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_getrandom(buffer: *mut c_void, length: size_t, _: c_uint) -> isize {
    // SAFETY: see above.
    unsafe { fill(buffer.cast(), length) }
}

/// clock_gettime(3): it does not go.
///
/// # Safety
/// There is room for a time.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let seconds = if clock == libc::CLOCK_REALTIME { 1_700_000_000 } else { 10_000 };
    // SAFETY: see above.
    unsafe { *time = libc::timespec { tv_sec: seconds, tv_nsec: 123_456_789 } };
    0
}

/// open(2)
///
/// # Safety
/// The path ends with a NUL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: see above.
    let path = unsafe { CStr::from_ptr(path) };
    let path = match path.to_bytes() {
        b"/proc/self/mountinfo" => MOUNTINFO,
        b"/proc/self/cgroup" => CGROUPS,
        text if text.starts_with(b"/proc/") && text.ends_with(b"/stat") => STAT,
        _ => path,
    };
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize, mode as usize, 0, 0];
    // SAFETY: the path ends with a NUL.
    answered(unsafe { call(libc::SYS_openat, arguments) }) as c_int
}

/// mkdirat(2). A cgroup that is made stands ready, with its files.
///
/// # Safety
/// The path ends with a NUL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_mkdirat(directory: c_int, path: *const c_char, mode: libc::mode_t) -> c_int {
    // SAFETY: see above.
    let made = unsafe { call(libc::SYS_mkdirat, [directory as usize, path as usize, mode as usize, 0, 0, 0]) };
    answered(if made == -(libc::EEXIST as isize) { 0 } else { made }) as c_int
}

/// unlinkat(2). A cgroup goes with its files; nobody asks for it again.
///
/// # Safety
/// The path ends with a NUL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: see above.
    let gone = unsafe { call(libc::SYS_unlinkat, [directory as usize, path as usize, flags as usize, 0, 0, 0]) };
    answered(if gone == -(libc::ENOTEMPTY as isize) { 0 } else { gone }) as c_int
}

/// setns(2)
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __wrap_setns(_: c_int, _: c_int) -> c_int {
    0
}

/// unshare(2): that there is one thread is asked for with it, and so it is.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __wrap_unshare(_: c_int) -> c_int {
    0
}

/// umount2(2)
#[unsafe(no_mangle)]
pub(crate) extern "C" fn __wrap_umount2(_: *const c_char, _: c_int) -> c_int {
    0
}

/// execve(2): what it runs is not the runtime's any more, and not counted.
///
/// # Safety
/// All strings end with a NUL, all arrays with a null pointer.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_execve(
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    mark();
    // SAFETY: see above.
    let failed = unsafe { call(libc::SYS_execve, [path as usize, arguments as usize, environment as usize, 0, 0, 0]) };
    answered(failed) as c_int
}

// The C library's own.
unsafe extern "C" {
    fn __real_fork() -> libc::pid_t;
    fn __real_getauxval(kind: libc::c_ulong) -> libc::c_ulong;
}

/// fork(2): what is left behind of `start` is counted apart.
///
/// # Safety
/// That of the call.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_fork() -> libc::pid_t {
    // SAFETY: see above.
    let pid = unsafe { __real_fork() };
    if pid == 0 {
        mark();
    }
    pid
}

/// getauxval(3): where the kernel's code is, only a holder asks, which comes to rest with it.
///
/// # Safety
/// That of the call.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_getauxval(kind: libc::c_ulong) -> libc::c_ulong {
    if kind == libc::AT_SYSINFO_EHDR {
        mark();
    }
    // SAFETY: see above.
    unsafe { __real_getauxval(kind) }
}
