//! A program that ends with its first instructions: it has no libraries, no stack of its own, and 132 bytes or fewer.

/// The exit code.
pub(super) const CODE: u8 = 7;

/// Where it is loaded, at a page's border.
const BASE: u64 = 0x40_0000;

/// Sizes of an ELF file's header and of the only entry of its program header table. elf(5)
const HEADER: u16 = 64;
const ENTRY: u16 = 56;

/// `EM_X86_64`, and `exit_group(CODE)`.
#[cfg(target_arch = "x86_64")]
const MACHINE: (u16, &[u8]) = (62, &[0xbf, CODE, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05]);

/// `EM_AARCH64`, and the same: `mov x0, CODE`, `mov x8, 94`, `svc 0`.
#[cfg(target_arch = "aarch64")]
const MACHINE: (u16, &[u8]) = (183, &[(CODE) << 5, 0, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4]);

/// The bytes of its file.
pub(super) fn program() -> Vec<u8> {
    let (machine, code) = MACHINE;
    let start = u64::from(HEADER + ENTRY);
    let length = start + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let word = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let long = |file: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    // An executable file of this machine, version 1; where it begins, and its one program header.
    half(&mut file, &[2, machine]);
    word(&mut file, &[1]);
    long(&mut file, &[BASE + start, u64::from(HEADER), 0]);
    word(&mut file, &[0]);
    half(&mut file, &[HEADER, ENTRY, 1, 0, 0, 0]);
    // All of it is loaded, to be read and executed.
    word(&mut file, &[1, 5]);
    long(&mut file, &[0, BASE, BASE, length, length, 0x1000]);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    #[test]
    fn it_ends_with_its_code() {
        let path = std::env::temp_dir().join(format!("loment-instant-{}", std::process::id()));
        fs::write(&path, program()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Another thread's fork may hold it open for writing for a moment.
        let status = loop {
            match Command::new(&path).status() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => continue,
                status => break status,
            }
        };
        fs::remove_file(&path).unwrap();
        assert_eq!(status.unwrap().code(), Some(i32::from(CODE)));
    }
}
