//! The files that every container of a pod finds at the same place: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`, and
//! `/dev/shm`. containerd makes them for a sandbox that it makes itself; else they are in the sandbox's bundle.
//!
//! The files are written by containers too, and a bundle is mostly in memory, which the whole machine needs. So they are on
//! the disk, in the directory that containerd keeps there for each bundle and removes with it.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

use super::config::{PodSandboxConfig, Wanted};
use crate::failure::{Failure, Result};

/// Size of a pod's shared memory: what containerd and docker give.
const SHM_SIZE: &str = "64m";
/// Name of its directory in the bundle.
const SHM: &str = "shm";
/// Name of the link in a bundle to its directory on the disk.
const WORK: &str = "work";

/// Where they are. Dropping this leaves them: see [`Fittings::remove`].
#[derive(Debug, Clone)]
pub(crate) struct Fittings {
    /// Each place in a container, with what is there.
    pub(crate) places: Vec<(&'static str, PathBuf)>,
    bundle: PathBuf,
    /// The shared memory: containerd may have renamed the bundle before it is to be unmounted. As long as it is held, what was
    /// written there stays.
    shared: Arc<Mutex<Option<File>>>,
}

impl Fittings {
    /// Where they are in a bundle.
    pub(crate) fn of(bundle: &Path, has_ipc: bool) -> Self {
        let on_disk = fs::canonicalize(bundle.join(WORK)).unwrap_or_else(|_| bundle.to_owned());
        let file = |name: &str| on_disk.join(name);
        let shm = if has_ipc { bundle.join(SHM) } else { PathBuf::from("/dev/shm") };
        let places = [
            ("/etc/hosts", file("hosts")),
            ("/etc/hostname", file("hostname")),
            ("/etc/resolv.conf", file("resolv.conf")),
            ("/dev/shm", shm),
        ];
        Self { places: places.into(), bundle: bundle.to_owned(), shared: Arc::default() }
    }

    /// Makes them. They belong to the pod's root. On error they are removed again.
    pub(crate) fn make(bundle: &Path, wanted: &Wanted<'_>) -> Result<Self> {
        let mut fittings = Self::of(bundle, wanted.has_ipc());
        fittings.fill(wanted).inspect_err(|_| fittings.remove())?;
        Ok(fittings)
    }

    fn fill(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let config = wanted.config;
        for (place, path) in &self.places {
            let text = match *place {
                "/etc/hosts" => hosts()?,
                "/etc/hostname" => format!("{}\n", hostname(config, wanted.has_network())?),
                "/etc/resolv.conf" => resolver(config)?,
                _ => continue,
            };
            write(path, &text, wanted.root())?;
        }
        if wanted.has_ipc() {
            *crate::lock(&self.shared) = Some(share_memory(&self.bundle, wanted.root())?);
        }
        Ok(())
    }

    /// Takes back what lasts by itself. The files go with the bundle, which is containerd's.
    pub(crate) fn remove(&self) {
        let removed = match crate::lock(&self.shared).take() {
            Some(shared) => {
                unmount(&PathBuf::from(format!("/proc/self/fd/{}/.", shared.as_raw_fd())), MntFlags::empty())
            }
            None => remove_shared_memory(&self.bundle),
        };
        if let Err(failure) = removed {
            log::warn!("{failure}");
        }
    }
}

/// Unmounts the shared memory of a sandbox's bundle, if there is any. Of containers that still have it, it stays.
pub(crate) fn remove_shared_memory(bundle: &Path) -> Result<()> {
    unmount(&bundle.join(SHM), MntFlags::UMOUNT_NOFOLLOW)
}

fn unmount(path: &Path, flags: MntFlags) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH | flags) {
        // It was none, or is none any more.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Failure::io("unmount", path.display(), &errno.into())),
    }
}

