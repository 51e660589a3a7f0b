//! A server that makes every refused call at once and is gone, while the relay is behind: what it did is in the log, or how much of it
//! is not.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use harness::arena::{self, Arena};
use harness::processes::Process;
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::session::Session;
use harness::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{counts, denials, run, start};

macro_rules! calls {
    ($($name:ident)*) => { [$((stringify!($name), libc::$name)),*] };
}

/// The calls that the filter refuses whatever their arguments, and tells: more than the part of the relay's socket that is theirs.
#[rustfmt::skip]
const EVERY_CALL: &[(&str, libc::c_long)] = &calls![
    SYS_io_uring_enter SYS_io_uring_register SYS_userfaultfd SYS_bpf SYS_perf_event_open SYS_add_key SYS_request_key SYS_keyctl
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_pidfd_getfd SYS_kcmp SYS_name_to_handle_at
    SYS_open_by_handle_at SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
    SYS_fsmount SYS_fspick SYS_mount_setattr SYS_setns SYS_unshare SYS_quotactl SYS_quotactl_fd SYS_init_module SYS_finit_module
    SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_reboot SYS_swapon SYS_swapoff SYS_acct SYS_syslog SYS_vhangup
    SYS_lookup_dcookie SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime SYS_sethostname SYS_setdomainname
    SYS_vmsplice SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr SYS_msgget
    SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop SYS_semctl SYS_semtimedop SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt
    SYS_fanotify_init SYS_fanotify_mark SYS_memfd_secret SYS_nfsservctl SYS_remap_file_pages SYS_io_setup SYS_io_submit
    SYS_io_cancel SYS_io_getevents SYS_io_destroy
];

/// Every call once, by the names of the log.
fn every() -> BTreeMap<String, u64> {
    EVERY_CALL.iter().map(|(name, _)| (name.trim_start_matches("SYS_").to_owned(), 1)).collect()
}

/// A session whose server makes every call once and exits with 7, `before_s` seconds after a line of `line_mib` MiB was asked for.
fn depart(arena: &Arena, before_s: u64, line_mib: u64) -> (Session, Process, Process) {
    let (mut session, server) = start(&run(arena));
    let relay = session.of_ours("isb-relay");
    let numbers: Vec<libc::c_long> = EVERY_CALL.iter().map(|(_, number)| *number).collect();
    let arguments = json!({"before_s": before_s, "line_mib": line_mib, "numbers": numbers});
    let params = json!({"name": "depart", "arguments": arguments});
    session.send(&json!({"jsonrpc": "2.0", "id": "d", "method": "tools/call", "params": params}));
    assert!(wait::becomes_true(wait::COMES_LIMIT, || call()["corr"].is_string()), "the call is recorded");
    (session, server, relay)
}

/// The record of the tool call.
fn call() -> Value {
    let requests = records::of_type(DEFAULT_DIRECTORY, "mcp.request");
    requests.into_iter().find(|record| record["mcp"]["tool"] == "depart").unwrap_or_default()
}

fn stop(relay: &Process) {
    assert!(relay.signal(Signal::SIGSTOP), "it runs");
    let stopped = || relay.status("State").is_some_and(|state| state.starts_with('T'));
    assert!(wait::becomes_true(wait::COMES_LIMIT, stopped), "{:?}", relay.status("State"));
}

fn gaps() -> Vec<Value> {
    records::of_type(DEFAULT_DIRECTORY, "audit.gap")
}

#[test]
fn a_relay_with_a_large_line_to_read_hears_of_every_refused_call() {
    arena::run(|arena| {
        let (session, ..) = depart(arena, 0, 32);
        let ended = session.ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        assert_eq!((counts(&denials()), gaps()), (every(), vec![]));
    });
}

#[test]
fn a_relay_that_was_behind_hears_of_every_refused_call_before_the_end() {
    arena::run(|arena| {
        let (session, server, relay) = depart(arena, 2, 0);
        stop(&relay);
        assert!(wait::becomes_true(wait::COMES_LIMIT, || !server.is_alive()), "it departs");
        thread::sleep(Duration::from_secs(1));
        assert!(relay.signal(Signal::SIGCONT), "it is stopped");
        let ended = session.ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        let records = denials();
        assert_eq!((counts(&records), gaps()), (every(), vec![]));
        let corr = call()["corr"].clone();
        assert!(records.iter().all(|record| record["corr"] == corr), "each is the first of its name: {records:#?}");
    });
}

#[test]
fn what_a_relay_that_hangs_was_never_told_is_counted_before_the_end() {
    arena::run(|arena| {
        let (session, _, relay) = depart(arena, 2, 0);
        stop(&relay);
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        let gaps = gaps();
        let [gap] = &gaps[..] else { panic!("{gaps:#?}") };
        let untold = gap["gap"]["count"].as_u64().expect("a count");
        assert_eq!(gap["gap"]["source"], "calls");
        assert!((1..EVERY_CALL.len() as u64).contains(&untold), "{untold} of {}", EVERY_CALL.len());
        let last = records::of_type(DEFAULT_DIRECTORY, "session.end").pop().expect("an end");
        assert_eq!(last["reason"]["code"], "relay_silent", "{last}");
        assert!(gap["seq"].as_u64() < last["seq"].as_u64(), "{gap} {last}");
        assert!(ended.stderr.contains("refused system calls"), "{}", ended.stderr);
        let output = harness::run::subcommand(["audit", "verify"]);
        assert!(output.status.success(), "{}", harness::run::said(&output));
    });
}
