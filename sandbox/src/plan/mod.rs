//! What is to be done, decided before anything is done: a specification lowered once into checked values.
//!
//! Nothing here touches the system. Whatever cannot be honoured is refused here, by the name of its field, so that
//! nothing half made is left behind by bad input.

mod capability;
pub(crate) mod devices;
mod field;
pub(crate) mod hooks;
pub(crate) mod ids;
pub(crate) mod memory;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod netdev;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod sysctl;
#[cfg(test)]
mod tests;
pub(crate) mod user;

use std::{
    ffi::CString,
    path::{Path, PathBuf},
    sync::Arc,
};

use loment_sys::mount::Propagation;
use nix::sys::personality::Persona;
use oci_spec::runtime::{Linux, LinuxPersonality, LinuxPersonalityDomain, Spec};

use self::{
    devices::Device,
    mounts::{MountPlan, Source},
    namespaces::Namespaces,
    netdev::NetDevice,
    options::Recursion,
    process::ProcessPlan,
    sysctl::Sysctl,
    user::UserPlan,
};
use crate::{
    Error, Result,
    container::{Request, Role, RootfsMount},
    hooks::ContainerHooks,
};

/// A container to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) user: Option<UserPlan>,
    /// What the clocks of a new time namespace are ahead, as the kernel takes it.
    pub(crate) clocks: String,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// Devices that move into its network namespace.
    pub(crate) net_devices: Vec<NetDevice>,
    /// As the spec gives it.
    pub(crate) cgroup: PathBuf,
    pub(crate) process: ProcessPlan,
    pub(crate) personality: Option<Persona>,
    /// What the container sees; a holder sees nothing.
    pub(crate) view: View,
    pub(crate) hooks: Option<Arc<ContainerHooks>>,
    /// Whether containerd's mounts are made in the bundle, for hooks to find, and the container's root of them.
    pub(crate) root_is_visible: bool,
}

/// The file systems of a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// What makes the root, in order.
    pub(crate) root: Vec<MountPlan>,
    /// Where in the host's tree it stands until it is the root, for those who look for it there.
    pub(crate) root_stands_at: Option<PathBuf>,
    pub(crate) root_is_readonly: bool,
    pub(crate) root_propagation: Option<(Propagation, Recursion)>,
    pub(crate) mounts: Vec<MountPlan>,
    /// Nodes of /dev; `None` when /dev is somebody else's directory.
    pub(crate) devices: Option<Vec<Device>>,
    pub(crate) masked: Vec<PathBuf>,
    pub(crate) readonly: Vec<PathBuf>,
    /// The security label of files in mounts.
    pub(crate) mount_label: Option<CString>,
}

impl View {
    /// Whether a disk is mounted, which takes more than the container may do with devices.
    pub(crate) fn needs_disks(&self) -> bool {
        self.root.iter().chain(&self.mounts).any(MountPlan::is_of_a_disk)
    }
}

/// Checks a request. Pure: nothing of the system is looked at.
pub(crate) fn plan(request: &Request) -> Result<Plan> {
    check_id(&request.id)?;
    if !request.bundle.is_absolute() {
        return Err(Error::invalid("bundle", request.bundle.display(), "is not an absolute path"));
    }
    let spec = request.spec.as_ref();
    refuse_what_is_not_supported(spec)?;
    let none = no_linux();
    let linux = spec.linux().as_ref().unwrap_or(&none);
    let namespaces = namespaces::namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
    let process = spec.process().as_ref().ok_or_else(|| Error::invalid("process", "", "is missing"))?;
    let (hostname, domainname) = names(spec, &namespaces)?;
    let user = user::user(linux, &namespaces)?;
    let hooks = ContainerHooks::of(spec, request.role, &request.id, &request.bundle)?;
    let hooks_see_the_root = hooks.as_ref().is_some_and(|hooks| hooks.see_the_root());
    let view = match request.role {
        Role::Program => {
            namespaces.require_mount()?;
            view(request, linux, hooks_see_the_root)?
        }
        Role::Holder => View::default(),
    };
    refuse_maps_of_nobody(&view, user.is_some())?;
    let mut process = process::process(process)?;
    process.memory_policy = linux.memory_policy().as_ref().map(memory::memory_policy).transpose()?;
    if let Some(maps) = user.as_ref().and_then(UserPlan::maps) {
        user::check_ids(&process, maps)?;
    }
    Ok(Plan {
        hostname,
        domainname,
        sysctls: sysctl::sysctls(linux.sysctl().iter().flatten(), &namespaces)?,
        net_devices: match linux.net_devices() {
            Some(devices) => netdev::net_devices(devices, &namespaces)?,
            None => Vec::new(),
        },
        cgroup: cgroup(linux, &request.id),
        process,
        personality: linux.personality().as_ref().map(personality).transpose()?,
        clocks: user::clocks(linux.time_offsets(), &namespaces)?,
        user,
        namespaces,
        view,
        root_is_visible: hooks_see_the_root && !request.rootfs.is_empty(),
        hooks,
    })
}

