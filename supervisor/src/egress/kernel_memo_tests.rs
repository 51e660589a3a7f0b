use std::cell::Cell;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

const TYPES: KernelTypes =
    KernelTypes([7, 9, 0, 8, 4, 11, 96, 104, 1400, u32::MAX, 13, 64, 32, 40, 48, 16, 17, 20, 64, 2]);

fn root_directory() -> tempfile::TempDir {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Whether the kernel is asked, and what is answered.
fn asked(directory: &Path) -> bool {
    let asked = Cell::new(false);
    let answer = types_in(directory, || {
        asked.set(true);
        Ok(TYPES)
    });
    assert_eq!(answer.unwrap(), TYPES);
    asked.get()
}

#[test]
fn the_kernel_is_asked_once() {
    let directory = root_directory();
    assert!(asked(directory.path()));
    let file = directory.path().join(NAME);
    let (text, mode) = (fs::read_to_string(&file).unwrap(), file.metadata().unwrap().permissions().mode());
    assert_eq!((text.len(), mode & 0o7777), (BYTES, 0o600));
    assert!(!asked(directory.path()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing beside it");
}

#[test]
fn a_file_that_is_not_just_ours_is_no_file_and_is_replaced() {
    let directory = root_directory();
    let (file, other) = (directory.path().join(NAME), directory.path().join("other"));
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let spoil: [(&str, &dyn Fn()); 9] = [
        ("readable by others", &|| mode(0o644)),
        ("writable by the group", &|| mode(0o620)),
        ("set-uid", &|| mode(0o4600)),
        ("somebody else's", &|| chown(&file, Some(65_534), None).unwrap()),
        ("with a second name", &|| fs::hard_link(&file, &other).unwrap()),
        ("a link", &|| {
            fs::rename(&file, &other).unwrap();
            symlink(&other, &file).unwrap();
        }),
        ("a pipe", &|| {
            fs::remove_file(&file).unwrap();
            nix::unistd::mkfifo(&file, Mode::from_bits_truncate(0o600)).unwrap();
        }),
        ("empty", &|| fs::write(&file, "").unwrap()),
        ("longer", &|| fs::write(&file, "x".repeat(BYTES + 1)).unwrap()),
    ];
    for (what, spoil) in spoil {
        assert!(!asked(directory.path()) || !other.exists(), "{what}: before");
        let _ = asked(directory.path());
        spoil();
        assert!(asked(directory.path()), "{what}");
        let _ = fs::remove_file(&other);
        assert!(!asked(directory.path()), "{what}: replaced");
    }
}

#[test]
fn a_directory_that_others_can_write_keeps_nothing() {
    let directory = root_directory();
    assert!(asked(directory.path()) && !asked(directory.path()));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(asked(directory.path()) && asked(directory.path()));
    assert!(asked(Path::new("/no/such/directory")));
}

#[test]
fn every_byte_and_the_kernel_count() {
    let (key, text) = (key().unwrap(), line(&key().unwrap(), TYPES));
    assert_eq!((parse(&text, &key), text.len()), (Some(TYPES), BYTES));
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        assert_eq!(parse(&String::from_utf8(bytes).unwrap(), &key), None, "byte {at}");
        assert_eq!(parse(&text[..at], &key), None, "{at} bytes");
    }
    assert_eq!(parse(&text, &"0".repeat(64)), None, "another kernel or boot");
    assert_eq!(parse(&text.to_uppercase(), &key), None);
    assert_eq!(parse(&format!("{text}\n"), &key), None);
}

#[test]
fn a_kernel_that_cannot_be_asked_leaves_nothing() {
    let directory = root_directory();
    let gone = || Err(TypesError::Read(std::io::ErrorKind::NotFound.into()));
    assert!(types_in(directory.path(), gone).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
