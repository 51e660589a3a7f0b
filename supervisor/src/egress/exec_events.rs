//! The start of a program as the kernel tells it, also one that it refused, and as the relay is told it. Nothing here trusts a length.

use intercept_sandbox_abi::{self as abi, exec_offset as offset};
use serde::{Deserialize, Serialize};

use super::events::{EventError, field, name};

/// A program that a process of the session has become, or was not let become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStart {
    /// The path as it was asked for: relative to the process's folder then, `/dev/fd/N` for a descriptor. Bytes that are not UTF-8
    /// are replaced. Absent where the kernel's memory could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// The program that runs it, for a script.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interpreter: Option<String>,
    /// A path was longer than the room for it, and is cut.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub cut: bool,
    /// Process id on the host.
    pub pid: u32,
    /// Process id of the parent on the host; absent where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ppid: Option<u32>,
    /// The name of the thread: of a start, what the kernel made from the path; else what the thread calls itself.
    pub comm: String,
    /// How many starts of this program this one stands for; process and parent are those of the first.
    pub count: u64,
    /// The count holds other programs, too: there were too many different ones, and this is the latest.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub others: bool,
    /// It was refused: it, or what runs it, is not on the policy's list.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub denied: bool,
}

/// One item of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory.
    pub cgroup: u64,
    /// What was started.
    pub start: ExecStart,
}

impl ExecEvent {
    /// Reads one ring item.
    ///
    /// # Errors
    /// When a length or the verdict is not one of the programs'.
    pub fn parse(item: &[u8]) -> Result<Self, EventError> {
        let bytes: &[u8; abi::EXEC_EVENT_BYTES] = item.try_into().map_err(|_| EventError::Length(item.len()))?;
        let text = |lengths_at, at: usize| {
            let length = usize::from(u16::from_ne_bytes(field(bytes, lengths_at)));
            let whole = bytes.get(at..at + length).filter(|_| length <= abi::PATH_BYTES);
            whole.ok_or(EventError::Text(length)).map(Text)
        };
        let path = text(offset::PATH_BYTES, offset::PATH)?;
        let interpreter = text(offset::INTERPRETER_BYTES, offset::INTERPRETER)?;
        let ppid = u32::from_ne_bytes(field(bytes, offset::PPID));
        let denied = match u32::from_ne_bytes(field(bytes, offset::VERDICT)).try_into() {
            Ok(abi::ALLOWED) => false,
            Ok(abi::DENIED) => true,
            other => return Err(EventError::Verdict(other.unwrap_or(u8::MAX))),
        };
        Ok(Self {
            time_ns: u64::from_ne_bytes(field(bytes, offset::TIME_NS)),
            cgroup: u64::from_ne_bytes(field(bytes, offset::CGROUP)),
            start: ExecStart {
                cut: path.is_cut() || interpreter.is_cut(),
                path: path.read(),
                interpreter: interpreter.read(),
                pid: u32::from_ne_bytes(field(bytes, offset::TGID)),
                ppid: Some(ppid).filter(|ppid| *ppid != 0),
                comm: name(field(bytes, offset::COMM)),
                count: 1,
                others: false,
                denied,
            },
        })
    }
}

/// A text of the kernel's with its NUL, or nothing.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// The room is taken to the last byte. One more than [`Self::read`] shows decides, so a path that just fits is not called cut.
    fn is_cut(&self) -> bool {
        self.0.len() == abi::PATH_BYTES
    }

    fn read(&self) -> Option<String> {
        let text = self.0.split_last()?.1; // without the NUL
        let shown = text.get(..PATH_SHOWN_BYTES).unwrap_or(text);
        Some(String::from_utf8_lossy(shown).into_owned())
    }
}

