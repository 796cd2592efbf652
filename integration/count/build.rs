//! Leads calls of the C library to what is defined for them in `src/counted`, as `__wrap_NAME`.

/// All of them; each has its definition, or the program is not linked.
const WRAPPED: &[&str] = &[
    "clock_gettime",
    "epoll_wait",
    "execve",
    "fork",
    "getauxval",
    "getrandom",
    "mkdirat",
    "open",
    "setns",
    "syscall",
    "umount2",
    "unlinkat",
    "unshare",
];

fn main() {
    // What is defined in the program is so for this machine alone.
    let target = |what| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if (target("OS").as_str(), target("ARCH").as_str()) != ("linux", "x86_64") {
        return;
    }
    println!("cargo::rerun-if-changed=build.rs");
    for name in WRAPPED {
        println!("cargo::rustc-link-arg-bin=loment-counted-shim=-Wl,--wrap={name}");
    }
}
