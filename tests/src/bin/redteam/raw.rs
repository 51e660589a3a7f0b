//! System calls with nothing in between.

use std::ffi::{c_int, c_long};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;

use nix::errno::Errno;

/// What the kernel said, at which step.
#[derive(Debug)]
pub(crate) struct Failure {
    step: &'static str,
    errno: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.step, self.errno)
    }
}

impl Failure {
    /// Whether the kernel said this.
    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }
}

/// Names the step that failed.
pub(crate) trait At<T> {
    fn at(self, step: &'static str) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, errno })
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { step, errno: Errno::from_raw(error.raw_os_error().unwrap_or(0)) })
    }
}

/// `syscall(2)` with up to six arguments.
pub(crate) fn syscall(number: c_long, arguments: [usize; 6]) -> Result<c_long, Errno> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the callers pass pointers to live memory of the size that the call takes, or null.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// A socket of any family, type and protocol. It is never closed: the host looks at it.
pub(crate) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<RawFd, Failure> {
    // SAFETY: no pointers.
    let fd = Errno::result(unsafe { libc::socket(family, kind, protocol) }).at("socket")?;
    patience(fd, Duration::from_millis(150));
    Ok(fd)
}

/// A socket address as the kernel reads it.
pub(crate) fn bytes_of(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

pub(crate) fn connect(fd: RawFd, address: &[u8]) -> Result<(), Failure> {
    // SAFETY: `address` is live and its length is given.
    Errno::result(unsafe { libc::connect(fd, address.as_ptr().cast(), address.len() as libc::socklen_t) })
        .map(drop)
        .at("connect")
}

pub(crate) fn send(fd: RawFd, data: &[u8]) -> Result<(), Failure> {
    send_to(fd, data, &[], libc::MSG_NOSIGNAL)
}

/// `sendto(2)`; an empty address sends to where the socket is connected.
pub(crate) fn send_to(fd: RawFd, data: &[u8], address: &[u8], flags: c_int) -> Result<(), Failure> {
    let target = if address.is_empty() { std::ptr::null() } else { address.as_ptr().cast() };
    let length = address.len() as libc::socklen_t;
    // SAFETY: both buffers are live and their lengths are given.
    Errno::result(unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), flags, target, length) })
        .map(drop)
        .at("sendto")
}

/// Tells a call that got as far as the kernel's own look at its arguments (`reached`) from one that was refused before.
pub(crate) fn reach(number: c_long, arguments: [usize; 6], reached: &[Errno]) -> Result<String, Failure> {
    match syscall(number, arguments) {
        Ok(value) => Ok(format!("gave {value}")),
        Err(errno) if reached.contains(&errno) => Ok(format!("reached: {errno:?}")),
        Err(errno) => Err(errno).at("call"),
    }
}

/// `open(2)`; the descriptor is never closed: the host looks at it.
pub(crate) fn open(path: &str, flags: c_int) -> Result<RawFd, Failure> {
    let path = std::ffi::CString::new(path).expect("paths of this program hold no NUL");
    // SAFETY: the path is live; without O_CREAT there is no third argument.
    Errno::result(unsafe { libc::open(path.as_ptr(), flags) }).at("open")
}

/// How long [`hear`] waits for a side that says nothing.
pub(crate) fn patience(fd: RawFd, wait: Duration) {
    let time = libc::timeval { tv_sec: wait.as_secs() as i64, tv_usec: wait.subsec_micros().into() };
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        let size = size_of_val(&time) as libc::socklen_t;
        // SAFETY: `time` lives across the call and `size` is its size. A family without timeouts refuses: no matter.
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const time).cast(), size) };
    }
}

/// What the other side does next, in a word.
pub(crate) fn hear(fd: RawFd) -> String {
    let mut buffer = [0u8; 512];
    // SAFETY: the buffer is live and its length is given.
    match Errno::result(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) }) {
        Ok(0) => "closed".into(),
        Ok(length) => format!("heard {length} bytes"),
        Err(Errno::EAGAIN) => "open".into(),
        Err(errno) => format!("then {errno:?}"),
    }
}

/// A refusal of everything that a probe tried in a row.
pub(crate) fn refused(step: &'static str) -> Result<String, Failure> {
    Err(Errno::EPERM).at(step)
}
