//! What is a leftover and what is not, on surveys that are made up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Finding, Thing, Verdict};
use super::judge::judge;
use super::survey::{
    Attachment, Bundle, Claim, Entry, Kept, Mount, Names, Network, Part, Process, Socket, Survey, Unlisted,
};

pub(super) const MACHINE: u64 = 1;
const STATE: &str = "/run/containerd";
pub(super) const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// The id of a container: 64 digits, as CRI makes them.
pub(super) fn id(number: u8) -> String {
    format!("{number:064x}")
}

pub(super) fn socket_of(namespace: &str, group: &str) -> PathBuf {
    PathBuf::from(format!("/run/containerd/s/{namespace}-{group}"))
}

pub(super) fn judged(survey: &Survey) -> Vec<Finding> {
    judge(survey, &socket_of)
}

pub(super) fn kinds(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().filter(|one| one.is_leftover()).map(|one| one.thing.kind()).collect()
}

pub(super) fn empty() -> Survey {
    let (address, state) = (SOCKET.to_owned(), PathBuf::from("/var/lib/loment"));
    Survey { address, own_mounts: MACHINE, containerd_state: STATE.into(), state, ..Survey::default() }
}

pub(super) fn shim(pid: i32, of: u8) -> Process {
    let claim = Claim { namespace: "k8s.io".into(), id: id(of), address: SOCKET.into() };
    let (listens, claim) = (vec![socket_of("k8s.io", &id(of))], Some(claim));
    Process { pid, parent: 1, start_time: 5, mounts: MACHINE, network: 1, claim, listens, ..Process::default() }
}

pub(super) fn process(pid: i32, parent: i32, cgroup: &str) -> Process {
    let cgroups = BTreeSet::from([PathBuf::from(cgroup)]);
    Process { pid, parent, start_time: 6, name: "sleep".into(), cgroups, mounts: 70, network: 71, ..Process::default() }
}

/// A pod of a kubelet's with one container, whose shim has the pid 10: everything that there is of it.
fn pod() -> Survey {
    let (pod, container) = ("/kubepods/podu-1", format!("/kubepods/podu-1/{}", id(2)));
    let holder = Process { claim: shim(10, 1).claim, ..process(11, 10, &format!("{pod}/{}", id(1))) };
    let bundle = |number: u8, pid: i32| Bundle {
        path: format!("{TASKS}/k8s.io/{}", id(number)).into(),
        namespace: "k8s.io".into(),
        id: id(number),
        is_ours: true,
        inits: vec![(pid, 6)],
        socket: Some(socket_of("k8s.io", &id(1))),
        network: Some("/var/run/netns/cni-1".into()),
        names: Names { namespace: "shop".into(), name: "web".into(), ..Names::default() },
        ..Bundle::default()
    };
    Survey {
        processes: vec![shim(10, 1), holder, process(12, 10, &container)],
        bundles: vec![bundle(1, 11), bundle(2, 12)],
        mounts: vec![Mount { id: 40, at: format!("{TASKS}/k8s.io/{}/rootfs", id(2)).into(), ..Mount::default() }],
        cgroups: [pod.into(), format!("{pod}/{}", id(1)).into(), container.into()].into(),
        networks: vec![Network { path: "/run/netns/cni-1".into(), inode: 71 }],
        attachments: vec![Attachment {
            path: "/var/lib/cni/results/net".into(),
            id: id(1),
            namespace_path: Some("/var/run/netns/cni-1".into()),
            peers: vec!["veth1".into()],
            ..Attachment::default()
        }],
        sockets: vec![Socket { path: socket_of("k8s.io", &id(1)), inode: 3, is_answered: true }],
        ..empty()
    }
}

pub(super) fn know(survey: &mut Survey, numbers: &[u8]) {
    let known = survey.known.entry("k8s.io".into()).or_default();
    known.extend(numbers.iter().map(|number| (id(*number), Names::default())));
}

#[test]
fn nothing_of_a_pod_that_containerd_knows_is_left() {
    let mut survey = pod();
    know(&mut survey, &[1, 2]);
    assert_eq!(judged(&survey), []);
}

