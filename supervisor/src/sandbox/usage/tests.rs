use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::*;
use crate::sandbox::plan::WritableFolder;

fn count(folder: &Path, bytes_max: u64) -> Usage {
    measure(File::open(folder).unwrap().as_fd(), bytes_max).unwrap()
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

#[test]
fn what_is_removed_and_kept_open_is_found_once() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let device = folder.path().metadata().unwrap().dev();
    let path = folder.path().join("kept");
    let mut file = File::create(&path).unwrap();
    file.write_all(&vec![7; 3 << 20]).unwrap();
    file.sync_all().unwrap();
    let again = file.try_clone().unwrap();
    let proc = File::open("/proc").unwrap();
    let this = std::process::id().to_string();
    let held = |devices: &[u64]| {
        let devices = devices.iter().copied().collect();
        held_without_name(proc.as_fd(), [this.as_str(), this.as_str(), "4194304"].into_iter(), &devices).unwrap()
    };
    let before = held(&[device]);
    fs::remove_file(&path).unwrap();
    let found = held(&[device]) - before;
    // Other tests of this process may have such a file, too; not of three megabytes.
    assert!((3 << 20..5 << 20).contains(&found), "{found}");
    assert_eq!(held(&[]), 0);
    drop(again);
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
        max_bytes,
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
}
