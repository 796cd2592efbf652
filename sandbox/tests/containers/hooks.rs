//! Hooks: when they run, where, and what becomes of the container if they fail.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use loment_cgroups::Layout;
use loment_sandbox::{
    container::{Container, Creating, RootfsMount},
    error::Cause,
    hooks, record,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::{ambient, support::*};

pub(crate) const TESTS: &[(&str, fn())] = tests![
    the_six_kinds_of_hooks_run_in_order,
    a_hook_is_told_the_state_on_its_standard_input,
    a_hook_runs_in_its_own_namespaces,
    a_hook_has_its_own_arguments_environment_and_descriptors,
    a_hook_may_read_its_input_as_a_file_or_not_at_all,
    what_create_hooks_mount_below_the_root_is_in_the_container,
    containerds_mounts_are_in_the_bundle_for_hooks_until_the_container_is_deleted,
    hooks_find_a_read_only_root_writable,
    what_is_masked_is_masked_after_the_hooks,
    a_start_hook_has_the_programs_identity_and_no_more,
    a_start_hook_cannot_be_the_runtime_itself,
    a_hook_that_takes_too_long_is_killed_with_what_it_has_begun,
    a_failing_hook_before_the_root_fails_the_create_and_the_poststop_hooks_run,
    a_failing_create_container_hook_fails_the_create,
    a_failing_start_hook_fails_the_start_and_ends_the_container,
    failing_hooks_after_start_and_stop_are_warnings,
    a_hook_that_is_missing_is_named,
    a_creation_that_fails_before_any_hook_runs_none,
    a_creation_that_is_dropped_stops_its_hook,
    a_creation_that_is_given_up_stops_its_hook_and_runs_those_after_it,
    a_hook_stops_when_its_runtime_dies,
    a_creation_whose_runtime_is_killed_while_it_mounts_leaves_nothing,
    a_creation_never_waits_when_its_descriptor_is_readable,
    what_a_good_hook_leaves_running_lives_on,
    hooks_run_at_each_attempt,
    the_hooks_of_a_holder_run,
    poststop_hooks_run_for_a_container_whose_runtime_was_killed,
];

/// A hook of the host's: a script for its shell. What it notes goes to a file of the bundle.
///
/// A script may `sleep 4731` and the like; how long is made this process's own, because others may run the same tests.
fn hook(bundle: &Bundle, script: &str) -> Value {
    let script = script.replace("sleep 47", &format!("sleep {}47", std::process::id()));
    json!({"path": "/bin/busybox", "args": ["sh", "-c", script], "env": [format!("NOTES={}", notes(bundle).display())]})
}

fn notes(bundle: &Bundle) -> PathBuf {
    bundle.path.join("notes")
}

fn noted(bundle: &Bundle) -> String {
    fs::read_to_string(notes(bundle)).unwrap_or_default()
}

fn set(bundle: &mut Bundle, kind: &str, hooks: Value) {
    bundle.spec["hooks"][kind] = hooks;
}

/// A bundle with one hook.
fn hooked(program: &str, kind: &str, script: &str) -> Bundle {
    let mut bundle = Bundle::new(program);
    let hook = hook(&bundle, script);
    set(&mut bundle, kind, json!([hook]));
    bundle
}

/// Lets a container see and write the notes of the hooks.
fn share_notes(bundle: &mut Bundle) {
    fs::write(notes(bundle), "").unwrap();
    let source = notes(bundle).display().to_string();
    bundle.mount(json!({"destination": "/notes", "type": "bind", "source": source, "options": ["bind"]}));
}

fn the_six_kinds_of_hooks_run_in_order() {
    let mut bundle = Bundle::new("echo program >> /notes");
    share_notes(&mut bundle);
    for kind in ["prestart", "createRuntime", "createContainer", "poststop"] {
        let both = ["a", "b"].map(|name| hook(&bundle, &format!("echo {kind} {name} >> $NOTES")));
        set(&mut bundle, kind, json!(both));
    }
    // The program may be faster than this one, so it only notes that it has seen the program's start.
    let started = hook(&bundle, "while ! grep -q program $NOTES; do :; done; echo poststart >> $NOTES");
    set(&mut bundle, "poststart", json!([started]));
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >> /notes"]});
    set(&mut bundle, "startContainer", json!([inside]));
    let mut container = bundle.create(no_io()).unwrap();
    let created = "prestart a\nprestart b\ncreateRuntime a\ncreateRuntime b\ncreateContainer a\ncreateContainer b\n";
    assert_eq!(noted(&bundle), created, "before the start");
    container.start().unwrap().finish().unwrap();
    let started = format!("{created}startContainer\nprogram\npoststart\n");
    assert_eq!(noted(&bundle), started, "after the start");
    wait(container.init_mut());
    container.delete().unwrap();
    assert_eq!(noted(&bundle), format!("{started}poststop a\npoststop b\n"));
}

fn a_hook_is_told_the_state_on_its_standard_input() {
    let mut bundle = Bundle::new("sleep 100");
    // More than a pipe holds.
    bundle.spec["annotations"] = json!({"org.example": "a \"value\"", "long": "x".repeat(100_000)});
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let tell = hook(&bundle, &format!("cat > $NOTES.{kind}"));
        set(&mut bundle, kind, json!([tell]));
    }
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /work/state"]});
    set(&mut bundle, "startContainer", json!([inside]));
    let running = bundle.started();
    let pid = running.0.init().pid();
    drop(running);
    let state = |status: &str, pid: Option<i32>| {
        let mut state = json!({
            "ociVersion": "1.2.0", "id": bundle.id, "status": status, "bundle": bundle.path,
            "annotations": bundle.spec["annotations"]
        });
        if let Some(pid) = pid {
            state["pid"] = json!(pid);
        }
        state
    };
    let told = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let noted = |kind: &str| told(PathBuf::from(format!("{}.{kind}", notes(&bundle).display())));
    assert_eq!(noted("prestart"), state("creating", Some(pid)));
    assert_eq!(noted("createRuntime"), state("creating", Some(pid)));
    assert_eq!(noted("createContainer"), state("creating", Some(1)), "its pid as the container sees it");
    assert_eq!(told(bundle.rootfs().join("work/state")), state("created", Some(1)));
    assert_eq!(noted("poststart"), state("running", Some(pid)));
    assert_eq!(noted("poststop"), state("stopped", None));
}

