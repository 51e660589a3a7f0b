//! First-use pins on disk: root's folder of a policy, one file a tool. What a file says is the relay's, which faces the
//! server; here it is a blob, filed under the hash of a name, and nothing of it is read.
//!
//! A pin is written beside its place, synced, and linked there: a link never takes the place of a file, so of two sessions
//! that see a tool first, one was first, and no relay can undo what an earlier one saw. Only a proposal is replaced; it
//! holds for nothing until a person approves it ([`PinStore::replace`]).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::bounds::{PIN_BLOB_BYTES_MAX, PINS_BYTES_MAX, PINS_MAX};
use crate::relay::messages::{Attached, PinAnswer, PinKind, ToRelay};
use crate::relay::sealed;
use crate::wire::pin::{hex, unhex};

/// What the name of a proposal ends in.
const PROPOSED: &str = ".proposed";
/// Most bytes of all blobs of a folder: what [`PINS_MAX`] and [`PINS_BYTES_MAX`] come to, and the same of proposals.
const FOLDER_BYTES_MAX: u64 = 2 * (PINS_BYTES_MAX as u64 + 512 * PINS_MAX as u64);

/// The folder of a policy's pins.
#[derive(Debug)]
pub struct PinStore {
    folder: PathBuf,
    /// Keeps the names of unfinished files of several sessions apart.
    session: String,
    bounds: Bounds,
}

/// What a folder may hold.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    files: usize,
    bytes: u64,
}

/// What a whole policy may have: its pins, and as many proposals.
const BOUNDS: Bounds = Bounds { files: 2 * PINS_MAX, bytes: FOLDER_BYTES_MAX };

/// What became of a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filed {
    /// It is on disk.
    Kept,
    /// Another one stood there already.
    Stood(Vec<u8>),
}

/// One tool's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is filed under.
    pub key: [u8; 32],
    /// The pin.
    pub pin: Option<Vec<u8>>,
    /// What a server listed instead.
    pub proposed: Option<Vec<u8>>,
}

impl PinStore {
    /// The store in `folder`, which is there and root's alone, with what it holds, sorted. What is larger than a blob may be is
    /// given back empty: no reader takes that for a pin. So is what is beyond the bounds, unread: its tool is refused, and
    /// every other one can be called. A folder that is too full must not keep its policy from starting.
    ///
    /// # Errors
    /// When the folder, or a file of it that counts, cannot be read.
    pub fn open(folder: &Path, session: &str) -> io::Result<(Self, Vec<Entry>)> {
        Self::open_within(folder, session, BOUNDS)
    }

    fn open_within(folder: &Path, session: &str, bounds: Bounds) -> io::Result<(Self, Vec<Entry>)> {
        let store = Self { folder: folder.to_owned(), session: session.to_owned(), bounds };
        let mut names = Vec::new();
        for found in fs::read_dir(folder)? {
            let name = found?.file_name();
            if let Some((key, proposed)) = parse(name.as_bytes()) {
                names.push((proposed, key, name));
            }
        }
        names.sort_unstable(); // pins first: no number of proposals, which servers make, crowds one out
        let mut entries = std::collections::BTreeMap::<[u8; 32], Entry>::new();
        let (mut bytes, mut surplus) = (0_u64, 0_usize);
        for (at, (proposed, key, name)) in names.into_iter().enumerate() {
            let mut blob = Vec::new();
            if surplus == 0 && at < bounds.files {
                blob = match store.read(&folder.join(&name)) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue, // a person removed or approved it
                    read => read?,
                };
                bytes = bytes.saturating_add(blob.len() as u64);
            }
            // From the first that does not fit, nothing is read: which ones are does not hang on the sizes of the later ones.
            if surplus > 0 || at >= bounds.files || bytes > bounds.bytes {
                blob.clear();
                surplus += 1;
            }
            let entry = entries.entry(key).or_insert(Entry { key, ..Entry::default() });
            *(if proposed { &mut entry.proposed } else { &mut entry.pin }) = Some(blob);
        }
        if surplus > 0 {
            let folder = folder.display();
            tracing::warn!(
                "{folder}: more pins than a policy may have; {surplus} files are not read, such tools are refused"
            );
        }
        Ok((store, entries.into_values().collect()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut blob = Vec::new();
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        file.take(PIN_BLOB_BYTES_MAX as u64 + 1).read_to_end(&mut blob)?;
        if blob.len() > PIN_BLOB_BYTES_MAX {
            blob.clear();
        }
        Ok(blob)
    }

    /// Files a pin, unless there is one.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn keep(&mut self, key: [u8; 32], blob: &[u8]) -> io::Result<Filed> {
        let place = self.folder.join(hex(&key));
        if fs::symlink_metadata(&place).is_ok() && crate::weaken::in_force("pin-overwrite") {
            return self.read(&place).map(Filed::Stood);
        }
        self.room(blob, &[])?;
        let unfinished = self.write(blob)?;
        let linked = if crate::weaken::in_force("pin-overwrite") {
            fs::hard_link(&unfinished, &place)
        } else {
            fs::rename(&unfinished, &place).and_then(|()| File::create(&unfinished).map(drop))
        };
        let removed = fs::remove_file(&unfinished);
        match linked {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return self.read(&place).map(Filed::Stood),
            other => other.and(removed)?,
        }
        self.sync()?;
        Ok(Filed::Kept)
    }

