//! The host as it is looked at before a run. Root is shown all of it. A caller behind sudo chose the command, and often what
//! stands in the folders that lead to it, so he is told nothing that his server could not find out by itself: paths are
//! followed in the server's view, with the rights that the server will have, and every other end of a path is the same.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use super::plan::FilesystemPlan;
use super::resolve::{MINIMAL_VIEW, in_view};
use super::rootfs::{SETTINGS, open_plain, through};
use crate::trust::{Caller, components};

/// Most symbolic links followed on the way to one file; the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;
const SEARCH_OR_EXECUTE: u32 = 0o1;
const READ: u32 = 0o4;

/// Whose eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Root's own run.
    Root,
    /// Somebody else's: with the server's rights.
    Server,
}

/// A file, held by descriptor: whatever its name comes to mean, this is what was looked at.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where it stands, behind every symbolic link.
    pub(super) real: PathBuf,
    handle: OwnedFd,
    metadata: Metadata,
    sight: Sight,
    owner: Option<Owner>,
}

/// Uid and gid that the server has in a writable folder: the files of this owner are its own.
type Owner = (u32, u32);

impl Sight {
    /// How much of the host `caller` is told.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        if caller.is_real_root() || !crate::weaken::in_force("server-sight") { Self::Root } else { Self::Server }
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// For root, the kernel's. For everybody else one: not there, not in the view and not for the server's eyes look alike.
    pub(super) fn look(self, path: &Path, filesystem: &FilesystemPlan) -> io::Result<Seen> {
        let owner = || owner(path, filesystem);
        let (handle, real, owner) = match self {
            Self::Root => {
                let real = fs::canonicalize(path)?;
                let handle = open_path(&real)?;
                (handle, real, owner())
            }
            Self::Server => follow(path, filesystem).ok_or_else(unseen)?,
        };
        let file = File::from(handle);
        let metadata = file.metadata()?;
        Ok(Seen { real, handle: file.into(), metadata, sight: self, owner })
    }
}

impl Seen {
    /// Whether it is a regular file that may be executed.
    pub(super) fn is_program(&self) -> bool {
        let may = match self.sight {
            Sight::Root => self.metadata.permissions().mode() & 0o111 != 0,
            Sight::Server => may(&self.metadata, self.owner, SEARCH_OR_EXECUTE),
        };
        self.metadata.is_file() && may
    }

    /// Its first `bytes_max` bytes; none where the server may not read them.
    pub(super) fn head(&self, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        if !self.metadata.is_file() || (self.sight == Sight::Server && !may(&self.metadata, self.owner, READ)) {
            return Ok(None);
        }
        // The handle pins the file; this opens that file, not a name.
        let file = File::open(through(&self.handle))?;
        let mut head = Vec::new();
        file.take(bytes_max).read_to_end(&mut head)?;
        Ok(Some(head))
    }
}

/// What stands at a path of the policy, in which nobody may have put a symbolic link.
pub(super) fn plain(path: &Path) -> io::Result<Metadata> {
    match open_plain(path) {
        Ok(handle) => File::from(handle).metadata(),
        Err(error) if error.errno == nix::errno::Errno::ELOOP => Err(io::Error::other(error.act)),
        Err(error) => Err(error.errno.into()),
    }
}

fn unseen() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "not there for the server to see")
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = (OFlag::O_PATH | OFlag::O_NOFOLLOW).bits();
    Ok(fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?.into())
}

/// Follows `path` as the server would: through what the view shows, where the server may search. Folders above the view's own
/// are the sandbox's, so nothing of the host is asked for them. Every component is opened once and judged by its descriptor.
fn follow(path: &Path, filesystem: &FilesystemPlan) -> Option<(OwnedFd, PathBuf, Option<Owner>)> {
    let mut todo = path.is_absolute().then(|| components(path))?;
    let mut stack: Vec<(Option<OwnedFd>, PathBuf)> = vec![(None, PathBuf::from("/"))];
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            stack.truncate(stack.len().saturating_sub(1).max(1));
            continue;
        }
        let (parent, above) = stack.last()?;
        let here = above.join(&name);
        let handle = step(parent.as_ref(), &here, filesystem)?;
        if let Some(target) = handle.as_ref().and_then(|handle| readlinkat(handle.as_fd(), "").ok()) {
            links += 1;
            let target = Path::new(&target);
            if links > LINKS_MAX {
                return None;
            }
            if target.is_absolute() {
                stack.truncate(1);
            }
            todo.extend(components(target));
            continue;
        }
        stack.push((handle, here));
    }
    let (handle, real) = stack.pop()?;
    let owner = owner(&real, filesystem);
    Some((handle?, real, owner))
}