fn a_hook_runs_in_its_own_namespaces() {
    let kinds = ["mnt", "pid", "ipc", "uts", "net"];
    let look = kinds.map(|kind| format!("readlink /proc/self/ns/{kind}")).join("; ");
    let mut bundle = Bundle::new("sleep 100");
    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        let look = hook(&bundle, &format!("{{ {look}; }} > $NOTES.{kind}"));
        set(&mut bundle, kind, json!([look]));
    }
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", format!("{{ {look}; }} > /work/seen")]});
    set(&mut bundle, "startContainer", json!([inside]));
    let running = bundle.started();
    let of = |pid: String| kinds.map(|kind| namespace(&pid, kind) + "\n").concat();
    let (runtime, container) = (of("self".into()), of(running.0.init().pid().to_string()));
    assert_ne!(runtime, container);
    drop(running);
    let noted = |kind: &str| fs::read_to_string(format!("{}.{kind}", notes(&bundle).display())).unwrap();
    for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
        assert_eq!(noted(kind), runtime, "{kind}");
    }
    assert_eq!(noted("createContainer"), container);
    assert_eq!(fs::read_to_string(bundle.rootfs().join("work/seen")).unwrap(), container);
}

fn a_hook_has_its_own_arguments_environment_and_descriptors() {
    let mut bundle = Bundle::new("sleep 100");
    for (kind, directory) in [
        ("createRuntime", bundle.path.clone()),
        ("createContainer", bundle.rootfs()),
        ("poststop", bundle.path.clone()),
    ] {
        let script = format!("{{ echo $0 $1; umask; pwd; }} > {}/{kind}", bundle.path.display());
        let hook = json!({"path": "/bin/busybox", "args": ["sh", "-c", script, "zero", "one"]});
        bundle.spec["hooks"] = json!({kind: [hook]});
        drop(bundle.started());
        let text = fs::read_to_string(bundle.path.join(kind)).unwrap();
        assert_eq!(text, format!("zero one\n0022\n{}\n", directory.display()), "{kind}");
    }
    // A program alone, because a shell has signals and descriptors of its own. What it says comes back if it fails.
    for kind in ["createRuntime", "createContainer"] {
        let said = |bundle: &mut Bundle, args: &[&str]| {
            bundle.spec["hooks"] = json!({kind: [{"path": "/bin/busybox", "args": args, "env": ["A=b", "C=d"]}]});
            bundle.refused()
        };
        let text = said(&mut bundle, &["cat", "/proc/self/environ", "/no/such/file"]);
        assert!(text.contains("it said: A=b\u{fffd}C=d\u{fffd}cat:"), "{kind}: {text}");
        let text = said(&mut bundle, &["grep", "^Sig", "/proc/self/status", "/no/such/file"]);
        for set in ["SigBlk", "SigIgn", "SigCgt"] {
            assert!(text.contains(&format!("{set}:\t0000000000000000")), "{kind}: {text}");
        }
        let text = said(&mut bundle, &["ls", "-l", "/proc/self/fd", "/no/such/file"]);
        // That of the directory itself is closed by the time it is looked at.
        let open: Vec<_> = text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, file)| file).collect();
        assert_eq!((open.len(), open[0]), (3, "/memfd:state (deleted)"), "{kind}: {text}");
        assert!(open[1] == open[2] && open[1].starts_with("pipe:"), "{kind}: {text}");
    }
}

