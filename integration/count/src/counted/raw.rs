//! System calls without the C library, whose `syscall` is replaced.

use std::{arch::asm, ffi::CStr};

/// Makes a system call; what it answers is what the kernel does: an error is a small negative number.
///
/// # Safety
/// That of the call.
pub(crate) unsafe fn call(number: i64, arguments: [usize; 6]) -> isize {
    let [a, b, c, d, e, f] = arguments;
    let answer;
    // SAFETY: the calling convention of x86_64; what the call does is the caller's business.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

/// As the C library answers: -1, and the reason in `errno`.
pub(crate) fn answered(answer: isize) -> isize {
    if !(-4095..0).contains(&answer) {
        return answer;
    }
    // SAFETY: the C library's own place for it, which every thread has.
    unsafe { *libc::__errno_location() = -answer as i32 };
    -1
}

/// Opens a file, close-on-exec.
pub(crate) fn open(directory: i32, path: &CStr, flags: i32) -> isize {
    // SAFETY: the path ends with a NUL.
    unsafe {
        call(
            libc::SYS_openat,
            [directory as usize, path.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize, 0, 0, 0],
        )
    }
}

pub(crate) fn close(fd: isize) {
    // SAFETY: takes a number.
    unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Reads the beginning of a file, as much as `buffer` takes; empty if that cannot be done.
pub(crate) fn read<'a>(path: &CStr, buffer: &'a mut [u8]) -> &'a [u8] {
    let fd = open(libc::AT_FDCWD, path, libc::O_RDONLY);
    if fd < 0 {
        return &[];
    }
    // SAFETY: the kernel writes no more than the buffer takes.
    let length = unsafe { call(libc::SYS_read, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) };
    close(fd);
    &buffer[..length.max(0) as usize]
}

/// `/proc/NUMBER/REST` as a C string: no memory of the shim's is taken for what is not the shim's.
pub(crate) struct ProcPath([u8; 64]);

impl ProcPath {
    /// `prefix` and `rest` are short.
    pub(crate) fn new(prefix: &str, number: u32, rest: &str) -> Self {
        let mut digits = [0; 10];
        let mut first = digits.len();
        let mut left = number;
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        let mut path = [0; 64];
        let text = prefix.bytes().chain(digits[first..].iter().copied()).chain(rest.bytes());
        path[..63].iter_mut().zip(text).for_each(|(place, byte)| *place = byte);
        Self(path)
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}