/// What stands in the view at `here`, in the folder `parent`; `Some(None)` for a folder that is only there to lead to others.
fn step(parent: Option<&OwnedFd>, here: &Path, filesystem: &FilesystemPlan) -> Option<Option<OwnedFd>> {
    if let Some(folder) = filesystem.write.iter().find(|folder| folder.inside == here) {
        return open_plain(&folder.source).ok().map(Some);
    }
    if filesystem.read.iter().any(|shown| shown == here) {
        return open_plain(here).ok().map(Some);
    }
    if MINIMAL_VIEW.iter().chain(&SETTINGS).any(|shown| Path::new(shown) == here) {
        return open_path(here).ok().map(Some);
    }
    // Debian's links to programs lead through /etc/alternatives.
    let is_shown = in_view(here, filesystem) || SETTINGS.iter().any(|shown| here.starts_with(shown));
    let found = parent.filter(|_| is_shown).and_then(|parent| {
        let folder = File::from(parent.try_clone().ok()?).metadata().ok()?;
        let owner = owner(here.parent()?, filesystem);
        let name = here.file_name().filter(|_| folder.is_dir() && may(&folder, owner, SEARCH_OR_EXECUTE))?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(parent.as_fd(), name, flags, Mode::empty()).ok()
    });
    let leads_on = |shown: &Path| shown.starts_with(here);
    let above = filesystem.read.iter().any(|shown| leads_on(shown))
        || filesystem.write.iter().any(|folder| leads_on(&folder.inside))
        || SETTINGS.iter().any(|shown| leads_on(Path::new(shown)));
    if found.is_some() || above { Some(found) } else { None }
}

/// The owner that counts as the server's at a path of the view.
fn owner(path: &Path, filesystem: &FilesystemPlan) -> Option<Owner> {
    let around = filesystem.write.iter().filter(|folder| path.starts_with(&folder.inside));
    let shown = filesystem.read.iter().filter(|shown| path.starts_with(shown)).map(|shown| shown.components().count());
    let nearest = around.max_by_key(|folder| folder.inside.components().count())?;
    // What is shown inside of a writable folder is shown as it stands on the host.
    if shown.max().is_some_and(|depth| depth > nearest.inside.components().count()) {
        return None;
    }
    Some((nearest.owner_uid, nearest.owner_gid))
}