fn a_hook_may_read_its_input_as_a_file_or_not_at_all() {
    let mut bundle = hooked("sleep 100", "createRuntime", "cat /dev/stdin > $NOTES");
    let deaf = hook(&bundle, "exec 0<&-");
    bundle.spec["hooks"]["createRuntime"].as_array_mut().unwrap().push(deaf);
    drop(bundle.started());
    assert!(noted(&bundle).contains("creating"));
}

fn what_create_hooks_mount_below_the_root_is_in_the_container() {
    for layered in [false, true] {
        let mut bundle =
            Bundle::new("cat /etc/runtime /etc/container /inner/file; stat -c %a /etc/mode; ls /proc/1/exe");
        if layered {
            over_layers(&mut bundle);
        }
        fs::write(bundle.path.join("library"), "from the host\n").unwrap();
        let place = "R=$(sed 's/.*\"bundle\":\"//; s/\".*//')/rootfs";
        // nvidia's hooks enter the container's mount namespace; others mount where they are.
        let runtime = format!(
            "{place}; set -e; echo runtime > $R/etc/runtime; mkdir $R/inner; mount -t tmpfs tmpfs $R/inner; \
             echo inner > $R/inner/file"
        );
        let runtime = match layered {
            true => runtime,
            // Without mounts of its own the root is no mount that others could be told of.
            false => format!("{place}; echo runtime > $R/etc/runtime; mkdir $R/inner; echo inner > $R/inner/file"),
        };
        let container = format!(
            "{place}; set -e; test -d $R/proc/self; touch $R/etc/container; \
             mount -o bind $R/../library $R/etc/container; touch $R/etc/mode; chmod 641 $R/etc/mode"
        );
        let hooks = [hook(&bundle, &runtime), hook(&bundle, &container)];
        set(&mut bundle, "createRuntime", json!([hooks[0]]));
        set(&mut bundle, "createContainer", json!([hooks[1]]));
        let text = bundle.output();
        assert_eq!(text, "runtime\nfrom the host\ninner\n641\n/proc/1/exe\n", "layered: {layered}");
    }
}

/// Makes the root an overlay, as containerd does.
fn over_layers(bundle: &mut Bundle) {
    let lower = bundle.path.join("lower");
    fs::rename(bundle.rootfs(), &lower).unwrap();
    let layers = bundle.path.join("layers");
    for name in ["upper", "work"] {
        fs::create_dir_all(layers.join(name)).unwrap();
    }
    // An overlay's own directories cannot be on an overlay, which a temporary directory may be on.
    bundle.rootfs = vec![RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            format!("lowerdir={}", lower.display()),
            format!("upperdir={}", layers.join("upper").display()),
            format!("workdir={}", layers.join("work").display()),
        ],
    }];
}

fn is_mounted(bundle: &Bundle) -> bool {
    let place = format!(" {} ", bundle.rootfs().display());
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&place)
}

