//! Where a process of a container is that has made cgroups of its own.

use std::path::{Path, PathBuf};

use crate::path;

/// The cgroup of the v2 hierarchy, below its mount point, in which a process is, if that is `above` or below it. `text` is
/// its `/proc/PID/cgroup`; from outside of our cgroup namespace its path begins with `/..`. cgroups(7), cgroup_namespaces(7)
pub(crate) fn place(text: &str, above: &Path) -> Option<PathBuf> {
    let place = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    path::below_root(Path::new(place)).ok().filter(|place| place.starts_with(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_below_the_containers_cgroup_or_has_no_place() {
        let found = |text: &str| place(text, Path::new("pod/app"));
        assert_eq!(found("4:memory:/pod/app\n0::/pod/app/init\n"), Some("pod/app/init".into()));
        assert_eq!(found("0::/pod/app\n"), Some("pod/app".into()));
        for elsewhere in ["/", "/pod", "/pod/apple", "/pod/app/../b", "/../pod/app", "/init"] {
            assert_eq!(found(&format!("4:memory:/pod/app\n0::{elsewhere}\n")), None, "{elsewhere}");
        }
        assert_eq!(found("4:memory:/pod/app\n"), None, "a machine without v2");
    }
}
