//! Memory that several processes see: mmap(2), `MAP_SHARED`, of a file without a name, memfd_create(2), or of nothing.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
    unistd::ftruncate,
};

use crate::Result;

/// A number that is shared with every child made after it, and with whoever is given its file. Looking and storing are
/// no system calls.
#[derive(Debug)]
pub struct Word {
    number: NonNull<AtomicU32>,
    file: OwnedFd,
}

// SAFETY: whoever holds it reaches the number by atomic operations only, as other processes do anyway.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

impl Word {
    /// A fresh one: 0.
    pub fn new() -> Result<Self> {
        let file = memfd_create(c"shared", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&file, size_of::<AtomicU32>() as i64)?;
        Self::of(file)
    }

    /// That of a file that [`Word::file`] has given. The file must not be made shorter: looking would end the process.
    pub fn of(file: OwnedFd) -> Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let page = unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
            libc::mmap(std::ptr::null_mut(), size_of::<AtomicU32>(), protection, flags, file.as_raw_fd(), 0)
        };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(Self { number: page.cast(), file }),
            _ => Err(Errno::last()),
        }
    }

    /// Where it is kept.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What it is now.
    pub fn get(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Changes it.
    pub fn set(&self, value: u32) {
        self.word().store(value, Ordering::Release);
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is page-aligned, began as zeroes and lives as long as `self`; other processes change it
        // atomically only.
        unsafe { self.number.as_ref() }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.number.as_ptr().cast(), size_of::<AtomicU32>()) };
    }
}

/// As many numbers, all 0, which this process shares with every child made after it until that executes a program. They
/// stay for as long as the process lives, and take memory page by page when they are changed first.
pub fn numbers(count: usize) -> Result<&'static [AtomicU64]> {
    let length = count.checked_mul(size_of::<AtomicU64>()).ok_or(Errno::ENOMEM)?;
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
    let pages = unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0)
    };
    match NonNull::new(pages) {
        // SAFETY: the mapping is page-aligned, of this length, zeroed, and nobody ever takes it away; other processes
        // change it atomically only.
        Some(pages) if pages.as_ptr() != libc::MAP_FAILED => unsafe {
            Ok(std::slice::from_raw_parts(pages.as_ptr().cast(), count))
        },
        _ => Err(Errno::last()),
    }
}

/// Ends this process by a fault, for where a system call is not to be had. No handler may be set for it.
pub fn trap() -> ! {
    loop {
        // SAFETY: an instruction that does not exist: the kernel ends the process.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("ud2");
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("udf #0");
        }
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_zero_until_it_is_changed() {
        let word = Word::new().unwrap();
        assert_eq!(word.get(), 0);
        word.set(u32::MAX);
        assert_eq!(word.get(), u32::MAX);
        let other = Word::of(word.file().try_clone_to_owned().unwrap()).unwrap();
        other.set(7);
        assert_eq!(word.get(), 7);
    }

    #[test]
    fn numbers_begin_as_zero_and_keep_what_is_stored() {
        let numbers = numbers(3).unwrap();
        numbers[2].store(7, Ordering::Release);
        let seen: Vec<u64> = numbers.iter().map(|number| number.load(Ordering::Acquire)).collect();
        assert_eq!(seen, [0, 0, 7]);
        assert_eq!(super::numbers(usize::MAX).err(), Some(Errno::ENOMEM));
    }
}
