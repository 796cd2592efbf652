//! Pods on a real containerd, one test for each promise. They run in a lab of their own, through the shim unless
//! `LOMENT_TEST_HANDLER` names another runtime class: with `runc` the tests themselves are tested.
//!
//! After each test, the pods are removed and nothing may be left of them.

mod pods {
    pub(crate) mod errors;
    pub(crate) mod exec;
    pub(crate) mod lifecycle;
    pub(crate) mod logs;
    pub(crate) mod resources;
    pub(crate) mod sharing;
}

use std::{env, pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use loment_integration::{Lab, Options, config, in_lab, lab::block_on, pod::Node};
use pods::{errors, exec, lifecycle, logs, resources, sharing};

/// A test that takes longer hangs.
const HUNG: Duration = Duration::from_secs(90);

type Case = for<'a> fn(&'a Node<'a>) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// Names each test like its function.
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((stringify!($module), stringify!($name), (|node| Box::pin($module::$name(node))) as Case)),*]
    };
}

fn all() -> Vec<(&'static str, &'static str, Case)> {
    cases![
        errors::a_cgroup_path_that_cannot_be_made_fails_the_pod_and_leaves_nothing,
        errors::a_missing_program_is_a_start_error_with_code_128,
        errors::a_missing_root_filesystem_is_named,
        errors::a_namespace_path_that_is_gone_is_named,
        errors::an_exec_of_a_missing_program_fails_and_the_container_lives_on,
        errors::an_unknown_capability_is_refused,
        exec::an_exec_has_its_own_exit_code_and_streams,
        exec::an_exec_outlasted_by_nobody_exits_before_its_container,
        exec::an_exec_reads_its_standard_input_to_the_end,
        exec::an_exec_with_a_terminal_follows_its_size,
        exec::many_execs_at_once_all_answer,
        lifecycle::a_container_that_ignores_the_stop_signal_is_killed_after_its_grace_period,
        lifecycle::a_container_that_handles_the_stop_signal_ends_with_its_own_code,
        lifecycle::a_paused_container_stands_still_until_it_is_resumed,
        lifecycle::a_process_that_outlives_its_container_is_killed_with_it,
        lifecycle::containerd_restarts_and_the_pod_lives_on,
        lifecycle::each_process_has_its_events_in_order,
        logs::a_container_writes_both_streams_in_order,
        logs::a_last_line_without_newline_is_kept,
        logs::output_written_just_before_the_exit_is_not_lost,
        resources::a_container_beyond_its_memory_is_reported_as_oom_killed_before_its_exit,
        resources::limits_are_in_the_cgroup_files,
        resources::statistics_agree_with_the_cgroup_files,
        resources::an_update_changes_the_limits_of_a_running_container,
        sharing::a_volume_survives_a_restart_of_its_container,
        sharing::containers_of_a_pod_reach_each_other_over_localhost,
        sharing::containers_with_shared_pids_see_each_other,
        sharing::pods_have_different_addresses_and_reach_each_other,
        sharing::posix_shared_memory_is_shared_inside_a_pod_only,
        sharing::sysv_semaphores_are_shared_inside_a_pod_only,
        sharing::the_hostname_is_the_pods_name,
    ]
    .into()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    // One after the other, because each counts what it leaves behind.
    let one_by_one = *arguments.test_threads.get_or_insert(1) == 1;
    in_lab(Options::default(), |lab| {
        let setting = Setting { lab: Arc::clone(lab), handler: handler(), one_by_one };
        Ok(libtest_mimic::run(&arguments, trials(Some(&setting))).exit_code())
    })
}

fn handler() -> String {
    env::var("LOMENT_TEST_HANDLER").unwrap_or_else(|_| config::HANDLER.to_owned())
}

#[derive(Clone)]
struct Setting {
    lab: Arc<Lab>,
    handler: String,
    one_by_one: bool,
}

fn trials(setting: Option<&Setting>) -> Vec<Trial> {
    let cases = all().into_iter();
    cases
        .map(|(module, name, case)| {
            let setting = setting.cloned();
            Trial::test(format!("{module}::{name}"), move || {
                let setting = setting.ok_or("there is no lab to run in")?;
                run(&setting, case).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect()
}

fn run(setting: &Setting, case: Case) -> Result<()> {
    let lab = &setting.lab;
    let before = lab.census();
    let logged = lab.log_lines();
    let result = block_on(async {
        let node = Node::connect(lab, &setting.handler).await?;
        let test = tokio::time::timeout(HUNG, case(&node));
        test.await.unwrap_or_else(|_| bail!("the test did not end within {HUNG:?}"))
    })?;
    let result = result.with_context(|| format!("containerd logged:\n{}\n", lab.log_since(logged)));
    if !setting.one_by_one {
        return result;
    }
    let removed = block_on(lab.remove_pods())?;
    result?;
    removed.context("remove the pods of the test")?;
    let left = lab.left_since(&before);
    if !left.is_empty() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    Ok(())
}
