//! Usage and limits, as the kernel accounts them.

pub(crate) mod parse;
pub(crate) mod read_v1;
pub(crate) mod read_v2;
mod summed;
pub mod usage;
pub mod v1;
pub mod v2;

use std::{io, path::Path, sync::OnceLock};

pub use self::usage::Usage;

/// Usage of one cgroup, in the form that its layout accounts it. Hybrid reports [`Stats::V1`].
#[derive(Debug, Clone, PartialEq)]
pub enum Stats {
    /// Carries what `io.containerd.cgroups.v1.Metrics` does.
    V1(Box<v1::Stats>),
    /// Carries what `io.containerd.cgroups.v2.Metrics` does.
    V2(Box<v2::Stats>),
}

/// Name of a block device, as in `/dev/sda1`; `None` when there is no such device now.
pub fn device_name(major: u64, minor: u64) -> Option<String> {
    let target = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // In sysfs `!` stands for the `/` of names like cciss/c0d0.
    let name = Path::new(&target).file_name()?.to_str()?.replace('!', "/");
    Some(format!("/dev/{name}"))
}

/// The machine's huge page sizes as they appear in file names: `2MB`, `1GB`. They do not change while it runs.
fn page_sizes() -> io::Result<&'static [String]> {
    static SIZES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(sizes) = SIZES.get() {
        return Ok(sizes);
    }
    let sizes = read_page_sizes()?;
    Ok(SIZES.get_or_init(|| sizes))
}

fn read_page_sizes() -> io::Result<Vec<String>> {
    const DIRECTORY: &str = "/sys/kernel/mm/hugepages";
    let entries = match std::fs::read_dir(DIRECTORY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
        })
        .collect();
    sizes.sort_unstable();
    Ok(sizes.into_iter().map(page_size_name).collect())
}

fn page_size_name(kib: u64) -> String {
    const MIB: u64 = 1024;
    const GIB: u64 = 1024 * MIB;
    match kib {
        k if k >= GIB => format!("{}GB", k / GIB),
        k if k >= MIB => format!("{}MB", k / MIB),
        k => format!("{k}KB"),
    }
}

/// Lines of `mlx4_0 hca_handle=2 hca_object=2000`; `max` is the largest number.
pub(crate) fn rdma_entries(text: &str) -> Vec<v1::RdmaEntry> {
    let value = |line: &str, key: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.map_or(0, |v| if v == "max" { u32::MAX } else { v.parse().unwrap_or(0) })
    };
    let entry = |line: &str| {
        let device = line.split_whitespace().next()?.to_owned();
        Some(v1::RdmaEntry { device, hca_handles: value(line, "hca_handle"), hca_objects: value(line, "hca_object") })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_named_as_the_kernel_names_its_files() {
        for (kib, name) in [(64, "64KB"), (2048, "2MB"), (32_768, "32MB"), (1_048_576, "1GB"), (16_777_216, "16GB")] {
            assert_eq!(page_size_name(kib), name);
        }
    }
}
