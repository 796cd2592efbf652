//! Making a cgroup: all of it, or nothing.

use std::{io, path::Path};

use crate::{Error, Result, controller::Controller, dir::Dir, layout::Layout};

/// Directories that this call has made, removed in reverse order unless it comes to its end.
struct Made<'a> {
    dirs: Vec<(&'a Dir, &'a Path)>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for (root, path) in self.dirs.drain(..).rev() {
            // Whoever has put something into it meanwhile needs it; nothing else can keep it.
            let _ = root.remove_dir(path);
        }
    }
}

/// Makes `path` in every hierarchy, with its parents, and opens it: `open` is told whether there was none of it. What exists
/// is left as it is; what this call has made goes again when it fails, in opening too.
pub(crate) fn create<T>(layout: &Layout, path: &Path, open: impl FnOnce(bool) -> Result<T>) -> Result<T> {
    let mut made = Made { dirs: Vec::with_capacity(16) };
    let mut is_fresh = true;
    for hierarchy in layout.v1() {
        is_fresh &= make(&hierarchy.root, path, &mut made)?;
        if hierarchy.controllers.contains(Controller::Cpuset) {
            inherit_cpuset(&hierarchy.root, path)
                .map_err(|e| Error::new("inherit processors and memory nodes for", full(&hierarchy.root, path), e))?;
        }
    }
    if let (Some(root), true) = (layout.v2(), layout.v1().is_empty()) {
        is_fresh &= make(root, path, &mut made)?;
        crate::v2::enable_controllers(root, path)?;
    }
    let opened = open(is_fresh)?;
    made.dirs.clear();
    Ok(opened)
}

/// Makes `path` in one v2 hierarchy and enables one controller for it (hybrid's huge pages).
pub(crate) fn create_in_v2(root: &Dir, path: &Path, controller: Controller) -> Result<()> {
    let mut made = Made { dirs: Vec::new() };
    make(root, path, &mut made)?;
    crate::v2::enable_controller(root, path, controller)?;
    made.dirs.clear();
    Ok(())
}

fn full(root: &Dir, path: &Path) -> String {
    root.path().join(path).display().to_string()
}

/// Makes `path` below `root`, if it is not there; answers whether it was not. The common case, whose parents exist, is one system call.
/// A parent that somebody else removes meanwhile, because it was empty, is made again.
fn make<'a>(root: &'a Dir, path: &'a Path, made: &mut Made<'a>) -> Result<bool> {
    const ATTEMPTS: usize = 10;
    let failed = |p: &Path, e| Error::new("create cgroup", full(root, p), e);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..ATTEMPTS {
        match root.make_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => last = e,
            Err(e) => return Err(failed(path, e)),
            Ok(fresh) => {
                made.dirs.extend(fresh.then_some((root, path)));
                return Ok(fresh);
            }
        }
        let parents: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
        for parent in parents.into_iter().rev() {
            match root.make_dir(parent) {
                Ok(fresh) => made.dirs.extend(fresh.then_some((root, parent))),
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(failed(parent, e)),
            }
        }
    }
    Err(failed(path, last))
}

/// On v1 a new cpuset has no processor and no memory node, and no process can enter it: it gets its parent's, and a
/// parent that has none its own parent's first.
///
/// Writing them takes the kernel time for each cpuset of the machine. Below a parent that was empty and that we have filled,
/// new cpusets begin with what it has, which costs nothing (`cgroup.clone_children`, cgroup-v1/cgroups.rst of the kernel's
/// documentation); a parent that somebody else has filled is left as it is.
fn inherit_cpuset(root: &Dir, path: &Path) -> io::Result<()> {
    const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
    for file in FILES {
        let mut empty: Vec<&Path> = Vec::new();
        let mut value = String::new();
        for dir in path.ancestors() {
            if root.read(&dir.join(file), &mut value)? && !value.trim().is_empty() {
                break;
            }
            empty.push(dir);
        }
        for dir in empty.into_iter().rev() {
            root.write(&dir.join(file), value.trim())?;
            if dir != path {
                // Without it the next one is filled by hand, too.
                let _ = root.write(&dir.join("cgroup.clone_children"), "1");
            }
        }
    }
    Ok(())
}