/// `idmap` without maps means those of the container.
fn refuse_maps_of_nobody(view: &View, has_user_namespace: bool) -> Result<()> {
    let mut mounts = view.root.iter().chain(&view.mounts).filter_map(|plan| Some((plan, plan.owners.as_ref()?)));
    match mounts.find(|(_, owners)| owners.maps.is_none() && !has_user_namespace) {
        Some((plan, _)) => {
            let target = format!("/{}", plan.target.display());
            Err(Error::invalid("mounts.uidMappings", target, "is missing for idmap without a user namespace"))
        }
        None => Ok(()),
    }
}

/// An absent `linux` section: the default of the crate has namespaces and masked paths of its own.
fn no_linux() -> Linux {
    let mut linux = Linux::default();
    linux.set_resources(None).set_namespaces(None).set_masked_paths(None).set_readonly_paths(None);
    linux
}

/// The longest name that a file can have. limits.h, `NAME_MAX` (containerd takes ids of at most 76 bytes)
const LONGEST_ID: usize = 255;

/// `[A-Za-z0-9_+-][A-Za-z0-9_+.-]*`, at most 255 bytes: an id becomes a part of paths.
pub fn check_id(id: &str) -> Result<()> {
    if id.len() > LONGEST_ID {
        let begin: String = id.chars().take(16).collect();
        let reason = format!("has {} bytes, of which a name may have {LONGEST_ID}", id.len());
        return Err(Error::invalid("id", format!("{begin:?}..."), reason));
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "_+-".contains(character);
    let good = id.starts_with(is_plain) && id.chars().all(|character| is_plain(character) || character == '.');
    if good { Ok(()) } else { Err(Error::invalid("id", format!("{id:?}"), "is not [A-Za-z0-9_+-][A-Za-z0-9_+.-]*")) }
}

/// A field that is ignored is worse than one that is refused: somebody relies on it.
fn refuse_what_is_not_supported(spec: &Spec) -> Result<()> {
    let refuse = |field: &str| Err(Error::invalid(field, "", "is not supported yet"));
    let elsewhere = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
        ("process.commandLine", spec.process().as_ref().is_some_and(|process| process.command_line().is_some())),
    ];
    if let Some((field, _)) = elsewhere.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Error::invalid(field, "", "is for another platform than Linux"));
    }
    let version = spec.version();
    if !version.is_empty() && version.split('.').next() != Some("1") {
        return Err(Error::invalid("ociVersion", format!("{version:?}"), "is not a version 1.x of the specification"));
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    if linux.intel_rdt().is_some() {
        return refuse("linux.intelRdt");
    }
    Ok(())
}

fn names(spec: &Spec, namespaces: &Namespaces) -> Result<(Option<String>, Option<String>)> {
    let name = |field: &str, name: &Option<String>| match name.as_deref() {
        None | Some("") => Ok(None),
        Some(name) if !namespaces.has(nix::sched::CloneFlags::CLONE_NEWUTS) => {
            Err(Error::invalid(field, name, "needs a UTS namespace in linux.namespaces"))
        }
        // __NEW_UTS_LEN
        Some(name) if name.len() > 64 || name.contains('\0') => {
            Err(Error::invalid(field, format!("{name:?}"), "is not a name of at most 64 bytes"))
        }
        Some(name) => Ok(Some(name.to_owned())),
    };
    Ok((name("hostname", spec.hostname())?, name("domainname", spec.domainname())?))
}

