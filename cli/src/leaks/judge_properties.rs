//! What holds for every survey.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::finding::Thing;
use super::judge_tests::{MACHINE, TASKS, empty, id, judged, kinds, know, process, shim, socket_of};
use super::survey::{Bundle, Process, Socket, Survey};

/// Anything: few ids and pids, so that things meet.
fn surveys() -> impl Strategy<Value = Survey> {
    let any_process =
        (1..14_i32, 1..14_i32, 1..7_u8, 0..4_u8, any::<bool>()).prop_map(|(pid, parent, of, place, own)| {
            let cgroup = match place {
                0 => format!("/loment/podu-{of}/{}", id(of)),
                1 => format!("/kubepods/podu-1/{}", id(of)),
                2 => format!("/k8s.io/{}", id(of)),
                _ => "/user".into(),
            };
            let mounts = if own { MACHINE } else { 70 };
            let claim = (place == 3).then(|| shim(pid, of).claim).flatten();
            let listens = if own && claim.is_some() { shim(pid, of).listens } else { Vec::new() };
            Process { mounts, claim, listens, ..process(pid, parent, &cgroup) }
        });
    let any_bundle = (1..7_u8, any::<bool>(), 1..14_i32).prop_map(|(of, is_ours, pid)| Bundle {
        path: format!("{TASKS}/k8s.io/{}", id(of)).into(),
        namespace: "k8s.io".into(),
        id: id(of),
        is_ours,
        inits: vec![(pid, 6)],
        socket: Some(socket_of("k8s.io", &id(of))),
        ..Bundle::default()
    });
    let processes = prop::collection::btree_map(1..14_i32, any_process, 0..10);
    let bundles = prop::collection::vec(any_bundle, 0..5);
    let known = prop::collection::btree_set(1..7_u8, 0..6);
    (processes, bundles, known).prop_map(|(processes, bundles, numbers)| {
        let processes: Vec<Process> = processes.into_iter().map(|(pid, one)| Process { pid, ..one }).collect();
        let cgroups = processes.iter().flat_map(|process| process.cgroups.clone()).collect();
        let sockets = (1..7).map(|of| Socket { path: socket_of("k8s.io", &id(of)), inode: 1, is_answered: false });
        let sockets = sockets.collect();
        let mut survey = Survey { processes, bundles, cgroups, sockets, ..empty() };
        know(&mut survey, &numbers.into_iter().collect::<Vec<_>>());
        survey
    })
}

proptest! {
    #[test]
    fn nothing_that_containerd_knows_is_ever_a_leftover(survey in surveys()) {
        for one in judged(&survey).iter().filter(|one| one.is_leftover()) {
            prop_assert!(!survey.knows(&one.owner.id), "{one:#?}");
            if let Thing::Process { pid, .. } | Thing::Shim { pid, .. } = one.thing {
                let process = survey.process(pid).unwrap();
                let known = process.cgroups.iter().flat_map(|path| super::survey::ids_on(path)).any(|id| survey.knows(id));
                prop_assert!(!known, "{one:#?}");
            }
        }
    }

    #[test]
    fn without_a_trace_of_this_project_nothing_is_a_leftover(mut survey in surveys()) {
        survey.processes.iter_mut().for_each(|process| process.claim = None);
        survey.bundles.iter_mut().for_each(|bundle| bundle.is_ours = false);
        for process in &mut survey.processes {
            process.cgroups.retain(|path| !path.starts_with("/loment"));
        }
        survey.cgroups.retain(|path| !path.starts_with("/loment"));
        prop_assert_eq!(kinds(&judged(&survey)), Vec::<&str>::new());
    }

    #[test]
    fn a_process_with_the_machines_mounts_is_ended_only_if_it_executes_the_shim(survey in surveys()) {
        for one in judged(&survey).iter().filter(|one| one.is_leftover()) {
            if let Thing::Process { pid, .. } | Thing::Shim { pid, .. } = one.thing {
                let process = survey.process(pid).unwrap();
                prop_assert!(process.mounts != MACHINE || process.claim.is_some(), "{one:#?}");
            }
        }
    }

    #[test]
    fn no_cgroup_with_a_process_that_stays_is_removed(survey in surveys()) {
        let found = judged(&survey);
        let ended: BTreeMap<i32, bool> = found.iter().filter_map(|one| match one.thing {
            Thing::Process { pid, .. } | Thing::Shim { pid, .. } => Some((pid, one.is_leftover())),
            _ => None,
        }).collect();
        for one in found.iter().filter(|one| one.is_leftover()) {
            let Thing::Cgroup { path } = &one.thing else { continue };
            let inside = survey.processes.iter().filter(|process| process.cgroups.iter().any(|cgroup| cgroup.starts_with(path)));
            for process in inside {
                prop_assert_eq!(ended.get(&process.pid), Some(&true), "{:#?}", one);
            }
        }
    }
}
