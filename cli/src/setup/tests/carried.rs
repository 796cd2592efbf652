//! An installation as a whole: cut short anywhere, carried out twice, carried out beside another one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::super::apply;
use super::super::carry_out::{carry_out, clear, own_programs};
use super::super::found::{self, Found, Hints, Kind};
use super::super::plan::{Plan, Wanted, plan};
use super::super::programs::Program;
use super::super::record::{self, Record};
use super::{Root, fixture, wanted};

/// Two programs that are put into a directory that is not there.
fn programs(root: &Root) -> Vec<Program> {
    let of = |name: &str| {
        root.put(&format!("build/{name}"), name);
        Program::open(root.0.join("build").join(name), root.0.join("opt/bin").join(name)).unwrap()
    };
    vec![of("shim"), of("prober")]
}

fn install(root: &Root, found: &Found, wanted: &Wanted) -> anyhow::Result<Plan> {
    let plan = plan(found, wanted)?;
    let mut programs = programs(root);
    let mut missing = Vec::new();
    for program in &mut programs {
        if !program.is_there()? {
            missing.push(program.to.clone());
        }
    }
    carry_out(&root.0.join("state"), found, &wanted.handler, &plan, &mut programs, &missing)?;
    Ok(plan)
}

fn uninstall(root: &Root, record: &Record) {
    let state = root.0.join("state");
    if let Some(change) = &record.change {
        apply::undo(change).unwrap();
    }
    let own = own_programs(&state, record).unwrap();
    clear(&state, record, &own).unwrap();
}

fn only_record(root: &Root) -> Record {
    let mut all = record::all(&root.0.join("state")).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn half(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(apply::beside(path), "[plug").unwrap();
}

#[test]
fn an_installation_that_was_cut_short_anywhere_is_taken_back() {
    for (name, release) in [("nvidia-v2.toml", "1.7.24"), ("containerd-2.toml", "2.1.4")] {
        // How far it came: the record, a half of a program, programs, a half of the change, all.
        for step in 0..5 {
            let root = Root::new();
            root.put("config.toml", &fixture(name));
            let _the_build = programs(&root);
            let before = root.census();
            install(&root, &root.find_managed_as(release), &wanted()).unwrap();
            let record = only_record(&root);
            uninstall(&root, &record);
            assert_eq!(root.census(), before, "{name}");
            let path = &record.change.as_ref().unwrap().path;
            record::write(&root.0.join("state"), &record).unwrap();
            match step {
                0 => {}
                1 => half(&record.programs[0]),
                2 | 3 => programs(&root).iter_mut().for_each(|program| program.put().unwrap()),
                _ => assert!(install(&root, &root.find_managed_as(release), &wanted()).unwrap().change.is_some()),
            }
            if step == 3 {
                half(path);
            }
            uninstall(&root, &only_record(&root));
            assert_eq!(root.census(), before, "{name}, cut short after step {step}");
        }
    }
}

#[test]
fn what_a_write_that_was_cut_short_has_left_does_not_keep_the_next_one_from_its_end() {
    let root = Root::new();
    root.put("config.toml", "a");
    half(&root.0.join("config.toml"));
    apply::replace(&root.0.join("config.toml"), b"b", 0o644).unwrap();
    assert_eq!(fs::read(root.0.join("config.toml")).unwrap(), b"b");
    assert_eq!(root.census().len(), 1);
}

#[test]
fn a_second_installation_changes_nothing_and_the_record_of_the_first_stays() {
    let root = Root::new();
    root.put("config.toml", &fixture("nvidia-v2.toml"));
    let _the_build = programs(&root);
    let before = root.census();
    install(&root, &root.find_managed_as("1.7.24"), &wanted()).unwrap();
    let (after, record) = (root.census(), only_record(&root));
    assert!(install(&root, &root.find_managed_as("1.7.24"), &wanted()).unwrap().change.is_none());
    assert_eq!(root.census(), after);
    uninstall(&root, &record);
    assert_eq!(root.census(), before);
}

#[test]
fn of_two_classes_with_the_same_shim_the_last_one_takes_it_away() {
    let root = Root::new();
    root.put("config.toml", &fixture("nvidia-v2.toml"));
    let _the_build = programs(&root);
    let before = root.census();
    let other = Wanted { handler: "fast".into(), ..wanted() };
    install(&root, &root.find_managed_as("1.7.24"), &wanted()).unwrap();
    install(&root, &root.find_managed_as("1.7.24"), &other).unwrap();
    let all = record::all(&root.0.join("state")).unwrap();
    let first = record::choose(all, None, "loment").unwrap().unwrap();
    uninstall(&root, &first);
    assert!(root.0.join("opt/bin/shim").exists(), "the class \"fast\" has lost its shim");
    uninstall(&root, &only_record(&root));
    assert_eq!(root.census(), before);
}

#[test]
fn what_was_written_for_another_version_of_k3s_is_taken_back_when_it_is_written_anew() {
    let root = Root::new();
    let at = |file: &str| format!("k3s/agent/etc/containerd/{file}");
    root.put(&at("config.toml"), &fixture("k3s-v2.toml"));
    let _the_build = programs(&root);
    install(&root, &root.find_managed(), &wanted()).unwrap();
    assert!(root.0.join(at("config.toml.tmpl")).exists());
    // k3s is upgraded, and makes the other layout.
    root.put(&at("config.toml"), &fixture("k3s-v3.toml"));
    install(&root, &root.find_managed(), &wanted()).unwrap();
    assert!(!root.0.join(at("config.toml.tmpl")).exists());
    assert!(root.0.join(at("config-v3.toml.d/loment.toml")).exists());
    uninstall(&root, &only_record(&root));
    let left: Vec<PathBuf> = root.census().into_keys().filter(|path| path.starts_with(root.0.join("k3s"))).collect();
    assert_eq!(left.iter().filter(|path| path.is_file()).count(), 1, "{left:?}");
}

#[test]
fn a_change_that_containerd_does_not_read_is_taken_back() {
    let root = Root::new();
    root.put("config.toml", &fixture("nvidia-v2.toml"));
    let config = root.0.join("config.toml");
    let before = fs::read(&config).unwrap();
    // Reads nothing.
    let found = Found { program: Some("/bin/false".into()), ..root.find_managed_as("1.7.24") };
    assert_eq!(found.kind, Kind::Containerd);
    let error = install(&root, &found, &wanted()).unwrap_err();
    assert!(format!("{error:#}").starts_with("the change is taken back: /bin/false does not read"), "{error:#}");
    assert_eq!(fs::read(&config).unwrap(), before);
    assert_eq!(only_record(&root).change, None);
}

#[test]
fn a_link_to_nothing_is_not_replaced() {
    let root = Root::new();
    symlink("nothing.toml", root.0.join("config.toml")).unwrap();
    let hints = Hints { kind: Some(Kind::Containerd), ..Hints::default() };
    let found = Found { release: Some("2.1.4".into()), ..found::find(&root.places(), &hints).unwrap() };
    let error = install(&root, &found, &wanted()).unwrap_err().to_string();
    assert!(error.contains("make that, or remove the link"), "{error}");
    assert!(root.0.join("config.toml").is_symlink());
}
