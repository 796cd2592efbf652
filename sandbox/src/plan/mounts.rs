//! What is mounted where: the spec's mounts and containerd's rootfs mounts, checked.

use std::{
    ffi::{CStr, CString},
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use loment_sys::mount::{Propagation, attr};
use oci_spec::runtime::Mount;

use super::{
    field::Field,
    ids::IdMaps,
    options::{self, Change, Datum, Image, Options, Recursion},
};
use crate::{Error, Result, container::RootfsMount};

/// One mount.
#[derive(Debug, Clone)]
pub(crate) struct MountPlan {
    /// Where it goes, below the root and without `..`; empty for the root itself.
    pub(crate) target: PathBuf,
    pub(crate) source: Source,
    /// Attributes of the mount.
    pub(crate) mount: Change,
    /// Attributes of the mount and all below it.
    pub(crate) tree: Change,
    pub(crate) propagation: Vec<(Propagation, Recursion)>,
    /// Fill it with what it covers.
    pub(crate) copy_up: bool,
    /// Whose files are shown as whose.
    pub(crate) owners: Option<Owners>,
}

/// An idmapped mount.
#[derive(Debug, Clone)]
pub(crate) struct Owners {
    /// Read as maps of a user namespace; `None`: those of the container's.
    pub(crate) maps: Option<IdMaps>,
    /// Of an overlay, the lower layers are what is mapped, each by itself.
    pub(crate) recursion: Recursion,
}

/// What is mounted.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A file or directory of the host, by absolute path.
    Bind { path: CString, recursion: Recursion },
    /// A new instance of a file system; its disk may be an image file.
    Filesystem { kind: CString, source: CString, data: Vec<Datum>, image: Option<Image> },
    /// An overlay; its lower layers are kept apart because they do not fit into one option.
    Overlay { source: CString, lower: Vec<CString>, data: Vec<Datum> },
    /// Nothing: the attributes of what is mounted there already are changed.
    Remount,
    /// The container's own view of the cgroup hierarchies.
    Cgroup,
}

impl MountPlan {
    /// Whether others may write to what is mounted: a volume.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(self.source, Source::Bind { .. })
    }

    /// Whether it is a new tmpfs.
    pub(crate) fn is_tmpfs(&self) -> bool {
        matches!(&self.source, Source::Filesystem { kind, .. } if kind.as_c_str() == c"tmpfs")
    }

    /// Whether nothing may be written through it.
    pub(crate) fn is_read_only(&self) -> bool {
        (self.mount.set | self.tree.set) & attr::RDONLY != 0
    }

    /// Whether it comes from a disk: a source that is a path.
    pub(crate) fn is_of_a_disk(&self) -> bool {
        matches!(&self.source, Source::Filesystem { source, .. } if source.to_bytes().starts_with(b"/"))
    }

    /// Whether this is one of the kernel's views that must not be reached through a link: an image could make `/proc`
    /// a link to a directory that it controls (CVE-2019-19921).
    pub(crate) fn needs_a_real_directory(&self) -> bool {
        let kernels = [c"proc", c"sysfs"];
        let is_kernels = matches!(&self.source, Source::Filesystem { kind, .. } if kernels.contains(&kind.as_c_str()));
        is_kernels || self.target == Path::new("dev")
    }
}

