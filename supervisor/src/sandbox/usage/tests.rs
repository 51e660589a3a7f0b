use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::sandbox::plan::{FolderId, WritableFolder};

fn whole(folder: &Path) -> Count {
    measure(File::open(folder).unwrap().as_fd(), u64::MAX).unwrap()
}

fn count(folder: &Path, bytes_max: u64) -> Usage {
    measure(File::open(folder).unwrap().as_fd(), bytes_max).unwrap().usage
}

/// Longer than a tick: what was made before is older than the next count.
fn rest() {
    std::thread::sleep(std::time::Duration::from_millis(30));
}

/// Does `moves` over and over while a folder is counted `counts` times.
fn counted_during(folder: &Path, counts: usize, moves: impl Fn() + Sync) -> Vec<Count> {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                moves();
            }
        });
        let found = (0..counts).map(|_| whole(folder)).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        found
    })
}

/// Of `counts`, those that are less than `bytes` and have no doubt.
fn deceived(counts: &[Count], bytes: u64) -> Vec<&Count> {
    let is_less = |count: &Count| matches!(count.usage, Usage::Within(found) if found < bytes);
    counts.iter().filter(|count| is_less(count) && count.is_settled()).collect()
}

fn bytes(folder: &Path) -> u64 {
    match count(folder, u64::MAX) {
        Usage::Within(bytes) => bytes,
        Usage::Over(excess) => panic!("{excess}"),
    }
}

#[test]
fn bytes_on_disk_count_and_holes_do_not() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let empty = bytes(folder.path());
    let write = |name: &str| {
        let mut file = File::create(folder.path().join(name)).unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        file.sync_all().unwrap();
    };
    write("one");
    assert!((1 << 20..(1 << 20) + 65_536).contains(&(bytes(folder.path()) - empty)));
    File::create(folder.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    write("in/two");
    let all = bytes(folder.path());
    assert!((2 << 20..(2 << 20) + 262_144).contains(&(all - empty)), "{all}");
    assert_eq!(count(folder.path(), all), Usage::Within(all), "as much as may be");
    assert_eq!(count(folder.path(), all - 1), Usage::Over(Excess::Bytes), "one byte more");
}

#[test]
fn every_name_costs_something() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let empty = bytes(folder.path());
    for number in 0..100 {
        File::create(folder.path().join(number.to_string())).unwrap();
    }
    fs::hard_link(folder.path().join("0"), folder.path().join("again")).unwrap();
    assert!(bytes(folder.path()) - empty >= 101 * USAGE_NAME_BYTES);
}

#[test]
fn links_are_counted_and_not_followed() {
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(elsewhere.path().join("large"), vec![7; 4 << 20]).unwrap();
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    symlink(elsewhere.path(), folder.path().join("folder")).unwrap();
    symlink(elsewhere.path().join("large"), folder.path().join("file")).unwrap();
    symlink("loop", folder.path().join("loop")).unwrap();
    assert!(bytes(folder.path()) < 1 << 20);
}

#[test]
fn a_walk_ends_at_its_depth_and_one_level_less_passes() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut path = folder.path().to_owned();
    for _ in 1..USAGE_DEPTH_MAX {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    assert!(matches!(count(folder.path(), u64::MAX), Usage::Within(_)));
    fs::create_dir(path.join("d")).unwrap();
    assert_eq!(count(folder.path(), u64::MAX), Usage::Over(Excess::Depth));
}

#[test]
fn a_walk_survives_what_is_swapped_under_it() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let secret = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(secret.path().join("large"), vec![7; 8 << 20]).unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::create_dir(&one).unwrap();
    symlink(secret.path(), &other).unwrap();
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            for _ in 0..20_000 {
                nix::fcntl::renameat2(
                    nix::fcntl::AT_FDCWD,
                    &one,
                    nix::fcntl::AT_FDCWD,
                    &other,
                    nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                )
                .unwrap();
            }
        });
        while !swaps.is_finished() {
            assert!(bytes(folder.path()) < 1 << 20, "a link was followed");
        }
    });
}