/// Mounts it, and opens what was mounted.
fn share_memory(bundle: &Path, root: (u32, u32)) -> Result<File> {
    let path = bundle.join(SHM);
    // An attempt that has failed may have made it.
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
    made.map_err(|error| Failure::io("make directory", path.display(), &error))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("mode=1777,size={SHM_SIZE},uid={},gid={}", root.0, root.1);
    mount(Some("shm"), &path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|errno| Failure::io("mount the pod's shared memory on", path.display(), &errno.into()))?;
    let opened = File::options().read(true).custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY).open(&path);
    opened.map_err(|error| {
        // Nobody else would.
        let _gone = remove_shared_memory(bundle);
        Failure::io("open the pod's shared memory at", path.display(), &error)
    })
}

/// A file that the pod's containers may read, whatever the shim's umask is.
fn write(path: &Path, text: &str, (uid, gid): (u32, u32)) -> Result<()> {
    let failed = |error: io::Error| Failure::io("write", path.display(), &error);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o644).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    if (uid, gid) != (0, 0) {
        fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok(())
}

/// As on the host, if that has one.
fn hosts() -> Result<String> {
    let found = of_host("/etc/hosts")?;
    Ok(found.unwrap_or_else(|| "127.0.0.1\tlocalhost\n::1\tlocalhost\n".to_owned()))
}

/// The pod's name, or the host's for a pod on the host's network, which has that.
fn hostname(config: &PodSandboxConfig, has_network: bool) -> Result<String> {
    if has_network && !config.hostname.is_empty() {
        return Ok(config.hostname.clone());
    }
    let name = nix::unistd::gethostname().map_err(|errno| Failure::io("read", "the host's name", &errno.into()))?;
    Ok(name.to_string_lossy().into_owned())
}

/// As the pod's configuration says, else as on the host. resolv.conf(5)
fn resolver(config: &PodSandboxConfig) -> Result<String> {
    let dns = config.dns_config.clone().unwrap_or_default();
    let list = |word: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("{word} {}\n", names.join(" ")),
    };
    let servers = dns.servers.iter().map(|server| format!("nameserver {server}\n"));
    let text: String =
        [list("search", &dns.searches)].into_iter().chain(servers).chain([list("options", &dns.options)]).collect();
    if text.is_empty() { Ok(of_host("/etc/resolv.conf")?.unwrap_or_default()) } else { Ok(text) }
}

fn of_host(path: &str) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use protobuf::MessageField;

    use super::*;
    use crate::generated::cri::DNSConfig;

    fn config(servers: &[&str], searches: &[&str], options: &[&str]) -> PodSandboxConfig {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let (servers, searches, options) = (list(servers), list(searches), list(options));
        let dns = DNSConfig { servers, searches, options, ..DNSConfig::default() };
        PodSandboxConfig { dns_config: MessageField::some(dns), hostname: "web".into(), ..PodSandboxConfig::default() }
    }

    #[test]
    fn a_resolver_is_told_what_the_pod_says() {
        let config = config(&["10.0.0.10", "10.0.0.11"], &["a.svc", "svc"], &["ndots:5"]);
        let expected = "search a.svc svc\nnameserver 10.0.0.10\nnameserver 10.0.0.11\noptions ndots:5\n";
        assert_eq!(resolver(&config).unwrap(), expected);
    }

    #[test]
    fn a_pod_that_says_nothing_resolves_as_the_host_does() {
        let of_host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        assert_eq!(resolver(&config(&[], &[], &[])).unwrap(), of_host);
    }

    #[test]
    fn a_pods_name_is_its_own_unless_it_is_on_the_hosts_network() {
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let config = config(&[], &[], &[]);
        assert_eq!(hostname(&config, true).unwrap(), "web");
        assert_eq!(hostname(&config, false).unwrap(), host);
        assert_eq!(hostname(&PodSandboxConfig::new(), true).unwrap(), host);
    }

    #[test]
    fn on_the_hosts_ipc_shared_memory_is_the_hosts() {
        let shm = |has_ipc| Fittings::of(Path::new("/b"), has_ipc).places.pop().unwrap().1;
        assert_eq!(shm(false), Path::new("/dev/shm"));
        assert_eq!(shm(true), Path::new("/b/shm"));
    }

    #[test]
    fn a_bundle_without_shared_memory_has_none_to_be_removed() {
        assert!(remove_shared_memory(Path::new("/nowhere")).is_ok());
        assert!(remove_shared_memory(&std::env::temp_dir()).is_ok());
    }
}
