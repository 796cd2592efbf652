//! Runs the tests in a lab, one after the other, and notes what becomes of each.

use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use loment_integration::{
    Choice, Lab, Options, Sandboxer, config, in_lab,
    lab::block_on,
    loment::Loment,
    patience,
    pod::Node,
    results::{Column, LeftOut, Outcome, Record, Results},
};

use super::columns::Ground;

/// A test that takes longer hangs.
const HUNG: Duration = Duration::from_secs(180);

/// Names the directory for what becomes of each test, which `loment-matrix` reads.
const RESULTS: &str = "LOMENT_TEST_RESULTS";

/// A test: its module, its name and itself.
pub(crate) type Named = (&'static str, &'static str, Case);

pub(crate) type Case = for<'a> fn(&'a Node<'a>) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// The whole program.
pub(crate) fn run(cases: Vec<Named>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let cases = cases.into_iter().filter(is_chosen()).collect::<Vec<_>>();
    if arguments.list {
        return libtest_mimic::run(&arguments, cases.into_iter().map(|case| trial(case, None)).collect()).exit_code();
    }
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            say(&format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    // One after the other, because each counts what it leaves behind.
    let one_by_one = *arguments.test_threads.get_or_insert(1) == 1;
    let is_own = options.choice.containerd.is_none() && options.choice.sandboxer == Sandboxer::Podsandbox;
    in_lab(options, |lab| {
        let column = Column { version: lab.version(), sandboxer: lab.sandboxer() };
        let directory = env::var_os(RESULTS).map(PathBuf::from);
        let results = directory.map(|directory| Results::begin(&directory, column)).transpose()?;
        let ground = Ground { column, is_own, handler: handler() };
        let setting = Setting { lab: Arc::clone(lab), ground, one_by_one, results: results.map(Arc::new) };
        let trials = cases.into_iter().map(|case| trial(case, Some(&setting))).collect();
        Ok(libtest_mimic::run(&arguments, trials).exit_code())
    })
}

/// Which tests `LOMENT_TEST_CASES` names.
fn is_chosen() -> impl Fn(&Named) -> bool {
    let chosen = env::var("LOMENT_TEST_CASES").unwrap_or_default();
    move |(module, name, _)| {
        chosen.trim().is_empty() || chosen.split_whitespace().any(|case| format!("{module}::{name}").starts_with(case))
    }
}

/// The lab that the environment asks for.
fn options() -> Result<Options> {
    let sandboxer = env::var("LOMENT_TEST_SANDBOXER").ok().map(|name| name.parse::<Sandboxer>());
    let sandboxer = sandboxer.transpose().map_err(|error| anyhow!("LOMENT_TEST_SANDBOXER: {error}"))?;
    let containerd = env::var("LOMENT_TEST_CONTAINERD").ok().filter(|asked| !asked.is_empty());
    let choice = Choice { containerd, sandboxer: sandboxer.unwrap_or_default() };
    Ok(Options { choice, ..Options::default() })
}

fn handler() -> String {
    env::var("LOMENT_TEST_HANDLER").unwrap_or_else(|_| config::HANDLER.to_owned())
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[derive(Clone)]
struct Setting {
    lab: Arc<Lab>,
    ground: Ground,
    one_by_one: bool,
    results: Option<Arc<Results>>,
}

fn trial((module, name, case): Named, setting: Option<&Setting>) -> Trial {
    let lacks = setting.and_then(|setting| setting.ground.lacks(module, name));
    if let (Some(setting), Some(why)) = (setting, &lacks) {
        setting.note(module, name, Outcome::LeftOut(why.clone()), Duration::ZERO);
    }
    let setting = setting.cloned();
    let trial = Trial::test(format!("{module}::{name}"), move || {
        let setting = setting.ok_or("there is no lab to run in")?;
        let begun = Instant::now();
        let outcome = outcome(&setting.run(case));
        setting.note(module, name, outcome.clone(), begun.elapsed());
        match outcome {
            Outcome::Passed => {}
            Outcome::LeftOut(why) => say(&format!("SKIPPED: {why}")),
            Outcome::Failed(why) => return Err(Failed::from(why)),
        }
        Ok(())
    });
    trial.with_ignored_flag(lacks.is_some())
}

fn outcome(result: &Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(error) => match error.downcast_ref::<LeftOut>() {
            Some(why) => Outcome::LeftOut(why.0.clone()),
            None => Outcome::Failed(format!("{error:#}")),
        },
    }
}

impl Setting {
    fn note(&self, module: &str, case: &str, outcome: Outcome, took: Duration) {
        let record = Record { module: module.to_owned(), case: case.to_owned(), outcome };
        if let Some(Err(error)) = self.results.as_ref().map(|results| results.note(&record, took)) {
            // The matrix will lack it, which is a failure there.
            say(&format!("{error:#}"));
        }
    }

    fn run(&self, case: Case) -> Result<()> {
        let lab = &self.lab;
        if block_on(lab.revive_containerd())?? {
            say("containerd had ended in the test before, and was started again");
        }
        let (before, on_record) = (lab.census(), block_on(lab.on_record())??);
        let logged = lab.log_lines();
        let result = block_on(async {
            let node = Node::connect(lab, &self.ground.handler).await?;
            let hung = patience(HUNG);
            let test = tokio::time::timeout(hung, case(&node));
            test.await.unwrap_or_else(|_| bail!("the test did not end within {hung:?}"))
        })?;
        let result = result.with_context(|| format!("containerd logged:\n{}\n", lab.log_since(logged)));
        if !self.one_by_one {
            return result;
        }
        if result.is_err() {
            // What a test that failed has not come to remove is no news. Whether this works is told by the census.
            let _ = block_on(Loment::new(lab).run(&["delete", "pod", "--all", "--force"], ""))?;
        }
        let removed = block_on(lab.remove_pods())?;
        result?;
        removed.context("remove the pods of the test")?;
        let mut left = lab.left_since(&before);
        let still = block_on(lab.on_record())??;
        left.extend(still.difference(&on_record).map(|id| format!("on containerd's record: {id}")));
        if !left.is_empty() {
            bail!("left behind:\n  {}", left.join("\n  "));
        }
        Ok(())
    }
}
