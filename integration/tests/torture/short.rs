//! The three tests, one after the other in a lab.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use loment_integration::{
    Lab, Options, in_lab,
    torture::{
        load::{self, Amount},
        rounds::{self, Kind, Settings},
    },
};

/// Another one is as good.
const SEED: u64 = 1;

/// How many kills, and how many refused calls.
const ROUNDS: u64 = 50;

pub(crate) fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other, because each counts what it leaves behind.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, all(None)).exit_code();
    }
    let options = Options { tracee: Some(env!("CARGO_BIN_EXE_loment-tracee").into()), ..Options::default() };
    in_lab(options, |lab| Ok(libtest_mimic::run(&arguments, all(Some(lab))).exit_code()))
}

fn all(lab: Option<&Arc<Lab>>) -> Vec<Trial> {
    let test = |name: &str, torture: fn(&Lab) -> Result<()>| {
        let lab = lab.cloned();
        Trial::test(name, move || {
            let lab = lab.ok_or("there is no lab to run in")?;
            torture(&lab).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    vec![
        test("whoever_is_killed_when_a_pod_leaves_nothing", |lab| tormented(lab, Kind::Kills)),
        test("whatever_the_kernel_refuses_a_pod_leaves_nothing", |lab| tormented(lab, Kind::Faults)),
        test("under_load_nothing_grows_hangs_or_is_forgotten", burdened),
    ]
}

fn tormented(lab: &Lab, kind: Kind) -> Result<()> {
    let settings = Settings { kind, seed: SEED, first: 0, count: ROUNDS };
    let mut said = Vec::new();
    let report = rounds::run(lab, settings, &mut said);
    let said = String::from_utf8_lossy(&said);
    let report = report.with_context(|| format!("rounds of seed {SEED}:\n{said}"))?;
    ensure!(report.is_clean(), "{said}{report}");
    // Moments that come seldom come in some rounds only.
    ensure!(report.struck() * 2 > usize::try_from(ROUNDS)?, "hardly anything was done:\n{said}{report}");
    Ok(())
}

fn burdened(lab: &Lab) -> Result<()> {
    let mut said = Vec::new();
    let wrong = load::run(lab, Amount::SHORT, &mut said)?;
    ensure!(wrong.is_empty(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}
