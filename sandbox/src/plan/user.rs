//! The user namespace of a container, and its clocks.

use std::{collections::HashMap, fmt::Write as _, path::PathBuf};

use nix::sched::CloneFlags;
use oci_spec::runtime::{Linux, LinuxTimeOffset};

use super::{
    field::Field,
    ids::IdMaps,
    namespaces::{NEWTIME, Namespaces},
    process::ProcessPlan,
};
use crate::{Error, Result};

/// Where a container's users come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserPlan {
    /// A new namespace with these maps.
    New(IdMaps),
    /// One that exists. Its maps are its own; a spec that repeats them must be right.
    Join { path: PathBuf, maps: Option<IdMaps> },
}

impl UserPlan {
    /// The maps, as far as the spec says.
    pub(crate) fn maps(&self) -> Option<&IdMaps> {
        match self {
            Self::New(maps) => Some(maps),
            Self::Join { maps, .. } => maps.as_ref(),
        }
    }
}

/// Checks `linux.uidMappings` and `linux.gidMappings` against the namespaces.
pub(crate) fn user(linux: &Linux, namespaces: &Namespaces) -> Result<Option<UserPlan>> {
    let field = |name| Field::in_section("linux", name);
    let maps = IdMaps::of_spec(&field, linux.uid_mappings(), linux.gid_mappings())?;
    let joined = namespaces.join.iter().find(|(kind, _)| *kind == CloneFlags::CLONE_NEWUSER);
    match (namespaces.new.contains(CloneFlags::CLONE_NEWUSER), joined, maps) {
        (true, _, Some(maps)) => Ok(Some(UserPlan::New(maps))),
        (true, _, None) => Err(Error::invalid("linux.uidMappings", "", "is missing for a new user namespace")),
        (false, Some((_, path)), maps) => Ok(Some(UserPlan::Join { path: path.clone(), maps })),
        (false, None, None) => Ok(None),
        (false, None, Some(_)) => {
            Err(Error::invalid("linux.uidMappings", "", "needs a user namespace in linux.namespaces"))
        }
    }
}

/// Refuses a process whose ids mean nothing in its user namespace: the kernel would only say "invalid argument".
pub(crate) fn check_ids(process: &ProcessPlan, maps: &IdMaps) -> Result<()> {
    let refuse = |field: &str, id: u32| Err(Error::invalid(field, id, "is in no range of the user namespace's map"));
    if maps.users.outside(process.uid).is_none() {
        return refuse("process.user.uid", process.uid);
    }
    let groups = process.groups.iter().map(|gid| ("process.user.additionalGids", *gid));
    let mut all = groups.chain([("process.user.gid", process.gid)]);
    match all.find(|(_, gid)| maps.groups.outside(*gid).is_none()) {
        Some((field, gid)) => refuse(field, gid),
        None => Ok(()),
    }
}

/// `linux.timeOffsets` as the lines that `/proc/PID/timens_offsets` takes. time_namespaces(7)
pub(crate) fn clocks(offsets: &Option<HashMap<String, LinuxTimeOffset>>, namespaces: &Namespaces) -> Result<String> {
    let mut lines = String::new();
    for (clock, offset) in offsets.iter().flatten() {
        let refuse = |reason: &str| Err(Error::invalid("linux.timeOffsets", format!("{clock:?}"), reason));
        if !namespaces.new.contains(NEWTIME) {
            return refuse("needs a new time namespace in linux.namespaces");
        }
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            return refuse("is not a clock with an offset (monotonic, boottime)");
        }
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            return refuse("has a second or more of nanoseconds");
        }
        let _ = writeln!(lines, "{clock} {} {nanoseconds}", offset.secs().unwrap_or(0));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(text: &str) -> Linux {
        serde_json::from_str(text).unwrap()
    }

    fn namespaces(new: CloneFlags) -> Namespaces {
        Namespaces { new, join: Vec::new() }
    }

    const MAPS: &str = r#"{"uidMappings":[{"containerID":0,"hostID":9,"size":3}],
                           "gidMappings":[{"containerID":0,"hostID":8,"size":3}]}"#;

    #[test]
    fn a_user_namespace_and_its_maps_come_together() {
        let new = namespaces(CloneFlags::CLONE_NEWUSER);
        let none = namespaces(CloneFlags::empty());
        let plan = user(&linux(MAPS), &new).unwrap().unwrap();
        assert_eq!(plan.maps().unwrap().outside(1, 2), Some((10, 10)));
        assert!(user(&linux("{}"), &new).is_err());
        assert!(user(&linux(MAPS), &none).is_err());
        assert_eq!(user(&linux("{}"), &none).unwrap(), None);
        let half = r#"{"uidMappings":[{"containerID":0,"hostID":9,"size":3}]}"#;
        assert!(user(&linux(half), &new).unwrap_err().to_string().contains("gidMappings"));
    }

    #[test]
    fn clocks_are_those_that_have_an_offset() {
        let offsets = |text: &str| clocks(linux(text).time_offsets(), &namespaces(NEWTIME));
        let text = r#"{"timeOffsets":{"monotonic":{"secs":-5,"nanosecs":7}}}"#;
        assert_eq!(offsets(text).unwrap(), "monotonic -5 7\n");
        assert!(offsets(r#"{"timeOffsets":{"realtime":{"secs":1}}}"#).is_err());
        assert!(offsets(r#"{"timeOffsets":{"boottime":{"nanosecs":1000000000}}}"#).is_err());
        assert!(clocks(linux(text).time_offsets(), &namespaces(CloneFlags::empty())).is_err());
    }
}
