//! Mount options, as mount(8) and the specification write them, lowered once.

use std::{
    ffi::{CStr, CString},
    fmt,
};

use loment_sys::mount::{Propagation, attr};

use super::ids::{IdMap, IdMaps};
use crate::{Error, Result};

/// What to change on a mount: first `clear`, then `set`; bits of [`attr`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Change {
    /// A later option overrides an earlier one.
    fn add(&mut self, later: Self) {
        self.set = self.set & !later.clear | later.set;
        self.clear = self.clear & !later.set | later.clear;
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The same, but for what becomes of some attributes.
    pub(crate) fn without(self, attributes: u64) -> Self {
        Self { set: self.set & !attributes, clear: self.clear & !attributes }
    }
}

/// Options sorted by what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `bind` or `rbind`, and which.
    pub(crate) bind: Option<Recursion>,
    /// Attributes of the mount itself.
    pub(crate) mount: Change,
    /// Attributes of the mount and everything below it.
    pub(crate) tree: Change,
    /// Propagation, in order.
    pub(crate) propagation: Vec<(Propagation, Recursion)>,
    /// Fill the new tmpfs with what it covers.
    pub(crate) copy_up: bool,
    /// `idmap` or `ridmap`: show files as if they belonged to the container's users, of one mount or of all below it.
    pub(crate) owners: Option<Recursion>,
    /// `uidmap=` and `gidmap=` of containerd's mounts: how to.
    pub(crate) maps: IdMaps,
    /// `loop`: the source is an image file.
    pub(crate) image: Option<Image>,
    /// Change what is mounted there already.
    pub(crate) remount: bool,
    /// Everything else, which is for the file system to understand.
    pub(crate) data: Vec<Datum>,
}

/// How an image file is made a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Image {
    /// Past the page cache, which has the file's content already.
    pub(crate) direct: bool,
}

/// An option of a file system: a flag or a key with its value.
pub(crate) type Datum = (CString, Option<CString>);

/// Whether something concerns one mount or all below it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recursion {
    /// One mount.
    One,
    /// All below it too.
    All,
}

/// Attributes by name: what the option does.
const ATTRIBUTES: &[(&str, Change)] = &[
    ("ro", set(attr::RDONLY)),
    ("rw", clear(attr::RDONLY)),
    ("nosuid", set(attr::NOSUID)),
    ("suid", clear(attr::NOSUID)),
    ("nodev", set(attr::NODEV)),
    ("dev", clear(attr::NODEV)),
    ("noexec", set(attr::NOEXEC)),
    ("exec", clear(attr::NOEXEC)),
    ("nosymfollow", set(attr::NOSYMFOLLOW)),
    ("symfollow", clear(attr::NOSYMFOLLOW)),
    ("nodiratime", set(attr::NODIRATIME)),
    ("diratime", clear(attr::NODIRATIME)),
    // The kernel takes a policy only if all bits of the old one are cleared with it.
    ("relatime", Change { set: attr::RELATIME, clear: attr::ATIME }),
    ("noatime", Change { set: attr::NOATIME, clear: attr::ATIME }),
    ("strictatime", Change { set: attr::STRICTATIME, clear: attr::ATIME }),
    ("norelatime", Change { set: attr::STRICTATIME, clear: attr::ATIME }),
    ("nostrictatime", Change { set: attr::RELATIME, clear: attr::ATIME }),
    ("atime", Change { set: attr::RELATIME, clear: attr::ATIME }),
];

const PROPAGATIONS: &[(&str, Propagation, Recursion)] = &[
    ("private", Propagation::Private, Recursion::One),
    ("rprivate", Propagation::Private, Recursion::All),
    ("slave", Propagation::Slave, Recursion::One),
    ("rslave", Propagation::Slave, Recursion::All),
    ("shared", Propagation::Shared, Recursion::One),
    ("rshared", Propagation::Shared, Recursion::All),
    ("unbindable", Propagation::Unbindable, Recursion::One),
    ("runbindable", Propagation::Unbindable, Recursion::All),
];

/// Options that say what is the case anyway.
/// (Versions of inodes are kept by whichever file system has them, and what the kernel logs is not said in a mount any
/// more.)
const NOTHING: &[&str] =
    &["", "defaults", "async", "loud", "silent", "nomand", "nolazytime", "iversion", "noiversion", "newinstance"];

/// Options that the kernel takes for every file system. A bind mount has none of its own: there they say nothing, as
/// everywhere.
const OF_EVERY_FILE_SYSTEM: &[&CStr] = &[c"sync", c"dirsync", c"mand", c"lazytime"];

const fn set(attribute: u64) -> Change {
    Change { set: attribute, clear: 0 }
}