fn containerds_mounts_are_in_the_bundle_for_hooks_until_the_container_is_deleted() {
    let mut bundle = Bundle::new("echo mine > /mine; exec sleep 100");
    over_layers(&mut bundle);
    let look = hook(&bundle, "ls rootfs/etc/passwd >> $NOTES");
    for kind in ["createRuntime", "poststart", "poststop"] {
        set(&mut bundle, kind, json!([look]));
    }
    let running = bundle.started();
    assert!(is_mounted(&bundle));
    while !exists(bundle.rootfs().join("mine")) {}
    drop(running);
    assert!(!is_mounted(&bundle));
    assert_eq!(noted(&bundle), "rootfs/etc/passwd\n".repeat(3));
    // Who has hooks that do not look for it costs nobody a mount.
    bundle.spec["hooks"].as_object_mut().unwrap().remove("createRuntime");
    let running = bundle.started();
    assert!(!is_mounted(&bundle));
    drop(running);
}

fn hooks_find_a_read_only_root_writable() {
    let script = "cd $(sed 's/.*\"bundle\":\"//; s/\".*//')/rootfs && echo hook > etc/made";
    let mut bundle = hooked("cat /etc/made; touch /etc/x", "createContainer", script);
    bundle.spec["root"]["readonly"] = json!(true);
    let (code, text) = bundle.run();
    assert_eq!((code, text.as_str()), (1, "hook\ntouch: /etc/x: Read-only file system\n"));
}

fn what_is_masked_is_masked_after_the_hooks() {
    let script = "mount -t proc proc $(sed 's/.*\"bundle\":\"//; s/\".*//')/rootfs/proc";
    let mut bundle = hooked("cat /proc/version; echo 0 > /proc/sys/vm/stat_interval", "createContainer", script);
    bundle.spec["linux"]["maskedPaths"] = json!(["/proc/version"]);
    let (code, text) = bundle.run();
    assert_eq!((code, text.contains("Linux"), text.contains("Read-only file system")), (1, false, true), "{text}");
}

fn a_start_hook_has_the_programs_identity_and_no_more() {
    let look = "id -u; id -G; pwd; grep -E '^(Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp):' /proc/self/status";
    for no_new_privileges in [false, true] {
        let mut bundle = Bundle::new(&format!("{{ {look}; }} > /tmp/program; cat /tmp/hook; cat /tmp/program >&2"));
        bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
        bundle.spec["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]});
        bundle.spec["process"]["cwd"] = json!("/work");
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["setdomainname"], "action": "SCMP_ACT_ERRNO"}]
        });
        let inside = format!("{{ {look}; }} > /tmp/hook");
        set(&mut bundle, "startContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", inside]}]));
        // Both say the same.
        let text = bundle.output();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 16, "{text}");
        assert_eq!(lines[..8], lines[8..], "{text}");
        assert_eq!(lines[..3], ["1000", "1000 7", "/work"], "{text}");
        assert!(lines[7].ends_with('2'), "it has the filter: {text}");
    }
}

fn a_start_hook_cannot_be_the_runtime_itself() {
    let mut bundle = Bundle::new("true");
    set(&mut bundle, "startContainer", json!([{"path": "/proc/self/exe"}]));
    let mut container = bundle.create(no_io()).unwrap();
    let error = container.start().unwrap().finish().unwrap_err().to_string();
    container.delete().unwrap();
    assert!(error.contains("hooks.startContainer[0]") && error.contains("the runtime's own program"), "{error}");
}

fn a_hook_that_takes_too_long_is_killed_with_what_it_has_begun() {
    for kind in ["createRuntime", "createContainer"] {
        // One in its group, and one that has left it.
        let script = "echo one; sleep 4731 & (setsid sleep 4731 &); setsid sh -c 'sleep 4731; true' & sleep 4731";
        let mut bundle = hooked("true", kind, script);
        bundle.spec["hooks"][kind][0]["timeout"] = json!(1);
        let began = Instant::now();
        let error = bundle.create(no_io()).unwrap_err();
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert!(matches!(error.cause, Cause::Failed(_)));
        let expected = format!("hooks.{kind}[0] /bin/busybox: had not ended after its timeout of 1 s; it said: one");
        assert_eq!(error.to_string(), expected);
        assert_eq!(sleepers("4731"), 0, "{kind}");
    }
}

/// How many processes sleep for this long.
fn sleepers(seconds: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let own = format!("sleep\0{}{seconds}\0", std::process::id());
    words.filter(|words| words == own.as_bytes()).count()
}

