//! The device nodes of a container.

use std::path::PathBuf;

use nix::sys::stat::{Mode, SFlag};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{field::Field, mounts::below_root};
use crate::{Error, Result};

/// A node to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Below the root.
    pub(crate) path: PathBuf,
    pub(crate) kind: SFlag,
    pub(crate) major: u64,
    pub(crate) minor: u64,
    pub(crate) mode: Mode,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What every container has: name, major, minor. The specification's "default devices".
const DEFAULT: &[(&str, u64, u64)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The default devices and those of `linux.devices`, which win.
pub(crate) fn devices(list: &[LinuxDevice]) -> Result<Vec<Device>> {
    let mut listed: Vec<Device> = Vec::with_capacity(list.len());
    for (index, one) in list.iter().enumerate() {
        let one = device(index, one)?;
        match listed.iter().find(|other| other.path == one.path) {
            None => listed.push(one),
            // Engines that list a device twice mean the same.
            Some(other) if *other == one => {}
            Some(_) => {
                let field = Field::of("linux.devices", index, "path");
                return Err(Error::invalid(field, one.path.display(), "is another device already"));
            }
        }
    }
    let all = DEFAULT.iter().map(|(name, major, minor)| Device {
        path: PathBuf::from("dev").join(name),
        kind: SFlag::S_IFCHR,
        major: *major,
        minor: *minor,
        mode: Mode::from_bits_truncate(0o666),
        uid: 0,
        gid: 0,
    });
    let mut devices: Vec<_> = all.filter(|device| listed.iter().all(|other| other.path != device.path)).collect();
    devices.extend(listed);
    Ok(devices)
}

fn device(index: usize, device: &LinuxDevice) -> Result<Device> {
    let field = |name| Field::of("linux.devices", index, name);
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => return Err(Error::invalid(field("type"), "a", "is not the type of one device")),
    };
    let number = |name: &'static str, number: i64| {
        // A FIFO has no numbers; engines write -1.
        let number = if kind == SFlag::S_IFIFO { 0 } else { number };
        u64::try_from(number)
            .ok()
            .filter(|number| *number < 1 << 32)
            .ok_or_else(|| Error::invalid(field(name), number, "is not a device number"))
    };
    let path = below_root(&field("path"), device.path())?;
    if path.as_os_str().is_empty() || !device.path().is_absolute() {
        return Err(Error::invalid(field("path"), format!("{:?}", device.path()), "is not an absolute path"));
    }
    Ok(Device {
        path,
        kind,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        mode: Mode::from_bits_truncate(device.file_mode().unwrap_or(0o666) & 0o7777),
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
