//! Memory that a process and its children both see: mmap(2), `MAP_SHARED`.

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::errno::Errno;

use crate::Result;

/// A number that is shared with every child made after it. Looking and storing are no system calls.
#[derive(Debug)]
pub struct Word(NonNull<AtomicU32>);

// SAFETY: whoever holds it reaches the number by atomic operations only, as other processes do anyway.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

impl Word {
    /// A fresh one: 0.
    pub fn new() -> Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let page = unsafe {
            let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            libc::mmap(std::ptr::null_mut(), size_of::<AtomicU32>(), protection, flags, -1, 0)
        };
        match NonNull::new(page) {
            Some(page) if page.as_ptr() != libc::MAP_FAILED => Ok(Self(page.cast())),
            _ => Err(Errno::last()),
        }
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
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicU32>()) };
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
    }
}