fn a_failing_hook_before_the_root_fails_the_create_and_the_poststop_hooks_run() {
    for kind in ["prestart", "createRuntime"] {
        for layered in [false, true] {
            let mut bundle = hooked("true", kind, "echo first >> $NOTES");
            if layered {
                over_layers(&mut bundle);
            }
            let [bad, never, after] =
                ["echo so long; echo and thanks >&2; exit 42", "echo never >> $NOTES", "cat >> $NOTES; exit 1"]
                    .map(|script| hook(&bundle, script));
            bundle.spec["hooks"][kind].as_array_mut().unwrap().extend([bad, never]);
            set(&mut bundle, "poststop", json!([after]));
            let error = bundle.refused();
            let expected = format!("hooks.{kind}[1] /bin/busybox: ended with status 42; it said: so long\nand thanks");
            assert_eq!(error, expected);
            let text = noted(&bundle);
            assert!(text.starts_with("first\n{") && text.contains("\"stopped\""), "{text}");
            assert!(!is_mounted(&bundle));
            assert!(!exists(bundle.path.join("loment.json")));
        }
    }
}

fn a_failing_create_container_hook_fails_the_create() {
    let mut bundle = hooked("true", "createContainer", "kill -9 $$");
    let after = hook(&bundle, "echo stopped >> $NOTES");
    set(&mut bundle, "poststop", json!([after]));
    assert_eq!(bundle.refused(), "hooks.createContainer[0] /bin/busybox: was ended by signal 9");
    assert_eq!(noted(&bundle), "stopped\n");
}

fn a_failing_start_hook_fails_the_start_and_ends_the_container() {
    let mut bundle = Bundle::new("touch /work/ran");
    let inside = json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 100 & echo no; exit 3"]});
    set(&mut bundle, "startContainer", json!([inside]));
    let after = hook(&bundle, "echo stopped >> $NOTES");
    set(&mut bundle, "poststop", json!([after]));
    let mut container = bundle.create(no_io()).unwrap();
    let error = container.start().unwrap().finish().unwrap_err();
    assert_eq!(error.to_string(), "hooks.startContainer[0] /bin/sh: ended with status 3; it said: no");
    assert_eq!(wait(container.init_mut()).code, 1);
    container.delete().unwrap();
    assert!(!exists(bundle.rootfs().join("work/ran")), "the program has not run");
    assert_eq!(noted(&bundle), "stopped\n");
}

fn failing_hooks_after_start_and_stop_are_warnings() {
    let mut bundle = Bundle::new("sleep 100");
    for kind in ["poststart", "poststop"] {
        let both = ["exit 1", "echo on >> $NOTES"].map(|script| hook(&bundle, script));
        set(&mut bundle, kind, json!(both));
    }
    let mut container = bundle.create(no_io()).unwrap();
    let mut starting = container.start().unwrap();
    while !starting.advance().unwrap() {}
    let warnings: Vec<_> = starting.take_failures().iter().map(ToString::to_string).collect();
    drop(starting);
    assert_eq!(warnings, ["hooks.poststart[0] /bin/busybox: ended with status 1"]);
    assert_eq!(noted(&bundle), "on\n");
    assert!(!container.init().has_ended());
    let warnings = aftermath(&mut container);
    assert_eq!(warnings, ["hooks.poststop[0] /bin/busybox: ended with status 1"]);
    assert_eq!(noted(&bundle), "on\non\n");
}

/// Deletes a container as the shim does; answers with what its hooks have failed to do.
fn aftermath(container: &mut Container) -> Vec<String> {
    while !container.try_delete().unwrap() {}
    let errand = container.aftermath().unwrap().expect("there are hooks");
    errand.finish().unwrap().iter().map(ToString::to_string).collect()
}

fn a_hook_that_is_missing_is_named() {
    let mut bundle = Bundle::new("true");
    set(&mut bundle, "createRuntime", json!([{"path": "/no/such/hook"}]));
    let error = bundle.refused();
    assert!(error.starts_with("hooks.createRuntime[0] /no/such/hook: ended with status 127"), "{error}");
    assert!(error.contains("execute /no/such/hook: No such file or directory"), "{error}");
    let script = bundle.path.join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    set(&mut bundle, "createRuntime", json!([{"path": script}]));
    let error = bundle.refused();
    assert!(error.contains("Permission denied"), "{error}");
}

