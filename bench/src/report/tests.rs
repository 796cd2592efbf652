use std::time::Duration;

use super::*;
use crate::{measured, samples, settings, traces};

fn millis(all: &[u64]) -> Samples {
    samples::tests::one_of_each_round(all.iter().copied().map(Duration::from_millis))
}

/// Two handlers, the first four times as fast as the second, which is the baseline.
pub(crate) fn report(limit: bool) -> Report {
    let settings = Settings { present: vec![0, 50], ..settings::tests::settings(&["fast", "slow"]) };
    let mut found = Measured::new(2, &settings);
    let rounds = [20, 24, 28, 32, 36, 400];
    let quarter = rounds.map(|took| took / 4);
    for phase in Phase::ALL {
        found.phases[0].insert(phase, millis(&quarter));
        found.phases[1].insert(phase, millis(&rounds));
        if limit {
            found.phases[2].insert(phase, millis(&[1; 6]));
        }
    }
    for (handler, took) in [(0, 10), (1, 40)] {
        found.cpu[handler] = millis(&[took; 6]);
        found.at_once[0].add(
            handler,
            0,
            measured::AtOnce {
                wall: Duration::from_millis(8 * took),
                pods: vec![Duration::from_millis(took); 8],
                removal: Duration::from_millis(took),
            },
        );
        for (place, factor) in [(0, 10), (1, 12)] {
            let samples = millis(&[took * factor / 10; 4]);
            found.present[place].phases[handler].insert(Phase::PodAndContainers, samples);
        }
        found.memory[handler].push(Idle {
            shim_pss_kib: took * 100,
            shim_uss_kib: took,
            sandbox_pss_kib: 0,
            sandbox_uss_kib: 0,
            shim_threads: took,
            shim_descriptors: 5,
        });
    }
    let key = traces::Key { part: "container, asked".into(), lane: "child".into(), phase: "be born".into() };
    found.traces[0].add(0, traces::Step { key, from: Duration::from_millis(1), took: Duration::from_millis(2) });
    let handler = |name: &String| Handler {
        name: name.clone(),
        runtime_type: "io.containerd.x.v2".to_owned(),
        binary: None,
        version: None,
        systemd: false,
    };
    let handlers: Vec<Handler> = settings.handlers.iter().map(handler).collect();
    let about = Found {
        containerd: "2.3.0".to_owned(),
        handlers,
        cpu_source: Some("from somewhere".to_owned()),
        no_cpu: None,
        no_limit: None,
    };
    Report::new(&settings, about, &found).unwrap()
}

#[test]
fn ratios_are_to_the_baseline_which_has_none() {
    let report = report(true);
    for row in &report.phases {
        let [fast, slow, limit] = row.by_handler.as_slice() else { panic!("{row:?}") };
        assert_eq!(fast.ratio.map(|ratio| (ratio.median, ratio.rounds)), Some((0.25, 6)), "{}", row.phase);
        assert!(slow.ratio.is_none() && limit.ratio.is_some() && limit.handler == "limit");
    }
    assert_eq!(report.memory[0].ratio, Some(0.25));
    assert_eq!(report.cpu.by_handler[0].ratio.map(|ratio| ratio.median), Some(0.25));
}

#[test]
fn what_was_not_measured_in_turns_has_no_ratio() {
    let report = report(false);
    let present = report.present.iter().flat_map(|step| &step.phases).flat_map(|row| &row.by_handler);
    assert!(present.chain(&report.at_once[0].pod).all(|one| one.ratio.is_none()));
    assert!(report.at_once[0].wall[0].ratio.is_some());
}

#[test]
fn growth_is_by_the_smallest_number_of_pods() {
    let growth: Vec<_> = report(false).present.into_iter().map(|step| step.growth).collect();
    assert_eq!(growth, [vec![Some(1.0); 2], vec![Some(1.2); 2]]);
}

#[test]
fn what_was_not_made_by_hand_has_no_column() {
    assert_eq!(report(false).subjects(), ["fast", "slow"]);
    assert!(report(false).phases.iter().all(|row| row.by_handler.len() == 2));
    assert_eq!(report(true).subjects(), ["fast", "slow", "limit"]);
}

#[test]
fn the_tables_have_each_figure_with_its_ratio() {
    let text = report(true).to_string();
    let text: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "RunPodSandbox 7.00 (100) 28.0 (400) 1.00 (1.00) 0.25 [0.25, 0.25] 0.03 [0.00, 0.05]",
        "8 pods at once 80.0 (80.0) 320 (320) - 0.25 -",
        "50 12.0 (12.0) 1.20 48.0 (48.0) 1.20",
        "threads of the shim 10 40 0.25",
        "PSS of the sandbox 0 0 -",
        "fast: container, asked be born child 1.00 2.00 2.00",
    ] {
        assert!(text.iter().any(|found| found == line), "{line}\n{}", text.join("\n"));
    }
}
