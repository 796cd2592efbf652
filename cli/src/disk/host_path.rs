//! Paths of the machine that are volumes.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::bail;

use super::{directory, write};

/// Makes sure that a path of the machine is what the manifest says; the two types that end in `OrCreate` make it.
pub(super) fn check(path: &Path, kind: &str) -> anyhow::Result<()> {
    match kind {
        // Without a type nothing is promised; the runtime makes a directory of what is missing.
        "" => return Ok(()),
        "DirectoryOrCreate" if !path.exists() => return directory(path, 0o755),
        "FileOrCreate" if !path.exists() => return write(path, b"", 0o644),
        _ => {}
    }
    let (is_it, name): (fn(&FileType) -> bool, &str) = match kind {
        "Directory" | "DirectoryOrCreate" => (FileType::is_dir, "directory"),
        "File" | "FileOrCreate" => (FileType::is_file, "file"),
        "Socket" => (FileType::is_socket, "socket file"),
        "CharDevice" => (FileType::is_char_device, "character device"),
        "BlockDevice" => (FileType::is_block_device, "block device"),
        other => bail!("{}: unknown type {other:?}", path.display()),
    };
    if !fs::metadata(path).is_ok_and(|found| is_it(&found.file_type())) {
        bail!("{} is not a {name}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::super::tests::Scratch;
    use super::*;

    #[test]
    fn v2_a_host_path_of_another_type_is_named() {
        let scratch = Scratch::new("host-path");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let (file, made, socket) = (scratch.0.join("f"), scratch.0.join("d"), scratch.0.join("s"));
        check(&file, "FileOrCreate").unwrap();
        check(&made, "DirectoryOrCreate").unwrap();
        assert_eq!((mode(&file), mode(&made)), (0o644, 0o755));
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, kind) in
            [(&file, "File"), (&made, "Directory"), (&socket, "Socket"), (&Path::new("/dev/null").into(), "CharDevice")]
        {
            check(path, kind).unwrap();
        }
        for (path, kind, name) in [
            (&file, "Directory", "directory"),
            (&file, "BlockDevice", "block device"),
            (&made, "FileOrCreate", "file"),
            (&scratch.0.join("none"), "Socket", "socket file"),
        ] {
            let error = check(path, kind).unwrap_err().to_string();
            assert_eq!(error, format!("{} is not a {name}", path.display()));
        }
        assert!(check(&scratch.0.join("none"), "").is_ok());
        assert!(check(&scratch.0.join("none/f"), "FileOrCreate").is_err(), "the directories above are not made");
    }
}