fn a_creation_that_fails_before_any_hook_runs_none() {
    let mut bundle = hooked("true", "createRuntime", "echo hook >> $NOTES");
    let after = hook(&bundle, "echo stopped >> $NOTES");
    set(&mut bundle, "poststop", json!([after]));
    bundle.mount(json!({"destination": "/x", "type": "bind", "source": "/no/such/volume", "options": ["rbind"]}));
    let error = bundle.refused();
    assert!(error.contains("/no/such/volume"), "{error}");
    over_layers(&mut bundle);
    bundle.rootfs[0].options[0] = "lowerdir=/no/such/layer".into();
    let error = bundle.refused();
    assert!(error.contains("/no/such/layer"), "{error}");
    assert_eq!(noted(&bundle), "");
}

fn a_creation_that_is_dropped_stops_its_hook() {
    for kind in ["createRuntime", "createContainer"] {
        let mut bundle = hooked("true", kind, "sleep 4733 & setsid sleep 4733 & echo here > $NOTES; wait");
        over_layers(&mut bundle);
        drop(until_hooked(&bundle));
        assert_eq!(sleepers("4733"), 0, "{kind}");
        assert!(!is_mounted(&bundle));
    }
}

/// A creation of which a hook has noted something.
fn until_hooked(bundle: &Bundle) -> Creating {
    let mut creating = Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()).unwrap();
    while noted(bundle).is_empty() {
        let mut news = [PollFd::new(creating.as_fd(), PollFlags::POLLIN)];
        if poll(&mut news, 10u8).unwrap() > 0 {
            assert!(!creating.advance().unwrap());
        }
    }
    creating
}

fn a_creation_that_is_given_up_stops_its_hook_and_runs_those_after_it() {
    for kind in ["createRuntime", "createContainer"] {
        let mut bundle = hooked("true", kind, "setsid sleep 4737 & echo here > $NOTES; sleep 4737");
        over_layers(&mut bundle);
        let after = hook(&bundle, "echo stopped >> $NOTES; ls rootfs/etc >> $NOTES");
        set(&mut bundle, "poststop", json!([after]));
        let mut creating = until_hooked(&bundle);
        assert!(creating.waits_for_others());
        creating.give_up(loment_sandbox::Error::failed("create", "it", "is not wanted")).unwrap();
        assert!(!creating.waits_for_others());
        assert_eq!(sleepers("4737"), 0, "{kind}");
        assert_eq!(creating.finish().unwrap_err().to_string(), "create it: is not wanted");
        assert_eq!(noted(&bundle), "here\nstopped\npasswd\n");
        assert!(!is_mounted(&bundle));
    }
}

fn a_hook_stops_when_its_runtime_dies() {
    for kind in ["createRuntime", "createContainer"] {
        let bundle = hooked("true", kind, "setsid sleep 4739 & echo here > $NOTES; sleep 4739");
        crate::failures::in_a_parent_that_dies(|| std::mem::forget(until_hooked(&bundle)));
        let deadline = Instant::now() + Duration::from_secs(20);
        while sleepers("4739") > 0 {
            assert!(Instant::now() < deadline, "{kind}");
        }
        record::sweep(&bundle.path).unwrap();
    }
}

