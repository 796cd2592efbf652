//! Finding the program and becoming it.

use std::{
    collections::HashSet,
    convert::Infallible,
    ffi::{CStr, CString, OsStr, OsString},
    io::{BufRead, BufReader, Read},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag},
    sys::stat::{Mode, SFlag, stat},
    unistd::{AccessFlags, execve, faccessat},
};

use super::{
    elf,
    procfs::ProcFs,
    root::{Links, Root},
};
use crate::{Error, Result, error::Context, plan::process::ProcessPlan};

/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A script may name a script as its interpreter; the kernel goes this deep.
const DEEPEST_INTERPRETER: usize = 5;

/// Finds the program of `process` in this process's root, as execvp(3) would; a name with a slash is a path.
pub(crate) fn find(process: &ProcessPlan, own: Own) -> Result<CString> {
    let name = name(process)?;
    let mut failure = None;
    for path in paths(name, &process.env) {
        match check(&path) {
            Ok(()) => return own.refuse(&path).map(|()| path),
            Err(errno) if failure.is_none() || errno == Errno::EACCES => failure = Some(errno),
            Err(_) => {}
        }
    }
    let (shown, errno) = (name.to_string_lossy(), failure.unwrap_or(Errno::ENOENT));
    Err(match (is_path(name), errno) {
        (true, errno) => Error::exec(&shown, errno, reason(&shown, errno)),
        (false, Errno::EACCES) => Error::exec(&shown, errno, "permission denied"),
        (false, _) => Error::exec(&shown, Errno::ENOENT, "executable file not found in $PATH"),
    })
}

/// The program and what would be found in its place by a user who may not execute it: for who cannot look again.
pub(crate) fn find_all(process: &ProcessPlan, own: Own) -> Result<Vec<CString>> {
    let first = find(process, own)?;
    let others = paths(name(process)?, &process.env).skip_while(|path| *path != first).skip(1);
    let others = others.filter(|path| check(path).is_ok() && own.refuse(path).is_ok());
    Ok(std::iter::once(first.clone()).chain(others).collect())
}

fn name(process: &ProcessPlan) -> Result<&CStr> {
    let name = process.args.first().ok_or_else(|| Error::invalid("process.args", "", "names no program"))?;
    Ok(name.as_c_str())
}

fn is_path(name: &CStr) -> bool {
    name.to_bytes().contains(&b'/')
}

/// Where a program may be, in the order in which it is looked for.
fn paths(name: &CStr, env: &[CString]) -> impl Iterator<Item = CString> {
    let directories = if is_path(name) { None } else { Some(variable(env, b"PATH").unwrap_or(DEFAULT_PATH)) };
    let itself = directories.is_none().then(|| name.to_owned());
    let directories = directories.into_iter().flat_map(|path| path.split(|byte| *byte == b':'));
    // An empty element would be the working directory, which an image should not be able to slip in.
    let below = directories
        .filter(|directory| !directory.is_empty())
        .map(move |directory| [directory, b"/", name.to_bytes()].concat());
    itself.into_iter().chain(below.filter_map(|path| CString::new(path).ok()))
}

/// Whether the program is, or may come to be, in a volume at one of these paths below the root. What is there now says
/// little: before this process's turn comes, another one may put the program there or exchange it.
pub(crate) fn is_in_one_of<'a>(process: &ProcessPlan, volumes: &mut impl Iterator<Item = &'a Path>) -> bool {
    let Some(name) = process.args.first() else { return false };
    let path = variable(&process.env, b"PATH").unwrap_or(DEFAULT_PATH);
    let candidates = directories(name, path, &process.cwd);
    volumes.any(|volume| candidates.iter().any(|directory| directory.starts_with(volume)))
}

