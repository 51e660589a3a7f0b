//! What may be named: the cgroup programs' rule, word for word, and nothing that cannot be read.

use intercept_sandbox_abi::{
    AF_INET, COUNTER_LOST, COUNTER_LSM_CONNECT, COUNTER_LSM_SENDMSG, DENIED, OP_CONNECT, OP_SENDMSG, SOCK_STREAM,
};

use crate::address::Asked;
use crate::maps::{add, is_open};
use crate::named::Named;
use crate::record::record_of;

/// Whether connect(2) may go on. What passes leaves no event: the cgroup programs are asked next.
#[inline(always)]
pub fn connect(named: Named) -> bool {
    decide(named, COUNTER_LSM_CONNECT, |asked| (OP_CONNECT, asked))
}

/// Whether sendto(2) or sendmsg(2) may go on. With an address a stream connects by them (`MSG_FASTOPEN`); a datagram to
/// `::ffff:a.b.c.d` is an IPv4 one, and the cgroup programs record it as that.
#[inline(always)]
pub fn sendmsg(named: Named) -> bool {
    decide(named, COUNTER_LSM_SENDMSG, |asked| match asked.ipv4() {
        _ if asked.kind == SOCK_STREAM => (OP_CONNECT, asked),
        Some(address) => (OP_SENDMSG, Asked { family: AF_INET, dst: [address, 0, 0, 0], ..asked }),
        None => (OP_SENDMSG, asked),
    })
}

#[inline(always)]
fn decide(named: Named, counter: u32, as_recorded: impl FnOnce(Asked) -> (u8, Asked)) -> bool {
    match named {
        Named::Nothing => true,
        Named::Ip(asked) if asked.is_loopback() || asked.is_stub() || is_open(&asked) => true,
        Named::Ip(asked) => {
            let (op, asked) = as_recorded(asked);
            add(counter, 1);
            record_of(0, &asked, op, DENIED);
            false
        }
        // Refused, and told as an event that is missing.
        Named::Unread => {
            add(COUNTER_LOST, 1);
            false
        }
    }
}