/// Counts right after `change`, which may be done many times: a busy machine lets a tick pass in between, and then it is not new.
fn right_after(folder: &Path, bytes_max: u64, change: impl Fn()) -> Count {
    let count = || {
        change();
        measure(File::open(folder).unwrap().as_fd(), bytes_max).unwrap()
    };
    let is_doubted = |count: &Count| count.doubts != Doubts::default();
    (0..1000).map(|_| count()).find(is_doubted).expect("some change is new when it is counted")
}

#[test]
fn a_folder_at_rest_is_settled() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = folder.path().join("a/b/file");
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(&file, [7; 8192]).unwrap();
    rest();
    assert!(whole(folder.path()).is_settled());
    let written = right_after(folder.path(), u64::MAX, || fs::write(&file, [8; 8192]).unwrap());
    assert_eq!(written.doubts, Doubts { moved: false, changed: true });
    rest();
    let deep = folder.path().join("a/b/new");
    let made = right_after(folder.path(), u64::MAX, || drop(fs::create_dir(&deep).or_else(|_| fs::remove_dir(&deep))));
    assert!(made.doubts.moved && !made.is_settled());
    rest();
    assert!(whole(folder.path()).is_settled());
}

#[test]
fn a_name_that_is_gone_when_the_walk_comes_to_it_is_a_doubt() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(folder.path().join("there"), "").unwrap();
    let open = Dir::open(folder.path(), FOLDER, Mode::empty()).unwrap();
    let mut walk = Walk { start_ns: i64::MAX, names: 0, bytes: 0, bytes_max: u64::MAX, doubts: Doubts::default() };
    assert!(matches!(walk.visit(&open, c"there"), Ok(Visit::Done)));
    assert_eq!((walk.doubts, walk.bytes), (Doubts::default(), USAGE_NAME_BYTES));
    assert!(matches!(walk.visit(&open, c"gone"), Ok(Visit::Done)));
    assert!(walk.doubts.moved && walk.names == 2, "it counts as a name, so that no walk is endless");
}

#[test]
fn a_name_that_comes_and_goes_hides_nothing() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::write(&one, vec![7; 4 << 20]).unwrap();
    let counts = counted_during(folder.path(), 2000, || {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    });
    assert!(deceived(&counts, 4 << 20).is_empty(), "{:?}", deceived(&counts, 4 << 20));
}

#[test]
fn a_folder_that_moves_where_it_was_counted_already_is_a_doubt() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    // Many, so that some stand before and some behind each other in the order of the walk.
    for number in 0..64 {
        fs::create_dir(folder.path().join(number.to_string())).unwrap();
    }
    let (one, other) = (folder.path().join("3/large"), folder.path().join("60/large"));
    fs::create_dir(&one).unwrap();
    fs::write(one.join("file"), vec![7; 4 << 20]).unwrap();
    let counts = counted_during(folder.path(), 2000, || {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    });
    assert!(deceived(&counts, 4 << 20).is_empty(), "{:?}", deceived(&counts, 4 << 20));
}

#[test]
fn bytes_that_change_files_without_a_rename_are_a_doubt() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    for number in 0..64 {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let file = |name: &str| File::options().write(true).open(folder.path().join(name)).unwrap();
    let (one, other) = (file("5"), file("50"));
    let fill = |file: &File| {
        nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, 4 << 20).unwrap();
    };
    fill(&one);
    // At every moment one of them holds four megabytes.
    let counts = counted_during(folder.path(), 2000, || {
        fill(&other);
        one.set_len(0).unwrap();
        fill(&one);
        other.set_len(0).unwrap();
    });
    assert!(deceived(&counts, 4 << 20).is_empty(), "{:?}", deceived(&counts, 4 << 20));
}

