//! What arbitrary code in a process of ours would try first. Only in `weaken` builds.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::PollTimeout;
use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::MsgFlags;
use nix::unistd::{Gid, Pid, Uid, execv, setresgid, setresuid};

use crate::sys::{fds, pass, pidfd, process};

/// What is done with an argument; the text is what came of it.
type Deed = fn(&str) -> io::Result<String>;

/// How long a forked child stays to be seen.
const CHILD_STAYS: Duration = Duration::from_secs(3);

/// Memory is taken in pieces of this size, bytes.
const PIECE_BYTES: usize = 16 << 20;

const DEEDS: &[(&str, Deed)] = &[
    ("read", |path| fs::read_to_string(path)),
    ("write", write),
    ("exec", |script| {
        let words = ["/bin/sh", "-c", script].map(CString::new);
        let [Ok(shell), Ok(flag), Ok(script)] = words else { return Err(Errno::EINVAL.into()) };
        // Nothing hangs up when the program changes, so nobody notices it by that.
        for number in 3..64 {
            if let Ok(held) = fds::adopt(number).map(ManuallyDrop::new) {
                fds::set_on_exec(held.as_fd(), fds::OnExec::Keep)?;
            }
        }
        match execv(&shell.clone(), &[shell, flag, script])? {}
    }),
    ("fork", |_| match process::fork_unchecked()? {
        process::Fork::Child => {
            std::thread::sleep(CHILD_STAYS);
            process::exit_now(0)
        }
        process::Fork::Parent(child) => Ok(format!("pid {child}")),
    }),
    ("connect", |address| TcpStream::connect(address).map(|stream| keep(stream, "connected"))),
    ("send", |address| {
        let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        UdpSocket::bind(any)?.send_to(b"loot", address).map(|sent| format!("{sent} bytes"))
    }),
    ("listen", |address| TcpListener::bind(address).map(|listener| keep(listener, "listens"))),
    ("abstract", |name| {
        let address = SocketAddr::from_abstract_name(name)?;
        UnixStream::connect_addr(&address).map(|stream| keep(stream, "connected"))
    }),
    ("kill", |pid| Ok(kill(number(pid)?, Signal::SIGKILL).map(|()| "killed".to_owned())?)),
    ("trace", |pid| Ok(ptrace::seize(number(pid)?, ptrace::Options::empty()).map(|()| "seized".to_owned())?)),
    ("root", |_| {
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        setresgid(gid, gid, gid)?;
        Ok(setresuid(uid, uid, uid).map(|()| "root".to_owned())?)
    }),
    ("capabilities", |_| {
        let all = caps::all();
        let refused = |error: caps::errors::CapsError| io::Error::other(format!("{error}: {}", Errno::last()));
        caps::set(None, caps::CapSet::Permitted, &all).map_err(refused)?;
        caps::set(None, caps::CapSet::Effective, &all).map_err(refused)?;
        Ok("all".to_owned())
    }),
    ("mount", |target| {
        mount(Some("isb-planted"), target, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        Ok("mounted".to_owned())
    }),
    ("unshare", |_| {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
        Ok("a network of its own".to_owned())
    }),
    ("bpf", |_| {
        let map = aya::maps::Array::<_, u32>::create(1, 0);
        map.map(|map| keep(map, "a map made")).map_err(io::Error::other)
    }),
    ("grow", |bytes| {
        let bytes = bytes.parse().map_err(|_| Errno::EINVAL)?;
        let mut grown = Err(Errno::EBADF.into());
        for number in 3..64 {
            let Ok(held) = fds::adopt(number).map(|fd| ManuallyDrop::new(File::from(fd))) else { continue };
            // Where names may be read, the log and no other file.
            let other = fs::read_link(format!("/proc/self/fd/{number}"))
                .is_ok_and(|name| name.extension().is_none_or(|extension| extension != "jsonl"));
            if held.metadata().is_ok_and(|metadata| metadata.is_file()) && !other && grown.is_err() {
                grown = held.set_len(bytes).map(|()| "grown".to_owned());
            }
        }
        grown
    }),
    // A page of each piece is written: the addresses are what is bounded, and a small machine has not the pages.
    ("take", |bytes| {
        let pieces = bytes.parse::<usize>().map_err(|_| Errno::EINVAL)?.div_ceil(PIECE_BYTES);
        for _ in 0..pieces {
            let mut piece = Vec::<u8>::with_capacity(PIECE_BYTES); // one that cannot be had aborts
            piece.push(1);
            std::mem::forget(piece);
        }
        Ok("taken".to_owned())
    }),
    ("dial", |words| {
        let numbers = words.split_once(' ').and_then(|(host, port)| Some((host.parse().ok()?, port.parse().ok()?)));
        let (host, port): (u16, u16) = numbers.ok_or(Errno::EINVAL)?;
        ask_dialer(&[&7_u64.to_le_bytes()[..], &host.to_le_bytes(), &port.to_le_bytes()].concat())
    }),
    ("overstep", |text| {
        let link = fds::adopt(DIALER.load(Ordering::Relaxed)).map(ManuallyDrop::new)?;
        pass::send(link.as_fd(), text.as_bytes(), None)?;
        process::exit_now(1)
    }),
    ("ask", |text| ask_dialer(text.as_bytes())),
    // Not more than these two: behind other numbers may stand what the caller left open, and nobody meant to write there.
    ("client", |text| {
        let told = [libc::STDIN_FILENO, libc::STDOUT_FILENO].into_iter().filter(|fd| told(*fd, text)).count();
        if told == 0 { Err(Errno::EBADF.into()) } else { Ok("written".to_owned()) }
    }),
];

/// Egress's end of its link to the dialer.
pub(super) static DIALER: AtomicI32 = AtomicI32::new(-1);
/// How long the dialer may take to answer, milliseconds.
const DIALER_ANSWER_MS: u16 = 5_000;

/// Does it, and says what came of it where people look.
pub(super) fn obey(deed: &str, argument: &str) {
    let outcome = match DEEDS.iter().find(|(known, _)| *known == deed) {
        None => "there is no such deed".to_owned(),
        Some((_, act)) => act(argument).unwrap_or_else(|error| format!("error: {error}")),
    };
    // A closed stderr loses the word, not the effect, and the effect is what the suite looks at.
    let _ = writeln!(io::stderr(), "planted {deed} {argument}: {outcome}");
}

fn write(path: &str) -> io::Result<String> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(b"isb-planted\n").map(|()| "written".to_owned())
}

