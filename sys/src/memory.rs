//! Memory that a process has used and goes on without: given back to the kernel. madvise(2)

use nix::sys::signal::Signal;

use crate::clone::{alone, exit_now};

/// Of a frame of [`wait`]: more than it can need.
const FRAME: usize = 2048;
/// What compiled code may use below the stack pointer. System V ABI, AMD64: the red zone
const RED_ZONE: usize = 128;
/// How far below the stack pointer the stack may have been used.
const DEPTH: usize = 1 << 20;

/// Gives back what the stack has been used for below the caller's frame, and the pages of the program that are only read:
/// those that are needed again are read again, from the page cache as a rule. What is seldom needed is shared no longer.
///
/// In a process with more than one thread it does nothing: the stack of one of those may have others' memory below it.
pub fn shrink() {
    if alone().is_err() {
        return;
    }
    let page = page();
    let low = (stack_pointer() & !(page - 1)) - page;
    // SAFETY: of a function that is called from here, nothing is left on the stack once it has returned. The page next to
    // the stack pointer is spared: it has what compiled code may use there.
    unsafe { give_back(low - DEPTH, low) };
    // SAFETY: the callback takes nothing.
    unsafe { libc::dl_iterate_phdr(Some(give_back_program), std::ptr::null_mut()) };
}

/// Gives back what is only read of the first object, which is the program, and ends the iteration. dl_iterate_phdr(3)
unsafe extern "C" fn give_back_program(object: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the C library hands over the description of an object, with its program headers.
    let (object, headers) = unsafe {
        let object = &*object;
        (object, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    let page = page();
    for part in headers.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_flags & libc::PF_W == 0) {
        let start = object.dlpi_addr as usize + part.p_vaddr as usize;
        // SAFETY: nobody has written there: every page is what the file says, also when it is read again.
        unsafe { give_back(start & !(page - 1), start + part.p_memsz as usize) };
    }
    1
}

/// Gives back all memory of this process, then reaps every child that ends until one of the signals `ends` comes;
/// exits with status 0. All of them and SIGCHLD must be blocked. With another thread, which would lose its memory, it ends
/// with status 1 at once.
///
/// The process keeps the page or two of the stack that are in use, and its arguments and environment, by which others
/// know it. Of its program it keeps the mapping: what it runs is read from the file again.
///
/// A clone shares its memory with its maker only until one of the two writes to it. Here it needs none of it. From then
/// on no C library works in it (variables are what the program's file says, heap and thread read as zeroes), so that the
/// system calls are made by hand and nothing is called.
pub fn rest(ends: &[Signal]) -> ! {
    if alone().is_err() {
        exit_now(1);
    }
    let mask = ends.iter().fold(0, |mask, signal| mask | 1 << (*signal as u64 - 1));
    // SAFETY: reads numbers from what the kernel has left on the stack.
    let (handed_over, kernels) = unsafe {
        // Above the first lie arguments and environment; the second is code of the kernel's, above the mappings or above
        // the stack. getauxval(3), vdso(7)
        (libc::getauxval(libc::AT_RANDOM) as usize, libc::getauxval(libc::AT_SYSINFO_EHDR) as usize)
    };
    // SAFETY: this process has nothing to do any more but what `wait` does, which returns to nobody.
    unsafe { wait(mask, handed_over, kernels, page()) }
}

/// The size of a page.
fn page() -> usize {
    // SAFETY: reads a number from what the kernel has left on the stack.
    unsafe { libc::getauxval(libc::AT_PAGESZ) as usize }
}

/// Keeps what lies from `handed_over` upwards, and gives back what lies below the `kernels` code: without one the process
/// is run by an emulator, whose memory that is as well. The signals `ends` are a mask, as the kernel has it.
///
/// # Safety
///
/// Nothing of the process may be used any more but by this function.
#[inline(never)]
unsafe fn wait(ends: u64, handed_over: usize, kernels: usize, page: usize) -> ! {
    const LENGTH: usize = size_of::<u64>();
    let awaited = ends | 1 << (libc::SIGCHLD - 1);
    let stack = stack_pointer();
    let (low, high) = ((stack - RED_ZONE) & !(page - 1), (stack + FRAME + page - 1) & !(page - 1));
    let end = if kernels < low { kernels } else { low };
    // SAFETY: by this function's own condition. The last takes the callers' frames.
    unsafe {
        give_back(0, end);
        give_back(low - DEPTH, low);
        give_back(high, handed_over & !(page - 1));
    }
    loop {
        // SAFETY: reads 8 bytes of this function's; waits without a limit, and nothing is said about the signal.
        let signal = unsafe { call(libc::SYS_rt_sigtimedwait, &raw const awaited as usize, 0, 0, LENGTH) };
        if signal > 0 && 1 << (signal - 1) & ends != 0 {
            // SAFETY: ends the process.
            unsafe { call(libc::SYS_exit_group, 0, 0, 0, 0) };
        }
        // SAFETY: takes numbers.
        while unsafe { call(libc::SYS_wait4, usize::MAX, 0, libc::WNOHANG as usize, 0) } > 0 {}
    }
}

/// Lets the kernel take the pages between two addresses: they read as zeroes, or as their file, from now on. Gaps do no
/// harm. madvise(2)
///
/// # Safety
///
/// Nobody may rely on what they hold.
#[inline(always)]
unsafe fn give_back(start: usize, end: usize) {
    if start < end {
        // SAFETY: by this function's own condition.
        unsafe { call(libc::SYS_madvise, start, end - start, libc::MADV_DONTNEED as usize, 0) };
    }
}

#[inline(always)]
fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: copies a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// A system call without the C library: the answer, or the negative error. syscall(2) (Its arguments are no array, for
/// which an unoptimised build would call a function to fill it.)
///
/// # Safety
///
/// That of the call.
#[inline(always)]
unsafe fn call(number: libc::c_long, first: usize, second: usize, third: usize, fourth: usize) -> isize {
    let answer: isize;
    // SAFETY: the kernel's convention, in which it changes nothing but these registers.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") first as isize => answer,
            in("x1") second,
            in("x2") third,
            in("x3") fourth,
            options(nostack)
        );
    }
    answer
}
