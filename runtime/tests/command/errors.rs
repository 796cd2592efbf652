//! What cannot be done is said, and leaves nothing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::support::{Bundle, program};

/// The error of a create that must fail.
#[track_caller]
fn refused(bundle: &Bundle) -> String {
    bundle.write("c");
    let error = bundle.call(&["create", "c"]).refused();
    assert!(bundle.call(&["list", "-q"]).ok().is_empty(), "nothing must be left");
    error
}

#[test]
fn a_missing_program_is_told_in_the_words_that_engines_look_for() {
    let mut bundle = Bundle::new("true");
    fs::write(bundle.path.join("rootfs/etc/file"), "").unwrap();
    for (program, words) in [
        ("nope", "executable file not found in $PATH"),
        ("/nope", "no such file or directory"),
        ("/etc/file", "permission denied"),
    ] {
        bundle.config["process"]["args"] = json!([program]);
        assert!(refused(&bundle).contains(words), "{program}");
    }
}

#[test]
fn start_says_what_kept_the_program_from_running() {
    let mut bundle = Bundle::new("true");
    let script = bundle.path.join("rootfs/bin/script");
    fs::write(&script, "#!/missing/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.config["process"]["args"] = json!(["script"]);
    bundle.create("c", &[]);
    let error = bundle.call(&["start", "c"]).refused();
    assert!(error.contains("/bin/script") && error.contains("no such file or directory"), "{error}");
    bundle.wait_until("c", "stopped");
    bundle.call(&["delete", "c"]).ok();
    bundle.write("c");
    let error = bundle.call(&["run", "c"]).refused();
    assert!(error.contains("no such file or directory"), "{error}");
}

#[test]
fn errors_go_to_the_log_as_runc_and_crun_write_them() {
    let bundle = Bundle::new("true");
    let log = bundle.path.join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    bundle.call(&[&flags[..], &["state", "nobody"]].concat()).refused();
    bundle.call(&[&flags[..], &["start", "nobody"]].concat()).refused();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["level"], &lines[0]["msg"]),
        (&json!("error"), &json!("container \"nobody\" does not exist"))
    );
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_wrong_command_line_is_an_error_as_any_other_on_one_line_and_in_the_log() {
    let bundle = Bundle::new("true");
    let log = bundle.path.join("log.json");
    let flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    for (words, expected) in [
        (["create", "--bogus", "c"].as_slice(), "'--bogus'"),
        (&["kill"], "<ID>"),
        (&["frobnicate"], "'frobnicate'"),
        (&["exec"], "<ID>"),
    ] {
        let answer = bundle.call(&[&flags[..], words].concat());
        assert_eq!((answer.status, answer.err.lines().count()), (1, 1), "{words:?}: {}", answer.err);
        assert!(answer.err.contains(expected) && !answer.err.contains("error:"), "{words:?}: {}", answer.err);
        let text = fs::read_to_string(&log).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["level"], &last["msg"]), (&json!("error"), &json!(answer.err.trim_end())));
    }
    assert!(bundle.call(&["--help"]).ok().contains("create"));
    assert_eq!(bundle.call(&[]).status, 1);
}

#[test]
fn a_bundle_without_a_specification_is_told_what_to_do() {
    let bundle = Bundle::new("true");
    fs::remove_file(bundle.path.join("config.json")).unwrap();
    let error = bundle.call(&["create", "c"]).refused();
    assert!(error.contains("config.json") && error.contains("loment-runtime spec"), "{error}");
    fs::write(bundle.path.join("config.json"), "{").unwrap();
    assert!(bundle.call(&["create", "c"]).refused().contains("config.json"));
    assert!(bundle.call(&["create", "-b", "/nonexistent", "c"]).refused().contains("/nonexistent"));
    assert!(bundle.call(&["spec"]).refused().contains("exists"));
    assert!(!bundle.root.exists(), "nothing was made");
}

#[test]
fn without_a_path_systemd_makes_a_scope_or_it_is_said_what_to_do() {
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["cgroupsPath"] = json!("");
    bundle.write("c");
    let create = bundle.call(&["--systemd-cgroup", "create", "c"]);
    if Path::new("/run/systemd/system").exists() {
        let pid = bundle.state("c")["pid"].to_string();
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(cgroup.contains("/system.slice/loment-c.scope"), "{cgroup}");
        return;
    }
    let error = create.refused();
    assert!(error.contains("loment-c.scope") && error.contains("--cgroup-manager cgroupfs"), "{error}");
    bundle.config["linux"]["cgroupsPath"] = json!("machine.slice:libpod:1234");
    let error = refused(&bundle);
    assert!(error.contains("libpod-1234.scope") && error.contains("native.cgroupdriver=cgroupfs"), "{error}");
}

#[test]
fn with_systemd_cgroup_a_path_has_to_be_a_scope() {
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["cgroupsPath"] = json!("/a/b");
    bundle.write("c");
    let error = bundle.call(&["--systemd-cgroup", "create", "c"]).refused();
    assert!(error.contains("/a/b") && error.contains("slice:prefix:name"), "{error}");
}

#[test]
fn a_field_that_cannot_be_honoured_is_named_and_leaves_nothing() {
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["cwd"] = json!("relative");
    assert!(refused(&bundle).contains("process.cwd"));
    bundle.config["process"]["cwd"] = json!("/");
    bundle.config["mounts"][0]["source"] = json!("/nonexistent");
    bundle.config["mounts"][0]["type"] = json!("bind");
    bundle.config["mounts"][0]["options"] = json!(["bind"]);
    assert!(refused(&bundle).contains("/nonexistent"));
}

#[test]
fn a_name_cannot_become_a_path() {
    let bundle = Bundle::new("true");
    bundle.write("c");
    for id in ["../c", "a/b", "..", ".", "", " ", ".hidden"] {
        for command in ["create", "state", "delete", "start", "kill"] {
            assert!(bundle.call(&[command, id]).refused().contains("id "), "{command} {id:?}");
        }
    }
}

#[test]
fn a_name_is_given_once() {
    let bundle = Bundle::new("true");
    bundle.create("c", &[]);
    assert!(bundle.call(&["create", "c"]).refused().contains("exists"));
    assert_eq!(bundle.status("c"), "created");
    bundle.delete("c");
}

#[test]
fn a_pid_file_that_cannot_be_written_leaves_no_container() {
    let bundle = Bundle::new("true");
    bundle.write("c");
    assert!(bundle.call(&["create", "--pid-file", "/nonexistent/pid", "c"]).refused().contains("/nonexistent/pid"));
    assert!(bundle.call(&["list", "-q"]).ok().is_empty());
}

#[test]
fn checkpoint_and_restore_say_that_they_are_not_supported() {
    for command in ["checkpoint", "restore"] {
        let output = program().args([command, "--image-path", "/x", "c"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("not supported"));
    }
}