/// Asks the dialer as egress does, or in other words; a connection that it gives is kept.
fn ask_dialer(question: &[u8]) -> io::Result<String> {
    let link = fds::adopt(DIALER.load(Ordering::Relaxed)).map(ManuallyDrop::new)?;
    pass::send(link.as_fd(), question, None)?;
    if !pidfd::readable(link.as_fd(), PollTimeout::from(DIALER_ANSWER_MS))? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = [0; 256];
    match pass::receive(link.as_fd(), &mut answer, MsgFlags::empty())? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, Some(connection)) => Ok(keep(connection, "connected")),
        (length, None) => Err(io::Error::other(String::from_utf8_lossy(&answer[9.min(length)..length]).into_owned())),
    }
}

fn number(pid: &str) -> Result<Pid, Errno> {
    pid.parse().map(Pid::from_raw).map_err(|_| Errno::EINVAL)
}

/// Leaves `thing` open, for the host to see.
fn keep<T>(thing: T, word: &str) -> String {
    std::mem::forget(thing);
    word.to_owned()
}

/// Whether `text` went into a pipe behind this descriptor.
fn told(fd: i32, text: &str) -> bool {
    let Ok(taken) = fds::adopt(fd).map(ManuallyDrop::new) else { return false };
    fds::is_pipe(taken.as_fd()) == Ok(true) && nix::unistd::write(taken.as_fd(), format!("{text}\n").as_bytes()).is_ok()
}
