//! Mounts that keep a namespace. proc_pid_mountinfo(5)

use std::path::PathBuf;

use loment_cgroups::mountinfo::unescape;

use super::Id;

/// `ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS ... - nsfs SOURCE OPTIONS`, where ROOT names the namespace.
pub(super) fn pins(table: &[u8]) -> impl Iterator<Item = (Id, PathBuf)> {
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.windows(8).position(|part| part == b" - nsfs ")?;
        let mut fields = line.get(..end)?.split(|byte| *byte == b' ').skip(3);
        let namespace = Id::parse(std::str::from_utf8(fields.next()?).ok()?)?;
        Some((namespace, unescape(fields.next()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn a_pin_is_a_mount_of_the_file_system_of_namespaces() {
        let table = b"36 35 0:4 net:[4026532001] /run/a\\040b/net rw shared:9 - nsfs nsfs rw\n\
                      37 35 0:5 /nsfs /x rw - tmpfs nsfs rw\n38 35 0:4 / /y rw - nsfs nsfs rw\n\n";
        let id = Id { kind: Kind::Net, inode: 4_026_532_001 };
        assert_eq!(pins(table).collect::<Vec<_>>(), [(id, PathBuf::from("/run/a b/net"))]);
    }
}
