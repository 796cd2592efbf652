//! Huge page limits: the same on v1 and v2 but for the end of the file's name.

use oci_spec::runtime::LinuxHugepageLimit;

use crate::{
    Error, Result,
    controller::Controller,
    plan::{Absent, Group, Write},
};

/// `hugetlb.<size>.<file>`, and its counterpart for reservations where the kernel has one (5.7): a container must not
/// be able to reserve what it may not use.
pub(crate) fn writes(limit: &LinuxHugepageLimit, file: &str) -> Result<Group> {
    let size = limit.page_size();
    if !is_page_size(size) {
        return Err(Error::invalid("apply", format!("huge page limit of {size:?}"), "not a page size")
            .hint("sizes look like 64KB, 2MB, 1GB"));
    }
    const NO_SUCH_SIZE: &str = "this machine has no huge pages of that size, or no hugetlb controller";
    let write = |name| Write::new(Controller::Hugetlb, name, limit.limit());
    Ok(vec![
        write(format!("hugetlb.{size}.{file}")).absent(Absent::Fail(NO_SUCH_SIZE)),
        write(format!("hugetlb.{size}.rsvd.{file}")).absent(Absent::Ignore),
    ])
}

/// The size becomes a part of a file's name.
fn is_page_size(size: &str) -> bool {
    let Some(digits) = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)) else { return false };
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_size_cannot_name_another_file() {
        for good in ["64KB", "2MB", "1GB", "16GB"] {
            assert!(is_page_size(good), "{good}");
        }
        for bad in ["", "MB", "2", "2mb", "../2MB", "2MB/x", "2.MB", "-2MB"] {
            assert!(!is_page_size(bad), "{bad}");
        }
    }
}
