//! `linux.netDevices`: network devices of the host that a container gets.

use std::collections::HashMap;

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxNetDevice;

use super::namespaces::Namespaces;
use crate::{Error, Result};

/// A device to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetDevice {
    /// Its name on the host.
    pub(crate) name: String,
    /// Its name in the container. `%d` in it is for the kernel to replace by the first free number.
    pub(crate) inside: String,
}

/// Checks `linux.netDevices`.
pub(crate) fn net_devices(
    devices: &HashMap<String, LinuxNetDevice>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>> {
    const FIELD: &str = "linux.netDevices";
    if !devices.is_empty() && !namespaces.has(CloneFlags::CLONE_NEWNET) {
        return Err(Error::invalid(FIELD, "", "needs a network namespace in linux.namespaces"));
    }
    let mut all = Vec::with_capacity(devices.len());
    for (name, device) in devices {
        let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
        let refuse =
            |name: &str| Err(Error::invalid(FIELD, format!("{name:?}"), "is not the name of a network device"));
        if !is_name(name) {
            return refuse(name);
        }
        if !is_name(&inside.replacen("%d", "0", 1)) {
            return refuse(inside);
        }
        all.push(NetDevice { name: name.clone(), inside: inside.to_owned() });
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// As the kernel's `dev_valid_name`, and without its template.
fn is_name(name: &str) -> bool {
    let strange = |byte: u8| byte == 0 || b"/:%".contains(&byte) || byte.is_ascii_whitespace() || byte == 0x0b;
    // IFNAMSIZ, which counts the NUL.
    (1..16).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(strange)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(devices: serde_json::Value) -> Result<Vec<NetDevice>> {
        let namespaces = Namespaces { new: CloneFlags::CLONE_NEWNET, join: Vec::new() };
        net_devices(&serde_json::from_value(devices).unwrap(), &namespaces)
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let device = |name: &str, inside: &str| NetDevice { name: name.into(), inside: inside.into() };
        let devices = check(json!({"b": {"name": "eth%d"}, "a": {}, "c": {"name": ""}})).unwrap();
        assert_eq!(devices, [device("a", "a"), device("b", "eth%d"), device("c", "c")]);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", ".", "..", "a/b", "a b", "a:b", "a\0", "sixteen-letters-", "%d%d", "a%s"] {
            let renamed = check(json!({"a": {"name": name}}));
            assert!(name.is_empty() || renamed.is_err(), "{name:?}");
            assert!(check(json!({name: {}})).is_err(), "{name:?}");
        }
        let nowhere = Namespaces { new: CloneFlags::empty(), join: Vec::new() };
        let devices = serde_json::from_value(json!({"a": {}})).unwrap();
        assert!(net_devices(&devices, &nowhere).unwrap_err().to_string().contains("linux.netDevices"));
    }
}