/// Whether the server may: as the owner in a folder that is mapped to it, else as one of the others.
fn may(metadata: &Metadata, owner: Option<Owner>, bit: u32) -> bool {
    let shift = match owner {
        Some((uid, _)) if metadata.uid() == uid => 6,
        Some((_, gid)) if metadata.gid() == gid => 3,
        _ => 0,
    };
    (metadata.permissions().mode() >> shift) & bit != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sandbox::plan::{FolderId, WritableFolder};

    /// `view`, which is shown, and `hidden` beside it, which is not.
    struct Host {
        _folder: tempfile::TempDir,
        root: PathBuf,
        filesystem: FilesystemPlan,
    }

    fn file(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        chmod(path, mode);
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn host() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["view", "view/deep", "hidden"] {
            fs::create_dir(root.join(name)).unwrap();
            chmod(&root.join(name), 0o755);
        }
        file(&root.join("view/tool"), "#!/bin/sh\n", 0o755);
        file(&root.join("hidden/there"), "#!/secret\n", 0o755);
        let filesystem = FilesystemPlan { read: vec![root.join("view")], ..FilesystemPlan::default() };
        Host { _folder: folder, root, filesystem }
    }

    impl Host {
        fn look(&self, name: &str) -> Result<Seen, String> {
            Sight::Server.look(&self.root.join(name), &self.filesystem).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn what_the_server_could_not_see_is_all_the_same() {
        let host = host();
        for (link, target) in [("out", "hidden/there"), ("gone", "hidden/absent"), ("folder", "hidden")] {
            symlink(host.root.join(target), host.root.join("view").join(link)).unwrap();
        }
        symlink("ring", host.root.join("view/ring")).unwrap();
        file(&host.root.join("view/deep/inside"), "x", 0o755);
        chmod(&host.root.join("view/deep"), 0o700);
        let unseen = host.look("view/absent").unwrap_err();
        for name in [
            "hidden/there",
            "hidden/absent",
            "hidden",
            "view/out",
            "view/gone",
            "view/folder",
            "view/folder/there",
            "view/../hidden/there",
            "view/ring",
            "view/tool/x",
            "view/deep/inside",
            "view/deep/absent",
        ] {
            assert_eq!(host.look(name).unwrap_err(), unseen, "{name}");
        }
        assert_eq!(Sight::Server.look(Path::new("/etc/shadow"), &host.filesystem).unwrap_err().to_string(), unseen);
        assert!(Sight::Root.look(&host.root.join("hidden/there"), &host.filesystem).is_ok(), "root is told");
    }

    #[test]
    fn what_the_server_sees_is_found_by_every_way() {
        let host = host();
        symlink("../tool", host.root.join("view/deep/relative")).unwrap();
        symlink(host.root.join("view/deep"), host.root.join("view/absolute")).unwrap();
        for name in ["view/tool", "view/deep/relative", "view/absolute/relative", "view/./deep/../tool"] {
            let seen = host.look(name).unwrap();
            assert_eq!((seen.real.clone(), seen.is_program()), (host.root.join("view/tool"), true), "{name}");
            assert_eq!(seen.head(5).unwrap().unwrap(), b"#!/bi", "{name}");
        }
        let awk = Sight::Server.look(Path::new("/usr/bin/awk"), &FilesystemPlan::default()).unwrap();
        assert_eq!(awk.real, fs::canonicalize("/usr/bin/awk").unwrap(), "through /etc/alternatives");
        assert!(Sight::Server.look(Path::new("/etc"), &FilesystemPlan::default()).is_err(), "only there to lead on");
        let shell = Sight::Server.look(Path::new("/bin/sh"), &FilesystemPlan::default()).unwrap();
        assert_eq!((shell.real.clone(), shell.is_program()), (fs::canonicalize("/bin/sh").unwrap(), true));
    }

    #[test]
    fn what_others_may_not_read_is_not_read() {
        let host = host();
        for (mode, program, read) in
            [(0o755, true, true), (0o711, true, false), (0o744, false, true), (0o700, false, false)]
        {
            chmod(&host.root.join("view/tool"), mode);
            let seen = host.look("view/tool").unwrap();
            assert_eq!((seen.is_program(), seen.head(9).unwrap().is_some()), (program, read), "{mode:o}");
        }
        let folder = host.look("view").unwrap();
        assert_eq!((folder.is_program(), folder.head(9).unwrap()), (false, None));
    }

    #[test]
    fn what_was_looked_at_is_what_is_read() {
        let host = host();
        let seen = host.look("view/tool").unwrap();
        fs::rename(host.root.join("hidden/there"), host.root.join("view/tool")).unwrap();
        assert_eq!(seen.head(9).unwrap().unwrap(), b"#!/bin/sh");
    }

    #[test]
    fn a_writable_folder_is_looked_at_where_it_stands_and_as_its_owner() {
        let mut host = host();
        let source = host.root.join("hidden");
        chmod(&source, 0o700);
        chmod(&source.join("there"), 0o700);
        let metadata = source.metadata().unwrap();
        let folder = WritableFolder {
            inside: "/out/images".into(),
            source,
            id: FolderId::of(&metadata),
            owner_uid: metadata.uid(),
            owner_gid: metadata.gid(),
            max_bytes: None,
            by_quota: false,
        };
        host.filesystem.write.push(folder.clone());
        let seen = Sight::Server.look(Path::new("/out/images/there"), &host.filesystem).unwrap();
        assert_eq!((seen.is_program(), seen.head(3).unwrap()), (true, Some(b"#!/".to_vec())));
        assert!(Sight::Server.look(Path::new("/out"), &host.filesystem).is_err(), "only there to lead on");
        host.filesystem.write[0].owner_uid += 1;
        host.filesystem.write[0].owner_gid += 1;
        assert!(Sight::Server.look(Path::new("/out/images/there"), &host.filesystem).is_err(), "another's");
    }

    #[test]
    fn a_path_of_the_policy_leads_through_no_link() {
        let host = host();
        symlink(host.root.join("hidden"), host.root.join("turned")).unwrap();
        for name in ["turned/there", "turned/absent"] {
            let error = plain(&host.root.join(name)).unwrap_err().to_string();
            assert_eq!(error, "a part of it is a symbolic link; name the real path", "{name}");
        }
        assert!(plain(&host.root.join("view/tool")).unwrap().is_file());
        assert_eq!(plain(&host.root.join("view/absent")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
