//! Every message through a socket pair, and what is no message.

use std::os::fd::AsFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;
use crate::relay::sealed;

#[test]
fn every_message_comes_through_as_it_went_in() {
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let point = LogPoint { seq: u64::MAX, hash: [7; 32] };
    let mut up = vec![FromRelay::Applied, FromRelay::Checkpoint(point), FromRelay::ClientGone];
    up.extend(EndCause::ALL.map(FromRelay::Failed));
    up.extend([FromRelay::Finished(point), FromRelay::PolicyTaken([9; 32]), FromRelay::RejectionTaken]);
    for message in up {
        message.send(left.as_fd()).unwrap();
        assert_eq!(FromRelay::receive(right.as_fd()).unwrap().map(|(message, _)| message), Some(message));
    }
    let ceilings = ToRelay::Ceilings(Incidents { oom_kills: 3, forks_refused: 1 << 40 });
    let denied = [None, NonZeroU64::new(1 << 50)].map(|since_ns| {
        ToRelay::Denied(Denied { call: 101, count: 1 << 40, tid: u32::MAX, comm: *b"0123456789abcdef", since_ns })
    });
    let finish = ToRelay::Finish { cause: EndCause::Signal, status: -1 };
    for message in [ToRelay::GateOpen { opened_ns: 7 }, finish, ceilings].into_iter().chain(denied) {
        message.send(right.as_fd()).unwrap();
        assert_eq!(ToRelay::receive(left.as_fd()).unwrap().map(|(message, _)| message), Some(message));
    }
    let text = sealed::seal(b"tools: {}").unwrap();
    let attached = Attached { bytes: 9, sha256: [3; 32] };
    for message in [FromRelay::Pin(PinKind::New, attached), FromRelay::Pin(PinKind::Proposed, attached)] {
        message.send_with(left.as_fd(), text.as_fd()).unwrap();
        let (heard, blob) = FromRelay::receive(right.as_fd()).unwrap().unwrap();
        assert_eq!((heard, sealed::open(blob.unwrap(), 9, 9).unwrap()), (message, b"tools: {}".to_vec()));
        message.send(left.as_fd()).unwrap();
        assert!(FromRelay::receive(right.as_fd()).is_err(), "a pin without its blob");
    }
    FromRelay::Applied.send_with(left.as_fd(), text.as_fd()).unwrap();
    assert!(FromRelay::receive(right.as_fd()).is_err(), "a blob that nothing asked for");
    for answer in [PinAnswer::Kept, PinAnswer::Failed].map(|answer| ToRelay::Pin(answer, attached)) {
        answer.send(right.as_fd()).unwrap();
        assert_eq!(ToRelay::receive(left.as_fd()).unwrap().map(|(message, _)| message), Some(answer));
    }
    let mut down = vec![ToRelay::Policy(attached), ToRelay::Lock(attached), ToRelay::Pin(PinAnswer::Stood, attached)];
    down.extend(Rejection::ALL.map(|why| ToRelay::Rejected(why, attached)));
    for message in down {
        message.send_with(right.as_fd(), text.as_fd()).unwrap();
        let (heard, text) = ToRelay::receive(left.as_fd()).unwrap().unwrap();
        assert_eq!(heard, message);
        assert_eq!(sealed::open(text.unwrap(), 9, 9).unwrap(), b"tools: {}");
    }
    drop(right);
    assert!(ToRelay::receive(left.as_fd()).unwrap().is_none());
}

#[test]
fn a_text_comes_with_the_messages_that_have_one_and_with_no_other() {
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let policy = ToRelay::Policy(Attached { bytes: 9, sha256: [3; 32] });
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let text = nix::sys::memfd::memfd_create(c"isb-messages", flags).unwrap();
    let before = open_descriptors();
    policy.send(right.as_fd()).unwrap();
    assert!(ToRelay::receive(left.as_fd()).is_err(), "a policy without its text");
    ToRelay::GateOpen { opened_ns: 7 }.send_with(right.as_fd(), text.as_fd()).unwrap();
    assert!(ToRelay::receive(left.as_fd()).is_err(), "a text that nothing asked for");
    for count in [2, 3, 10] {
        let fds = vec![text.as_raw_fd(); count];
        let bytes = policy.raw().encode();
        let (data, rights) = ([IoSlice::new(&bytes)], [ControlMessage::ScmRights(&fds)]);
        sendmsg::<()>(right.as_raw_fd(), &data, &rights, MsgFlags::empty(), None).unwrap();
        assert!(ToRelay::receive(left.as_fd()).is_err(), "{count} texts");
    }
    assert_eq!(open_descriptors(), before, "what is refused is closed");
}

/// Of this test's memory file alone: other tests run beside this one.
fn open_descriptors() -> usize {
    let name = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).unwrap_or_default();
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.map(name).filter(|link| link.starts_with("/memfd:isb-messages")).count()
}

#[test]
fn anything_else_is_refused() {
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    for wrong in [&[0_u8; 1][..], &[0; MESSAGE_BYTES], &[0; MESSAGE_BYTES + 1], &[255; MESSAGE_BYTES]] {
        send(left.as_raw_fd(), wrong, MsgFlags::empty()).unwrap();
        assert!(FromRelay::receive(right.as_fd()).is_err(), "{wrong:?}");
    }
    ToRelay::GateOpen { opened_ns: 7 }.send(left.as_fd()).unwrap();
    assert!(FromRelay::receive(right.as_fd()).is_err(), "a message of the other direction");
}

#[test]
fn what_was_sent_before_an_end_with_unread_messages_is_heard() {
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    ToRelay::GateOpen { opened_ns: 7 }.send(right.as_fd()).unwrap();
    FromRelay::ClientGone.send(left.as_fd()).unwrap();
    drop(left);
    let heard = || FromRelay::receive(right.as_fd()).unwrap().map(|(message, _)| message);
    assert_eq!((heard(), heard()), (Some(FromRelay::ClientGone), None));
}

#[test]
fn the_monitor_does_not_wait_for_a_relay_that_says_nothing() {
    let (left, right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    assert_eq!(FromRelay::receive(right.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    FromRelay::ClientGone.send(left.as_fd()).unwrap();
    let heard = || FromRelay::receive(right.as_fd()).map(|heard| heard.map(|(message, _)| message));
    assert_eq!(heard().unwrap(), Some(FromRelay::ClientGone));
    assert_eq!(heard().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn the_monitor_does_not_wait_for_a_relay_that_does_not_read() {
    let (left, _right) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let message = ToRelay::GateOpen { opened_ns: 7 };
    let refused = (0..1_000_000).find_map(|_| message.send(left.as_fd()).err()).unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    let text = super::super::sealed::seal(b"x").unwrap();
    let attached = Attached { bytes: 1, sha256: [0; 32] };
    assert!(ToRelay::Policy(attached).send_with(left.as_fd(), text.as_fd()).is_err());
}