#[test]
fn too_much_is_certain_unless_something_moved() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(folder.path().join("file"), vec![7; 1 << 20]).unwrap();
    rest();
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    let grow = || fs::write(&file, vec![7; 2 << 20]).unwrap();
    assert!(!right_after(folder.path(), u64::MAX, grow).is_settled());
    let moved =
        right_after(folder.path(), 1 << 20, || drop(fs::rename(&file, &other).or_else(|_| fs::rename(&other, &file))));
    assert!(matches!(moved.usage, Usage::Over(_)) && !moved.is_settled(), "it may stand there twice");
    let changed = Doubts { moved: false, changed: true };
    let count = |usage| Count { usage, doubts: changed };
    assert!(count(Usage::Over(Excess::Bytes)).is_settled() && !count(Usage::Within(1)).is_settled());
}

#[test]
fn times_of_coarse_file_systems_are_taken_for_late() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut stat = nix::sys::stat::fstat(File::open(folder.path()).unwrap()).unwrap();
    let mut changed = |seconds, nanoseconds, start_ns| {
        (stat.st_ctime, stat.st_ctime_nsec) = (seconds, nanoseconds);
        changed_since(start_ns, &stat)
    };
    assert!(changed(5, 7007, 5_000_007_007) && !changed(5, 6006, 5_000_007_007));
    assert!(changed(5, 7000, 5_000_007_099), "cut to a hundred, as NTFS has them");
    assert!(changed(4, 0, 5_900_000_000) && !changed(3, 0, 5_900_000_000), "two seconds, as FAT has them");
    assert!(changed(i64::MAX, 1, i64::MAX), "a time that no clock has");
}

#[test]
fn pauses_follow_the_room_and_the_work() {
    assert_eq!(pause_ms(0, 0), METER_PAUSE_MS_MIN);
    assert_eq!(pause_ms(512 << 20, 1), 256);
    assert_eq!(pause_ms(u64::MAX, 1), METER_PAUSE_MS_MAX);
    assert_eq!(pause_ms(0, 5000), 5000);
}

#[test]
fn one_unbounded_folder_unbinds_files_and_is_named() {
    let folder = |inside: &str, max_bytes| WritableFolder {
        inside: inside.into(),
        source: inside.into(),
        owner_uid: 1,
        owner_gid: 1,
        id: FolderId::default(),
        max_bytes,
        by_quota: false,
    };
    let plan = |write: Vec<WritableFolder>| FilesystemPlan { write, ..FilesystemPlan::default() };
    let none = plan(Vec::new());
    assert_eq!((none.file_bytes_max(), none.answer()), (None, Answer::Enforced));
    let all = plan(vec![folder("/a", Some(1 << 30)), folder("/b", Some(1 << 20))]);
    assert_eq!(all.file_bytes_max(), Some(1 << 30));
    let Answer::Partial(text) = all.answer() else { panic!("counted is not enforced") };
    assert!(text.contains("counted every"), "{text}");
    let mixed = plan(vec![folder("/a", Some(1 << 30)), folder("/b", None)]);
    assert_eq!(mixed.file_bytes_max(), None);
    let Answer::Partial(text) = mixed.answer() else { panic!("a gap") };
    assert!(text.contains("/b") && !text.contains("/a"), "{text}");
    assert!(text.contains("removed files") && text.contains("counted every"), "{text}");
    let Answer::Partial(text) = plan(vec![folder("/b", None)]).answer() else { panic!("a gap") };
    assert!(!text.contains("counted"), "{text}");
    let held = |inside| WritableFolder { by_quota: true, ..folder(inside, Some(1 << 20)) };
    let by_quota = plan(vec![held("/c")]);
    assert_eq!((by_quota.file_bytes_max(), by_quota.answer()), (Some(SHM_BYTES_MAX), Answer::Enforced));
    let Answer::Partial(text) = plan(vec![held("/c"), folder("/a", Some(1 << 30))]).answer() else { panic!("a gap") };
    assert!(text.contains("project quota: /c") && text.contains("counted every") && text.contains("removed"), "{text}");
    let Answer::Partial(text) = plan(vec![held("/c"), folder("/b", None)]).answer() else { panic!("a gap") };
    assert!(text.contains("project quota: /c") && text.contains("own: /b") && !text.contains("counted"), "{text}");
}