/// The directories below the root, by name, in which a program is looked for.
fn directories(name: &CStr, path: &[u8], cwd: &Path) -> Vec<PathBuf> {
    let root = Path::new("/");
    let below_root = |directory: &Path| {
        let absolute = root.join(cwd).join(directory);
        absolute.strip_prefix(root).map(Path::to_path_buf).unwrap_or_default()
    };
    let file = Path::new(OsStr::from_bytes(name.to_bytes()));
    match file.parent() {
        Some(parent) if is_path(name) => vec![below_root(parent)],
        _ => path.split(|byte| *byte == b':').map(|one| below_root(Path::new(OsStr::from_bytes(one)))).collect(),
    }
}

/// Whether this file could be executed.
fn check(path: &CStr) -> nix::Result<()> {
    let kind = SFlag::from_bits_truncate(stat(path)?.st_mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFREG => faccessat(AT_FDCWD, path, AccessFlags::X_OK, nix::fcntl::AtFlags::empty()),
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        _ => Err(Errno::EACCES),
    }
}

/// The words of Go's os/exec, which engines and their users know.
fn reason(path: &str, errno: Errno) -> String {
    match errno {
        Errno::ENOENT => format!("stat {path}: no such file or directory"),
        Errno::EACCES => "permission denied".into(),
        Errno::EISDIR => "is a directory".into(),
        Errno::ENOTDIR => format!("stat {path}: not a directory"),
        other => other.desc().to_lowercase(),
    }
}

/// The program that this process runs, by device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Own(u64, u64);

impl Own {
    pub(crate) fn of(proc: &ProcFs) -> Result<Self> {
        let own = proc.file(Path::new("self"), OFlag::O_PATH | OFlag::O_DIRECTORY);
        let exe = own.and_then(|own| nix::sys::stat::fstatat(&own, "exe", nix::fcntl::AtFlags::empty()));
        exe.map(|exe| Self(exe.st_dev, exe.st_ino)).at("examine", "the runtime's own program")
    }