#[test]
fn of_a_pod_that_containerd_does_not_know_everything_is_left_and_named() {
    let found = judged(&pod());
    let expected = [
        "shim",
        "process",
        "process",
        "mount",
        "cni",
        "netns",
        "interface",
        "cgroup",
        "cgroup",
        "socket",
        "bundle",
        "bundle",
    ];
    assert_eq!(kinds(&found), expected);
    assert!(found.iter().all(|one| one.owner.pod() == "shop/web"), "{found:#?}");
}

#[test]
fn what_a_killed_shim_and_a_lost_bundle_leave_is_told_by_the_holder_and_its_cgroup() {
    let mut survey = pod();
    survey.bundles.clear();
    survey.mounts.clear();
    survey.processes.remove(0);
    survey.processes.iter_mut().for_each(|process| process.parent = 1);
    let found = judged(&survey);
    assert_eq!(kinds(&found), ["process", "process", "cni", "netns", "interface", "cgroup", "cgroup"]);
}

#[test]
fn a_shim_of_another_containerd_is_told_and_nothing_of_it_is_touched() {
    let mut survey = pod();
    survey.address = "/run/other/containerd.sock".into();
    survey.bundles.clear();
    survey.mounts.clear();
    let found = judged(&survey);
    assert_eq!(kinds(&found), Vec::<&str>::new());
    assert!(
        found.iter().any(|one| matches!(&one.verdict, Verdict::Keep(why) if why.contains("--address"))),
        "{found:#?}"
    );
}

/// What containerd B sees of a pod of `loment create`'s that containerd A runs: its shim says whose it is.
fn pod_of_another_containerd() -> Survey {
    let mut survey = pod();
    survey.address = "/run/other/containerd.sock".into();
    survey.bundles.clear();
    survey.mounts.clear();
    let rename = |path: &PathBuf| PathBuf::from(path.display().to_string().replace("/kubepods", "/loment"));
    survey.cgroups = survey.cgroups.iter().map(rename).collect();
    for process in &mut survey.processes {
        process.cgroups = process.cgroups.iter().map(rename).collect();
    }
    survey
}

#[test]
fn a_pod_of_loment_create_that_another_containerd_runs_keeps_its_network_and_its_cgroups() {
    let survey = pod_of_another_containerd();
    assert_eq!(kinds(&judged(&survey)), Vec::<&str>::new());
    // Its shim was killed: that containerd is the one to judge what is left.
    let mut shimless = pod_of_another_containerd();
    shimless.processes.remove(0);
    shimless.processes.iter_mut().for_each(|process| (process.parent, process.claim) = (1, None));
    assert!(!kinds(&judged(&shimless)).is_empty(), "nothing tells whose it is");
    shimless.kept.elsewhere.insert("u-1".into());
    shimless.kept.living.insert("u-1".into());
    assert_eq!(kinds(&judged(&shimless)), Vec::<&str>::new());
}

#[test]
fn an_attachment_stays_while_somebody_who_lives_is_in_its_network() {
    let mut survey = pod();
    survey.processes.push(Process { network: 71, mounts: MACHINE, ..process(99, 1, "/user") });
    let found = judged(&survey);
    let left = kinds(&found);
    assert!(!left.contains(&"cni") && !left.contains(&"interface") && !left.contains(&"netns"), "{left:?}");
    let kept = found.iter().find(|one| one.thing.kind() == "cni").unwrap();
    assert!(matches!(&kept.verdict, Verdict::Keep(why) if why.contains("process 99")), "{kept:?}");
}

#[test]
fn a_shim_whose_first_container_is_gone_lives_for_the_others() {
    let mut survey = pod();
    know(&mut survey, &[2]);
    survey.processes.remove(1);
    survey.bundles.remove(0);
    assert!(!kinds(&judged(&survey)).contains(&"shim"));
    survey.bundles.clear();
    let names = Names { pid: Some(12), ..Names::default() };
    survey.known.get_mut("k8s.io").unwrap().insert(id(2), names);
    assert!(!kinds(&judged(&survey)).contains(&"shim"), "its task is a child of the shim's");
}

