//! What other runtimes have been attacked by, tried here. Each test fails when what stands against it is taken away;
//! docs/security.md says what that is.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use loment_sys::attacks::exchange;
use serde_json::{Value, json};

use crate::support::*;

pub(crate) const TESTS: &[(&str, fn())] = tests![
    no_program_is_found_through_a_descriptor_of_the_host,
    no_working_directory_is_found_through_a_descriptor_of_the_host,
    a_loader_of_a_program_is_not_the_runtime,
    a_volume_that_is_exchanged_for_a_link_leads_nothing_outside,
    a_device_that_is_exchanged_for_a_link_leaves_the_hosts_file_alone,
    a_hierarchy_that_is_mounted_inside_a_cgroup_namespace_has_no_release_agent,
    a_readonly_cgroup_stays_read_only_without_the_capability_to_mount,
];

/// More than a process on its way into a container has.
const DESCRIPTORS: std::ops::Range<i32> = 0..40;

/// From anywhere to the root of the host.
const UP: &str = "../../../../../../../../../../../../..";

/// A program of the host's that no container has.
fn program_of_the_host(bundle: &Bundle) -> PathBuf {
    let outside = bundle.path.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::copy("/bin/busybox", outside.join("true")).unwrap();
    outside
}

/// Runs a container with this process and tells whether its program was found.
fn runs(bundle: &mut Bundle, change: impl FnOnce(&mut Value)) -> bool {
    let before = bundle.spec.clone();
    change(&mut bundle.spec["process"]);
    let (io, _output) = output();
    let created = bundle.create(io);
    bundle.spec = before;
    let Ok(mut container) = created else { return false };
    let started = container.start().unwrap().finish().is_ok();
    container.delete().unwrap();
    started
}

fn executes(running: &Running, process: Value) -> bool {
    let (io, _output) = output();
    let executing = running.0.exec(&serde_json::from_value(process).unwrap(), io).unwrap();
    executing.finish().map(|(mut process, _)| wait(&mut process)).is_ok()
}

