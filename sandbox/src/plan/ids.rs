//! Which users and groups of the host the ids of a user namespace stand for. user_namespaces(7)

use std::fmt::{self, Write as _};

use oci_spec::runtime::LinuxIdMapping;

use super::field::Field;
use crate::{Error, Result};

/// Most lines that the kernel takes for one map.
const MOST: usize = 340;

/// `count` ids from `inside` on are those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdRange {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// One map, of users or of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<IdRange>);

/// The maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) users: IdMap,
    pub(crate) groups: IdMap,
}

impl IdMap {
    /// Checks ranges; `field` names them in errors.
    pub(crate) fn new(field: &dyn fmt::Display, ranges: Vec<IdRange>) -> Result<Self> {
        let refuse = |range: &IdRange, reason: &str| {
            let shown = format!("{}:{}:{}", range.inside, range.outside, range.count);
            Err(Error::invalid(field.to_string(), shown, reason))
        };
        if ranges.len() > MOST {
            return Err(Error::invalid(
                field.to_string(),
                ranges.len(),
                format!("are more ranges than the {MOST} of the kernel"),
            ));
        }
        for (index, range) in ranges.iter().enumerate() {
            let fits = |first: u32| u64::from(first) + u64::from(range.count) <= u64::from(u32::MAX);
            if range.count == 0 {
                return refuse(range, "is an empty range (container:host:size)");
            }
            if !fits(range.inside) || !fits(range.outside) {
                return refuse(range, "goes beyond the last id (container:host:size)");
            }
            let meets = |first: u32, other: u32, count: u32| {
                u64::from(first) < u64::from(other) + u64::from(count)
                    && u64::from(other) < u64::from(first) + u64::from(range.count)
            };
            let before = ranges.iter().take(index);
            if before.into_iter().any(|other| {
                meets(range.inside, other.inside, other.count) || meets(range.outside, other.outside, other.count)
            }) {
                return refuse(range, "overlaps another range (container:host:size)");
            }
        }
        Ok(Self(ranges))
    }

    /// What the spec says.
    pub(crate) fn of_spec(field: &dyn fmt::Display, mappings: &[LinuxIdMapping]) -> Result<Self> {
        let range = |mapping: &LinuxIdMapping| IdRange {
            inside: mapping.container_id(),
            outside: mapping.host_id(),
            count: mapping.size(),
        };
        Self::new(field, mappings.iter().map(range).collect())
    }

    /// `container:host:size`, any number of them with commas between, as containerd's `uidmap=` option has it.
    pub(crate) fn of_option(field: &dyn fmt::Display, text: &str) -> Result<Self> {
        let range = |text: &str| {
            let mut numbers = text.split(':').map(|number| number.parse().ok());
            match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
                (Some(Some(inside)), Some(Some(outside)), Some(Some(count)), None) => {
                    Ok(IdRange { inside, outside, count })
                }
                _ => Err(Error::invalid(field.to_string(), format!("{text:?}"), "is not container:host:size")),
            }
        };
        Self::new(field, text.split(',').map(range).collect::<Result<_>>()?)
    }

    /// What `/proc/PID/uid_map` says, if it can be understood.
    pub(crate) fn of_kernel(text: &str) -> Option<Self> {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
            Some(IdRange { inside: numbers.next()??, outside: numbers.next()??, count: numbers.next()?? })
        };
        text.lines().map(range).collect::<Option<_>>().map(Self)
    }

    /// As the kernel wants it written.
    pub(crate) fn to_kernel(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, range| {
            let _ = writeln!(text, "{} {} {}", range.inside, range.outside, range.count);
            text
        })
    }

    /// The host's id for one of the namespace.
    pub(crate) fn outside(&self, inside: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let offset = inside.checked_sub(range.inside).filter(|offset| *offset < range.count)?;
            Some(range.outside + offset)
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IdMaps {
    /// Both maps of a spec, which come together or not at all; `field` is the place that holds `uidMappings`.
    pub(crate) fn of_spec(
        field: &dyn Fn(&'static str) -> Field,
        users: &Option<Vec<LinuxIdMapping>>,
        groups: &Option<Vec<LinuxIdMapping>>,
    ) -> Result<Option<Self>> {
        let users = IdMap::of_spec(&field("uidMappings"), users.as_deref().unwrap_or_default())?;
        let groups = IdMap::of_spec(&field("gidMappings"), groups.as_deref().unwrap_or_default())?;
        Self { users, groups }.complete(field, ("uidMappings", "gidMappings"))
    }

    /// Refuses one map without the other, by the names of their fields.
    pub(crate) fn complete(
        self,
        field: &dyn Fn(&'static str) -> Field,
        names: (&'static str, &'static str),
    ) -> Result<Option<Self>> {
        match (self.users.is_empty(), self.groups.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(self)),
            (true, false) => Err(Error::invalid(field(names.0), "", format!("is missing beside {}", names.1))),
            (false, true) => Err(Error::invalid(field(names.1), "", format!("is missing beside {}", names.0))),
        }
    }

    /// The host's user and group for those of the namespace.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((self.users.outside(uid)?, self.groups.outside(gid)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(ranges: &[(u32, u32, u32)]) -> Result<IdMap> {
        let range = |&(inside, outside, count): &(u32, u32, u32)| IdRange { inside, outside, count };
        IdMap::new(&"uidMappings", ranges.iter().map(range).collect())
    }

    #[test]
    fn an_id_is_found_in_its_range_only() {
        let map = map(&[(0, 100_000, 10), (1000, 5, 1)]).unwrap();
        let found = [0, 9, 10, 999, 1000, 1001].map(|inside| map.outside(inside));
        assert_eq!(found, [Some(100_000), Some(100_009), None, None, Some(5), None]);
    }

    #[test]
    fn what_the_kernel_shows_is_what_it_was_given() {
        let map = map(&[(0, 100_000, 65_536), (70_000, 7, 1)]).unwrap();
        assert_eq!(
            IdMap::of_kernel("         0     100000      65536\n     70000          7          1\n"),
            Some(map.clone())
        );
        assert_eq!(IdMap::of_kernel(&map.to_kernel()), Some(map));
        assert_eq!(IdMap::of_kernel("0 1"), None);
    }

    #[test]
    fn ranges_that_the_kernel_would_refuse_are_refused_by_name() {
        let bad: [&[(u32, u32, u32)]; 5] =
            [&[(0, 0, 0)], &[(0, u32::MAX, 1)], &[(5, 0, u32::MAX)], &[(0, 1, 5), (4, 10, 1)], &[(0, 1, 5), (9, 5, 1)]];
        for ranges in bad {
            let error = map(ranges).unwrap_err().to_string();
            assert!(error.starts_with("uidMappings "), "{error}");
        }
        assert!(map(&[(0, 0, u32::MAX)]).is_ok(), "the whole range maps to itself");
        assert!(map(&vec![(0, 0, 1); MOST + 1]).is_err());
    }

    #[test]
    fn an_option_holds_ranges() {
        let ranges = IdMap::of_option(&"f", "0:1:2,5:6:7").unwrap();
        assert_eq!((ranges.outside(1), ranges.outside(6)), (Some(2), Some(7)));
        for text in ["", "0", "0:1", "0:1:2:3", "a:b:c", "0:1:2,", "-1:0:1"] {
            assert!(IdMap::of_option(&"f", text).is_err(), "{text:?}");
        }
    }
}
