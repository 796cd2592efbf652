//! RDMA limits: one line of `rdma.max`, the same on v1 and v2.

use oci_spec::runtime::LinuxRdma;

use crate::{Error, Result};

pub(crate) fn line(device: &str, limit: &LinuxRdma) -> Result<String> {
    if device.is_empty() || device.contains(char::is_whitespace) {
        return Err(Error::invalid("apply", format!("rdma limit of {device:?}"), "not a device name"));
    }
    let number = |value: Option<u32>| value.map_or("max".to_owned(), |v| v.to_string());
    let (handles, objects) = (number(limit.hca_handles()), number(limit.hca_objects()));
    Ok(format!("{device} hca_handle={handles} hca_object={objects}"))
}
