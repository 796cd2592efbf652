//! Making, entering, freezing, killing and removing cgroups of this machine (any layout; needs root).

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read},
    path::Path,
    time::Duration,
};

use common::{TestCgroup, directory, layout, standing, unique_path, until};
use loment_cgroups::{Cgroup, Entry, Kind};
use serde_json::json;

#[test]
fn a_cgroup_stands_in_every_hierarchy_and_is_removed_from_all() {
    let layout = layout();
    let path = unique_path();
    let cgroup = Cgroup::create(&layout, &path).unwrap();
    let v1 = layout.mount_points().filter(|m| !m.ends_with("unified")).count();
    assert_eq!(standing(&layout, &path).len(), v1);
    assert_eq!(cgroup.directories().collect::<Vec<_>>(), standing(&layout, &path));
    cgroup.remove().unwrap();
    assert_eq!(standing(&layout, &path).len(), 0);
    cgroup.remove().unwrap();
}

#[test]
fn an_existing_cgroup_is_taken_over_with_its_limits() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"pids": {"limit": 17}}));
    let again = Cgroup::create(&cgroup.layout, &cgroup.path).unwrap();
    assert_eq!(cgroup.read("pids", "pids.max"), "17");
    assert_eq!(again.path(), cgroup.cgroup.path());
}

#[test]
fn parents_are_made_and_can_run_processes_everywhere() {
    let parent = unique_path();
    let layout = layout();
    let child = TestCgroup::at(parent.join("pod/container"));
    let suffix = if child.is_unified() { ".effective" } else { "" };
    assert!(!child.read("cpuset", &format!("cpuset.cpus{suffix}")).is_empty());
    assert!(!child.read("cpuset", &format!("cpuset.mems{suffix}")).is_empty());
    let mut process = child.spawn("cat", &[]);
    until("the child is in", || child.pids().unwrap() == [process.pid()]);
    process.say("done");
    drop(process);
    drop(child);
    Cgroup::open(&layout, &parent).unwrap().remove().unwrap();
    assert_eq!(standing(&layout, &parent).len(), 0);
}

#[test]
fn a_parent_that_lacks_processors_gets_its_own_parents_first() {
    let layout = layout();
    let parent = unique_path();
    let bare = directory(&layout, "cpuset", &parent);
    fs::create_dir(&bare).unwrap();
    // On v2 it is the controllers that a bare parent does not hand down.
    let (lacking, given) = match layout.kind() {
        Kind::V2 => ("cgroup.subtree_control", "cgroup.controllers"),
        _ => ("cpuset.cpus", "cpuset.cpus"),
    };
    assert_eq!(fs::read_to_string(bare.join(lacking)).unwrap().trim(), "");
    let child = TestCgroup::at(parent.join("a/b"));
    let root = fs::read_to_string(bare.parent().unwrap().join(given)).unwrap();
    assert_eq!(child.read("cpuset", given), root.trim());
    drop(child);
    Cgroup::open(&layout, &parent).unwrap().remove().unwrap();
}

#[test]
fn cpusets_below_a_parent_that_we_have_filled_are_filled_by_the_kernel() {
    let layout = layout();
    if layout.kind() == Kind::V2 {
        return;
    }
    let parent = unique_path();
    let first = TestCgroup::at(parent.join("first"));
    let ours = directory(&layout, "cpuset", &parent);
    let by_hand = ours.join("by-hand");
    fs::create_dir(&by_hand).unwrap();
    let given = fs::read_to_string(by_hand.join("cpuset.cpus")).unwrap();
    fs::remove_dir(&by_hand).unwrap();
    assert_eq!(given.trim(), first.read("cpuset", "cpuset.cpus"));
    // The root has processors of its own, and is not ours to change.
    assert_eq!(fs::read_to_string(ours.parent().unwrap().join("cgroup.clone_children")).unwrap(), "0\n");
    drop(first);
    Cgroup::open(&layout, &parent).unwrap().remove().unwrap();
}

#[test]
fn a_create_that_fails_half_way_leaves_nothing_of_its_own() {
    let layout = layout();
    let parent = unique_path();
    let kept = directory(&layout, "memory", &parent);
    fs::create_dir(&kept).unwrap();
    // pids.max is a file of the pids hierarchy: no cgroup can have that name there, but it can everywhere else.
    let (name, place) = match layout.kind() {
        Kind::V2 => ("cgroup.procs", "cgroup.procs"),
        _ => ("pids.max", "/pids/"),
    };
    for path in ["*", "*/below", "new/*", "new/*/below"].map(|path| path.replace('*', name)) {
        let error = Cgroup::create(&layout, &parent.join(path)).unwrap_err();
        assert!(error.to_string().contains(place), "{error}");
        assert_eq!(
            standing(&layout, &parent),
            std::slice::from_ref(&kept),
            "what was there before stays, nothing else"
        );
        assert_eq!(fs::read_dir(&kept).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count(), 0);
    }
    fs::remove_dir(&kept).unwrap();
}

