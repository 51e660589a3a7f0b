//! `quota: project`: a writable folder that the file system itself holds to its `max`. The verdict is the file system's own count of
//! free blocks. A kernel without project quotas refuses the run; the kernels of `cargo xtask vm-test` have them.

use std::fs;

use harness::arena::{self, Arena};
use harness::session::Ended;
use harness::{records, wait};

use super::disk::{Disk, run, text};
use super::{end, shell};

const MEGABYTE: u64 = 1 << 20;
/// What the project may hold.
const MAX: u64 = 16 * MEGABYTE;
/// Blocks that a file system moves for itself.
const OWN: u64 = MEGABYTE;
/// What the folder's entry of the policy has besides.
const KEPT: &str = ", max: 16M, quota: project";
/// The project that the folder belongs to.
const PROJECT: &str = "77";

/// What makes a file system that has project quotas.
const FEATURES: &[&str] = &["-O", "quota,project", "-E", "quotatype=prjquota"];

/// Nothing where the kernel has no project quotas: it does not mount what has them.
fn mounted(arena: &Arena, options: &str) -> Option<Disk> {
    Disk::mount(arena, "out", FEATURES, options).map_err(|why| eprintln!("no project quotas here: {}", why.trim())).ok()
}

fn enrol(disk: &Disk) {
    run("chattr", &["-R", "+P", "-p", PROJECT, text(&disk.folder)]);
}

fn limit(disk: &Disk, kib: &str, inodes: &str) {
    run("setquota", &["-P", PROJECT, "0", kib, "0", inodes, text(&disk.folder)]);
}

fn refused(ended: &Ended, why: &str) {
    assert_eq!(ended.code, 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("ISB-R007") && ended.stderr.contains(why), "{why}: {}", ended.stderr);
}

/// Each way to write more than one may; the shell goes on when one of them fails.
const ATTACKS: &str = "exec 2>/dev/null; cd /out
    i=0; while [ $i -lt 12 ]; do head -c 8000000 /dev/zero > $i; i=$((i+1)); done
    rm -f *; for n in 3 4 5 6 7 8 9; do eval \"exec $n>$n\"; rm $n; eval \"head -c 8000000 /dev/zero >&$n\"; done
    fallocate -l 12M a; fallocate -n -l 12M b; fallocate -l 12M c
    chattr -p 0 /out; chattr -p 0 c; chattr -P /out; mkdir d; chattr -P d; head -c 90000000 /dev/zero > d/f
    i=0; while [ $i -lt 5000 ]; do true > /out/e$i || break; i=$((i+1)); done; : > /tmp/done; sleep 1; exit 7";

#[test]
fn a_project_quota_holds_a_hostile_writer_and_without_one_nothing_starts() {
    arena::run(|arena| {
        let Some(disk) = mounted(arena, "loop,prjquota") else {
            refused(&shell(arena, KEPT, "max: 64", "exit 7").start().ended(), "project quota");
            return;
        };
        enrol(&disk);
        limit(&disk, "16384", "4096");
        let before = disk.used();
        let mut session = shell(arena, KEPT, "max: 64", ATTACKS).start();
        let mut most = 0;
        let is_over = || {
            most = most.max(disk.used() - before);
            session.has_ended()
        };
        assert!(wait::becomes_true(wait::COMES_LIMIT * 4, is_over), "{}", session.stderr());
        let ended = session.ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        assert!((MAX / 2..=MAX + OWN).contains(&most), "{most} bytes");
        assert!(fs::read_dir(&disk.folder).expect("a folder").count() <= 4096);
        assert_eq!(end()["reason"]["code"], "server_exit", "{:#?}", end());
        assert_eq!(records::layer("rootfs")["state"], "enforced", "{}", records::layer("rootfs"));
    });
}

#[test]
fn a_quota_that_does_not_hold_is_refused_with_what_it_lacks() {
    arena::run(|arena| {
        let refused = |why| refused(&shell(arena, KEPT, "max: 64", ": > /out/started").start().ended(), why);
        let Some(disk) = mounted(arena, "loop,prjquota") else { return refused("project quota") };
        refused("belongs to no project");
        enrol(&disk);
        refused("any number of bytes");
        limit(&disk, "16384", "0");
        refused("any number of files");
        limit(&disk, "16385", "4096");
        refused("more than its `max`");
        limit(&disk, "16384", "4096");
        let odd = disk.folder.join("odd");
        fs::create_dir(&odd).expect("it is ours");
        run("chattr", &["-P", text(&odd)]);
        refused("odd does not belong to project 77");
        enrol(&disk);
        fs::write(odd.join("file"), "7").expect("it is ours");
        run("chattr", &["-p", "0", text(&odd.join("file"))]);
        refused("file does not belong to project 77");
        assert!(!disk.folder.join("started").exists());
        drop(disk);
        let Some(_disk) = mounted(arena, "loop") else { panic!("it mounted before") };
        refused("does not enforce");
    });
}
