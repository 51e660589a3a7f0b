//! With `process.exec`, what the server wrote is not code: its writable mounts are `noexec`. That holds only where no other path
//! shows the same folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::plan::{FilesystemPlan, FolderId, WritableFolder};
use super::resolve::{MINIMAL_VIEW, PlanError};

/// Refuses a writable folder that the server also sees by a path which may be executed. Compared are real paths, as they stand
/// on the host; a folder that root mounted in two places is not recognised.
///
/// # Errors
/// [`PlanError::Program`] with the folder on the host and the path that shows it again, or for one that cannot be looked at.
pub(super) fn refuse(filesystem: &FilesystemPlan) -> Result<(), PlanError> {
    if !crate::weaken::in_force("exec-shown-twice") {
        return Ok(());
    }
    let minimal = MINIMAL_VIEW.iter().map(Path::new).map(|path| (path, "the system's folders"));
    let read = filesystem.read.iter().map(|path| (path.as_path(), "filesystem.read"));
    let mut shown = Vec::new();
    for (path, by) in minimal.chain(read) {
        // Not every host has every folder of the minimal view; what is not there shows nothing.
        if let Some(real) = real(path)? {
            shown.push((path, real, by));
        }
    }
    for folder in &filesystem.write {
        let Some(source) = source(folder)? else { continue };
        for (path, real, by) in &shown {
            if real.starts_with(&source) || (source.starts_with(real) && !is_covered(path, real, &source, filesystem)) {
                let (inside, path) = (folder.inside.display(), path.display());
                let why = format!(
                    "the server writes it as {inside} and sees it by {path} ({by}), too, where what it wrote could be executed; \
                     show it once"
                );
                return Err(PlanError::Program { program: folder.source.display().to_string(), why });
            }
        }
    }
    Ok(())
}

/// Whether a writable mount stands where `shown`, whose real path is `real`, shows `source`.
fn is_covered(shown: &Path, real: &Path, source: &Path, filesystem: &FilesystemPlan) -> bool {
    let Ok(below) = source.strip_prefix(real) else { return false };
    let place = shown.join(below);
    source != real && filesystem.write.iter().any(|folder| place.starts_with(&folder.inside))
}

/// The real path of a writable folder, none where nothing stands; what stands there must be the folder that the plan looked at.
pub(super) fn source(folder: &WritableFolder) -> Result<Option<PathBuf>, PlanError> {
    let Some(source) = real(&folder.source)? else { return Ok(None) };
    let fail = |why| PlanError::Program { program: folder.source.display().to_string(), why };
    let metadata = fs::symlink_metadata(&source).map_err(|error| fail(error.to_string()))?;
    if FolderId::of(&metadata) != folder.id {
        return Err(fail("it was replaced since it was looked at".into()));
    }
    Ok(Some(source))
}

/// The path behind every symbolic link; none where nothing stands.
pub(super) fn real(path: &Path) -> Result<Option<PathBuf>, PlanError> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PlanError::Program { program: path.display().to_string(), why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn plan(read: &[&Path], write: &[(&Path, &Path)]) -> FilesystemPlan {
        let folder = |(inside, source): &(&Path, &Path)| WritableFolder {
            inside: inside.to_path_buf(),
            source: source.to_path_buf(),
            id: fs::metadata(source).map(|metadata| FolderId::of(&metadata)).unwrap_or_default(),
            owner_uid: 1,
            owner_gid: 1,
            max_bytes: None,
            by_quota: false,
        };
        FilesystemPlan {
            read: read.iter().map(|path| path.to_path_buf()).collect(),
            write: write.iter().map(folder).collect(),
            ..FilesystemPlan::default()
        }
    }

    #[test]
    fn a_writable_folder_that_a_readable_path_shows_again_is_refused() {
        let host = tempfile::tempdir().unwrap();
        let host = host.path().canonicalize().unwrap();
        let path = |name: &str| host.join(name);
        for folder in ["data/out/deep", "other", "out2"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        symlink(path("data"), path("link")).unwrap();
        let out = path("data/out");
        let inside = Path::new("/out");
        let (data, deep, other, link) = (path("data"), path("data/out/deep"), path("other"), path("link/out"));
        let usr = Path::new("/usr/share");
        for (read, write, why) in [
            (data.as_path(), (inside, out.as_path()), "below a readable path"),
            (&out, (inside, &out), "the same"),
            (&deep, (inside, &out), "above a readable path"),
            (&data, (inside, &link), "by a link"),
            (&path("link"), (inside, &out), "read by a link"),
            (&other, (inside, usr), "in the minimal view"),
            (&out, (&out, &out), "the same, with nothing over it"),
            (&deep, (&out, &out), "a part of it that stands over it"),
        ] {
            let error = refuse(&plan(&[read], &[write])).expect_err(why).to_string();
            assert!(error.contains(&write.1.display().to_string()) && error.contains("show it once"), "{why}: {error}");
        }
        for (read, write, why) in [
            (vec![other.as_path()], vec![(inside, out.as_path())], "elsewhere"),
            (vec![&data], vec![(out.as_path(), out.as_path())], "the writable mount stands where it would be seen"),
            (vec![&data], vec![(&out, &out), (inside, &out)], "another writable mount does"),
            (vec![&data], vec![(&data, &path("out2"))], "a name that only begins alike"),
            (vec![], vec![(inside, &path("gone"))], "what is not there"),
        ] {
            refuse(&plan(&read, &write)).unwrap_or_else(|error| panic!("{why}: {error}"));
        }
    }

    #[test]
    fn a_writable_folder_that_was_replaced_is_refused() {
        let host = tempfile::tempdir().unwrap();
        let path = |name: &str| host.path().join(name);
        fs::create_dir(path("out")).unwrap();
        fs::create_dir(path("other")).unwrap();
        let plan = plan(&[], &[(Path::new("/out"), &path("out"))]);
        refuse(&plan).unwrap();
        fs::rename(path("out"), path("away")).unwrap();
        fs::rename(path("other"), path("out")).unwrap();
        let error = refuse(&plan).unwrap_err().to_string();
        assert!(error.contains("/out: it was replaced"), "{error}");
    }
}