#[test]
fn a_child_that_puts_itself_in_is_in_the_cgroup_in_every_hierarchy() {
    let cgroup = TestCgroup::new();
    match cgroup.entry().unwrap() {
        Entry::Tasks(tasks) => assert_eq!(tasks.len(), cgroup.directories().count()),
        entry => assert!(cgroup.is_unified() && matches!(entry, Entry::Into(_))),
    }
    let process = cgroup.spawn("cat", &[]);
    until("the child is in", || cgroup.pids().unwrap() == [process.pid()]);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", process.pid())).unwrap();
    // Beside v1's controllers there may be a v2 hierarchy that nobody asked for.
    let lines: Vec<&str> = own.lines().filter(|line| cgroup.is_unified() || !line.starts_with("0::")).collect();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line.ends_with(cgroup.path.to_str().unwrap())), "{own}");
    for directory in cgroup.directories() {
        let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), process.pid().to_string(), "{}", directory.display());
    }
}

#[test]
fn processes_of_nested_cgroups_are_listed_once_each() {
    let cgroup = TestCgroup::new();
    let nested = TestCgroup::at(cgroup.path.join("own/deeper"));
    let leaf = leaf_of(&cgroup);
    let (outer, inner) = (leaf.as_ref().unwrap_or(&cgroup).spawn("cat", &[]), nested.spawn("cat", &[]));
    let both = BTreeSet::from([outer.pid(), inner.pid()]);
    until("both are in", || cgroup.pids().unwrap().into_iter().collect::<BTreeSet<_>>() == both);
    assert_eq!(cgroup.pids().unwrap().len(), 2);
}

#[test]
fn a_frozen_process_does_not_run_and_a_thawed_one_does() {
    let cgroup = TestCgroup::new();
    let process = cgroup.spawn("sh", &["-c", "while :; do :; done"]);
    until("the child is busy", || process.ticks() > 2);
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen());
    // The kernel counts a process as frozen a moment before it takes it off its processor, and where
    // others want that processor too, the moment may be a tick long: the first span may show one,
    // while of a busy loop every span would.
    let mut before = process.ticks();
    until("the child has not used a tick for 200 ms", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, process.ticks()) == before
    });
    cgroup.thaw().unwrap();
    until("the child is busy again", || process.ticks() > before);
}

#[test]
fn a_frozen_process_is_killed() {
    let cgroup = TestCgroup::new();
    let mut process = cgroup.spawn("cat", &[]);
    until("the child is in", || !cgroup.pids().unwrap().is_empty());
    cgroup.freeze().unwrap();
    cgroup.kill().unwrap();
    assert_eq!(signal_of(&mut process), Some(9));
}

#[test]
fn kill_ends_a_tree_that_keeps_forking() {
    let cgroup = TestCgroup::new();
    let nested = TestCgroup::at(cgroup.path.join("nested"));
    let leaf = leaf_of(&cgroup);
    cgroup.apply(json!({"pids": {"limit": 64}}));
    // Each process starts another for as long as it lives; the ends of those that have gone make room for new ones.
    let bomb = "bomb() { while :; do bomb & sleep 0.01; done 2>/dev/null; }; bomb";
    let outer = leaf.as_ref().unwrap_or(&cgroup);
    let (mut outer, mut inner) = (outer.spawn("bash", &["-c", bomb]), nested.spawn("bash", &["-c", bomb]));
    // Both have to be inside: a process that enters after the kill is none of its business.
    until("the inner tree has begun", || !nested.pids().unwrap().is_empty());
    until("the tree has grown", || cgroup.pids().unwrap().len() > 20);
    cgroup.kill().unwrap();
    assert_eq!((signal_of(&mut outer), signal_of(&mut inner)), (Some(9), Some(9)));
    until("all are gone", || cgroup.pids().unwrap().is_empty());
}

#[test]
fn remove_waits_for_processes_that_are_dying() {
    let cgroup = TestCgroup::new();
    let processes: Vec<_> = (0..20).map(|_| cgroup.spawn("cat", &[])).collect();
    until("all are in", || cgroup.pids().unwrap().len() == processes.len());
    cgroup.kill().unwrap();
    cgroup.remove().unwrap();
    assert_eq!(standing(&cgroup.layout, &cgroup.path).len(), 0);
}

#[test]
fn remove_takes_what_the_container_has_made_below() {
    let cgroup = TestCgroup::new();
    for nested in ["a/b/c", "a/d", "e"] {
        Cgroup::create(&cgroup.layout, &cgroup.path.join(nested)).unwrap();
    }
    fs::create_dir_all(directory(&cgroup.layout, "memory", &cgroup.path.join("only/here"))).unwrap();
    cgroup.remove().unwrap();
    assert_eq!(standing(&cgroup.layout, &cgroup.path).len(), 0);
}

#[test]
fn a_cgroup_is_ready_for_the_next_processes_when_what_the_last_ones_have_made_is_gone() {
    let cgroup = TestCgroup::new();
    cgroup.apply(json!({"pids": {"limit": 17}}));
    let nested = cgroup.path.join("docker/one");
    let own = TestCgroup::at(nested.clone());
    let process = own.spawn("cat", &[]);
    until("the child is in", || !own.pids().unwrap().is_empty());
    assert!(!cgroup.try_reset().unwrap());
    assert!(!standing(&cgroup.layout, &nested).is_empty());
    cgroup.kill().unwrap();
    drop(process);
    cgroup.reset().unwrap();
    assert_eq!(standing(&cgroup.layout, Path::new(&cgroup.path.join("docker"))), Vec::<std::path::PathBuf>::new());
    assert_eq!(cgroup.read("pids", "pids.max"), "17");
}