    /// An image whose program, or whose program's interpreter, is `/proc/self/exe` would run this runtime inside the
    /// container and could then write to it on the host (CVE-2019-5736).
    pub(super) fn refuse(self, path: &CStr) -> Result<()> {
        let mut path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
        for _ in 0..DEEPEST_INTERPRETER {
            let Ok(program) = std::fs::metadata(&path) else { return Ok(()) };
            if Self(program.dev(), program.ino()) == self {
                return Err(Error::exec(path.display(), Errno::EPERM, "is the runtime's own program"));
            }
            match interpreter(&path) {
                Some(interpreter) => path = interpreter,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// What the kernel would run to interpret `path`: what the first line of a script names, or an ELF program's loader.
/// execve(2)
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut head = [0; 256];
    // O_NONBLOCK: it may be a FIFO, on which opening would wait for ever.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = nix::fcntl::open(path, flags, Mode::empty()).ok()?;
    let mut file = std::fs::File::from(file);
    let length = file.read(&mut head).ok()?;
    let head = head.get(..length)?;
    let name = match head.strip_prefix(b"#!") {
        Some(line) => script_interpreter(line)?.to_vec(),
        None => elf::interpreter(&file, head)?,
    };
    Some(PathBuf::from(OsString::from_vec(name)))
}

fn script_interpreter(line: &[u8]) -> Option<&[u8]> {
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
    line.split(u8::is_ascii_whitespace).next().filter(|name| !name.is_empty())
}

/// Becomes the first of these programs that can be executed. Answers only if none can.
pub(crate) fn execute(programs: &[CString], process: &ProcessPlan, env: &[CString]) -> Result<Infallible> {
    let mut failure = None;
    for path in programs {
        let Err(errno) = execve(path, &process.args, env);
        // As execvp(3) does: what may not be executed is what is told, if nothing else can be.
        if failure.is_none_or(|(_, before)| before != Errno::EACCES) {
            failure = Some((path, errno));
        }
        if !matches!(errno, Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR) {
            break;
        }
    }
    let (path, errno) = failure.ok_or_else(|| Error::invalid("process.args", "", "names no program"))?;
    let shown = path.to_string_lossy();
    let error = Error::exec(&shown, errno, reason(&shown, errno));
    Err(match errno {
        // It was there a moment ago.
        Errno::ENOENT => error.hint("is the interpreter or loader that it names missing in the image?"),
        Errno::ENOEXEC => error.hint("is it for another architecture, or a script without #! line?"),
        _ => error,
    })
}

/// The environment, each variable once, with a HOME: as runc does, from the image's /etc/passwd.
pub(crate) fn environment(process: &ProcessPlan, root: &Root) -> Vec<CString> {
    let mut env = the_last_of_each(&process.env);
    if variable(&env, b"HOME").is_none_or(<[u8]>::is_empty) {
        let home = home(root, process.uid).unwrap_or_else(|| b"/".to_vec());
        env.retain(|entry| !entry.to_bytes().starts_with(b"HOME="));
        env.extend(CString::new([b"HOME=", home.as_slice()].concat()));
    }
    env
}

/// The last of the entries for each variable is the one that counts; a program that takes the first sees no other.
fn the_last_of_each(env: &[CString]) -> Vec<CString> {
    let mut seen = HashSet::with_capacity(env.len());
    let mut last: Vec<_> = env
        .iter()
        .rev()
        .filter(|entry| seen.insert(entry.to_bytes().split(|byte| *byte == b'=').next()))
        .cloned()
        .collect();
    last.reverse();
    last
}

fn variable<'env>(env: &'env [CString], name: &[u8]) -> Option<&'env [u8]> {
    // The last one wins, as for a shell.
    env.iter().rev().find_map(|entry| entry.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

/// The home of a user by the image's /etc/passwd: as much of it as a sane one has, and any nonsense is no home.
fn home(root: &Root, uid: u32) -> Option<Vec<u8>> {
    const LONGEST: u64 = 1 << 20;
    // An image may make it a FIFO or a terminal.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let passwd = root.open(Path::new("etc/passwd"), Links::Follow, flags).ok()?;
    let lines = BufReader::new(std::fs::File::from(passwd).take(LONGEST)).split(b'\n');
    lines.map_while(std::result::Result::ok).find_map(|line| home_in(&line, uid))
}

/// The home that a line of passwd(5) gives to `uid`.
fn home_in(line: &[u8], uid: u32) -> Option<Vec<u8>> {
    let mut fields = line.split(|byte| *byte == b':');
    let id = std::str::from_utf8(fields.nth(2)?).ok()?;
    let home = fields.nth(2)?;
    (id.parse() == Ok(uid) && home.starts_with(b"/")).then(|| home.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_only_in_a_sound_line() {
        assert_eq!(home_in(b"app:x:1000:1000:An app:/home/app:/bin/sh", 1000), Some(b"/home/app".to_vec()));
        for line in [&b""[..], b"#", b"app:x:1000", b"app:x:+1:1::relative:", b"app:x:99:1:::", b"a:b:1000:c:d"] {
            assert_eq!(home_in(line, 1000), None);
        }
    }

    #[test]
    fn a_program_is_looked_for_below_the_root_in_its_directory_or_in_those_of_path() {
        let directories = |name, cwd| directories(name, b"/usr/bin:/bin", Path::new(cwd));
        assert_eq!(directories(c"/tools/run", "work"), [Path::new("tools")]);
        assert_eq!(directories(c"bin/run", ""), [Path::new("bin")]);
        assert_eq!(directories(c"./run", "work"), [Path::new("work")]);
        assert_eq!(directories(c"run", "work"), [Path::new("usr/bin"), Path::new("bin")]);
    }

    #[test]
    fn the_last_of_two_equal_variables_wins() {
        let env = [c"PATH=/a", c"PATHS=/b", c"PATH=/c"].map(CString::from);
        assert_eq!(variable(&env, b"PATH"), Some(&b"/c"[..]));
        assert_eq!(variable(&env, b"HOME"), None);
        assert_eq!(the_last_of_each(&env), [c"PATHS=/b", c"PATH=/c"].map(CString::from));
    }
}
