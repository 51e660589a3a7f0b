//! `max` of a writable folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use harness::arena::{self, Arena, ROOT};
use harness::{records, wait};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{end, shell, walk};

const MEGABYTE: u64 = 1 << 20;
/// What the folders of this file may hold.
const MAX: u64 = 16 * MEGABYTE;
/// How much a bomb may write between two counts and before the freeze. A fast page cache takes 2 GiB a second; a busy machine
/// counts late.
const OVERSHOOT: u64 = 512 * MEGABYTE;

fn on_disk(folder: &Path) -> u64 {
    walk(folder).iter().map(|(_, metadata)| metadata.blocks() * 512).sum()
}

/// Runs `script`, which sleeps at its end, with `max`, until the session is over; the client waits for an answer meanwhile.
fn until_it_is_over(arena: &Arena, max: &str, script: &str) -> String {
    let mut session = shell(arena, &format!(", max: {max}"), "max: 64", script).start();
    session.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}));
    let ended = session.ended();
    assert_eq!(ended.code, 124, "{}", ended.stderr);
    assert_eq!(end()["reason"]["code"], "write_limit", "{:#?}", end());
    let answer = ended.lines.first().unwrap_or_else(|| panic!("the client hears nothing: {}", ended.stderr));
    assert!(answer.contains("write_limit") && answer.contains("`max`"), "{answer}");
    ended.stderr
}

#[test]
fn a_folder_over_its_max_ends_the_session() {
    arena::run(|arena| {
        let stderr = until_it_is_over(
            arena,
            "16M",
            "i=0; while [ $i -lt 90 ]; do head -c 8000000 /dev/zero > /out/$i; i=$((i+1)); done; sleep 100",
        );
        let used = on_disk(&arena.path("out"));
        assert!(stderr.contains(&format!("{ROOT}/out holds more bytes")), "{stderr}");
        assert!((MAX..MAX + OVERSHOOT).contains(&used), "{used} bytes");
        eprintln!("a bomb of 8 MB files: {} MiB over its max", (used - MAX) / MEGABYTE);
        let rootfs = records::layer("rootfs");
        assert_eq!(rootfs["state"], "partial", "{rootfs}");
        assert!(rootfs["reason"].as_str().is_some_and(|reason| reason.contains("counted every")), "{rootfs}");
    });
}

#[test]
fn a_flood_of_empty_files_ends_the_session() {
    arena::run(|arena| {
        until_it_is_over(arena, "4M", "i=0; while [ $i -lt 50000 ]; do : > /out/$i; i=$((i+1)); done; sleep 100");
        let names = walk(&arena.path("out")).len();
        assert!((900..40_000).contains(&names), "{names} files");
        eprintln!("a flood of files: {names} of 1024");
    });
}

#[test]
fn files_that_are_removed_and_kept_count() {
    arena::run(|arena| {
        let script = "for n in 3 4 5 6 7 8 9; do eval \"exec $n>/out/$n\"; rm /out/$n; eval \"head -c 4000000 /dev/zero >&$n\"; done; sleep 100";
        let stderr = until_it_is_over(arena, "16M", script);
        assert!(stderr.contains("in removed files"), "{stderr}");
        // The last may not be removed yet: it alone is no reason.
        assert!(on_disk(&arena.path("out")) <= 4_000_000 + MEGABYTE);
    });
}

#[test]
fn levels_without_end_end_the_session() {
    arena::run(|arena| {
        let stderr = until_it_is_over(arena, "16M", "cd /out; while mkdir d && cd d; do :; done; sleep 100");
        assert!(stderr.contains("deep") || stderr.contains("more bytes"), "{stderr}");
    });
}

#[test]
fn a_folder_that_stays_within_its_max_changes_nothing() {
    arena::run(|arena| {
        let script = "for i in 1 2 3; do head -c 4000000 /dev/zero > /out/$i; done; sleep 0.3; rm /out/1; exit 7";
        let ended = shell(arena, ", max: 16M", "max: 64", script).start().ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        assert_eq!(end()["reason"]["code"], "server_exit", "{:#?}", end());
    });
}

#[test]
fn a_folder_without_max_is_not_counted_and_says_so() {
    arena::run(|arena| {
        let script = "for i in 1 2 3 4 5 6; do head -c 8000000 /dev/zero > /out/$i; done; sleep 0.3; exit 7";
        let session = shell(arena, "", "max: 64", script).start();
        assert_eq!(session.ended().code, 7);
        assert!(on_disk(&arena.path("out")) > 2 * MAX);
        let rootfs = records::layer("rootfs");
        assert!(rootfs["reason"].as_str().is_some_and(|reason| reason.contains("without a size limit")), "{rootfs}");
    });
}

#[test]
fn one_file_is_held_by_the_kernel() {
    arena::run(|arena| {
        // Over the 64M of /tmp and /dev/shm, which are the least that a file may reach.
        let script = "head -c 200000000 /dev/zero > /out/one; sleep 0.1; exit 0";
        let _ = shell(arena, ", max: 96M", "max: 64", script).start().ended();
        let length = fs::metadata(arena.path("out/one")).expect("it was made").len();
        assert!(length <= 96 * MEGABYTE, "{length} bytes");
    });
}

#[test]
fn a_folder_that_is_full_already_starts_nothing() {
    arena::run(|arena| {
        fs::write(arena.writable_folder("out").join("old"), vec![7; 20 << 20]).expect("root can write");
        let ended = shell(arena, ", max: 16M", "max: 64", "echo started > /out/started").start().ended();
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.stderr.contains("already") && ended.stderr.contains("raise its `max`"), "{}", ended.stderr);
        assert!(!arena.path("out/started").exists());
    });
}

#[test]
fn the_meter_is_confined_and_its_death_ends_the_session() {
    arena::run(|arena| {
        let session = shell(arena, ", max: 16M", "max: 64", "touch /out/up; sleep 100").start();
        assert!(wait::becomes_true(wait::COMES_LIMIT, || arena.path("out/up").exists()), "{}", session.stderr());
        let meter = session.of_ours("isb-meter");
        let field = |name: &str| meter.status(name).expect("it runs");
        assert_eq!(field("Seccomp"), "2");
        assert_eq!(field("NoNewPrivs"), "1");
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(field(set), "0000000000080004", "CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE: {set}");
        }
        for set in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert!(!field("Uid").starts_with("0\t"), "{}", field("Uid"));
        assert!(meter.signal(Signal::SIGKILL), "it counts");
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        assert_eq!(end()["reason"]["code"], "meter_died", "{:#?}", end());
    });
}
