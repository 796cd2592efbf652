//! Which containerd has started this program. From its environment 1.7 and 2.0 look alike; but containerd says where its own
//! program is, and a Go program carries the names of the modules that it was built of. Go's `debug/buildinfo`

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// The module of containerd 2, also where it is built into another program.
const VERSION_2: &[u8] = b"github.com/containerd/containerd/v2";
/// The section of an ELF file that has the modules.
const SECTION: &[u8] = b".go.buildinfo\0";
/// More than any list of modules takes, in bytes.
const LONGEST: u64 = 1 << 20;
/// More sections than any program has.
const MOST_SECTIONS: u64 = 256;

/// Whether the program at `path` is containerd 2, or has it inside. A file that says nothing is an older one.
pub(crate) fn is_containerd_2(path: &Path) -> bool {
    !path.as_os_str().is_empty() && modules(path).is_some_and(|list| find(&list, VERSION_2))
}

/// What a Go program says of its modules. elf(5), 64 bits, in the machine's own order: others do not run here.
fn modules(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let head = read(&file, 0, 64)?;
    if !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let (table, size, count, names) =
        (number(&head, 40, 8)?, number(&head, 58, 2)?, number(&head, 60, 2)?, number(&head, 62, 2)?);
    if size < 64 || count > MOST_SECTIONS || names >= count {
        return None;
    }
    let table = read(&file, table, size * count)?;
    let sections: Vec<&[u8]> = table.chunks_exact(usize::try_from(size).ok()?).collect();
    let content = |section: &[u8]| read(&file, number(section, 24, 8)?, number(section, 32, 8)?);
    let names = content(sections.get(usize::try_from(names).ok()?)?)?;
    let is_meant = |section: &&&[u8]| {
        let name = number(section, 0, 4).and_then(|at| names.get(usize::try_from(at).ok()?..));
        name.is_some_and(|name| name.starts_with(SECTION))
    };
    content(sections.iter().find(is_meant)?)
}

fn read(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= LONGEST)?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn number(bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(size)?)?;
    let mut whole = [0; 8];
    if cfg!(target_endian = "little") {
        whole.get_mut(..size)?.copy_from_slice(field);
    } else {
        whole.get_mut(8 - size..)?.copy_from_slice(field);
    }
    Some(u64::from_ne_bytes(whole))
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}