#[test]
fn a_shared_parent_goes_when_nobody_needs_it_any_more() {
    let parent = unique_path();
    let (first, second) = (TestCgroup::at(parent.join("1")), TestCgroup::at(parent.join("2")));
    let shared = Cgroup::open(&first.layout, &parent).unwrap();
    first.remove().unwrap();
    assert!(!shared.remove_if_empty().unwrap());
    assert!(!standing(&second.layout, &second.path).is_empty(), "what others have is left alone");
    second.remove().unwrap();
    assert!(shared.remove_if_empty().unwrap());
    assert!(shared.remove_if_empty().unwrap());
    assert_eq!(standing(&first.layout, &parent).len(), 0);
}

#[test]
fn containers_start_below_a_parent_that_others_are_removing() {
    let layout = layout();
    let parent = unique_path();
    let shared = Cgroup::open(&layout, &parent).unwrap();
    let paths: Vec<_> = (0..4).map(|n| parent.join(n.to_string())).collect();
    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(|| {
                for _ in 0..30 {
                    let cgroup = Cgroup::create(&layout, path).expect("create");
                    assert!(cgroup.entry().is_ok());
                    cgroup.remove().expect("remove");
                    shared.remove_if_empty().expect("remove parent");
                }
            });
        }
    });
    assert_eq!(standing(&layout, &parent).len(), 0);
}

#[test]
fn a_very_deep_tree_is_listed_and_removed() {
    let cgroup = TestCgroup::new();
    let mut deep = directory(&cgroup.layout, "freezer", &cgroup.path);
    for _ in 0..400 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    assert_eq!(cgroup.pids().unwrap(), Vec::<i32>::new());
    cgroup.remove().unwrap();
    assert_eq!(standing(&cgroup.layout, &cgroup.path).len(), 0);
}

#[test]
fn remove_of_a_cgroup_in_use_says_so_and_does_not_kill() {
    let cgroup = TestCgroup::new();
    let mut process = cgroup.spawn("cat", &[]);
    until("the child is in", || !cgroup.pids().unwrap().is_empty());
    assert!(!cgroup.try_remove().unwrap());
    let error = cgroup.remove().unwrap_err();
    assert_eq!(error.cause.kind(), ErrorKind::ResourceBusy);
    assert!(error.hint.is_some());
    assert!(process.0.try_wait().unwrap().is_none(), "still alive");
}

#[test]
fn a_cgroup_that_is_gone_has_no_processes_and_no_statistics() {
    let cgroup = TestCgroup::new();
    cgroup.remove().unwrap();
    let gone = Cgroup::open(&cgroup.layout, &cgroup.path).unwrap();
    assert_eq!(gone.pids().unwrap(), Vec::<i32>::new());
    gone.kill().unwrap();
    gone.remove().unwrap();
    assert_eq!(gone.stats().unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert_eq!(gone.oom_kills().unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert_eq!(gone.entry().unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert_eq!(gone.apply(&common::resources_of(json!({}))).unwrap_err().cause.kind(), ErrorKind::NotFound);
    // And one whose directories were held open while it was removed.
    assert_eq!(cgroup.pids().unwrap(), Vec::<i32>::new());
    assert_eq!(cgroup.oom_kills().unwrap_err().cause.kind(), ErrorKind::NotFound);
    assert_eq!(cgroup.stats().unwrap_err().cause.kind(), ErrorKind::NotFound);
    cgroup.kill().unwrap();
}

#[test]
fn a_process_cannot_freeze_or_kill_itself_by_its_cgroup() {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let freezer = own.lines().find_map(|l| l.split_once(":freezer:").or_else(|| l.split_once("0::")));
    let freezer = freezer.map(|(_, path)| path.to_owned()).unwrap();
    if freezer == "/" {
        // The root is refused by its name already.
        assert!(Cgroup::open(&layout(), Path::new(&freezer)).is_err());
    } else {
        let cgroup = Cgroup::open(&layout(), Path::new(&freezer)).unwrap();
        assert_eq!(cgroup.freeze().unwrap_err().cause.kind(), ErrorKind::InvalidInput);
        assert_eq!(cgroup.kill().unwrap_err().cause.kind(), ErrorKind::InvalidInput);
    }
}

/// Where processes of `cgroup` itself can be beside cgroups below it: on v2 only leaves hold processes.
fn leaf_of(cgroup: &TestCgroup) -> Option<TestCgroup> {
    cgroup.is_unified().then(|| TestCgroup::at(cgroup.path.join("leaf")))
}

fn signal_of(process: &mut common::Process) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    let mut rest = Vec::new();
    let _ = process.0.stdout.take().map(|mut out| out.read_to_end(&mut rest));
    process.0.wait().unwrap().signal()
}
