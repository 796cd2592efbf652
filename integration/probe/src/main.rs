//! Runs inside test containers, from the test image, and does what no applet of busybox can: makes and finds the objects
//! of an IPC namespace, exchanges two files, serves HTTPS and gRPC's health service.

mod serve;

use std::{
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
    thread,
};

use anyhow::{Context as _, Result, bail};
use loment_sys::{
    attacks::{end_this_thread, exchange},
    sysv,
};
use nix::{fcntl::OFlag, sys::mman::shm_open, sys::stat::Mode};

const USAGE: &str = "usage: loment-probe sem-create KEY VALUE | sem-value KEY | shm-write NAME TEXT | shm-read NAME | \
                     exchange ONE TWO | linger | serve-https PORT | serve-grpc PORT FILE";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when stderr is gone too.
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["sem-create", key, value] => {
            let id = sysv::semget(key.parse()?, 1, true).with_context(|| format!("create semaphore {key}"))?;
            sysv::set_value(id, 0, value.parse()?).with_context(|| format!("set semaphore {key}"))
        }
        ["sem-value", key] => {
            let id = sysv::semget(key.parse()?, 1, false).with_context(|| format!("find semaphore {key}"))?;
            let value = sysv::value(id, 0).with_context(|| format!("read semaphore {key}"))?;
            Ok(writeln!(io::stdout(), "{value}")?)
        }
        ["shm-write", name, text] => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
            let object = shm_open(*name, flags, Mode::from_bits_truncate(0o600));
            let object = object.with_context(|| format!("create shared memory {name}"))?;
            Ok(File::from(object).write_all(text.as_bytes())?)
        }
        ["shm-read", name] => {
            let object = shm_open(*name, OFlag::O_RDONLY, Mode::empty());
            let mut text = String::new();
            File::from(object.with_context(|| format!("open shared memory {name}"))?).read_to_string(&mut text)?;
            Ok(writeln!(io::stdout(), "{text}")?)
        }
        ["serve-https", port] => serve::https(port.parse()?),
        ["serve-grpc", port, file] => serve::grpc(port.parse()?, Path::new(file)),
        ["linger"] => linger(),
        ["exchange", one, two] => exchange_for_ever(Path::new(one), Path::new(two)),
        _ => bail!("{USAGE}"),
    }
}

/// Exchanges two names again and again, each time in one step: renameat2(2).
fn exchange_for_ever(one: &Path, two: &Path) -> Result<()> {
    // Once with an answer, so that a mistake is told.
    exchange(one, two).with_context(|| format!("exchange {} and {}", one.display(), two.display()))?;
    loop {
        let _ = exchange(one, two);
    }
}

/// Ends the first thread, and says in another one that it has. For who looks into /proc it is a zombie; it lives on.
fn linger() -> Result<()> {
    thread::spawn(|| {
        let is_zombie = || std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| stat.contains(") Z "));
        while !is_zombie() {
            thread::yield_now();
        }
        // Who reads it no more does not matter.
        let _ = writeln!(io::stdout(), "lingers");
        loop {
            thread::park();
        }
    });
    end_this_thread()
}