fn a_creation_whose_runtime_is_killed_while_it_mounts_leaves_nothing() {
    let mut bundle = hooked("true", "createRuntime", "echo never >> $NOTES");
    over_layers(&mut bundle);
    let path = bundle.path.clone();
    ambient::in_another_process(|| {
        let creating = Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()).unwrap();
        assert_eq!(creating.pid(), 0, "there is no process yet");
        poll(&mut [PollFd::new(creating.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        // As one that is killed: nothing is dropped.
        loment_sys::clone::exit_now(0);
    });
    let swept = record::sweep(&path).unwrap();
    assert_eq!(swept.record.expect("the record of its cgroup").pid, 0);
    assert!(!swept.killed && !exists(notes(&bundle)));
    // As `delete` does.
    nix::mount::umount2(&bundle.rootfs(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

fn a_creation_never_waits_when_its_descriptor_is_readable() {
    let mut bundle = hooked("true", "prestart", "true");
    over_layers(&mut bundle);
    let mut creating = Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()).unwrap();
    assert_eq!(creating.pid(), 0, "the root comes first");
    let mut steps = 0;
    loop {
        assert_eq!(poll(&mut [PollFd::new(creating.as_fd(), PollFlags::POLLIN)], 10_000u16), Ok(1), "step {steps}");
        steps += 1;
        if creating.advance().unwrap() {
            break;
        }
    }
    assert_eq!(steps, 4, "the root, the process that waits for its hooks, the hooks, the gate");
    creating.finish().unwrap().delete().unwrap();
    bundle.spec["hooks"] = json!({});
    let mut creating = Creating::begin(bundle.request(no_io()), &Layout::detect().unwrap()).unwrap();
    assert_ne!(creating.pid(), 0);
    assert!(creating.advance().unwrap(), "one step without hooks");
    creating.finish().unwrap().delete().unwrap();
}

fn what_a_good_hook_leaves_running_lives_on() {
    // Numbers of our own: others may run this at the same time.
    let [of_good, of_bad] = ["4735", "4736"].map(|number| format!("{number}{}", std::process::id()));
    let script = format!("setsid sleep {of_good} > /dev/null 2>&1 < /dev/null & echo $! > $NOTES");
    let mut bundle = hooked("true", "poststart", &script);
    let bad = hook(&bundle, &format!("setsid sleep {of_bad} & exit 1"));
    bundle.spec["hooks"]["poststart"].as_array_mut().unwrap().push(bad);
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    drop(bundle.started());
    nix::sys::prctl::set_child_subreaper(false).unwrap();
    assert_eq!((sleepers(&of_good), sleepers(&of_bad)), (1, 0));
    let pid = nix::unistd::Pid::from_raw(noted(&bundle).trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(pid, None).unwrap();
}

fn hooks_run_at_each_attempt() {
    let mut bundle = hooked("echo layer > /layer", "createRuntime", "ls rootfs/layer >> $NOTES 2>&1; true");
    over_layers(&mut bundle);
    let after = hook(&bundle, "echo stopped >> $NOTES");
    set(&mut bundle, "poststop", json!([after]));
    for attempt in ["first", "second"] {
        let mut container = bundle.create(no_io()).unwrap();
        container.start().unwrap().finish().unwrap();
        wait(container.init_mut());
        if attempt == "second" {
            container.delete().unwrap();
            break;
        }
        container.end_attempt().unwrap();
        assert!(!is_mounted(&bundle), "what is mounted would not see that its layer is emptied");
        assert!(loment_sandbox::layer::fresh_writable_layer(&bundle.rootfs).unwrap());
    }
    let attempt = "ls: rootfs/layer: No such file or directory\nstopped\n";
    assert_eq!(noted(&bundle), attempt.repeat(2));
}

fn the_hooks_of_a_holder_run() {
    let mut bundle = hooked("unused", "createRuntime", "echo runtime >> $NOTES");
    for kind in ["createContainer", "poststart", "poststop"] {
        let note = hook(&bundle, &format!("echo {kind} >> $NOTES"));
        set(&mut bundle, kind, json!([note]));
    }
    bundle.role = loment_sandbox::container::Role::Holder;
    drop(bundle.started());
    assert_eq!(noted(&bundle), "runtime\ncreateContainer\npoststart\npoststop\n");
    set(&mut bundle, "startContainer", json!([{"path": "/bin/true"}]));
    assert!(bundle.refused().starts_with("hooks.startContainer[0]"));
}

fn poststop_hooks_run_for_a_container_whose_runtime_was_killed() {
    let mut bundle = hooked("sleep 100", "poststop", "cat > $NOTES; exit 1");
    let look = hook(&bundle, "true");
    set(&mut bundle, "createRuntime", json!([look]));
    crate::failures::in_a_parent_that_dies(|| std::mem::forget(bundle.started()));
    let record = record::sweep(&bundle.path).unwrap().record.unwrap();
    assert_eq!(noted(&bundle), "");
    let spec = serde_json::from_value(bundle.spec.clone()).unwrap();
    let errand = hooks::poststop(&spec, &record.id, &bundle.path).unwrap().expect("there are hooks");
    let failures = errand.finish().unwrap();
    assert_eq!(failures[0].to_string(), "hooks.poststop[0] /bin/busybox: ended with status 1");
    assert!(noted(&bundle).contains("\"stopped\""));
}
