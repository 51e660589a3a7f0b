//! What the meter says of its first count. The monitor reads four numbers and no name.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::unistd::pipe2;

use super::MeterError;
use crate::bounds::METER_FIRST_WAIT_MS;
use crate::sandbox::usage::Excess;
use crate::sys::pidfd;

/// How the first count ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// No folder holds too much.
    Fine,
    /// This folder, by its place, holds too much.
    Full(u16, Excess),
    /// This folder, by its place, cannot be counted.
    Uncounted(u16, Errno),
}

/// The monitor's end: what to wait for, and the folders on the host, for messages.
#[derive(Debug)]
pub struct FirstCount {
    said: File,
    folders: Vec<PathBuf>,
}

/// The meter's end.
#[derive(Debug)]
pub(super) struct Teller(pub(super) File);

type File = std::fs::File;

/// Both ends; `folders` in the order of their places.
pub(super) fn pair(folders: Vec<PathBuf>) -> Result<(FirstCount, Teller), MeterError> {
    let (said, tell) = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from)?;
    Ok((FirstCount { said: said.into(), folders }, Teller(tell.into())))
}

impl Teller {
    pub(super) fn say(mut self, first: First) -> io::Result<()> {
        self.0.write_all(&first.word())
    }
}

impl FirstCount {
    /// Waits for the meter's word.
    ///
    /// # Errors
    /// [`MeterError::Full`], [`MeterError::Count`], or [`MeterError::System`] when none comes in time.
    pub fn wait(self) -> Result<(), MeterError> {
        let mut word = [0; 4];
        if !pidfd::readable(self.said.as_fd(), PollTimeout::from(METER_FIRST_WAIT_MS)).map_err(io::Error::from)? {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        (&self.said).read_exact(&mut word)?; // shorter than PIPE_BUF: there as a whole, or the meter is gone
        let first = First::from_word(word).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let path = |place: u16| self.folders.get(usize::from(place)).cloned().unwrap_or_default();
        match first {
            First::Fine => Ok(()),
            First::Full(place, excess) => Err(MeterError::Full { path: path(place), excess }),
            First::Uncounted(place, source) => Err(MeterError::Count { path: path(place), source }),
        }
    }
}

impl First {
    fn word(self) -> [u8; 4] {
        let (kind, place, value) = match self {
            Self::Fine => (0, 0, 0),
            Self::Full(place, Excess::Bytes) => (1, place, 0),
            Self::Full(place, Excess::Names) => (1, place, 1),
            Self::Full(place, Excess::Depth) => (1, place, 2),
            Self::Uncounted(place, errno) => (2, place, u8::try_from(errno as i32).unwrap_or(0)),
        };
        let [high, low] = place.to_be_bytes();
        [kind, high, low, value]
    }

    fn from_word([kind, high, low, value]: [u8; 4]) -> Option<Self> {
        let place = u16::from_be_bytes([high, low]);
        match (kind, value) {
            (0, 0) => Some(Self::Fine),
            (1, 0) => Some(Self::Full(place, Excess::Bytes)),
            (1, 1) => Some(Self::Full(place, Excess::Names)),
            (1, 2) => Some(Self::Full(place, Excess::Depth)),
            (2, errno) => Some(Self::Uncounted(place, Errno::from_raw(errno.into()))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_and_no_other_is_taken() {
        let every = [
            First::Fine,
            First::Full(0, Excess::Bytes),
            First::Full(258, Excess::Names),
            First::Full(1, Excess::Depth),
            First::Uncounted(7, Errno::EACCES),
        ];
        for first in every {
            assert_eq!(First::from_word(first.word()), Some(first));
        }
        for other in [[0, 0, 0, 1], [1, 0, 0, 3], [3, 0, 0, 0], [255; 4]] {
            assert_eq!(First::from_word(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_meter_that_ends_without_a_word_has_not_counted() {
        let (first, teller) = pair(vec!["/a".into(), "/b".into()]).unwrap();
        teller.say(First::Full(1, Excess::Bytes)).unwrap();
        let error = first.wait().unwrap_err();
        assert!(error.to_string().contains("/b holds more bytes"), "{error}");
        let (first, teller) = pair(Vec::new()).unwrap();
        drop(teller);
        assert!(matches!(first.wait(), Err(MeterError::System(_))));
    }
}