#[test]
fn a_process_of_the_machines_in_a_cgroup_that_is_left_is_told_and_left_alone() {
    let mut survey = pod();
    let stranger = Process { mounts: MACHINE, network: 1, ..process(99, 1, &format!("/kubepods/podu-1/{}", id(2))) };
    survey.processes.push(stranger);
    let found = judged(&survey);
    let alone: Vec<String> = found.iter().filter(|one| !one.is_leftover()).map(|one| one.thing.object()).collect();
    assert_eq!(alone, ["99 (sleep)".to_owned(), format!("/kubepods/podu-1/{}", id(2))]);
}

#[test]
fn a_neighbour_in_a_cgroup_that_pods_share_is_not_taken_for_one_of_the_pods() {
    let shared = |number: u8| PathBuf::from(format!("/k8s.io/{}", id(number)));
    let mut survey = pod();
    survey.cgroups.insert(shared(3));
    let bundle = Bundle { path: format!("{TASKS}/k8s.io/{}", id(4)).into(), ..Bundle::default() };
    survey.bundles.push(Bundle { namespace: "k8s.io".into(), id: id(4), is_ours: true, ..bundle });
    survey.cgroups.insert(shared(4));
    let found = judged(&survey);
    let cgroup = |path: PathBuf| found.iter().any(|one| one.thing == Thing::Cgroup { path: path.clone() });
    assert!(cgroup(shared(4)) && !cgroup(shared(3)), "{found:#?}");
}

#[test]
fn what_cri_does_not_list_is_lost_when_nobody_can_wait_for_it_any_more() {
    let unlisted = |number, runtime: &str, seconds| Unlisted {
        id: id(number),
        runtime: runtime.to_owned(),
        age: Duration::from_secs(seconds),
        ..Unlisted::default()
    };
    let mut survey = empty();
    survey.unlisted = vec![
        unlisted(1, "io.containerd.loment.v2", 301),
        unlisted(2, "io.containerd.loment.v2", 299),
        unlisted(3, "io.containerd.runc.v2", 301),
    ];
    survey.known = [("k8s.io".to_owned(), [1, 2, 3].map(|number| (id(number), Names::default())).into())].into();
    let found = judged(&survey);
    assert_eq!(found.iter().map(|one| &one.thing).collect::<Vec<_>>(), [&Thing::Container { id: id(1) }]);
    assert!(found[0].is_leftover());
}

#[test]
fn a_socket_that_is_called_as_ours_and_that_nobody_listens_on_is_a_leftover() {
    let mut survey = empty();
    let socket =
        |name: &str, is_answered| Socket { path: Path::new("/run/containerd/s").join(name), inode: 1, is_answered };
    survey.sockets = vec![socket("loment-0a", false), socket("loment-0b", true), socket("0c", false)];
    let found = judged(&survey);
    let leftovers: Vec<_> = found.iter().filter(|one| one.is_leftover()).map(|one| one.thing.object()).collect();
    assert_eq!(leftovers, ["/run/containerd/s/loment-0a"]);
}

#[test]
fn a_socket_is_a_leftover_only_if_it_is_known_whose_it_was() {
    let stale = |path: PathBuf| Socket { path, inode: 1, is_answered: false };
    let mut survey = empty();
    survey.cgroups.insert(format!("/loment/podu-9/{}", id(9)).into());
    survey.sockets = vec![stale(socket_of("k8s.io", &id(9))), stale(socket_of("k8s.io", &id(8)))];
    let found = judged(&survey);
    let sockets: Vec<bool> =
        found.iter().filter(|one| one.thing.kind() == "socket").map(Finding::is_leftover).collect();
    assert_eq!(sockets, [false, true], "{found:#?}");
    know(&mut survey, &[8]);
    assert_eq!(kinds(&judged(&survey)), ["cgroup", "socket"], "a shim of one that is known may be beginning");
}

#[test]
fn a_named_network_that_nothing_tells_of_is_only_told() {
    let network = |name: &str| Network { path: Path::new("/run/netns").join(name), inode: 9 };
    let survey = Survey { networks: vec![network("cni-x"), network("mine")], ..empty() };
    let found = judged(&survey);
    assert_eq!((found.len(), kinds(&found).len()), (1, 0));
    assert!(matches!(&found[0].verdict, Verdict::Keep(why) if why.starts_with("unknown owner")));
}

