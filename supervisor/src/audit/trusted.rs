//! Opening what belongs to the log: nothing through a link, nothing that another user could have written.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::geteuid;

use super::error::AuditError;

/// Makes the directory if it is not there, opens it without following a link at its end, and checks that it belongs
/// to us and that no one else can write it.
pub(super) fn directory(path: &Path, mode: u32) -> Result<OwnedFd, AuditError> {
    match mkdirat(AT_FDCWD, path, Mode::from_bits_truncate(mode)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(errno) => return Err(AuditError::file("make", path)(errno.into())),
    }
    let directory = open_directory(path)?;
    check(&File::from(directory.try_clone().map_err(AuditError::file("open", path))?), path, 0o022)?;
    Ok(directory)
}

/// Opens a directory without following a link at its end.
pub(super) fn open_directory(path: &Path) -> Result<OwnedFd, AuditError> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| AuditError::file("open", path)(errno.into()))
}

/// Opens a file that must not exist yet, for appending.
pub(super) fn create(directory: &OwnedFd, parent: &Path, name: &str, mode: u32) -> Result<File, AuditError> {
    let path = parent.join(name);
    let flags =
        OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode);
    let file = openat(directory, name, flags, mode).map_err(|errno| AuditError::file("create", &path)(errno.into()))?;
    // The umask may have taken bits away.
    fchmod(&file, mode).map_err(|errno| AuditError::file("set the mode of", &path)(errno.into()))?;
    Ok(file.into())
}

/// Refuses a file of another owner or with any of these mode bits.
pub(super) fn check(file: &File, path: &Path, forbidden: u32) -> Result<(), AuditError> {
    let metadata = file.metadata().map_err(AuditError::file("look at", path))?;
    let untrusted = |why| Err(AuditError::Untrusted { path: path.to_owned(), why });
    if metadata.uid() != geteuid().as_raw() {
        return untrusted(format!("belongs to uid {}, not to uid {}", metadata.uid(), geteuid()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & forbidden != 0 {
        return untrusted(format!("has mode {mode:04o}; {:04o} must be off", mode & forbidden));
    }
    Ok(())
}

/// fsync(2) of a directory: what was made in it survives a power loss.
pub(super) fn sync_directory(directory: &OwnedFd, path: &Path) -> Result<(), AuditError> {
    nix::unistd::fsync(directory).map_err(|errno| AuditError::file("sync", path)(io::Error::from(errno)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_writable_or_linked_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("d");
        directory(&path, 0o750).unwrap();
        directory(&path, 0o750).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o770)).unwrap();
        let error = directory(&path, 0o750).unwrap_err().to_string();
        assert!(error.ends_with("has mode 0770; 0020 must be off"), "{error}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o702)).unwrap();
        assert!(directory(&path, 0o750).is_err());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        directory(&path, 0o750).unwrap();

        let link = root.path().join("l");
        symlink(&path, &link).unwrap();
        assert!(matches!(directory(&link, 0o750), Err(AuditError::File { what: "open", .. })));
    }

    #[test]
    fn an_existing_or_linked_file_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let opened = open_directory(root.path()).unwrap();
        create(&opened, root.path(), "f", 0o640).unwrap();
        assert_eq!(std::fs::metadata(root.path().join("f")).unwrap().mode() & 0o7777, 0o640);
        assert!(create(&opened, root.path(), "f", 0o640).is_err());
        symlink("elsewhere", root.path().join("g")).unwrap();
        assert!(create(&opened, root.path(), "g", 0o640).is_err());
    }
}
