//! The interpreter (loader) of an ELF program. elf(5)

use std::{fs::File, os::unix::fs::FileExt};

const PT_INTERP: u64 = 3;

/// The kernel reads no more of a program's headers. fs/binfmt_elf.c, `load_elf_phdrs`
const MOST_HEADERS: u64 = 65_536;

/// Nor a longer name.
const LONGEST_NAME: u64 = 4_096;

/// Where things are in files of 32 and of 64 bits: offset and size in bytes.
struct Layout {
    headers: (u64, usize),
    header_size: (u64, usize),
    header_count: (u64, usize),
    /// Within a program header.
    name_offset: (u64, usize),
    name_size: (u64, usize),
}

const BITS_32: Layout =
    Layout { headers: (28, 4), header_size: (42, 2), header_count: (44, 2), name_offset: (4, 4), name_size: (16, 4) };

const BITS_64: Layout =
    Layout { headers: (32, 8), header_size: (54, 2), header_count: (56, 2), name_offset: (8, 8), name_size: (32, 8) };

/// What the program in `file`, which begins with `head`, names as its interpreter. Nonsense names none: the kernel will
/// say what it thinks of it.
pub(crate) fn interpreter(file: &File, head: &[u8]) -> Option<Vec<u8>> {
    let layout = match head.strip_prefix(b"\x7fELF")?.first()? {
        1 => BITS_32,
        2 => BITS_64,
        _ => return None,
    };
    let start = number(head, layout.headers)?;
    let (size, count) = (number(head, layout.header_size)?, number(head, layout.header_count)?);
    if size == 0 || size * count > MOST_HEADERS {
        return None;
    }
    let headers = read(file, start, size * count)?;
    let header = headers.chunks_exact(usize::try_from(size).ok()?).find(|h| number(h, (0, 4)) == Some(PT_INTERP))?;
    let length = number(header, layout.name_size).filter(|length| *length <= LONGEST_NAME)?;
    let mut name = read(file, number(header, layout.name_offset)?, length)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    name.truncate(end);
    (!name.is_empty()).then_some(name)
}

fn read(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// A number of at most 8 bytes in the machine's own order: the kernel executes no other.
fn number(bytes: &[u8], (offset, size): (u64, usize)) -> Option<u64> {
    let offset = usize::try_from(offset).ok()?;
    let field = bytes.get(offset..offset.checked_add(size)?)?;
    let mut whole = [0; 8];
    if cfg!(target_endian = "little") {
        whole.get_mut(..size)?.copy_from_slice(field);
    } else {
        whole.get_mut(8 - size..)?.copy_from_slice(field);
    }
    Some(u64::from_ne_bytes(whole))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn of(path: &str) -> Option<Vec<u8>> {
        let mut file = File::open(path).unwrap();
        let mut head = [0; 256];
        let length = file.read(&mut head).unwrap();
        interpreter(&file, &head[..length])
    }

    #[test]
    fn a_dynamic_program_names_its_loader_and_a_text_does_not() {
        // This test's own program is linked to a C library, unless it was built statically.
        if let Some(name) = of("/proc/self/exe") {
            assert!(name.starts_with(b"/"), "{}", String::from_utf8_lossy(&name));
        }
        assert_eq!(of("/proc/self/status"), None);
    }

    #[test]
    fn nonsense_names_no_interpreter() {
        let file = File::open("/proc/self/exe").unwrap();
        for head in [&b""[..], b"\x7fELF", b"\x7fELF\x02", b"\x7fELF\x09\x01\x01", &[0xff; 64]] {
            assert_eq!(interpreter(&file, head), None);
        }
        let mut vast = [0xff; 64];
        vast[..5].copy_from_slice(b"\x7fELF\x02");
        assert_eq!(interpreter(&file, &vast), None);
    }
}