#[test]
fn the_cgroup_of_a_pod_stays_with_its_record_also_when_it_has_lost_its_sandbox() {
    let mut survey = empty();
    survey.cgroups.insert("/loment/podu-1".into());
    assert_eq!(kinds(&judged(&survey)), ["cgroup"]);
    survey.kept.living.insert("u-1".into());
    assert_eq!(judged(&survey), []);
}

#[test]
fn files_of_a_pod_are_left_when_there_is_no_such_pod_and_nobody_is_making_one() {
    let entry = |part, uid: &str| Entry {
        part,
        path: Path::new("/var/lib/loment/pods").join(uid),
        names: Names { namespace: "shop".into(), name: "web".into(), uid: uid.into(), ..Names::default() },
        ..Entry::default()
    };
    let mount = Mount { id: 7, at: "/var/lib/loment/pods/u-1/volumes/v".into(), ..Mount::default() };
    let kept = Kept { entries: vec![entry(Part::Record, "u-1"), entry(Part::Lock, "")], ..Kept::default() };
    let mut survey = Survey { kept, mounts: vec![mount], ..empty() };
    assert_eq!(kinds(&judged(&survey)), ["mount", "lock", "pod-directory"]);
    survey.kept.living.insert("u-1".into());
    assert_eq!(kinds(&judged(&survey)), ["lock"], "the pod may have lost its sandbox: it is a pod");
    survey.kept.living.clear();
    survey.kept.taken.insert(("shop".into(), "web".into()));
    assert_eq!(judged(&survey), []);
}

#[test]
fn a_mount_that_another_namespace_has_is_told_with_who_keeps_it() {
    let mut survey = pod();
    let at = survey.mounts[0].at.clone();
    survey.processes.push(Process { network: 1, ..process(50, 1, "/user") });
    survey.mounts.push(Mount { id: 90, at, elsewhere: Some((50, "sh".into())), ..Mount::default() });
    let found = judged(&survey);
    let told: Vec<&Finding> = found.iter().filter(|one| !one.is_leftover()).collect();
    let [only] = told.as_slice() else { panic!("{told:#?}") };
    assert!(matches!(&only.verdict, Verdict::Keep(why) if why.contains("process 50 (sh)")));
}

#[test]
fn a_name_that_somebody_has_chosen_stands_for_no_cgroup_and_no_place_but_its_own() {
    let hostile = |id: &str| Bundle {
        path: Path::new(TASKS).join("default").join(id),
        namespace: "default".into(),
        id: id.into(),
        is_ours: true,
        cgroups: vec![Path::new("default").join(id)],
        ..Bundle::default()
    };
    let mut survey = pod();
    know(&mut survey, &[1, 2]);
    survey.cgroups.extend(["/default/user".into(), "/user".into(), "/user/x".into()]);
    survey.processes.push(process(60, 1, "/user/x"));
    survey.processes.push(process(61, 1, "/default/user"));
    survey.bundles.extend([hostile("user"), hostile("rootfs"), hostile("k8s.io")]);
    let found = judged(&survey);
    let left: Vec<String> = found.iter().filter(|one| one.is_leftover()).map(|one| one.thing.object()).collect();
    let bundle = |id: &str| format!("{TASKS}/default/{id}");
    let expected = ["61 (sleep)".into(), "/default/user".into(), bundle("k8s.io"), bundle("rootfs"), bundle("user")];
    assert_eq!(left, expected);
}

#[test]
fn what_stands_beside_in_a_cgroup_that_is_not_the_pods_is_not_the_pods() {
    let mut survey = pod();
    let rename = |path: &PathBuf| PathBuf::from(path.display().to_string().replace("podu-1", "shared"));
    survey.cgroups = survey.cgroups.iter().map(rename).collect();
    let neighbour = format!("/kubepods/shared/{}", id(5));
    survey.cgroups.insert(neighbour.clone().into());
    survey.processes = vec![process(80, 1, &neighbour)];
    assert!(!kinds(&judged(&survey)).contains(&"process"));
    survey.attachments[0].names.uid = "shared".into();
    assert!(kinds(&judged(&survey)).contains(&"process"), "it is named after the pod");
}