/// Lowers one mount of the spec; `index` is its place there.
pub(crate) fn spec_mount(index: usize, mount: &Mount, bundle: &Path) -> Result<MountPlan> {
    let field = |name| Field::of("mounts", index, name);
    let target = below_root(&field("destination"), mount.destination())?;
    if target.as_os_str().is_empty() {
        return Err(Error::invalid(field("destination"), mount.destination().display(), "would cover the root"));
    }
    let mut options = options::lower(&field("options"), mount.options().as_deref().unwrap_or_default())?;
    if let Some(maps) = IdMaps::of_spec(&field, mount.uid_mappings(), mount.gid_mappings())? {
        options.maps = maps;
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    assemble(&field, mount.typ().as_deref(), source, target, options, bundle)
}

/// Lowers one of containerd's rootfs mounts.
pub(crate) fn rootfs_mount(index: usize, mount: &RootfsMount, bundle: &Path) -> Result<MountPlan> {
    let field = |name| Field::of("rootfs", index, name);
    let target = below_root(&field("target"), Path::new(&mount.target))?;
    let options = options::lower(&field("options"), &mount.options)?;
    if options.remount {
        return Err(Error::invalid(field("options"), "\"remount\"", "is for what is mounted below a root, not for it"));
    }
    if mount.kind.starts_with("fuse") {
        return Err(Error::invalid(field("type"), &mount.kind, "needs a mount helper, which is not supported yet"));
    }
    assemble(&field, Some(&mount.kind), Path::new(&mount.source), target, options, bundle)
}

/// `root.path` of the spec as the root itself.
pub(crate) fn root_path(path: &Path, bundle: &Path) -> Result<MountPlan> {
    let source = Source::Bind { path: absolute(&"root.path", path, bundle)?, recursion: Recursion::All };
    Ok(MountPlan {
        target: PathBuf::new(),
        source,
        mount: Change::default(),
        tree: Change::default(),
        propagation: Vec::new(),
        copy_up: false,
        owners: None,
    })
}

fn assemble(
    field: &dyn Fn(&'static str) -> Field,
    kind: Option<&str>,
    source: &Path,
    target: PathBuf,
    options: Options,
    bundle: &Path,
) -> Result<MountPlan> {
    let Options { bind, mount, tree, propagation, copy_up, owners, maps, image, remount, data } = options;
    let maps = maps.complete(field, ("options (uidmap=)", "options (gidmap=)"))?;
    let owners = match (owners, &maps) {
        (None, None) => None,
        (recursion, _) => Some(Owners { maps, recursion: recursion.unwrap_or(Recursion::One) }),
    };
    let source = match (kind.unwrap_or_default(), bind) {
        // What is found there may be a mount of the host's file system, which others have mounted too.
        (_, bind) if remount => match data.iter().find(|datum| bind.is_none() || !options::is_of_every(datum)) {
            None => Source::Remount,
            Some((key, _)) => {
                let key = key.to_string_lossy();
                let reason = "is an option of a file system: a remount changes the attributes of a mount only";
                return Err(Error::invalid(field("options"), format!("{key:?}"), reason));
            }
        },
        (kind, Some(_)) | (kind @ ("bind" | "rbind"), None) => {
            if let Some((key, _)) = data.iter().find(|datum| !options::is_of_every(datum)) {
                let key = key.to_string_lossy();
                return Err(Error::invalid(field("options"), format!("{key:?}"), "is not an option of a bind mount"));
            }
            let recursive = kind == "rbind" || bind == Some(Recursion::All);
            let recursion = if recursive { Recursion::All } else { Recursion::One };
            Source::Bind { path: absolute(&field("source"), source, bundle)?, recursion }
        }
        ("" | "none", None) => return Err(Error::invalid(field("type"), "", "is missing")),
        ("cgroup" | "cgroup2", None) => Source::Cgroup,
        ("overlay", None) => overlay(field, source, data)?,
        (kind, None) => Source::Filesystem {
            kind: c_string(&field("type"), kind.as_bytes())?,
            source: match image {
                Some(_) => absolute(&field("source"), source, bundle)?,
                None => c_string(&field("source"), source.as_os_str().as_bytes())?,
            },
            data,
            image,
        },
    };
    if image.is_some() && !matches!(source, Source::Filesystem { .. }) {
        return Err(Error::invalid(field("options"), "\"loop\"", "is for a file system in an image file"));
    }
    if owners.is_some() && !matches!(&source, Source::Bind { .. } | Source::Overlay { .. }) {
        return Err(Error::invalid(field("options"), "\"idmap\"", "is for bind mounts and overlays only"));
    }
    let plan = MountPlan { target, source, mount, tree, propagation, copy_up, owners };
    match copy_up && !plan.is_tmpfs() {
        true => Err(Error::invalid(field("options"), "\"tmpcopyup\"", "is for a tmpfs only")),
        false => Ok(plan),
    }
}

fn overlay(field: &dyn Fn(&'static str) -> Field, source: &Path, data: Vec<Datum>) -> Result<Source> {
    let is_lower = |datum: &Datum| datum.0.as_c_str() == c"lowerdir";
    let (lower, data): (Vec<_>, Vec<_>) = data.into_iter().partition(is_lower);
    let lower: Vec<CString> = lower.iter().filter_map(|(_, value)| value.as_deref()).flat_map(split_layers).collect();
    if lower.is_empty() {
        return Err(Error::invalid(field("options"), "\"lowerdir\"", "is missing for an overlay"));
    }
    Ok(Source::Overlay { source: c_string(&field("source"), source.as_os_str().as_bytes())?, lower, data })
}

/// Splits `lowerdir` at colons; a backslash takes the meaning from what follows it. overlayfs(5)
fn split_layers(layers: &CStr) -> Vec<CString> {
    let mut layer = Vec::new();
    let mut all = Vec::new();
    let mut bytes = layers.to_bytes().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => all.push(std::mem::take(&mut layer)),
            b'\\' => layer.extend(bytes.next()),
            byte => layer.push(*byte),
        }
    }
    all.push(layer);
    all.into_iter().filter(|layer| !layer.is_empty()).filter_map(|layer| CString::new(layer).ok()).collect()
}

/// A path inside the container as a path relative to its root: `..` is taken out by name, before any link is looked
/// at, and cannot lead above the root. An older specification allowed relative destinations; they start at the root.
pub(crate) fn below_root(field: &dyn fmt::Display, path: &Path) -> Result<PathBuf> {
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(Error::invalid(field.to_string(), format!("{path:?}"), "contains a NUL"));
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// A path of the host; a relative one starts in the bundle.
fn absolute(field: &dyn fmt::Display, path: &Path, bundle: &Path) -> Result<CString> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid(field.to_string(), "", "is missing"));
    }
    c_string(field, bundle.join(path).as_os_str().as_bytes())
}

/// A string that the kernel can be given.
pub(crate) fn c_string(field: &dyn fmt::Display, bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        Error::invalid(field.to_string(), format!("{:?}", String::from_utf8_lossy(bytes)), "contains a NUL")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_never_leads_above_the_root() {
        for (path, clean) in [("/a/../../b", "b"), ("../../etc", "etc"), ("/", ""), ("//a/./b/", "a/b"), ("..", "")] {
            assert_eq!(below_root(&"f", Path::new(path)).unwrap(), Path::new(clean));
        }
    }

    #[test]
    fn layers_are_split_at_bare_colons() {
        assert_eq!(split_layers(c"/a:/b\\:c::/d"), [c"/a", c"/b:c", c"/d"].map(CString::from));
    }

    #[test]
    fn an_unknown_option_of_a_bind_mount_is_named() {
        let mount = RootfsMount {
            kind: "bind".into(),
            source: "/x".into(),
            target: String::new(),
            options: vec!["rbind".into(), "frobnicate".into()],
        };
        let error = rootfs_mount(0, &mount, Path::new("/bundle")).unwrap_err().to_string();
        assert!(error.contains("rootfs[0].options") && error.contains("frobnicate"), "{error}");
    }
}