const fn clear(attribute: u64) -> Change {
    Change { set: 0, clear: attribute }
}

/// Whether a datum is for every file system.
pub(crate) fn is_of_every((key, _): &Datum) -> bool {
    OF_EVERY_FILE_SYSTEM.contains(&key.as_c_str())
}

/// The propagation that a name stands for.
pub(crate) fn propagation(name: &str) -> Option<(Propagation, Recursion)> {
    PROPAGATIONS.iter().find(|(known, ..)| *known == name).map(|(_, kind, recursion)| (*kind, *recursion))
}

/// Sorts `options`; `field` names them in errors.
pub(crate) fn lower(field: &dyn fmt::Display, options: &[String]) -> Result<Options> {
    let mut lowered = Options::default();
    for option in options {
        let option = option.as_str();
        let attribute = |name: &str| ATTRIBUTES.iter().find(|(known, _)| *known == name).map(|(_, change)| *change);
        if let Some(change) = attribute(option) {
            lowered.mount.add(change);
        } else if let Some(known) = propagation(option) {
            lowered.propagation.push(known);
        } else if let Some(change) = option.strip_prefix('r').and_then(attribute) {
            lowered.tree.add(change);
        } else if !NOTHING.contains(&option) {
            lowered.take_other(field, option)?;
        }
    }
    Ok(lowered)
}

impl Options {
    fn take_other(&mut self, field: &dyn fmt::Display, option: &str) -> Result<()> {
        let refuse = |reason: &str| Err(Error::invalid(field.to_string(), format!("{option:?}"), reason));
        match option {
            "bind" => self.bind = Some(Recursion::One),
            "rbind" => self.bind = Some(Recursion::All),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.owners = Some(Recursion::One),
            "ridmap" => self.owners = Some(Recursion::All),
            "loop" => self.image = Some(self.image.unwrap_or(Image { direct: false })),
            // It says how, and so that there is an image file: containerd has it beside `loop` only.
            "direct-io" => self.image = Some(Image { direct: true }),
            "remount" => self.remount = true,
            _ if option.starts_with("X-containerd.") => return refuse("is for containerd, not for a runtime"),
            _ => {
                if let Some(ranges) = option.strip_prefix("uidmap=") {
                    self.maps.users = IdMap::of_option(field, ranges)?;
                    return Ok(());
                }
                if let Some(ranges) = option.strip_prefix("gidmap=") {
                    self.maps.groups = IdMap::of_option(field, ranges)?;
                    return Ok(());
                }
                let text = |text: &str| {
                    CString::new(text)
                        .map_err(|_| Error::invalid(field.to_string(), format!("{option:?}"), "contains a NUL"))
                };
                self.data.push(match option.split_once('=') {
                    Some((key, value)) => (text(key)?, Some(text(value)?)),
                    None => (text(option)?, None),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(options: &[&str]) -> Options {
        lower(&"mounts[0].options", &options.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_later_option_overrides_an_earlier_one() {
        assert_eq!(lowered(&["ro", "rw"]).mount, clear(attr::RDONLY));
        assert_eq!(lowered(&["rw", "ro"]).mount, set(attr::RDONLY));
        let strict = lowered(&["noatime", "strictatime"]).mount;
        assert_eq!(strict.set, attr::STRICTATIME);
    }

    #[test]
    fn recursive_attributes_are_kept_apart() {
        let options = lowered(&["rbind", "rro", "nosuid", "rslave", "rprivate"]);
        assert_eq!(options.bind, Some(Recursion::All));
        assert_eq!(options.tree, set(attr::RDONLY));
        assert_eq!(options.mount, set(attr::NOSUID));
        assert_eq!(options.propagation, [(Propagation::Slave, Recursion::All), (Propagation::Private, Recursion::All)]);
        assert!(options.data.is_empty());
    }

    #[test]
    fn what_is_not_an_attribute_is_for_the_file_system() {
        let options = lowered(&["mode=755", "size=65536k", "volatile"]);
        let expected = [(c"mode", Some(c"755")), (c"size", Some(c"65536k")), (c"volatile", None)];
        let expected: Vec<Datum> = expected.map(|(key, value)| (key.into(), value.map(Into::into))).into();
        assert_eq!(options.data, expected);
    }

    #[test]
    fn options_that_cannot_be_honoured_are_named() {
        for option in ["uidmap=0:1", "gidmap=x", "X-containerd.mkfs", "a\0b"] {
            let error = lower(&"mounts[0].options", &[option.to_owned()]).unwrap_err().to_string();
            assert!(error.contains("mounts[0].options"), "{error}");
        }
    }
}
