//! Requests and limits out of a manifest, for the quality of service.

use std::collections::BTreeMap;

use super::{
    quoted,
    written::{Quantity, Resources},
};
use crate::{
    Error, Result,
    lifecycle::qos::{self, Amounts},
};

impl Resources {
    pub(super) fn is_empty(&self) -> bool {
        let none = |list: &Option<BTreeMap<_, _>>| list.as_ref().is_none_or(BTreeMap::is_empty);
        none(&self.requests) && none(&self.limits)
    }
}

pub(super) fn amounts(path: &str, resources: &Resources) -> Result<(Amounts, Amounts)> {
    let of = |list: &str, written: &Option<BTreeMap<String, Quantity>>| {
        let amount = |name: &str| match written.as_ref().and_then(|written| written.get(name)) {
            None | Some(Quantity::Null(())) => Ok(0),
            Some(Quantity::Text(text)) => read_quantity(path, list, name, text),
            Some(Quantity::Number(number)) => read_quantity(path, list, name, &number.to_string()),
        };
        Ok::<_, Error>(Amounts { cpu: amount("cpu")?, memory: amount("memory")? })
    };
    Ok((of("requests", &resources.requests)?, of("limits", &resources.limits)?))
}

fn read_quantity(path: &str, list: &str, name: &str, text: &str) -> Result<u128> {
    qos::quantity(text).ok_or_else(|| {
        Error::invalid(format!("{path}.{list}[{name}]"), quoted(text), "is not a quantity like 100m or 64Mi")
    })
}
