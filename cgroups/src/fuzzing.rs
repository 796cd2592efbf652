//! What the fuzz targets of `fuzz/` call: what the kernel and systemd say, and limits on their way to their files.

use std::path::{Component, Path};

use oci_spec::runtime::LinuxResources;

use crate::{
    devices, mountinfo, path, plan, procs,
    stats::{self, parse, read_v1, read_v2},
    systemd, usual, v1, v2,
};

/// Files of cgroups, and the tables of /proc.
pub fn kernel(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _numbers = (parse::number(text), parse::keyed(text, "anon"));
    let _v2 = (read_v2::cpu_stat(text), read_v2::memory_stat(text), read_v2::parse_psi(text));
    let _io: Vec<_> = text.lines().map(read_v2::io_entry).collect();
    let _v1 = (read_v1::memory_stat(text), read_v1::blkio_entries(text), stats::rdma_entries(text));
    let mut pids = Vec::new();
    procs::parse(text, &mut pids);
    assert!(pids.iter().all(|pid| *pid > 0));
    let _mounts = mountinfo::parse(text);
    let _hierarchies = usual::find(text);
    let _devices = devices::v1::State::parse(text).map(|state| state.plan());
    systemd::read_for_fuzzing(bytes);
}

/// `cgroupsPath`: what is taken stays below the root.
pub fn cgroups_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let given = Path::new(text);
    let name = systemd::Name::parse(given).ok().flatten().map(|name| name.path());
    for path in [path::below_root(given).ok(), name, systemd::slice_path(given)].into_iter().flatten() {
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
        assert!(path.components().all(inside), "{path:?}");
    }
}

/// `linux.resources`, to what is written into files of either layout, and told to systemd.
pub fn resources(bytes: &[u8]) {
    let Ok(resources) = serde_json::from_slice::<LinuxResources>(bytes) else { return };
    let planned = [
        v2::plan(&resources, |_| Some("max 100000".to_owned())),
        v2::plan(&resources, |_| None),
        v1::plan(&resources, v1::Hugetlb::V1),
        v1::plan(&resources, v1::Hugetlb::V2),
    ];
    for groups in planned.into_iter().flatten() {
        systemd::properties_for_fuzzing(&groups);
        for write in groups.iter().flatten() {
            assert!(!write.file.contains('/') && !write.file.is_empty(), "{}", write.file);
            let _same = plan::written_as(&write.value, &write.value);
        }
    }
    if let Ok(rules) = devices::rules(resources.devices().as_deref().unwrap_or_default()) {
        let _v1 = devices::v1::State::of(&rules).map(|state| state.plan());
    }
}
