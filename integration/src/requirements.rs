//! What a lab needs from the machine, checked before anything is made.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use nix::{sys::utsname::uname, unistd::geteuid};

use crate::version::Containerd;

/// The static busybox of Debian's and Ubuntu's `busybox-static`.
pub const BUSYBOX: &str = "/bin/busybox";

/// `cgroup.kill` came with 5.14 and `mount_setattr`, for recursive read-only mounts, with 5.12.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Where distributions and CNI's own releases put the reference plugins.
const CNI_DIRECTORIES: [&str; 3] = ["/usr/lib/cni", CNI_DEFAULT, "/usr/libexec/cni"];

/// Where they are looked for without being told.
pub const CNI_DEFAULT: &str = "/opt/cni/bin";

/// The reference plugins that the lab's network uses.
const CNI_PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];

/// Programs of the machine that the lab uses.
#[derive(Debug, Clone)]
pub struct Machine {
    /// containerd with its client.
    pub containerd: Containerd,
    /// Directory of the CNI reference plugins.
    pub cni: PathBuf,
    /// runc, where `LOMENT_LAB_RUNC` names another one than containerd's shim finds.
    pub runc: Option<PathBuf>,
    /// crun, where there is one; `LOMENT_LAB_CRUN` names another one.
    pub crun: Option<PathBuf>,
}

/// Looks for everything a lab needs, with the containerd that is asked for (see [`Containerd::find`]). The error lists all
/// that is missing at once, one sentence each.
pub fn check(asked: Option<&str>) -> Result<Machine, Vec<String>> {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root: namespaces, mounts and cgroups are made; run this with sudo".to_owned());
    }
    let release = uname().map(|names| names.release().to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(complaint) = kernel_complaint(&release) {
        missing.push(complaint);
    }
    let containerd = Containerd::find(asked).map_err(|complaint| missing.push(complaint)).ok();
    let cni = CNI_DIRECTORIES
        .iter()
        .map(Path::new)
        .find(|directory| CNI_PLUGINS.iter().all(|plugin| directory.join(plugin).is_file()));
    if cni.is_none() {
        let names = CNI_PLUGINS.join(", ");
        missing.push(format!("the CNI plugins {names} (package containernetworking-plugins)"));
    }
    match fs::read(BUSYBOX) {
        Ok(program) if is_static(&program) => {}
        Ok(_) => missing.push(format!("a static {BUSYBOX}; this one needs libraries (package busybox-static)")),
        Err(_) => missing.push(format!("{BUSYBOX} (package busybox-static)")),
    }
    match (containerd, cni) {
        (Some(containerd), Some(cni)) if missing.is_empty() => {
            let (runc, crun) = (named("LOMENT_LAB_RUNC"), named("LOMENT_LAB_CRUN").or_else(|| find("crun")));
            Ok(Machine { containerd, cni: cni.to_path_buf(), runc, crun })
        }
        _ => Err(missing),
    }
}

/// What is wrong with a kernel release as in `6.1.0-13-amd64`, if anything.
fn kernel_complaint(release: &str) -> Option<String> {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST_KERNEL;
    (version < OLDEST_KERNEL).then(|| {
        format!(
            "Linux {major}.{minor} or newer, for mount_setattr and cgroup.kill; this is {release} \
             (Debian 12 and Ubuntu 22.04 are new enough)"
        )
    })
}

/// The program that a variable of the environment names, which may be a script that starts one.
fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file())
}

/// An executable of this name in `PATH`, or where administrators' programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether this process may give others a lower OOM score than its own (CAP_SYS_RESOURCE, capabilities(7)).
pub fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    effective & (1 << CAP_SYS_RESOURCE) != 0
}

/// Whether a 64-bit ELF program runs without a dynamic linker: it has no PT_INTERP among its program headers (elf(5)).
fn is_static(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = program.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | usize::from(*byte)))
    };
    let interp = || -> Option<bool> {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for index in 0..count {
            let kind = number(table.checked_add(index * size)?, 4)?;
            if kind == PT_INTERP as usize {
                return Some(true);
            }
        }
        Some(false)
    };
    program.starts_with(b"\x7fELF") && interp() == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named_with_what_it_lacks() {
        assert_eq!(kernel_complaint("5.15.0-91-generic"), None);
        assert_eq!(kernel_complaint("6.1.0-13-amd64"), None);
        let complaint = kernel_complaint("5.10.0-26-amd64").unwrap_or_default();
        assert!(complaint.contains("5.14") && complaint.contains("5.10.0-26-amd64"), "{complaint}");
    }

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        let own = fs::read("/proc/self/exe").unwrap_or_default();
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let interpreted = maps.contains("/ld-linux") || maps.contains("/ld-musl");
        assert_eq!(is_static(&own), !interpreted);
        assert!(!is_static(b"\x7fELF too short"));
        assert!(!is_static(b"#!/bin/sh"));
    }
}
