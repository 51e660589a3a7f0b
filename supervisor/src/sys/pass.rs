//! One descriptor from process to process over a unix socket (unix(7), SCM_RIGHTS).

#![allow(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Sends one datagram, with a descriptor or without. The datagram is not empty: that would look like a hang-up.
///
/// # Errors
/// Those of sendmsg(2); `EINVAL` for an empty datagram.
pub fn send(socket: BorrowedFd<'_>, datagram: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    if datagram.is_empty() {
        return Err(Errno::EINVAL);
    }
    let fds: Vec<RawFd> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(datagram)], control, flags, None).map(drop)
}

/// Receives one datagram, cut to `buffer`, and the descriptor that came with it, close-on-exec. Length 0 is a hang-up.
///
/// recvmsg(2) by hand: nix does not show the control message of a datagram that brought more than there was room for, and what
/// there was room for is open by then (scm_detach_fds in net/core/scm.c), with nobody to close it.
///
/// # Errors
/// Those of recvmsg(2); `EBADMSG` when more than one descriptor came, or one that this process has no room for: none stays open.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> Result<(usize, Option<OwnedFd>), Errno> {
    // SAFETY: numbers, of which zero is one.
    let mut control: Control = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: numbers and pointers, of which zero is one. Its padding differs from libc to libc, so it is not written out.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    (header.msg_control, header.msg_controllen) = ((&raw mut control).cast(), size_of::<Control>());
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    // SAFETY: `header` points at one part, which is `buffer`, and at `control`; both outlive the call and are as long as it says.
    let received = Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags.bits()) })?;
    let mut fds = control.into_descriptors();
    let fd = fds.pop();
    if !fds.is_empty() || header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Errno::EBADMSG);
    }
    Ok((received.unsigned_abs(), fd))
}

/// Room for one control message with one descriptor (cmsg(3)). Alignment makes it enough for two; further ones are not opened.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fds: [RawFd; 2],
}

// SAFETY: arithmetic.
const _: () = assert!(size_of::<Control>() == unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize);
// SAFETY: likewise.
const _: () = assert!(std::mem::offset_of!(Control, fds) == unsafe { libc::CMSG_LEN(0) } as usize);

impl Control {
    /// The descriptors that recvmsg(2) has opened; where it wrote nothing the header is none of `SCM_RIGHTS`.
    fn into_descriptors(self) -> Vec<OwnedFd> {
        if (self.header.cmsg_level, self.header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            return Vec::new();
        }
        let bytes = self.header.cmsg_len.saturating_sub(std::mem::offset_of!(Self, fds));
        let opened = self.fds.into_iter().take(bytes / size_of::<RawFd>());
        // SAFETY: the kernel has opened these for this call; nobody else knows of them.
        opened.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use nix::poll::PollTimeout;
    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::sys::wait::WaitStatus;

    use super::*;
    use crate::sys::fork::ask_child;
    use crate::sys::pidfd::readable;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn a_descriptor_arrives_with_its_datagram_and_a_hang_up_is_told_apart() {
        let (ours, theirs) = pair();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        send(ours.as_fd(), b"x", Some(reader.as_fd())).unwrap();
        send(ours.as_fd(), b"plain", None).unwrap();
        assert_eq!(send(ours.as_fd(), b"", None), Err(Errno::EINVAL));
        drop((ours, reader));

        let mut buffer = [0; 16];
        let (length, fd) = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!(&buffer[..length], b"x");
        nix::unistd::write(&writer, b"through").unwrap();
        drop(writer);
        let mut text = String::new();
        File::from(fd.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");

        let (length, fd) = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((&buffer[..length], fd.is_none()), (b"plain".as_slice(), true));
        let (length, fd) = receive(theirs.as_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        assert_eq!((length, fd.is_none()), (0, true));
    }

    #[test]
    fn of_several_descriptors_at_once_none_stays_open() {
        for count in [2, 3, 4, 100] {
            let (ours, theirs) = pair();
            let (reader, writer) = nix::unistd::pipe().unwrap();
            let fds = vec![writer.as_raw_fd(); count];
            let control = [ControlMessage::ScmRights(&fds)];
            sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None).unwrap();
            let received = receive(theirs.as_fd(), &mut [0; 16], MsgFlags::empty());
            assert_eq!(received.map(|(_, fd)| fd.is_some()), Err(Errno::EBADMSG), "{count}");
            // A child that another test forks meanwhile holds the pipe too, for as long as it lives.
            drop(writer);
            assert_eq!(readable(reader.as_fd(), PollTimeout::from(30_000_u16)), Ok(true), "{count}: a copy is open");
            assert_eq!(nix::unistd::read(&reader, &mut [0]), Ok(0), "{count}");
        }
    }

    #[test]
    fn a_descriptor_that_there_is_no_room_for_is_refused() {
        let status = ask_child(|| {
            let (ours, theirs) = pair();
            send(ours.as_fd(), b"x", Some(ours.as_fd())).unwrap();
            let full = u64::try_from(theirs.as_raw_fd().max(ours.as_raw_fd()) + 1).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, full, full).unwrap();
            let lowest = nix::unistd::dup(&ours);
            i32::from(
                lowest.is_ok()
                    || receive(theirs.as_fd(), &mut [0; 16], MsgFlags::empty()).err() != Some(Errno::EBADMSG),
            )
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }
}
