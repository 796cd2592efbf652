//! A file as a disk: loop(4). `LOOP_CONFIGURE`: Linux 5.8.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::{Errno, Result};

// linux/loop.h
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64`
#[repr(C)]
struct Info {
    ignored: [u64; 5],
    number: u32,
    encryption: [u32; 2],
    flags: u32,
    file_name: [u8; 64],
    more_encryption: [u8; 64 + 32],
    init: [u64; 2],
}

/// `struct loop_config`
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Others may take the free device that the kernel names, before it is ours.
const ATTEMPTS: usize = 100;

/// Makes a device of `file`; answers with its path and with a descriptor of it. The kernel takes it apart again when
/// nobody has it open or mounted any more. `name` is what tools show of it.
pub fn attach(file: BorrowedFd<'_>, name: &Path, read_only: bool, direct_io: bool) -> Result<(PathBuf, OwnedFd)> {
    let io = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").map_err(io)?;
    for _ in 0..ATTEMPTS {
        // SAFETY: takes no argument and touches no memory.
        let number = Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device: File = OpenOptions::new().read(true).write(!read_only).open(&path).map_err(io)?;
        let flags = AUTOCLEAR | if read_only { READ_ONLY } else { 0 } | if direct_io { DIRECT_IO } else { 0 };
        match configure(&device, file, name, flags) {
            Err(Errno::EBUSY) => {}
            answer => return answer.map(|()| (path, device.into())),
        }
    }
    Err(Errno::EBUSY)
}

fn configure(device: &File, file: BorrowedFd<'_>, name: &Path, flags: u32) -> Result<()> {
    // SAFETY: plain data for which all zeroes is valid.
    let mut config: Config = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd().unsigned_abs();
    config.info.flags = flags;
    // The last byte stays: it ends the string.
    for (to, from) in config.info.file_name.iter_mut().take(63).zip(name.as_os_str().as_encoded_bytes()) {
        *to = *from;
    }
    // SAFETY: the kernel reads a loop_config, which outlives the call.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) }).map(drop)
}
