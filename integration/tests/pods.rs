//! Pods on a real containerd, one test for each promise. They run in a lab of their own, through the shim unless
//! `LOMENT_TEST_HANDLER` names another runtime class: with `runc` the tests themselves are tested.
//!
//! `LOMENT_TEST_CONTAINERD` names another containerd than the machine's, by its version (`1.7`, see
//! `scripts/containerds`) or its path; `LOMENT_TEST_SANDBOXER` says who makes the sandboxes: `podsandbox`, or `shim`.
//!
//! `LOMENT_TEST_CASES` names those to run, separated by spaces, where one filter does not say it.
//!
//! After each test, the pods are removed and nothing may be left of them.

mod pods {
    pub(crate) mod acceptance;
    pub(crate) mod accounting;
    pub(crate) mod attacks;
    pub(crate) mod attempts;
    pub(crate) mod bench;
    pub(crate) mod checkpoint;
    pub(crate) mod columns;
    pub(crate) mod command;
    pub(crate) mod command_attach;
    pub(crate) mod command_cp;
    pub(crate) mod command_exec;
    pub(crate) mod command_forward;
    pub(crate) mod command_logs;
    pub(crate) mod content;
    pub(crate) mod ctr;
    pub(crate) mod doctor;
    pub(crate) mod errors;
    pub(crate) mod evictions;
    pub(crate) mod examples;
    pub(crate) mod exec;
    pub(crate) mod faults;
    pub(crate) mod footprint;
    pub(crate) mod foreign;
    pub(crate) mod groups;
    pub(crate) mod hooks;
    pub(crate) mod init;
    pub(crate) mod install;
    pub(crate) mod isolation;
    pub(crate) mod leaks;
    pub(crate) mod lifecycle;
    pub(crate) mod lifecycle_hooks;
    pub(crate) mod logs;
    pub(crate) mod manifest;
    pub(crate) mod memory;
    pub(crate) mod messages;
    pub(crate) mod namespaces;
    pub(crate) mod objects;
    pub(crate) mod pauseless;
    pub(crate) mod probes;
    pub(crate) mod resources;
    pub(crate) mod restarts;
    pub(crate) mod run;
    pub(crate) mod runner;
    pub(crate) mod sandboxes;
    pub(crate) mod screen;
    pub(crate) mod seccomp;
    pub(crate) mod security;
    pub(crate) mod seed;
    pub(crate) mod sharing;
    pub(crate) mod streams;
    pub(crate) mod supervised;
    pub(crate) mod traces;
    pub(crate) mod trackers;
    pub(crate) mod trackers_cost;
    pub(crate) mod trackers_exits;
    pub(crate) mod trackers_leaks;
    pub(crate) mod users;
    pub(crate) mod volumes;
    pub(crate) mod whole;
}

use std::process::ExitCode;

use pods::{
    acceptance, accounting, attacks, attempts, bench, checkpoint, command, command_attach, command_cp, command_exec,
    command_forward, command_logs, content, ctr, doctor, errors, evictions, examples, exec, faults, footprint, foreign,
    groups, hooks, init, install, isolation, leaks, lifecycle, lifecycle_hooks, logs, memory, messages, namespaces,
    objects, pauseless, probes, resources, restarts,
    runner::{self, Case, Named},
    sandboxes, seccomp, security, seed, sharing, streams, supervised, traces, trackers_cost, trackers_exits,
    trackers_leaks, users, volumes, whole,
};

/// Names each test like its function.
macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((stringify!($module), stringify!($name), (|node| Box::pin($module::$name(node))) as Case)),*]
    };
}