/// `cgroupsPath`, whose form the cgroup layer checks, or `/loment/<id>`.
fn cgroup(linux: &Linux, id: &str) -> PathBuf {
    match linux.cgroups_path() {
        Some(path) if !path.as_os_str().is_empty() => path.clone(),
        _ => Path::new("/loment").join(id),
    }
}

fn personality(personality: &LinuxPersonality) -> Result<Persona> {
    if let Some(flag) = personality.flags().iter().flatten().next() {
        return Err(Error::invalid("linux.personality.flags", flag, "is not supported"));
    }
    // linux/personality.h: PER_LINUX and PER_LINUX32
    Ok(Persona::from_bits_retain(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0x0000,
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    }))
}

fn view(request: &Request, linux: &Linux, hooks_see_the_root: bool) -> Result<View> {
    let spec = request.spec.as_ref();
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mounts = mounts.iter().enumerate().map(|(index, mount)| mounts::spec_mount(index, mount, &request.bundle));
    let mounts = mounts.collect::<Result<Vec<_>>>()?;
    let dev_is_foreign =
        mounts.iter().any(|mount| mount.target == Path::new("dev") && matches!(mount.source, Source::Bind { .. }));
    let devices = match dev_is_foreign {
        true => None,
        false => Some(devices::devices(linux.devices().as_deref().unwrap_or_default())?),
    };
    let root_propagation = match linux.rootfs_propagation().as_deref() {
        None | Some("") => None,
        Some(name) => Some(
            options::propagation(name)
                .ok_or_else(|| Error::invalid("linux.rootfsPropagation", name, "is not a kind of propagation"))?,
        ),
    };
    let mount_label = linux.mount_label().as_deref().filter(|label| !label.is_empty());
    let (root, root_stands_at) = if hooks_see_the_root { visible_root(request)? } else { (root(request)?, None) };
    Ok(View {
        root,
        root_stands_at,
        root_is_readonly: spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false),
        root_propagation,
        mounts,
        devices,
        masked: paths("linux.maskedPaths", linux.masked_paths())?,
        readonly: paths("linux.readonlyPaths", linux.readonly_paths())?,
        mount_label: mount_label.map(|label| mounts::c_string(&"linux.mountLabel", label.as_bytes())).transpose()?,
    })
}

fn root(request: &Request) -> Result<Vec<MountPlan>> {
    if request.rootfs.is_empty() {
        let root = request.spec.root().as_ref();
        let root = root.ok_or_else(|| Error::invalid("root", "", "is missing, and there are no rootfs mounts"))?;
        return Ok(vec![mounts::root_path(root.path(), &request.bundle)?]);
    }
    rootfs(&request.rootfs, &request.bundle)
}

/// A root that stands in the bundle until it is the root: what is mounted there by then, or what the specification names.
fn visible_root(request: &Request) -> Result<(Vec<MountPlan>, Option<PathBuf>)> {
    let mut root = root(request)?;
    let place = match request.spec.root() {
        Some(given) if request.rootfs.is_empty() => request.bundle.join(given.path()),
        _ => {
            root = vec![mounts::root_path(Path::new("rootfs"), &request.bundle)?];
            crate::rootfs::place(&request.bundle)
        }
    };
    Ok((root, Some(place)))
}

/// Checks containerd's mounts, of which there is at least one.
pub(crate) fn rootfs(mounts: &[RootfsMount], bundle: &Path) -> Result<Vec<MountPlan>> {
    let mounts = mounts.iter().enumerate();
    let mounts =
        mounts.map(|(index, mount)| mounts::rootfs_mount(index, mount, bundle)).collect::<Result<Vec<MountPlan>>>()?;
    match mounts.first() {
        Some(first) if first.target.as_os_str().is_empty() => Ok(mounts),
        _ => Err(Error::invalid("rootfs[0].target", "", "must be empty: the first mount is the root")),
    }
}

fn paths(field: &'static str, paths: &Option<Vec<String>>) -> Result<Vec<PathBuf>> {
    let paths = paths.iter().flatten();
    paths
        .map(|path| {
            let clean = mounts::below_root(&field, Path::new(path))?;
            match path.starts_with('/') && !clean.as_os_str().is_empty() {
                true => Ok(clean),
                false => Err(Error::invalid(field, format!("{path:?}"), "is not an absolute path below the root")),
            }
        })
        .collect()
}
