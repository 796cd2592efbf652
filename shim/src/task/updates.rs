//! What the limits of a container have been changed to: its specification in the bundle stays as it was.

use oci_spec::runtime::{LinuxResources, Spec};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// All updates in one: of what was changed twice the last counts.
#[derive(Debug, Default)]
pub(super) struct Updates(Value);

impl Updates {
    /// The limits have been changed to these; what is not in them stays.
    pub(super) fn add(&mut self, resources: &LinuxResources) -> Result<()> {
        lay(&mut self.0, value(resources)?);
        Ok(())
    }

    /// Gives the specification of the next attempt the limits that the last one had.
    pub(super) fn apply(&self, spec: &mut Spec) -> Result<()> {
        let Some(linux) = spec.linux().as_ref().filter(|_| !self.0.is_null()) else { return Ok(()) };
        let mut merged = value(&linux.resources().clone().unwrap_or_default())?;
        lay(&mut merged, self.0.clone());
        let merged: LinuxResources = serde_json::from_value(merged).map_err(|error| failure(&error))?;
        let mut linux = linux.clone();
        linux.set_resources(Some(merged));
        spec.set_linux(Some(linux));
        Ok(())
    }
}

fn value(resources: &LinuxResources) -> Result<Value> {
    serde_json::to_value(resources).map_err(|error| failure(&error))
}

fn failure(error: &serde_json::Error) -> Failure {
    Failure::unknown(format!("keep the changed limits of a container: {error}"))
}

/// Lays one value over another: objects are joined, anything else is replaced.
fn lay(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resources(value: Value) -> LinuxResources {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_last_update_counts_and_what_it_does_not_name_stays() {
        let written =
            json!({"memory": {"limit": 1 << 20, "swap": 2 << 20}, "cpu": {"shares": 2}, "pids": {"limit": 7}});
        let mut linux = oci_spec::runtime::Linux::default();
        linux.set_resources(Some(resources(written)));
        let mut spec = Spec::default();
        spec.set_linux(Some(linux));
        let mut updates = Updates::default();
        updates.add(&resources(json!({"memory": {"limit": 3 << 20}}))).unwrap();
        updates.add(&resources(json!({"memory": {"limit": 4 << 20}, "unified": {"memory.high": "max"}}))).unwrap();
        updates.apply(&mut spec).unwrap();
        let found = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        let memory = found.memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(4 << 20), Some(2 << 20)));
        assert_eq!(found.cpu().as_ref().unwrap().shares(), Some(2));
        assert_eq!(found.pids().unwrap().limit(), 7);
        assert_eq!(found.unified().as_ref().unwrap()["memory.high"], "max");
    }

    #[test]
    fn without_an_update_the_specification_is_as_it_was_written() {
        let mut spec = Spec::default();
        Updates::default().apply(&mut spec).unwrap();
        assert_eq!(spec, Spec::default());
    }
}
