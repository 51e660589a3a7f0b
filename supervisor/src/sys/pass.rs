//! One descriptor from process to process over a unix socket (unix(7), SCM_RIGHTS).

#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

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
/// # Errors
/// Those of recvmsg(2); `EBADMSG` when more than one descriptor came: all are closed then.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], flags: MsgFlags) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = message {
            // SAFETY: the kernel installed these descriptors for this call; nobody else knows of them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let fd = fds.pop();
    if fds.is_empty() { Ok((received.bytes, fd)) } else { Err(Errno::EBADMSG) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

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
    fn two_descriptors_at_once_are_refused() {
        let (ours, theirs) = pair();
        let fds = [ours.as_raw_fd(), theirs.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(ours.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None).unwrap();
        let received = receive(theirs.as_fd(), &mut [0; 16], MsgFlags::empty());
        assert_eq!(received.map(|(_, fd)| fd.is_some()), Err(Errno::EBADMSG));
    }
}