/// CVE-2024-21626: `..` leads from a directory of the host's, which is open while a container is set up, to the host's
/// root.
fn no_program_is_found_through_a_descriptor_of_the_host() {
    let mut bundle = Bundle::new("sleep 100");
    let outside = program_of_the_host(&bundle);
    let outside = outside.strip_prefix("/").unwrap().display().to_string();
    let mut other = Bundle::new("true");
    limit_huge_pages(&mut bundle);
    limit_huge_pages(&mut other);
    let running = bundle.started();
    for number in DESCRIPTORS {
        let directory = format!("/proc/self/fd/{number}/{UP}/{outside}");
        let program = format!("{directory}/true");
        for rootfs in [bundle.rootfs(), other.rootfs()] {
            let script = rootfs.join("script");
            fs::write(&script, format!("#!{program}\n")).unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let variable = format!("PATH={directory}");
        for (args, env) in [(&*program, PATH), ("true", &variable), ("/script", PATH)] {
            let exec = json!({"args": [args], "cwd": "/", "user": {}, "env": [env]});
            assert!(!executes(&running, exec), "exec: {args} {env}");
            let init = |process: &mut Value| (process["args"], process["env"]) = (json!([args]), json!([env]));
            assert!(!runs(&mut other, init), "init: {args} {env}");
        }
    }
    assert!(executes(&running, json!({"args": ["true"], "cwd": "/", "user": {}, "env": [PATH]})));
    drop(running);
    bundle.spec["process"]["args"] = json!(["true"]);
    bundle.output();
}

/// CVE-2024-21626, as it was found: by name and by a link of the image.
fn no_working_directory_is_found_through_a_descriptor_of_the_host() {
    let mut bundle = Bundle::new("sleep 100");
    limit_huge_pages(&mut bundle);
    let running = bundle.started();
    let mut other = Bundle::new("true");
    limit_huge_pages(&mut other);
    for number in DESCRIPTORS {
        let magic = format!("/proc/self/fd/{number}");
        for rootfs in [bundle.rootfs(), other.rootfs()] {
            let _ = fs::remove_file(rootfs.join("link"));
            symlink(&magic, rootfs.join("link")).unwrap();
        }
        for cwd in [&*magic, "/link", "/link/../.."] {
            // `..` is taken out by name, so that the last of them is the root.
            let expected = cwd.ends_with("..");
            let exec = json!({"args": ["true"], "cwd": cwd, "user": {}, "env": [PATH]});
            assert_eq!(executes(&running, exec), expected, "exec: {cwd}");
            assert_eq!(runs(&mut other, |process| process["cwd"] = json!(cwd)), expected, "init: {cwd}");
        }
    }
}

/// CVE-2019-5736: an ELF program whose loader is the runtime.
fn a_loader_of_a_program_is_not_the_runtime() {
    let mut bundle = Bundle::new("");
    let program = bundle.rootfs().join("program");
    fs::write(&program, elf_with_interpreter(b"/proc/self/exe\0")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.spec["process"]["args"] = json!(["/program"]);
    let error = bundle.refused();
    assert!(error.contains("is the runtime's own program"), "{error}");
    // And by way of a script.
    let script = bundle.rootfs().join("script");
    fs::write(&script, "#! /program\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.spec["process"]["args"] = json!(["/script"]);
    let error = bundle.refused();
    assert!(error.contains("is the runtime's own program"), "{error}");
}

/// Headers of a program of this machine with nothing in it but the name of its interpreter. elf(5)
fn elf_with_interpreter(name: &[u8]) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut file = vec![0; 64 + 56];
    let mut put = |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &3_u16.to_ne_bytes());
    put(18, &machine.to_ne_bytes());
    put(20, &1_u32.to_ne_bytes());
    put(32, &64_u64.to_ne_bytes());
    put(52, &64_u16.to_ne_bytes());
    put(54, &56_u16.to_ne_bytes());
    put(56, &1_u16.to_ne_bytes());
    // PT_INTERP
    put(64, &3_u32.to_ne_bytes());
    put(72, &120_u64.to_ne_bytes());
    put(96, &(name.len() as u64).to_ne_bytes());
    file.extend_from_slice(name);
    file
}

/// Exchanges two names in a loop until it is dropped: what another container can do in a shared volume.
struct Exchanger(std::os::fd::OwnedFd);

impl Exchanger {
    fn start(one: &Path, two: &Path) -> Self {
        let (one, two) = (one.to_owned(), two.to_owned());
        let for_ever = move || {
            loop {
                let _ = exchange(&one, &two);
            }
        };
        Self(loment_sys::clone::clone3(0, None, for_ever).unwrap().1)
    }
}

impl Drop for Exchanger {
    fn drop(&mut self) {
        use std::os::fd::AsFd;
        clean_up(|| {
            loment_sys::pidfd::send_signal(self.0.as_fd(), nix::libc::SIGKILL).unwrap();
            let mut ended = [nix::poll::PollFd::new(self.0.as_fd(), nix::poll::PollFlags::POLLIN)];
            nix::poll::poll(&mut ended, nix::poll::PollTimeout::NONE).unwrap();
            loment_sys::pidfd::try_wait(self.0.as_fd(), true).unwrap();
        });
    }
}

/// Names in a tree, with what kind of file they are.
fn tree(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let status = entry.metadata().unwrap();
        names.push(format!("{} {:o}", entry.path().display(), status.permissions().mode()));
        if status.is_dir() {
            names.extend(tree(&entry.path()));
        }
    }
    names.sort();
    names
}

/// CVE-2021-30465: mounts into a volume in which somebody exchanges the directory for a link to the host's files.
fn a_volume_that_is_exchanged_for_a_link_leads_nothing_outside() {
    let mut bundle = Bundle::new("true");
    let (volume, outside) = (bundle.path.join("volume"), bundle.path.join("outside"));
    let place = volume.join("place");
    fs::create_dir_all(place.join("sub")).unwrap();
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("file"), "").unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    bundle.mount(json!({
        "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rprivate"]
    }));
    let tmpfs = |destination: &str, options: &[&str]| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options});
    bundle.mount(tmpfs("/volume/place/sub", &["tmpcopyup"]));
    bundle.mount(tmpfs("/volume/place/made/by/the/runtime", &[]));
    bundle.mount(json!({
        "destination": "/volume/place/file", "type": "bind", "source": "/dev/null", "options": ["bind"]
    }));
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/volume/place/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777}]);
    bundle.spec["linux"]["maskedPaths"] = json!(["/volume/place/sub", "/volume/place/file"]);
    // By turns: where all of the place is read-only no working directory can be made in it.
    let turn = |bundle: &mut Bundle, number: usize| {
        let (read_only, cwd) = [("/volume/place", "/"), ("/volume/place/made", "/volume/place/cwd")][number % 2];
        bundle.spec["linux"]["readonlyPaths"] = json!([read_only]);
        bundle.spec["process"]["cwd"] = json!(cwd);
    };
    let (before, mounts) = (tree(&outside), fs::read_to_string("/proc/self/mountinfo").unwrap());
    // Undisturbed it can be made: what fails below fails for the exchange. Then all has to be made once more.
    for number in 0..2 {
        turn(&mut bundle, number);
        bundle.create(no_io()).unwrap_or_else(|error| panic!("{error}")).delete().unwrap();
    }
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir_all(place.join("sub")).unwrap();
    let exchanger = Exchanger::start(&place, &volume.join("link"));
    let mut made = 0;
    for number in 0..100 {
        turn(&mut bundle, number);
        // Whether it succeeds depends on the moment; that it stays inside does not.
        if let Ok(mut container) = bundle.create(no_io()) {
            made += 1;
            container.delete().unwrap();
        }
    }
    drop(exchanger);
    assert_eq!(tree(&outside), before, "{made} containers were made");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    // About half of them are.
    assert!(made > 0, "none was made: what can be exchanged after the first refusal was never come to");
}

