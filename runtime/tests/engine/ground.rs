//! Where an engine runs: namespaces, a directory and cgroups of its own.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::eventually;

const NONE: Option<&str> = None;

pub(crate) struct Ground {
    pub(crate) directory: PathBuf,
    /// Parent of the cgroups of this run.
    pub(crate) cgroups: String,
}

impl Ground {
    /// Names that no other run of any engine has.
    pub(crate) fn of(engine: &str) -> Self {
        let name = format!("loment-{engine}-{}", std::process::id());
        Self { directory: std::env::temp_dir().join(&name), cgroups: format!("/{name}") }
    }

    /// Enters new mount and network namespaces, in which these directories are empty. The calling process must have one
    /// thread.
    pub(crate) fn enter(&self, covered: &[&str]) {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("these tests need root");
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
        fs::create_dir_all(&self.directory).unwrap();
        for covered in covered.iter().filter(|path| Path::new(path).is_dir()) {
            mount(Some("tmpfs"), *covered, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        }
        fs::create_dir_all("/run/lock").unwrap();
        // Overlay needs a file system that can be its upper layer, which the machine's may not be.
        mount(Some("tmpfs"), &self.directory, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        loment_sys::net::loopback_up().unwrap();
    }

    /// Makes a root file system, `image`, with busybox in it; answers with an archive of it, to be imported.
    pub(crate) fn make_image(&self) -> String {
        let root = self.directory.join("image");
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static must be installed");
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(list).unwrap().lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/tmp:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\napp:x:1000:\n").unwrap();
        let tar = self.directory.join("image.tar");
        assert!(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap().success());
        tar.into_os_string().into_string().unwrap()
    }

    /// The directory is empty where nothing is mounted on it.
    pub(crate) fn remove_directory(&self) {
        fs::remove_dir(&self.directory).unwrap();
    }

    /// Engines leave the cgroups of their monitors, and on v1 those of hierarchies that they do not know.
    pub(crate) fn remove_cgroups(&self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let mine = hierarchy.join(&self.cgroups[1..]);
            if mine.is_dir() {
                eventually("the end of the cgroups", || remove_tree(&mine));
            }
        }
    }
}

/// Removes cgroups from below; whether all are gone.
fn remove_tree(directory: &Path) -> bool {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _busy = fs::remove_dir(directory);
    !directory.exists()
}
