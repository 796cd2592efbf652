//! System V semaphores (sysvipc(7)), which only tests of IPC namespaces need.

use std::{ffi::c_int, io};

/// The set of `count` semaphores with this key; makes it when `create`, else it must exist. Returns its id. semget(2).
pub fn semget(key: i32, count: c_int, create: bool) -> io::Result<c_int> {
    let flags = if create { libc::IPC_CREAT | libc::IPC_EXCL | 0o600 } else { 0 };
    // SAFETY: semget takes and returns plain numbers.
    check(unsafe { libc::semget(key, count, flags) })
}

/// Sets one semaphore of a set. semctl(2), SETVAL.
pub fn set_value(id: c_int, index: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: with SETVAL the fourth argument of semctl is a number.
    check(unsafe { libc::semctl(id, index, libc::SETVAL, value) }).map(drop)
}

/// Reads one semaphore of a set. semctl(2), GETVAL.
pub fn value(id: c_int, index: c_int) -> io::Result<c_int> {
    // SAFETY: with GETVAL semctl reads no fourth argument.
    check(unsafe { libc::semctl(id, index, libc::GETVAL) })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