/// The node of a device in a volume becomes a link between the moment in which it is made and that in which its mode is
/// set.
fn a_device_that_is_exchanged_for_a_link_leaves_the_hosts_file_alone() {
    let mut bundle = Bundle::new("true");
    let (volume, secret) = (bundle.path.join("volume"), bundle.path.join("secret"));
    fs::create_dir(&volume).unwrap();
    fs::write(&secret, "").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&secret, volume.join("link")).unwrap();
    bundle.mount(json!({
        "destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rprivate"]
    }));
    bundle.spec["linux"]["devices"] =
        json!([{"path": "/volume/device", "type": "c", "major": 1, "minor": 3, "fileMode": 0o777}]);
    // Undisturbed it can be made.
    bundle.create(no_io()).unwrap_or_else(|error| panic!("{error}")).delete().unwrap();
    fs::remove_file(volume.join("device")).unwrap();
    let exchanger = Exchanger::start(&volume.join("device"), &volume.join("link"));
    let mut made = 0;
    for _ in 0..100 {
        if let Ok(mut container) = bundle.create(no_io()) {
            made += 1;
            container.delete().unwrap();
        }
        for name in ["device", "link"] {
            let _ = fs::remove_file(volume.join(name));
        }
        symlink(&secret, volume.join("link")).unwrap();
    }
    drop(exchanger);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(made > 0, "none was made");
}

pub(crate) fn with_capability(bundle: &mut Bundle, capability: &str) {
    for set in ["bounding", "effective", "permitted"] {
        bundle.spec["process"]["capabilities"][set].as_array_mut().unwrap().push(json!(capability));
    }
}

/// The classic way out: with CAP_SYS_ADMIN mount a hierarchy of cgroup v1, and have the kernel run a program on the host
/// when a cgroup becomes empty (CVE-2022-0492 is the same without the capability).
fn a_hierarchy_that_is_mounted_inside_a_cgroup_namespace_has_no_release_agent() {
    let script = "mkdir /m; for h in memory pids devices rdma freezer; do mount -t cgroup -o $h cgroup /m || continue; \
                  echo mounted; ls -d /m/release_agent; cat /m/cgroup.procs | wc -l; umount /m; done 2>&1";
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    with_capability(&mut bundle, "CAP_SYS_ADMIN");
    let text = bundle.output();
    assert!(!text.lines().any(|line| line == "/m/release_agent"), "{text}");
    if Path::new("/sys/fs/cgroup/memory").exists() {
        assert!(text.contains("mounted"), "the test must have tried: {text}");
    }
}

fn a_readonly_cgroup_stays_read_only_without_the_capability_to_mount() {
    let script = "mount -o remount,rw /sys/fs/cgroup; for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do \
                  [ -d $d ] || continue; mount -o remount,bind,rw $d; echo 0 > $d/cgroup.procs; mkdir $d/new; ls $d/release_agent; done; mkdir /m; \
                  mount -t cgroup -o memory cgroup /m; mount -t cgroup2 cgroup /m; ls /m";
    let bundle = Bundle::new(&format!("({script}) 2>&1; true"));
    let text = bundle.output();
    let refused = |line: &&str| {
        ["Read-only file system", "denied", "not permitted", "No such file"].iter().any(|reason| line.contains(reason))
    };
    let others: Vec<_> = text.lines().filter(|line| !refused(line)).collect();
    assert!(others.is_empty(), "{others:?} in {text}");
    assert!(text.matches("Read-only file system").count() >= 2, "{text}");
}
