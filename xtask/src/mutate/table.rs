//! Which test must notice that a protection is gone. Where two layers hold an attack, the test looks at one of them.

use super::Row;

/// A test of libtest.
const fn row(protection: &'static str, target: &'static str, test: &'static str) -> Row {
    Row { protection, target, test, is_case: false, also: None }
}

/// A test of libtest for an attack that `also` holds as well.
const fn behind(protection: &'static str, also: &'static str, target: &'static str, test: &'static str) -> Row {
    Row { protection, target, test, is_case: false, also: Some(also) }
}

/// A case of a program that is its own harness (supervisor/tests).
const fn case(protection: &'static str, target: &'static str, test: &'static str) -> Row {
    Row { protection, target, test, is_case: true, also: None }
}

/// Every protection of the product that can be dropped.
pub(crate) const TABLE: &[Row] = &[
    // The audit log.
    row("audit-chain", "audit", "one_edited_byte_is_found_and_its_line_named"),
    row("audit-fail-closed", "lib", "audit::journal::tests::dev_full_stops_the_journal"),
    row("audit-fdatasync", "lib", "audit::journal::tests::strict_syncs_before_it_returns_and_write_does_not"),
    row(
        "audit-signature",
        "lib",
        "audit::verify::tests::a_log_rewritten_with_new_hashes_is_caught_by_its_note_and_without_one_is_not_ok",
    ),
    // The pipe.
    row("duplicate-id", "lib", "wire::ids::tests::duplicate_in_flight_id_is_refused_and_free_after_the_answer"),
    row("envelope-keys", "lib", "wire::jsonrpc::tests::envelope_keys_are_exact"),
    row("json-control-bytes", "lib", "wire::json::tests::raw_control_bytes_are_refused_everywhere"),
    row("json-depth", "lib", "wire::json::tests::depth_at_the_bound_passes_and_one_over_does_not"),
    row("json-duplicate-keys", "lib", "wire::json::tests::duplicate_keys_are_refused_at_any_depth"),
    row("json-numbers", "lib", "wire::json::tests::numbers_that_readers_read_differently_are_refused"),
    row("json-one-value", "lib", "wire::json::tests::two_values_on_a_line_are_refused"),
    row("key-case", "lib", "wire::jsonrpc::tests::parameter_keys_may_not_differ_in_case_alone"),
    row("line-bytes", "wire", "a_line_over_the_limit_is_refused_and_the_session_lives"),
    row("continuation-once", "lib", "relay::gate::tests::retries::a_forged_retry_is_charged"),
    row("continuation-rounds", "lib", "relay::gate::tests::retries::the_ninth_round_is_charged"),
    row("progress-token", "lib", "relay::gate::tests::streams::progress_is_of_a_request_in_flight_and_of_no_other"),
    row("line-separators", "lib", "relay::answers::tests::an_answer_that_some_reader_would_split_is_escaped"),
    // The same against real servers: what each reads differently, once nobody refuses it.
    row("line-refused", "differential", "bypasses::name_and_name_in_another_case"),
    row("line-refused", "differential", "bypasses::method_and_method_in_another_case"),
    row("line-refused", "differential", "bypasses::params_and_params_in_another_case"),
    row("line-refused", "differential", "bypasses::a_bare_carriage_return"),
    row("line-refused", "differential", "bypasses::not_a_number"),
    row("line-refused", "differential", "bypasses::a_batch"),
    row("line-refused", "differential", "bypasses::a_message_over_two_lines"),
    row("line-refused", "differential", "bypasses::deep_nesting"),
    row("json-depth", "differential", "bypasses::deep_nesting"),
    row("json-numbers", "differential", "bypasses::a_number_beyond_every_double"),
    row("json-duplicate-keys", "differential", "bypasses::a_key_twice"),
    row("key-case", "differential", "bypasses::an_argument_in_two_cases"),
    row("rate-limit", "differential", "bypasses::a_quota_is_not_refunded_by_reusing_an_id"),
    behind("client-rewritten", "json-control-bytes", "differential", "bypasses::a_message_between_carriage_returns"),
    behind("json-control-bytes", "client-rewritten", "differential", "bypasses::a_message_between_carriage_returns"),
    behind("json-one-value", "client-rewritten", "differential", "bypasses::two_messages_on_a_line"),
    row("pending-calls", "lib", "wire::ids::tests::table_holds_the_bound_and_not_one_more"),
    row("elicitation-text", "lib", "wire::elicitation::tests::addresses_that_mislead_are_refused"),
    row("redact-log", "lib", "audit::record::tests::no_secret_stands_in_a_record_whatever_member_brings_it"),
    row("redact-results", "lib", "wire::secrets::tests::every_promised_form_is_found_in_a_result"),
    // The policy and its limits.
    row(
        "approval-asked",
        "lib",
        "policy::owes::tests::approval_is_asked_for_by_the_first_rule_that_wants_it_when_all_rules_pass",
    ),
    row("counter-amount", "lib", "policy::owes::tests::amounts_that_cannot_be_counted_refuse_the_call"),
    row("approval-bound", "lib", "relay::fingerprint::tests::a_fingerprint_covers_tool_arguments_and_policy"),
    row("approval-needed", "approvals", "a_call_waits_until_it_is_approved_and_then_arrives"),
    row("approval-peer", "lib", "relay::desk::tests::only_root_may_ask"),
    row("draft-quotes", "lib", "policy::draft::tests::a_name_or_description_cannot_leave_its_place"),
    row("draft-unjudged", "lib", "policy::draft::tests::what_cannot_be_judged_is_denied_and_says_why"),
    row("diagnostic-quotes", "policy_tools", "behind_sudo_no_word_of_a_file_is_shown"),
    row("limit-clock", "lib", "limits::timeline::tests::wall_clock_set_back_between_boots_does_not_take_time_back"),
    row(
        "limit-longest-window",
        "lib",
        "limits::store::tests::amounts::a_shorter_window_forgets_nothing_that_a_longer_one_counts",
    ),
    row("loosening-flags", "policy_trust", "a_caller_behind_sudo_may_not_loosen_and_may_not_bring_a_policy"),
    row("pace", "lib", "limits::pace::tests::a_burst_then_one_each_six_seconds_granted_exactly_when_said"),
    row(
        "call-timeout",
        "lib",
        "relay::call_clock::tests::a_call_that_is_not_answered_ends_with_an_error_a_cancellation_and_a_record",
    ),
    row("policy-schema", "lib", "relay::schemas_held::arguments_that_do_not_fit_never_reach_the_server"),
    row("result-schema", "lib", "relay::schemas_held::a_result_that_does_not_fit_is_withheld_and_recorded"),
    row("pin-approve", "lib", "cli::pins::tests::a_changed_tool_is_shown_and_only_what_was_seen_is_approved"),
    row(
        "pin-mismatch",
        "pins",
        "a_tool_that_changed_between_sessions_is_refused_until_a_person_approves_what_they_saw",
    ),
    row("pin-overwrite", "lib", "monitor::pin_store::tests::a_pin_is_never_overwritten"),
    row("tool-look-alike", "pins", "names_that_can_be_taken_for_others_are_not_shown_and_not_called"),
    row(
        "tool-twice",
        "lib",
        "relay::pins::tests::two_definitions_under_one_name_are_refused_and_one_that_is_listed_twice_is_not",
    ),
    row("policy-conditions", "main_job", "arguments_out_of_bounds_never_reach_the_server"),
    row("policy-default-deny", "main_job", "an_unlisted_tool_is_refused_and_not_executed"),
    row("policy-methods", "lib", "relay::gate::tests::methods::default_deny_refuses_every_family_of_the_client"),
    row("policy-deny-rule", "lib", "policy::decide::tests::every_rule_must_pass_and_allow_never_short_circuits"),
    row("policy-hide", "lib", "policy::decide::tests::hidden_comes_first"),
    row(
        "policy-host-boundary",
        "lib",
        "policy::host_name::tests::a_wildcard_takes_whole_labels_and_never_the_bare_name",
    ),
    row("policy-path-escape", "main_job", "arguments_out_of_bounds_never_reach_the_server"),
    row("policy-required-args", "main_job", "arguments_out_of_bounds_never_reach_the_server"),
    row("policy-trust", "policy_trust", "a_policy_that_others_can_write_is_refused"),
    row("policy-unjudged", "lib", "policy::holds::tests::what_cannot_be_judged_passes_neither_itself_nor_negated"),
    row("policy-unknown-keys", "lifecycle", "a_bad_policy_is_125_with_place_and_hint_and_a_record"),
    row("redis-eviction", "lib", "limits::store::redis::handshake::tests::a_redis_that_evicts_is_refused"),
    row(
        "redis-quiet",
        "lib",
        "limits::store::redis::tests::hostile::an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one",
    ),
    row(
        "state-dsn-argument",
        "lib",
        "limits::store::redis::source::tests::a_password_is_not_taken_from_the_command_line",
    ),
    row("rate-limit", "main_job", "the_eleventh_call_in_a_minute_is_refused_with_the_time_to_wait"),
    row("reload-sandbox", "reload", "what_a_running_server_cannot_be_given_is_named_and_nothing_of_the_file_is_taken"),
    row("reload-trust", "reload", "a_file_that_is_no_longer_roots_alone_is_refused"),
    row("scan-output", "scan", "behind_sudo_a_scan_works_and_writes_no_file_of_the_callers_choice"),
    row("scan-read", "scan", "behind_sudo_a_scan_shows_nothing_that_the_caller_chooses"),
    row("scan-stderr", "scan", "behind_sudo_a_failed_scan_shows_nothing_of_the_servers_stderr"),
    // The wall.
    case("cgroup-bind", "wall_root", "behind the wall nothing leaves and everything is seen"),
    case("cgroup-connect", "wall_root", "the hooks alone keep everything in"),
    case("cgroup-sendmsg", "wall_root", "the hooks alone keep everything in"),
    case("cgroup-sock-create", "wall_root", "the hooks alone keep everything in"),
    row("dial-private", "lib", "egress::dial::tests::a_name_that_resolves_to_loopback_is_not_dialled"),
    row("dns-stub", "lib", "egress::resolver::tests::every_other_name_does_not_exist"),
    row("egress-record-first", "lib", "egress::serve::tests::nothing_is_dialled_while_the_relay_does_not_confirm"),
    row("gateway-address", "lib", "egress::serve::tests::another_port_of_an_allowed_host_is_reset"),
    row("gateway-ech", "lib", "egress::tls::tests::an_encrypted_hello_is_refused_under_the_right_name"),
    row("gateway-sni", "hostile", "no_attack_succeeds_under_us"),
    row("netns", "layers", "the_server_shares_no_namespace_with_the_host"),
    case("sk-lookup", "wall_root", "behind the wall nothing leaves and everything is seen"),
    // The sandbox.
    row("capabilities", "layers", "the_server_holds_no_capability"),
    row("cgroup-limits", "layers", "the_session_has_limits_in_its_cgroup"),
    case("close-range", "cage_root", "no_descriptor_leaks"),
    row("environment", "layers", "the_servers_environment_is_constructed_not_inherited"),
    row("landlock", "hostile", "no_attack_succeeds_under_us"),
    case("lifeline", "cage_root", "the_lifeline_alone_is_enough"),
    row("no-new-privs", "layers", "the_server_has_no_new_privs"),
    row("nosuid-writable", "layers", "the_servers_root_is_read_only_and_its_writable_folder_grants_no_setuid"),
    case("pdeathsig", "cage_root", "the_parent_death_signal_alone_is_enough"),
    case("proc-masks", "cage_root", "proc_is_masked"),
    row("read-only-root", "layers", "the_servers_root_is_read_only_and_its_writable_folder_grants_no_setuid"),
    row("seccomp", "layers", "the_server_has_a_seccomp_filter"),
    row("seccomp-fastopen", "lib", "sandbox::seccomp::tests::other_arguments_that_decide"),
    row("seccomp-namespaces", "hostile", "no_attack_succeeds_under_us"),
    row("seccomp-setid-modes", "hostile", "no_attack_succeeds_under_us"),
    row("seccomp-socket-families", "hostile", "no_attack_succeeds_under_us"),
    row("seccomp-terminal", "lib", "sandbox::seccomp::tests::other_arguments_that_decide"),
    case("self-test", "cage_root", "an_open_network_is_found_before_the_gate"),
    case("setgroups", "cage_root", "groups_of_the_caller_are_dropped"),
    row("user-namespace", "layers", "the_server_shares_no_namespace_with_the_host"),
    // Ourselves.
    row("confine-capabilities", "mechanisms", "the_host_sees_a_confined_process_without_any_privilege"),
    row("confine-close-fds", "mechanisms", "relay_keeps_what_it_is_given_and_nothing_else"),
    row("confine-egress-landlock", "lib", "sandbox::landlock::tests::our_own_rules_leave_one_directory_or_none"),
    row("confine-egress-seccomp", "layers", "our_own_processes_are_confined"),
    row("confine-identity", "mechanisms", "the_host_sees_a_confined_process_without_any_privilege"),
    row("confine-janitor-landlock", "mechanisms", "the_janitor_can_empty_its_directories_and_no_other"),
    row("confine-janitor-seccomp", "layers", "our_own_processes_are_confined"),
    row("confine-link-seccomp", "redis", "the_link_is_confined_and_its_death_ends_nothing"),
    row("confine-pdeathsig", "mechanisms", "a_confined_process_dies_with_its_parent"),
    row("confine-relay-landlock", "mechanisms", "relay_keeps_what_it_is_given_and_nothing_else"),
    row("confine-relay-seccomp", "layers", "our_own_processes_are_confined"),
    row("confine-relay-seccomp", "planted", "a_relay_that_was_taken_over_gets_nothing"),
    row("confine-egress-seccomp", "planted", "an_egress_that_was_taken_over_gets_nothing"),
];