/// Of a path, what a record shows.
const PATH_SHOWN_BYTES: usize = abi::PATH_BYTES - 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// /srv/run.sh by process 42 of 41, as the kernel writes it; behind the texts stands what an earlier event left.
    fn item() -> [u8; abi::EXEC_EVENT_BYTES] {
        let mut item = [b'?'; abi::EXEC_EVENT_BYTES];
        item[0..8].copy_from_slice(&5_000_000_000_u64.to_ne_bytes());
        item[8..16].copy_from_slice(&77_u64.to_ne_bytes());
        item[16..20].copy_from_slice(&42_u32.to_ne_bytes());
        item[20..24].copy_from_slice(&41_u32.to_ne_bytes());
        item[24..40].copy_from_slice(b"run.sh\0\0\0\0\0\0\0\0\0\0");
        item[40..42].copy_from_slice(&12_u16.to_ne_bytes());
        item[42..44].copy_from_slice(&8_u16.to_ne_bytes());
        item[44..48].copy_from_slice(&1_u32.to_ne_bytes());
        item[48..60].copy_from_slice(b"/srv/run.sh\0");
        item[312..320].copy_from_slice(b"/bin/sh\0");
        item
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let start = ExecStart {
            path: Some("/srv/run.sh".to_owned()),
            interpreter: Some("/bin/sh".to_owned()),
            cut: false,
            pid: 42,
            ppid: Some(41),
            comm: "run.sh".to_owned(),
            count: 1,
            others: false,
            denied: false,
        };
        let event = ExecEvent { time_ns: 5_000_000_000, cgroup: 77, start };
        assert_eq!(ExecEvent::parse(&item()), Ok(event.clone()));
        let mut refused = item();
        refused[44..48].copy_from_slice(&2_u32.to_ne_bytes());
        let start = ExecStart { denied: true, ..event.start.clone() };
        assert_eq!(ExecEvent::parse(&refused), Ok(ExecEvent { start, ..event }));
        for verdict in [0_u32, 3, 256 + 1] {
            refused[44..48].copy_from_slice(&verdict.to_ne_bytes());
            assert!(matches!(ExecEvent::parse(&refused), Err(EventError::Verdict(_))), "{verdict}");
        }
    }

    #[test]
    fn what_the_kernel_could_not_read_is_absent() {
        let mut item = item();
        item[20..24].copy_from_slice(&[0; 4]);
        item[40..44].copy_from_slice(&[0; 4]);
        let start = ExecEvent::parse(&item).unwrap().start;
        assert_eq!((start.path, start.interpreter, start.ppid, start.cut), (None, None, None, false));
    }

    #[test]
    fn a_path_that_takes_all_the_room_is_cut_and_one_that_fits_is_not() {
        let path = |length: usize| {
            let mut item = item();
            item[40..42].copy_from_slice(&u16::try_from(length).unwrap().to_ne_bytes());
            item[48..48 + length].fill(b'x');
            ExecEvent::parse(&item).map(|event| (event.start.path.unwrap().len(), event.start.cut))
        };
        assert_eq!(path(abi::PATH_BYTES - 1), Ok((PATH_SHOWN_BYTES, false)));
        assert_eq!(path(abi::PATH_BYTES), Ok((PATH_SHOWN_BYTES, true)));
        assert_eq!(path(abi::PATH_BYTES + 1), Err(EventError::Text(abi::PATH_BYTES + 1)));
    }

    #[test]
    fn odd_bytes_are_replaced_and_other_lengths_are_errors() {
        let mut odd = item();
        odd[48..60].copy_from_slice(b"\x1b]0;\xff\xfe\n\"\\/x\0");
        assert_eq!(ExecEvent::parse(&odd).unwrap().start.path.unwrap(), "\u{1b}]0;\u{fffd}\u{fffd}\n\"\\/x");
        assert_eq!(ExecEvent::parse(&item()[1..]), Err(EventError::Length(abi::EXEC_EVENT_BYTES - 1)));
        let mut long = item();
        long[42..44].copy_from_slice(&u16::MAX.to_ne_bytes());
        assert_eq!(ExecEvent::parse(&long), Err(EventError::Text(usize::from(u16::MAX))));
    }
}
