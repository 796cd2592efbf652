//! Lays the syscall tables out as read-only data: `$OUT_DIR/syscalls.rs`, included by `src/seccomp/table.rs`.
//!
//! The numbers come from the `syscalls` crate, which follows the kernel's own tables. They are not used from there at
//! run time: its lookup by name compares with one name after the other and it knows one machine at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, fs, path::Path};

use syscalls::{aarch64, arm, x86, x86_64};

/// Not a syscall of this ABI.
const NONE: u16 = u16::MAX;
/// Columns of the table: x86_64, i386, x32, aarch64, arm.
const COLUMNS: usize = 5;

/// ARM's private syscalls (`__ARM_NR_BASE`): kept in 16 bits as `0x8000 | number`.
const ARM_PRIVATE: usize = 0x000f_0000;
const ARM_PRIVATE_NAMES: [(&str, u16); 6] =
    [("breakpoint", 1), ("cacheflush", 2), ("usr26", 3), ("usr32", 4), ("set_tls", 5), ("get_tls", 6)];

/// Calls of x86_64 that x32 has under a number of its own from 512 on, in the order of those numbers
/// (`arch/x86/entry/syscalls/syscall_64.tbl`).
const X32_OWN: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];
const X32_OWN_FIRST: u16 = 512;

/// Calls of x86_64 that x32 does not have at all.
const X32_ABSENT: [&str; 14] = [
    "uselib",
    "_sysctl",
    "create_module",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    "set_thread_area",
    "get_thread_area",
    "epoll_ctl_old",
    "epoll_wait_old",
    "vserver",
    "uretprobe",
    "uprobe",
    "map_shadow_stack",
];

/// The calls with 64-bit times of the 32-bit ABIs. The generic table has them, a 64-bit machine does not.
const TIME64: std::ops::RangeInclusive<u16> = 403..=423;

type Table = BTreeMap<&'static str, [u16; COLUMNS]>;

fn set(table: &mut Table, name: &'static str, column: usize, number: u16) {
    // A name that is a word of Rust is written raw.
    let name = name.strip_prefix("r#").unwrap_or(name);
    if let Some(cell) = table.entry(name).or_insert([NONE; COLUMNS]).get_mut(column) {
        *cell = number;
    }
}

fn x32(name: &str, native: u16) -> u16 {
    match X32_OWN.iter().position(|own| *own == name) {
        Some(place) => X32_OWN_FIRST + place as u16,
        None if X32_ABSENT.contains(&name) => NONE,
        None => native,
    }
}

fn table() -> Table {
    let mut table = Table::new();
    for number in 0..4096u16 {
        let id = usize::from(number);
        if let Some(call) = x86_64::Sysno::new(id) {
            set(&mut table, call.name(), 0, number);
            set(&mut table, call.name(), 2, x32(call.name(), number));
        }
        if let Some(call) = x86::Sysno::new(id) {
            set(&mut table, call.name(), 1, number);
        }
        if let Some(call) = aarch64::Sysno::new(id).filter(|_| !TIME64.contains(&number)) {
            // The kernel's name for it on 64-bit machines, and the one that profiles use.
            let name = if call == aarch64::Sysno::fstatat { "newfstatat" } else { call.name() };
            set(&mut table, name, 3, number);
        }
        if let Some(call) = arm::Sysno::new(id) {
            set(&mut table, call.name(), 4, number);
        }
    }
    for (name, number) in ARM_PRIVATE_NAMES {
        debug_assert!(arm::Sysno::new(ARM_PRIVATE + usize::from(number)).is_none_or(|call| call.name() == name));
        set(&mut table, name, 4, 0x8000 | number);
    }
    table
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let table = table();
    let (mut names, mut ends, mut numbers) = (String::new(), String::new(), String::new());
    for (name, row) in &table {
        names.push_str(name);
        let _ = write!(ends, "{},", names.len());
        let _ = write!(numbers, "{row:?},");
    }
    let count = table.len();
    let text = format!(
        "static NAMES: &str = \"{names}\";\n\
         static ENDS: [u16; {count}] = [{ends}];\n\
         static NUMBERS: [[u16; {COLUMNS}]; {count}] = [{numbers}];\n"
    );
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for a build script");
    fs::write(Path::new(&out).join("syscalls.rs"), text).expect("write the syscall table to OUT_DIR");
}