fn all() -> Vec<Named> {
    cases![
        acceptance::an_init_container_before_a_sidecar_fails,
        acceptance::an_init_container_after_a_sidecar_fails,
        acceptance::a_sidecar_runs_for_ever_and_the_pod_completes_without_it,
        acceptance::a_sidecar_ends_well_repeatedly,
        acceptance::a_sidecar_fails_repeatedly,
        acceptance::a_sidecar_is_terminated_while_an_init_container_runs,
        acceptance::an_app_that_exceeds_its_grace_fails_the_pod_and_a_sidecar_does_not,
        acceptance::a_container_that_is_killed_ends_with_137_and_error,
        acceptance::a5_an_image_says_by_which_signal_its_containers_are_stopped,
        acceptance::a_sidecar_that_has_not_started_does_not_hold_up_the_end,
        acceptance::a_pod_with_an_image_that_does_not_exist_is_not_made,
        bench::interrupted_in_a_round_it_leaves_nothing,
        bench::interrupted_among_many_pods_it_leaves_nothing,
        bench::a_handler_that_is_not_there_is_refused_with_those_that_are,
        bench::every_figure_that_is_asked_for_is_there_for_every_handler,
        accounting::a_known_load_is_reported_within_five_per_cent,
        accounting::a_pods_total_has_what_its_init_container_has_used,
        accounting::a_pod_without_a_cgroup_of_its_own_is_the_sum_of_its_containers_with_the_dead,
        accounting::a_container_that_dies_at_once_for_memory_is_told_before_its_exit_each_time,
        accounting::a_container_that_only_lost_a_child_ends_as_it_ends,
        accounting::a_container_that_is_killed_as_a_group_has_run_out_of_memory,
        accounting::a_pod_that_the_shim_runs_tells_whom_the_kernel_killed,
        accounting::top_shows_pods_with_their_containers_below_and_refuses_what_there_is_not,
        accounting::a_pod_of_another_runtime_is_shown_as_containerd_knows_it,
        accounting::top_refreshes_on_a_terminal_until_it_is_interrupted,
        accounting::prometheus_reads_what_cadvisors_users_know,
        attacks::an_image_does_not_get_the_runtime_executed,
        attacks::no_working_directory_is_one_of_the_nodes,
        attacks::a_volume_that_is_exchanged_by_another_container_leads_nothing_outside,
        attacks::what_masks_and_the_terminal_come_from_the_node_and_not_from_the_image,
        attacks::a_process_on_its_way_into_a_pod_cannot_be_looked_into,
        attacks::nothing_of_the_shim_is_handed_down,
        attacks::a_release_agent_is_out_of_reach,
        attempts::a_program_that_is_not_there_yet_is_tried_after_each_delay_until_it_is,
        attempts::a_paused_container_is_killed_by_its_probe_and_runs_again,
        attempts::a_container_whose_turn_has_not_come_is_not_paused,
        attempts::limits_that_were_changed_hold_for_the_next_attempt,
        attempts::an_end_is_told_although_somebody_goes_on_writing_to_the_log,
        checkpoint::a_container_is_brought_back_from_its_checkpoint,
        checkpoint::a_pods_container_is_brought_back_into_its_pod,
        checkpoint::a_container_whose_checkpoint_fails_lives_on,
        command::the_manifest_with_three_busybox_containers_runs_unchanged,
        command::the_manifest_with_a_web_server_runs_unchanged_and_other_pods_reach_it,
        command::the_demonstration_pod_succeeds,
        command::an_unknown_field_is_named_with_its_place_and_what_was_meant,
        command::of_a_file_with_one_bad_pod_none_is_made,
        command::a_bad_manifest_in_the_annotation_fails_the_sandbox_and_leaves_nothing,
        command::a_pod_with_an_unknown_capability_is_refused_and_leaves_nothing,
        command::a_pod_whose_program_does_not_exist_is_refused_and_leaves_nothing,
        command::a_pod_of_a_name_that_exists_is_refused_and_the_first_one_lives_on,
        command::delete_stops_the_app_before_the_sidecar_and_removes_everything,
        command::a_pod_is_deleted_while_its_init_container_runs,
        command::a_pod_whose_shim_was_killed_is_deleted_completely,
        command::delete_of_a_pod_that_takes_no_signal_ends_with_its_grace,
        command_attach::who_attaches_before_a_container_runs_sees_all_of_its_attempts,
        command_attach::what_is_typed_reaches_the_container_and_has_an_end,
        command_attach::a_terminal_is_attached_to_left_and_attached_to_again,
        command_attach::a_shell_completes_names_of_pods_and_containers,
        command_cp::a_tree_comes_back_as_it_went,
        command_cp::files_belong_to_the_user_of_the_container_who_may_write_only_its_own,
        command_cp::what_is_read_only_for_the_container_is_not_written,
        command_cp::no_link_leads_out_of_the_container_or_of_the_directory_that_was_named,
        command_cp::a_link_that_comes_and_goes_leads_nowhere,
        command_cp::an_image_without_any_tool_is_copied_to_and_from,
        command_exec::a_shell_on_a_terminal_follows_its_size_and_keys_and_gives_the_terminal_back,
        command_exec::floods_go_through_unchanged,
        command_exec::what_is_written_last_is_not_lost_and_the_exit_code_is_told,
        command_exec::a_process_is_as_confined_as_one_by_exec_sync,
        command_exec::a_killed_command_leaves_no_process_that_waits_for_it,
        command_exec::a_reader_that_goes_away_ends_the_process,
        command_exec::an_interrupt_reaches_the_process_and_ends_the_command,
        command_exec::what_cannot_be_executed_is_refused_in_kubectls_words,
        command_forward::the_web_server_of_the_manifest_is_reached_at_8080,
        command_forward::a_session_survives_refusals_resets_and_restarts,
        command_forward::who_has_only_finished_writing_gets_all_of_the_answer,
        command_forward::ports_have_names_and_datagrams_find_their_way_back,
        command_forward::a_pod_that_does_not_run_yet_is_waited_for,
        command_forward::the_address_after_the_verb_is_where_to_listen,
        command_logs::lines_are_chosen_by_attempt_time_number_and_bytes,
        command_logs::a_followed_log_goes_on_through_restarts_and_files_and_ends_with_the_pod,
        command_logs::all_containers_of_selected_pods_are_shown_with_their_origin,
        command_logs::a_container_without_a_log_is_told_of_in_kubectls_words,
        content::c1_the_environment_is_resolved_in_its_order,
        content::c3_what_a_variable_needs_must_be_there,
        content::c5_a_container_has_its_own_security_context_over_the_pods,
        content::c5_a_group_without_a_user_is_that_of_the_images_user,
        content::c5_a_container_is_kept_from_what_a_kubelet_keeps_it_from,
        content::c5_what_would_run_as_root_or_lose_a_field_is_refused_by_name,
        content::c9_what_the_pod_may_use_is_in_the_cgroup_files_of_all,
        content::s11_a_sidecar_is_not_killed_before_the_app,
        content::names_6_4_a_pod_is_called_as_it_says_and_its_hosts_file_tells,
        content::every_mistake_of_every_file_is_said_with_its_place,
        ctr::a_plain_run_has_the_defaults_of_containerd,
        ctr::a_privileged_run_has_all_that_containerd_has,
        ctr::a_run_in_the_hosts_network_has_its_interfaces_and_name,
        ctr::a_run_attached_by_cni_has_an_address,
        ctr::capabilities_are_added_and_dropped_by_name,
        ctr::seccomp_is_containerds_profile_or_an_own_one,
        ctr::devices_are_given_one_by_one_or_as_a_tree,
        ctr::mounts_have_their_kind_options_and_propagation,
        ctr::a_readonly_root_is_read_only_and_its_mounts_are_not,
        ctr::directory_environment_and_privileges_are_the_given_ones,
        ctr::limits_are_those_of_the_flags,
        ctr::a_run_with_a_terminal_has_one_of_its_own,
        ctr::namespaces_of_another_container_are_joined,
        ctr::a_directory_is_a_root_file_system,
        ctr::streams_go_where_the_flags_say,
        ctr::what_this_kernel_cannot_enforce_is_refused_by_name,
        ctr::an_exec_is_as_confined_as_its_container,
        ctr::an_own_specification_without_a_root_is_refused,
        doctor::a_machine_on_which_pods_run_passes,
        doctor::each_fault_that_is_planted_in_the_machine_is_found_and_its_remedy_is_named,
        errors::a_cgroup_path_that_cannot_be_made_fails_the_pod_and_leaves_nothing,
        errors::a_missing_program_is_a_start_error_with_code_128,
        errors::a_missing_root_filesystem_is_named,
        errors::a_namespace_path_that_is_gone_is_named,
        errors::an_exec_of_a_missing_program_fails_and_the_container_lives_on,
        errors::an_unknown_capability_is_refused,
        evictions::v1_a_pod_whose_volume_is_over_its_limit_is_evicted,
        evictions::c11_a_pod_whose_container_writes_more_than_its_limit_is_evicted,
        examples::each_is_run_by_a_test,
        examples::an_init_container_is_retried_and_the_volume_remembers,
        examples::a_timeline_has_the_attempts_of_the_one_that_is_retried,
        examples::a_sidecar_serves_the_app_and_ends_after_it,
        examples::a_container_that_breaks_is_ready_and_then_restarted,
        examples::containers_share_memory_in_two_ways,
        exec::a_container_that_stops_every_process_does_not_stop_its_shim,
        exec::an_exec_has_its_own_exit_code_and_streams,
        exec::an_exec_outlasted_by_nobody_exits_before_its_container,
        exec::an_exec_reads_its_standard_input_to_the_end,
        exec::an_exec_with_a_terminal_follows_its_size,
        exec::many_execs_at_once_all_answer,
        faults::a_containerd_that_is_stopped_stops_no_pod_and_hears_of_every_end_afterwards,
        footprint::an_idle_pod_has_a_tenth_of_the_memory_that_it_has_under_runc,
        footprint::a_container_adds_little_to_an_idle_pod,
        footprint::execs_and_restarts_leave_an_idle_pod_as_small_as_it_was,
        foreign::the_default_specification_of_runc_runs_at_a_terminal,
        foreign::the_default_specification_of_runc_runs_without_a_terminal,
        foreign::a_specification_with_labels_that_this_kernel_lacks_is_refused,
        foreign::the_default_specification_of_podman_runs,
        groups::containers_of_one_group_are_served_by_one_shim,
        groups::who_is_left_of_a_group_runs_on_and_its_exit_code_is_told,
        groups::the_end_of_one_does_not_touch_the_other_and_the_shim_leaves_with_the_last,
        groups::a_group_whose_shim_was_killed_is_told_and_cleaned_up_as_a_whole,
        hooks::a_client_that_gives_up_waiting_for_a_hook_ends_it_with_its_container,
        hooks::a_container_of_a_class_with_hooks_has_what_they_give_it,
        hooks::a_failing_hook_fails_the_container_with_what_it_said_and_leaves_nothing,
        hooks::a_hook_that_enters_the_mount_namespace_finds_the_root_there,
        hooks::a_hook_that_takes_its_time_keeps_no_other_container_waiting,
        hooks::a_specification_with_the_edits_of_a_device_interface_has_them,
        hooks::each_attempt_of_an_init_container_has_its_hooks_and_a_fresh_layer,
        hooks::a_pod_is_deleted_while_an_attempt_waits_for_its_hooks,
        hooks::the_last_hooks_of_a_container_run_when_its_shim_was_killed,
        hooks::the_root_that_hooks_saw_is_unmounted_when_the_shim_was_killed,
        init::init_containers_run_in_order_and_one_that_fails_is_retried_until_it_succeeds,
        init::an_attempt_starts_with_a_clean_writable_layer_and_writes_to_the_same_log,
        init::the_delay_before_an_attempt_is_what_the_annotation_says,
        init::containerd_is_told_of_the_last_exit_only,
        init::an_init_container_that_fails_under_never_fails_the_pod_and_no_app_runs,
        init::start_returns_at_once_for_a_container_whose_turn_has_not_come,
        init::a_container_that_is_stopped_before_its_turn_never_runs,
        install::a_class_is_given_shows_a_pod_and_every_byte_is_taken_back,
        install::docker_beside_it_keeps_every_byte_and_answers_as_before,
        isolation::huge_pages_are_as_on_the_host,
        isolation::no_mount_of_a_container_is_a_peer_of_the_hosts,
        leaks::what_cri_has_lost_is_seen_and_cleared_and_only_when_it_is_old_a_leftover,
        leaks::annotations_of_somebody_elses_pod_lead_no_command_to_a_directory_of_the_machine,
        leaks::nothing_is_left_while_pods_of_all_kinds_live_and_others_come_and_go,
        leaks::what_containerd_has_forgotten_is_named_by_its_pod_and_removed_and_other_pods_live_on,
        leaks::a_stale_socket_a_mount_and_an_empty_cgroup_are_found_one_by_one_and_removed,
        leaks::a_process_that_somebody_has_put_into_a_cgroup_that_is_left_is_told_and_not_killed,
        leaks::without_a_terminal_it_says_what_to_type_and_does_nothing,
        leaks::a_pod_that_is_unknown_is_no_leftover,
        lifecycle::a_container_that_ignores_the_stop_signal_is_killed_after_its_grace_period,
        lifecycle::a_container_that_handles_the_stop_signal_ends_with_its_own_code,
        lifecycle::a_paused_container_stands_still_until_it_is_resumed,
        lifecycle::a_process_that_outlives_its_container_is_killed_with_it,
        lifecycle::containerd_restarts_and_the_pod_lives_on,
        lifecycle::an_end_that_containerd_was_away_for_is_told_with_code_and_last_line,
        lifecycle::each_process_has_its_events_in_order,
        lifecycle_hooks::a1_the_next_container_starts_when_the_hook_of_the_last_one_has_returned,
        lifecycle_hooks::a2_a_post_start_hook_that_fails_ends_its_container,
        lifecycle_hooks::a2_any_answer_to_an_http_hook_is_success_and_none_is_told,
        lifecycle_hooks::a3_a_pre_stop_hook_runs_before_the_stop_signal_and_not_when_a_container_ends_by_itself,
        lifecycle_hooks::s9_every_pre_stop_hook_begins_at_once_and_sidecars_end_after_the_apps,
        lifecycle_hooks::a3_a_hook_ends_with_its_container,
        logs::a_container_writes_both_streams_in_order,
        logs::a_last_line_without_newline_is_kept,
        logs::output_written_just_before_the_exit_is_not_lost,
        memory::containers_that_memory_ends_at_the_same_time_are_each_told,
        memory::who_is_killed_from_outside_has_not_run_out_of_memory_as_its_neighbours_have,
        memory::in_a_cgroup_that_pods_share_want_of_memory_is_told_of_the_pod_that_it_was_in,
        messages::a11_what_a_container_leaves_in_its_message_file_is_told_and_the_next_attempt_finds_it_empty,
        messages::a11_the_end_of_the_log_stands_in_for_a_container_that_fails_if_it_asks_for_that,
        objects::s12_get_prints_a_pod_in_every_form,
        objects::s12_pods_are_sorted_by_a_field,
        objects::s12_pods_are_deleted_by_their_labels_and_a_dry_run_deletes_none,
        objects::s12_a_watch_shows_each_change_until_the_pod_is_gone,
        objects::s10_a_pod_is_described_with_its_containers_conditions_and_events,
        objects::s10_annotations_and_labels_change_while_no_container_restarts,
        objects::v3_files_about_the_pod_follow_its_labels_and_annotations,
        objects::s9_of_annotations_no_more_than_256_kib_are_kept,
        objects::s10_wait_ends_with_the_state_that_is_waited_for,
        objects::s10_events_are_listed_as_kubectl_lists_them,
        objects::s5_a_pod_whose_shim_is_gone_is_unknown_with_what_was_last_known,
        objects::s9_apply_makes_a_pod_and_changes_it_as_far_as_it_may_change,
        objects::a7_a_container_whose_image_changes_is_started_anew_and_its_sibling_lives_on,
        objects::s13_run_follows_a_pod_and_ends_as_it_does,
        objects::s13_an_interrupted_run_deletes_its_pod,
        objects::s13_why_names_the_one_cause_and_the_next_attempt,
        objects::s13_a_timeline_is_drawn_and_kept_after_the_deletion,
        objects::s13_a_manifest_is_explained_and_nothing_is_made,
        pauseless::a_pod_of_one_container_has_two_processes,
        pauseless::a_pod_that_shares_its_processes_has_one_to_reap_them,
        pauseless::a_container_never_sees_the_processes_of_the_node,
        pauseless::a_pod_has_the_files_that_containerd_would_make,
        pauseless::a_pod_has_a_network_and_parameters_of_its_own,
        pauseless::what_a_sandbox_uses_is_its_pods_cgroup,
        pauseless::a_stopped_sandbox_keeps_nothing_and_takes_no_container,
        pauseless::a_killed_shim_takes_its_sandbox_with_it,
        probes::p1_a_container_is_ready_when_its_readiness_probe_says_so_and_as_long,
        probes::s2_what_comes_after_a_sidecar_waits_for_its_startup_probe,
        probes::p4_a_liveness_probe_that_fails_restarts_its_container_within_the_grace_of_the_probe,
        probes::p6_an_exec_probe_that_takes_too_long_has_failed_and_is_gone,
        probes::p6_the_output_of_a_failed_exec_probe_is_told,
        probes::p6_an_http_probe_asks_the_pod_at_a_named_port,
        probes::p6_an_https_probe_does_not_verify_the_server,
        probes::p6_a_tcp_probe_connects_to_the_pod,
        probes::p6_a_grpc_probe_asks_the_health_service,
        probes::p5_a_probe_that_cannot_be_made_changes_nothing,
        probes::p6_the_host_network_is_probed_from_the_node,
        resources::a_container_beyond_its_memory_is_reported_as_oom_killed_before_its_exit,
        resources::limits_are_in_the_cgroup_files,
        resources::statistics_agree_with_the_cgroup_files,
        resources::an_update_changes_the_limits_of_a_running_container,
        restarts::fifty_restarts_of_containerd_lose_no_pod_no_exit_code_and_no_line,
        sandboxes::sandbox_8_a_pod_whose_sandbox_was_lost_begins_anew_in_another_with_its_volumes_and_address,
        sandboxes::sandbox_8_a_sandbox_that_takes_its_processes_with_it_is_made_again,
        sandboxes::sandbox_8_under_never_a_pod_whose_sandbox_was_lost_ends,
        sandboxes::the_processes_of_a_pod_and_its_address_are_told,
        sandboxes::a_held_pod_begins_by_one_message_when_its_maker_says_so,
        sandboxes::a7_a_second_container_of_a_name_takes_over_from_the_first_and_leaves_the_others_alone,
        sandboxes::status_and_timeline_are_written_into_the_directory_of_the_pod,
        sandboxes::a_pod_that_comes_back_with_its_directory_counts_its_restarts_on,
        sandboxes::i14_a_deadline_that_is_changed_is_taken_over,
        sandboxes::a_pod_of_a_client_without_a_directory_leaves_nothing_on_disk,
        sandboxes::an_annotation_that_names_a_directory_of_the_machine_fails_the_sandbox_and_nothing_is_written_there,
        seccomp::a_container_whose_agent_is_missing_is_refused,
        seccomp::an_agent_answers_for_a_container_and_its_execs,
        security::users_groups_and_a_readonly_root_are_the_given_ones,
        security::a_file_that_is_closed_to_a_group_is_closed_to_its_members,
        security::capabilities_are_added_and_dropped_down_to_none,
        security::an_exec_has_the_security_of_its_container,
        security::seccomp_is_unconfined_the_runtimes_default_or_a_file,
        security::paths_are_masked_and_read_only_as_the_lists_say,
        security::apparmor_is_unconfined_or_refused_where_the_kernel_has_none,
        security::kernel_parameters_of_the_pod_are_set_and_those_of_the_node_refused,
        security::a_privileged_pod_has_all_that_containerd_has,
        security::a_pod_in_the_nodes_namespaces_is_in_them,
        security::a_container_may_have_its_own_ipc_only_with_its_pod,
        security::a_device_has_the_permissions_that_are_given,
        security::mounts_propagate_as_a_volume_says,
        security::huge_pages_and_the_oom_score_are_limited,
        security::unified_resources_are_set_or_refused_by_name,
        seed::each_command_of_the_notes_works_as_written,
        seed::exec_and_delete_all_work_as_written,
        namespaces::a_map_of_two_pods_is_what_the_kernel_says,
        namespaces::a_pods_network_is_joined_told_and_compared_by_its_name,
        sharing::a_volume_survives_a_restart_of_its_container,
        sharing::containers_of_a_pod_reach_each_other_over_localhost,
        sharing::containers_with_shared_pids_see_each_other,
        sharing::pods_have_different_addresses_and_reach_each_other,
        sharing::posix_shared_memory_is_shared_inside_a_pod_only,
        sharing::sysv_semaphores_are_shared_inside_a_pod_only,
        sharing::the_hostname_is_the_pods_name,
        streams::a_logger_takes_both_streams_to_their_ends,
        streams::an_exec_has_a_logger_of_its_own,
        streams::a_logger_may_say_that_it_is_ready_by_a_byte,
        streams::a_logger_that_cannot_serve_fails_the_create_and_leaves_nothing,
        streams::a_logger_that_never_ends_does_not_hold_up_a_delete_and_is_killed,
        streams::a_log_file_is_appended_to_by_one_container_after_the_other,
        streams::rust_extensions_154_an_app_that_writes_while_containerd_restarts_lives_on,
        streams::a_reader_that_stands_still_does_not_hold_up_a_delete,
        streams::one_logger_serves_all_attempts_of_a_container,
        streams::an_app_survives_its_logger,
        supervised::a_sidecar_is_started_before_and_stopped_after_the_app,
        supervised::a_sidecar_that_ends_is_started_again_even_under_never,
        supervised::under_always_an_app_that_ends_well_is_started_again_in_a_fresh_layer,
        supervised::under_on_failure_an_app_runs_until_it_ends_well,
        supervised::under_never_an_app_runs_once,
        supervised::the_pod_lives_on_without_the_command_and_containerd,
        supervised::without_the_annotation_nothing_is_retried,
        supervised::an_init_container_may_provide_the_program_of_the_app,
        supervised::a_program_that_is_missing_when_its_turn_comes_fails_the_pod_with_the_reason,
        traces::a_trace_has_every_phase_of_any_clients_pod,
        traces::each_attempt_of_a_container_has_its_trace,
        traces::a_trace_is_drawn_and_told_to_opentelemetry,
        trackers_cost::containerd_8557_thirty_execs_at_once_take_no_longer_than_one_after_the_other,
        trackers_cost::kubernetes_82440_a_probe_costs_a_quarter_of_what_it_costs_under_runc,
        trackers_cost::containerd_13290_the_shims_of_ten_pods_have_less_memory_than_one_under_runc,
        trackers_cost::containerd_7878_a_shim_has_a_tenth_of_the_addresses_of_one_under_runc,
        trackers_cost::rust_extensions_195_a_shim_has_no_huge_pages_and_its_containers_may,
        trackers_cost::runc_3973_starts_and_execs_change_no_mount_of_the_node,
        trackers_exits::containerd_13849_ends_that_nobody_takes_for_a_while_are_told_afterwards,
        trackers_exits::containerd_13814_containers_with_many_execs_run_out_of_memory_and_the_pod_answers,
        trackers_exits::containerd_11133_a_process_that_looks_like_a_zombie_is_waited_for_and_killed,
        trackers_exits::containerd_8893_want_of_memory_is_told_of_each_of_many_that_die_of_it_at_once,
        trackers_leaks::containerd_12344_shims_leave_with_pods_of_short_jobs_that_are_stopped_twice_at_once,
        trackers_leaks::containerd_13692_shims_leave_with_pods_that_are_evicted_while_their_containers_start,
        trackers_leaks::containerd_8931_shims_leave_with_pods_whose_removal_was_given_up_and_asked_again,
        trackers_leaks::containerd_12560_shims_leave_with_pods_that_are_stopped_while_containerd_restarts,
        trackers_leaks::containerd_8981_a_delete_that_failed_is_done_by_the_next,
        trackers_leaks::containerd_8981_a_shim_that_nobody_tells_to_leave_leaves_when_it_has_nothing_left,
        trackers_leaks::containerd_7496_a_delete_outlasts_its_client_and_unmounts_nothing,
        trackers_leaks::containerd_7496_a_stop_that_nobody_waits_for_is_done_by_the_next,
        users::root_of_a_container_with_its_own_users_is_nobody_on_the_host,
        users::a_pod_may_have_users_of_its_own,
        volumes::v1_an_empty_volume_survives_a_crash_and_in_memory_it_has_a_size,
        volumes::v2_a_host_path_is_made_or_refused_by_its_type,
        volumes::v3_keys_are_files_behind_one_link_that_nobody_writes_to,
        volumes::v4_a_projected_volume_tells_about_the_pod_and_has_keys_beside_it,
        volumes::v4_what_a_pod_is_labelled_with_is_followed_by_its_files_and_not_by_its_variables,
        volumes::v5_a_sub_path_is_made_and_expanded_and_never_leads_out_of_its_volume,
        volumes::v6_a_recursive_read_only_mount_closes_what_is_mounted_below_it,
        volumes::v7_an_image_is_a_read_only_volume,
        volumes::v8_volumes_belong_to_the_group_of_the_pod,
        volumes::v9_the_users_mounts_take_the_place_of_the_pods_own,
        volumes::a_pod_that_is_deleted_takes_no_file_of_the_machine_with_it,
        whole::a_pod_whose_command_is_killed_anywhere_is_whole_or_absent,
        whole::a_deletion_that_is_killed_anywhere_is_ended_by_the_next,
        whole::a_pod_that_is_being_made_is_listed_by_nobody,
        whole::a_pod_whose_shim_does_not_answer_is_not_made_anew,
        whole::a_pod_that_two_commands_delete_is_gone_for_both,
        whole::a_pod_that_has_lost_its_sandbox_is_resumed_with_its_volumes_and_counts,
    ]
    .into()
}

fn main() -> ExitCode {
    runner::run(all())
}
