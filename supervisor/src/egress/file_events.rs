//! A file that was opened for writing, as the kernel tells it and as the relay is told it. Nothing here trusts a length.

use intercept_sandbox_abi::{self as abi, file_offset as offset};
use serde::{Deserialize, Serialize};

use super::events::{EventError, field, name};

/// A regular file that a process of the session opened for writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOpen {
    /// The path as the process sees it; ` (deleted)` follows where it has none any more. Bytes that are not UTF-8 are replaced. Absent
    /// where it has more than [`abi::FILE_PATH_BYTES`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Process id on the host.
    pub pid: u32,
    /// What the thread calls itself.
    pub comm: String,
    /// How many openings of this file this one stands for; the process is that of the first.
    pub count: u64,
    /// The count holds other files, too: there were too many different ones, and this is the latest.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub others: bool,
}

/// One item of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory.
    pub cgroup: u64,
    /// What was opened.
    pub open: FileOpen,
}

impl FileEvent {
    /// Reads one ring item.
    ///
    /// # Errors
    /// When a length is not one of the program's.
    pub fn parse(item: &[u8]) -> Result<Self, EventError> {
        let bytes: &[u8; abi::FILE_EVENT_BYTES] = item.try_into().map_err(|_| EventError::Length(item.len()))?;
        let length = u32::from_ne_bytes(field(bytes, offset::PATH_BYTES)) as usize;
        let path = bytes[offset::PATH..].get(..length).ok_or(EventError::Text(length))?;
        let text = path.split_last().map(|(_nul, text)| String::from_utf8_lossy(text).into_owned());
        Ok(Self {
            time_ns: u64::from_ne_bytes(field(bytes, offset::TIME_NS)),
            cgroup: u64::from_ne_bytes(field(bytes, offset::CGROUP)),
            open: FileOpen {
                path: text,
                pid: u32::from_ne_bytes(field(bytes, offset::TGID)),
                comm: name(field(bytes, offset::COMM)),
                count: 1,
                others: false,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// /out/a by process 42, as the kernel writes it; behind the text stands what an earlier event left.
    fn item() -> [u8; abi::FILE_EVENT_BYTES] {
        let mut item = [b'?'; abi::FILE_EVENT_BYTES];
        item[0..8].copy_from_slice(&5_000_000_000_u64.to_ne_bytes());
        item[8..16].copy_from_slice(&77_u64.to_ne_bytes());
        item[16..20].copy_from_slice(&42_u32.to_ne_bytes());
        item[20..24].copy_from_slice(&7_u32.to_ne_bytes());
        item[24..40].copy_from_slice(b"python3\0\0\0\0\0\0\0\0\0");
        item[40..47].copy_from_slice(b"/out/a\0");
        item
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let path = Some("/out/a".to_owned());
        let open = FileOpen { path, pid: 42, comm: "python3".to_owned(), count: 1, others: false };
        assert_eq!(FileEvent::parse(&item()), Ok(FileEvent { time_ns: 5_000_000_000, cgroup: 77, open }));
    }

    #[test]
    fn a_path_that_does_not_fit_is_absent_and_other_lengths_are_errors() {
        let with = |length: u32| {
            let mut item = item();
            item[20..24].copy_from_slice(&length.to_ne_bytes());
            FileEvent::parse(&item).map(|event| event.open.path.map(|path| path.len()))
        };
        assert_eq!(with(0), Ok(None));
        assert_eq!((with(1), with(1024)), (Ok(Some(0)), Ok(Some(1023))));
        assert_eq!(
            (with(1025), with(u32::MAX)),
            (Err(EventError::Text(1025)), Err(EventError::Text(u32::MAX as usize)))
        );
        assert_eq!(FileEvent::parse(&item()[1..]), Err(EventError::Length(abi::FILE_EVENT_BYTES - 1)));
    }

    #[test]
    fn odd_bytes_are_replaced() {
        let mut odd = item();
        odd[40..47].copy_from_slice(b"\x1b[2J\xff/\0");
        assert_eq!(FileEvent::parse(&odd).unwrap().open.path.unwrap(), "\u{1b}[2J\u{fffd}/");
    }
}
