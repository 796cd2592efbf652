//! What figures were measured on.

use std::{fs, thread, time::SystemTime};

use loment_cgroups::{Kind, Layout};
use serde::Serialize;

use crate::process::field;

/// This machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Model of the first cpu.
    pub(crate) cpu: String,
    /// Cpus that this program may use.
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// `v1`, `hybrid` or `v2`.
    pub(crate) cgroups: &'static str,
}

impl Machine {
    /// Reads it from procfs; what cannot be read is empty.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let cgroups = match Layout::detect().map(|layout| layout.kind()) {
            Ok(Kind::V1) => "v1",
            Ok(Kind::Hybrid) => "hybrid",
            Ok(Kind::V2) => "v2",
            Err(_) => "",
        };
        Self {
            cpu: model(&text("/proc/cpuinfo")).unwrap_or_default(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory_mib: field(&text("/proc/meminfo"), "MemTotal:").unwrap_or_default() / 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            cgroups,
        }
    }
}

/// This program.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Tool {
    pub(crate) version: &'static str,
    /// The commit that it was built from, where the build told it.
    pub(crate) commit: Option<&'static str>,
}

impl Tool {
    pub(crate) fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("LOMENT_COMMIT").filter(|text| !text.is_empty()),
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn model(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        ["model name", "Model"].contains(&key.trim()).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_cores_and_memory() {
        let found = Machine::read();
        assert!(!found.kernel.is_empty() && found.cores > 0 && found.memory_mib > 0, "{found:?}");
        assert_eq!(model("processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n").as_deref(), Some("Some CPU @ 3 GHz"));
    }
}
