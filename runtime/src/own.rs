//! Keeping this program's file out of a container's reach (CVE-2019-5736).
//!
//! Between joining a container and execve(2) a process of this program can be seen from inside. It cannot be looked into,
//! except by who has `CAP_SYS_PTRACE`, and that one could keep a descriptor of `/proc/PID/exe` and write to the file as
//! soon as nobody executes it any more. A shim stays for as long as its containers, and a program that runs cannot be
//! written to; a command does not. So it runs itself from a mount of its own file, read-only and attached nowhere:
//! whatever `/proc/PID/exe` leads to cannot be opened for writing, today or later.

use std::{convert::Infallible, ffi::CString, os::fd::AsFd, os::unix::ffi::OsStringExt};

use loment_sys::mount::{self, attr};
use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    sys::{
        prctl,
        statvfs::{FsFlags, statvfs},
    },
    unistd::execveat,
};

use crate::failure::{Context, Result};

const OWN: &str = "/proc/self/exe";

/// Runs this program anew from a read-only mount, unless it already runs from one.
pub(crate) fn protect() -> Result<()> {
    prctl::set_dumpable(false).at("close to debuggers", "this program")?;
    let file_system = statvfs(OWN).at("examine", "the runtime's own program")?;
    if file_system.flags().contains(FsFlags::ST_RDONLY) {
        // The kernel names a program that was executed by descriptor after that.
        return prctl::set_name(c"loment-runtime").at("set the name of", "this process");
    }
    match execute_protected()? {}
}

fn execute_protected() -> Result<Infallible> {
    let program = "the runtime's own program";
    let copy = mount::clone_tree(AT_FDCWD, c"/proc/self/exe", false).at("make a mount of", program)?;
    mount::set_attributes(copy.as_fd(), false, attr::RDONLY, 0, None).at("make read-only", program)?;
    let strings = |strings: Vec<std::ffi::OsString>| -> Vec<CString> {
        strings.into_iter().filter_map(|string| CString::new(string.into_vec()).ok()).collect()
    };
    let args = strings(std::env::args_os().collect());
    let env = strings(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect(),
    );
    execveat(copy, c"", &args, &env, AtFlags::AT_EMPTY_PATH).at("execute from a read-only mount", program)
}