    /// Files what a server lists instead of a pin; it takes the place of an earlier one.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn propose(&mut self, key: [u8; 32], blob: &[u8]) -> io::Result<()> {
        let name = format!("{}{PROPOSED}", hex(&key));
        self.room(blob, &[&name])?;
        self.put(&name, blob)
    }

    /// A person's word: `blob` is the pin from here, and no proposal is left.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn replace(&mut self, key: [u8; 32], blob: &[u8]) -> io::Result<()> {
        let name = hex(&key);
        let proposed = format!("{name}{PROPOSED}");
        self.room(blob, &[&name, &proposed])?;
        self.put(&name, blob)?;
        match fs::remove_file(self.folder.join(proposed)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    /// Files what the relay hands over, and answers it.
    ///
    /// # Errors
    /// When it is not what it says, or the relay cannot be told: it is no relay of ours any more. A disk that takes no pin is
    /// an answer, not an error.
    pub fn hear(
        &mut self,
        (kind, attached): (PinKind, Attached),
        blob: OwnedFd,
        control: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let blob = sealed::open(blob, attached.bytes, PIN_BLOB_BYTES_MAX as u64)?;
        let key = attached.sha256;
        let filed = match kind {
            PinKind::New => self.keep(key, &blob),
            PinKind::Proposed => self.propose(key, &blob).map(|()| Filed::Kept),
        };
        let plain = |answer| ToRelay::Pin(answer, Attached { bytes: 0, sha256: key });
        let told = match filed {
            Ok(Filed::Kept) => plain(PinAnswer::Kept).send(control),
            Ok(Filed::Stood(stood)) => {
                let attached = Attached { bytes: stood.len() as u64, sha256: key };
                ToRelay::Pin(PinAnswer::Stood, attached).send_with(control, sealed::seal(&stood)?.as_fd())
            }
            Err(error) => {
                let told = plain(PinAnswer::Failed).send(control);
                tracing::warn!("{}: a pin cannot be kept, its tool is refused: {error}", self.folder.display());
                told
            }
        };
        match told {
            // A relay that has finished since hears nothing any more, and needs not.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            told => told,
        }
    }

    fn put(&self, name: &str, blob: &[u8]) -> io::Result<()> {
        fs::rename(self.write(blob)?, self.folder.join(name))?;
        self.sync()
    }

    /// Whether there is room for a blob once the files `gone` are. The folder is counted afresh: other sessions of the policy
    /// write to it too. Two that count at once may both find the last place; that is one file too many for each session at
    /// most, and [`PinStore::open`] bears it.
    fn room(&self, blob: &[u8], gone: &[&str]) -> io::Result<()> {
        let full = || Err(io::Error::new(ErrorKind::StorageFull, "a policy may have no more pins"));
        let (mut files, mut bytes) = (1, blob.len() as u64);
        if blob.len() > PIN_BLOB_BYTES_MAX {
            return full();
        }
        for found in fs::read_dir(&self.folder)? {
            let found = found?;
            let name = found.file_name();
            if parse(name.as_bytes()).is_none() || gone.iter().any(|gone| name == **gone) {
                continue;
            }
            match found.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => bytes = bytes.saturating_add(metadata?.size()),
            }
            files += 1;
        }
        if files > self.bounds.files || bytes > self.bounds.bytes { full() } else { Ok(()) }
    }

    /// A file of this session's own, synced.
    fn write(&self, blob: &[u8]) -> io::Result<PathBuf> {
        let path = self.folder.join(format!(".{}", self.session));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(blob)?;
        file.sync_all()?;
        Ok(path)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// 64 hex digits, and whether it is a proposal.
fn parse(name: &[u8]) -> Option<([u8; 32], bool)> {
    let name = std::str::from_utf8(name).ok()?;
    match name.strip_suffix(PROPOSED) {
        Some(name) => Some((unhex(name)?, true)),
        None => Some((unhex(name)?, false)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(folder: &Path, session: &str) -> (PinStore, Vec<Entry>) {
        PinStore::open(folder, session).unwrap()
    }

    #[test]
    fn a_pin_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let (mut one, entries) = open(root.path(), "one");
        let (mut two, _) = open(root.path(), "two");
        assert_eq!(entries, []);
        assert_eq!(one.keep([1; 32], b"first").unwrap(), Filed::Kept);
        for store in [&mut one, &mut two] {
            assert_eq!(store.keep([1; 32], b"second").unwrap(), Filed::Stood(b"first".to_vec()));
        }
        assert_eq!(two.keep([2; 32], b"other").unwrap(), Filed::Kept);
        let (_, entries) = open(root.path(), "three");
        let pins: Vec<_> = entries.iter().map(|entry| (entry.key[0], entry.pin.clone().unwrap())).collect();
        assert_eq!(pins, [(1, b"first".to_vec()), (2, b"other".to_vec())]);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2, "nothing unfinished is left");
        let mode = fs::metadata(root.path().join("01".repeat(32))).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_proposal_holds_for_nothing_until_it_replaces_the_pin() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, _) = open(root.path(), "one");
        assert_eq!(store.keep([1; 32], b"first").unwrap(), Filed::Kept);
        store.propose([1; 32], b"second").unwrap();
        store.propose([1; 32], b"third").unwrap();
        let entry = open(root.path(), "two").1.remove(0);
        assert_eq!((entry.pin.unwrap(), entry.proposed.unwrap()), (b"first".to_vec(), b"third".to_vec()));
        store.replace([1; 32], b"third").unwrap();
        let entry = open(root.path(), "two").1.remove(0);
        assert_eq!((entry.pin.unwrap(), entry.proposed), (b"third".to_vec(), None));
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, _) = open(root.path(), "one");
        assert!(store.keep([1; 32], &vec![0; PIN_BLOB_BYTES_MAX + 1]).is_err());
        assert_eq!(store.keep([1; 32], &vec![0; PIN_BLOB_BYTES_MAX]).unwrap(), Filed::Kept);
        store.bounds.bytes = PIN_BLOB_BYTES_MAX as u64;
        assert!(store.keep([2; 32], b"x").is_err() && store.propose([2; 32], b"x").is_err());
        store.bounds = Bounds { files: 1, ..BOUNDS };
        assert!(store.keep([2; 32], b"x").is_err());
        store.replace([1; 32], b"y").unwrap();
        assert_eq!(open(root.path(), "two").1.len(), 1);
    }

    #[test]
    fn what_another_session_filed_takes_room_too() {
        let root = tempfile::tempdir().unwrap();
        let bounds = Bounds { files: 2, ..BOUNDS };
        let mut stores = ["one", "two"].map(|name| PinStore::open_within(root.path(), name, bounds).unwrap().0);
        assert_eq!(stores[0].keep([1; 32], b"x").unwrap(), Filed::Kept);
        assert_eq!(stores[1].keep([2; 32], b"x").unwrap(), Filed::Kept);
        assert!(stores.iter_mut().all(|store| store.keep([3; 32], b"x").is_err()));
        assert_eq!(stores[1].keep([1; 32], b"y").unwrap(), Filed::Stood(b"x".to_vec()), "what stands needs no room");
    }

    #[test]
    fn an_overfull_folder_opens_and_what_is_beyond_is_unreadable() {
        let root = tempfile::tempdir().unwrap();
        let (mut store, _) = open(root.path(), "one");
        store.propose([0; 32], b"proposed").unwrap();
        for key in 1..=4 {
            assert_eq!(store.keep([key; 32], b"blob").unwrap(), Filed::Kept);
        }
        let pin = |key: u8, blob: &[u8]| Entry { key: [key; 32], pin: Some(blob.to_vec()), proposed: None };
        let proposed = Entry { key: [0; 32], pin: None, proposed: Some(Vec::new()) };
        for bounds in [Bounds { files: 3, ..BOUNDS }, Bounds { bytes: 11, ..BOUNDS }] {
            let (mut store, entries) = PinStore::open_within(root.path(), "two", bounds).unwrap();
            let read: &[u8] = if bounds.files == 3 { b"blob" } else { b"" };
            let all = [proposed.clone(), pin(1, b"blob"), pin(2, b"blob"), pin(3, read), pin(4, b"")];
            assert_eq!(entries, all);
            assert!(store.keep([5; 32], b"").is_err() && store.propose([5; 32], b"").is_err());
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 5, "nothing is written");
        }
    }

    #[test]
    fn what_is_no_pin_is_passed_over_or_given_back_empty() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("03".repeat(32));
        fs::write(&place, vec![b'x'; PIN_BLOB_BYTES_MAX + 1]).unwrap();
        fs::write(root.path().join(".killed"), "half").unwrap();
        fs::write(root.path().join("notes.txt"), "mine").unwrap();
        let (mut store, entries) = open(root.path(), "killed");
        assert_eq!(entries, [Entry { key: [3; 32], pin: Some(Vec::new()), proposed: None }]);
        assert_eq!(store.keep([4; 32], b"x").unwrap(), Filed::Kept, "what a killed session left is in nobody's way");
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("05".repeat(32))).unwrap();
        assert!(PinStore::open(root.path(), "two").is_err(), "nobody is led elsewhere");
    }
}
