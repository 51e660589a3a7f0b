//! When to read the policy file again: inotify(7) on every directory through which its path goes by a symbolic link, and on
//! the one where it stands.
//!
//! Directories and not the file, because editors and Kubernetes replace files: by rename, or by turning a symbolic link
//! such as `..data`. Nothing is trusted here; what is read is judged by `trust`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// Most symbolic links followed, as in `trust`.
const LINKS_MAX: usize = 40;
/// Tries to watch a path that is being changed meanwhile. The last one stands: what it missed changed before the file is read.
const TRIES_MAX: usize = 4;
/// Reads of events before others are heard; a read takes some 4 KiB of them.
const READS_A_TURN: usize = 64;

/// Names by the directory in which they are looked up.
type Chain = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// The watch on one path.
#[derive(Debug)]
pub struct PolicyWatch {
    path: PathBuf,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, (PathBuf, BTreeSet<OsString>)>,
}

impl PolicyWatch {
    /// Watches `path`, absolute.
    ///
    /// # Errors
    /// Those of inotify_init1(2) and inotify_add_watch(2): as a rule `fs.inotify.max_user_instances`.
    pub fn new(path: &Path) -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut watch = Self { path: path.to_owned(), inotify, watched: HashMap::new() };
        watch.arm()?;
        Ok(watch)
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Takes in what happened; whether any of it can have changed what the path leads to, or who may write it.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn hear(&mut self) -> Result<bool, Errno> {
        let mut concerned = false;
        for _ in 0..READS_A_TURN {
            match self.inotify.read_events() {
                Ok(events) => concerned |= events.iter().fold(false, |any, event| self.concerns(event) | any),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(concerned)
    }

    /// Watches what the path goes through now. To be called before the file is read, so that no change is missed.
    ///
    /// # Errors
    /// As [`PolicyWatch::new`].
    pub fn arm(&mut self) -> Result<(), Errno> {
        let mut chain = chain(&self.path);
        for _ in 0..TRIES_MAX {
            self.watch(&chain)?;
            let again = self::chain(&self.path);
            if again == chain {
                break;
            }
            chain = again;
        }
        Ok(())
    }

    /// Watches nothing any more; the descriptor stays.
    pub fn leave(&mut self) {
        for (wd, _) in self.watched.drain() {
            // EINVAL: the kernel took it away with the directory.
            let _ = self.inotify.rm_watch(wd);
        }
    }

    fn watch(&mut self, chain: &Chain) -> Result<(), Errno> {
        let mut watched: HashMap<WatchDescriptor, (PathBuf, BTreeSet<OsString>)> = HashMap::new();
        for (directory, names) in chain {
            match self.inotify.add_watch(directory, events()) {
                // Two paths may lead to one directory.
                Ok(wd) => {
                    watched.entry(wd).or_insert_with(|| (directory.clone(), BTreeSet::new())).1.extend(names.clone())
                }
                // Gone between two looks: the next look sees that.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(errno),
            }
        }
        for wd in self.watched.keys().filter(|wd| !watched.contains_key(wd)) {
            // EINVAL: the kernel took it away with the directory.
            let _ = self.inotify.rm_watch(*wd);
        }
        self.watched = watched;
        Ok(())
    }

    fn concerns(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let Some((directory, names)) = self.watched.get(&event.wd) else { return false };
        let Some(name) = &event.name else { return !event.mask.contains(AddWatchFlags::IN_IGNORED) };
        names.contains(name)
            && !(event.mask.contains(AddWatchFlags::IN_CREATE) && is_being_written(&directory.join(name)))
    }
}

fn events() -> AddWatchFlags {
    AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR
}

/// A new plain file: its writer will close it. A link to a file that is whole already comes without that event.
fn is_being_written(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

/// Each name that is looked up on the way and can be turned: symbolic links and the last one. The way ends at what is not
/// there.
fn chain(path: &Path) -> Chain {
    let mut chain = Chain::new();
    let mut todo: Vec<OsString> = names(path);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let target = fs::read_link(&next);
        let is_there = target.is_ok() || fs::symlink_metadata(&next).is_ok();
        if target.is_ok() || todo.is_empty() || !is_there {
            chain.entry(here.clone()).or_default().insert(name);
        }
        match target {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                todo.extend(names(&target));
            }
            Ok(_) => break,
            Err(_) if is_there => here = next,
            Err(_) => break,
        }
    }
    chain
}

/// The names of a path, last first; `..` is kept.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn heard(watch: &mut PolicyWatch) -> bool {
        let concerned = watch.hear().unwrap();
        watch.arm().unwrap();
        concerned
    }

    fn ground() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap().join("policy.yaml");
        (root, path)
    }

    #[test]
    fn what_replaces_a_plain_file_is_heard() {
        let (_root, path) = ground();
        fs::write(&path, "1").unwrap();
        let mut watch = PolicyWatch::new(&path).unwrap();
        assert!(!heard(&mut watch), "nothing happened");
        fs::write(&path, "2").unwrap();
        assert!(heard(&mut watch), "written in place");
        let other = path.with_extension("new");
        fs::write(&other, "3").unwrap();
        assert!(!heard(&mut watch), "another file");
        fs::rename(&other, &path).unwrap();
        assert!(heard(&mut watch), "renamed over");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(heard(&mut watch), "its mode");
        fs::remove_file(&path).unwrap();
        assert!(heard(&mut watch), "removed");
        fs::write(&other, "4").unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(heard(&mut watch), "linked, whole");
        fs::remove_file(&path).unwrap();
        assert!(heard(&mut watch));
        let unfinished = fs::File::create(&path).unwrap();
        assert!(!heard(&mut watch), "it is being written");
        drop(unfinished);
        assert!(heard(&mut watch), "it is whole");
    }

    #[test]
    fn a_turned_link_is_heard_wherever_it_stands() {
        let (root, path) = ground();
        let at = |name: &str| root.path().canonicalize().unwrap().join(name);
        for version in ["..v1", "..v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("policy.yaml"), version).unwrap();
        }
        symlink("..v1", at("..data")).unwrap();
        symlink("..data/policy.yaml", &path).unwrap();
        let mut watch = PolicyWatch::new(&path).unwrap();
        fs::write(at("..v1/other"), "").unwrap();
        assert!(!heard(&mut watch), "a neighbour of the file");
        symlink("..v2", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        assert!(heard(&mut watch), "as Kubernetes does it");
        fs::write(at("..v1/policy.yaml"), "old").unwrap();
        assert!(!heard(&mut watch), "the version before is nobody's any more");
        fs::write(at("..v2/policy.yaml"), "new").unwrap();
        assert!(heard(&mut watch), "the file where it really stands");
    }

    #[test]
    fn a_folder_that_goes_and_comes_back_is_heard() {
        let (root, _) = ground();
        let folder = root.path().canonicalize().unwrap().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("policy.yaml"), "1").unwrap();
        let mut watch = PolicyWatch::new(&folder.join("policy.yaml")).unwrap();
        fs::rename(&folder, root.path().join("away")).unwrap();
        assert!(heard(&mut watch), "moved away");
        fs::create_dir(&folder).unwrap();
        assert!(heard(&mut watch), "made again");
        fs::write(folder.join("policy.yaml"), "2").unwrap();
        assert!(heard(&mut watch), "and the file in it");
    }

    #[test]
    fn links_in_a_circle_end() {
        let (root, path) = ground();
        symlink("policy.yaml", &path).unwrap();
        assert_eq!(chain(&path).len(), 1);
        let mut watch = PolicyWatch::new(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(heard(&mut watch));
        drop(root);
        assert!(heard(&mut watch));
    }
}
