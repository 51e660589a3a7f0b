//! The DNS stub, without I/O: an allowed name has one synthetic address, every other name does not exist.
//!
//! It never asks anyone, so no byte of a question leaves the machine: there is no DNS tunnel.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::bounds::{DNS_MESSAGE_BYTES_MAX, DNS_TTL_S};
use crate::egress::hosts::HostTable;
use crate::egress::report::{NetEvent, NetOp, NetVerdict};
use crate::weaken;

/// Bytes that a DNS answer over UDP may have unless EDNS says more (RFC 1035, 4.2.1).
const UDP_ANSWER_BYTES: usize = 512;
/// Bytes of a DNS header (RFC 1035, 4.1.1).
const HEADER_BYTES: usize = 12;

/// How the query came; decides how long the answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// Length-prefixed on a stream (RFC 7766).
    Tcp,
}

/// The stub's answer to one query.
#[derive(Debug)]
pub struct Answer {
    /// What to send back; nothing for what is no query, so that the stub cannot be made to talk to itself.
    pub reply: Option<Vec<u8>>,
    /// What to record.
    pub event: NetEvent,
}

/// Answers one message. Any bytes may be given.
#[must_use]
pub fn answer(query: &[u8], transport: Transport, hosts: &HostTable) -> Answer {
    let Some(header) = query.first_chunk::<HEADER_BYTES>() else {
        return Answer { reply: None, event: denied("shorter than a DNS header") };
    };
    if header[2] & 0x80 != 0 {
        return Answer { reply: None, event: denied("a DNS response, not a query") };
    }
    let id = u16::from_be_bytes([header[0], header[1]]);
    let op_code = OpCode::from_u8((header[2] >> 3) & 0x0f);
    if op_code != OpCode::Query {
        return error(id, op_code, ResponseCode::NotImp, "a DNS operation other than QUERY");
    }
    if query.len() > DNS_MESSAGE_BYTES_MAX {
        return error(id, op_code, ResponseCode::FormErr, "a DNS query over the bound");
    }
    let Ok(message) = Message::from_vec(query) else {
        return error(id, op_code, ResponseCode::FormErr, "a malformed DNS query");
    };
    let [question] = message.queries.as_slice() else {
        return error(id, op_code, ResponseCode::FormErr, "a DNS query without exactly one question");
    };
    if !message.answers.is_empty() || !message.authorities.is_empty() {
        return error(id, op_code, ResponseCode::FormErr, "a DNS query that carries answers");
    }
    if question.query_class != DNSClass::IN {
        return error(id, op_code, ResponseCode::Refused, "a DNS class other than IN");
    }
    answer_question(&message, question, transport, hosts)
}

fn answer_question(message: &Message, question: &Query, transport: Transport, hosts: &HostTable) -> Answer {
    let dotted = question.name.to_ascii(); // escapes whatever is not a letter, digit, hyphen or underscore
    let name = dotted.strip_suffix('.').unwrap_or(&dotted);
    let mut reply = Message::response(message.metadata.id, OpCode::Query);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true; // resolvers of libc complain about a server that says it will not
    reply.add_query(question.clone());

    let address = hosts.address(name);
    let mut event = NetEvent::new(NetOp::Dns, NetVerdict::Allowed);
    if let Some(address) = address {
        if question.query_type == RecordType::A {
            reply.add_answer(Record::from_rdata(question.name.clone(), DNS_TTL_S, RData::A(A(address))));
        }
    } else {
        if weaken::in_force("dns-stub") {
            reply.metadata.response_code = ResponseCode::NXDomain;
        } else if question.query_type == RecordType::A {
            let anywhere = std::net::Ipv4Addr::LOCALHOST;
            reply.add_answer(Record::from_rdata(question.name.clone(), DNS_TTL_S, RData::A(A(anywhere))));
        }
        event = denied("a name that the policy does not allow");
    }
    event.host = Some(name.to_ascii_lowercase());

    let mut room = match transport {
        Transport::Udp => UDP_ANSWER_BYTES,
        Transport::Tcp => usize::from(u16::MAX),
    };
    if let Some(asked) = &message.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(u16::try_from(DNS_MESSAGE_BYTES_MAX).unwrap_or(u16::MAX)).set_version(0);
        if asked.version() != 0 {
            reply.metadata.response_code = ResponseCode::BADVERS; // RFC 6891, 6.1.3
            reply.answers.clear();
        }
        reply.set_edns(edns);
        room = room.max(usize::from(asked.max_payload()).min(DNS_MESSAGE_BYTES_MAX));
    }
    Answer { reply: emit(&reply, room), event }
}

/// The reply in wire format; cut to its header and question, with the truncation bit, when it has no room.
fn emit(reply: &Message, room: usize) -> Option<Vec<u8>> {
    let bytes = reply.to_vec().ok()?;
    if bytes.len() <= room {
        return Some(bytes);
    }
    let cut = reply.truncate().to_vec().ok()?;
    (cut.len() <= room).then_some(cut)
}

fn error(id: u16, op_code: OpCode, code: ResponseCode, reason: &str) -> Answer {
    Answer { reply: Message::error_msg(id, op_code, code).to_vec().ok(), event: denied(reason) }
}

fn denied(reason: &str) -> NetEvent {
    let mut event = NetEvent::new(NetOp::Dns, NetVerdict::Denied);
    event.reason = reason.into();
    event
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;
    use crate::egress::hosts::planned;
    use crate::sandbox::plan::NetworkPlan;

    const ADDRESS: [u8; 4] = [198, 18, 0, 2];

    fn hosts() -> HostTable {
        HostTable::new(&NetworkPlan { hosts: vec![planned("api.example", ADDRESS, &[443])], connect_to: Vec::new() })
    }

    fn query(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(message: &Message) -> (Message, NetEvent) {
        let answer = answer(&message.to_vec().unwrap(), Transport::Udp, &hosts());
        (Message::from_vec(&answer.reply.unwrap()).unwrap(), answer.event)
    }

    #[test]
    fn an_allowed_name_has_its_one_address_and_keeps_its_case() {
        let (reply, event) = ask(&query("aPi.eXample.", RecordType::A));
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::NoError));
        assert_eq!(reply.queries[0].name.to_ascii(), "aPi.eXample.");
        assert_eq!(reply.answers.len(), 1);
        assert_eq!(reply.answers[0].name.to_ascii(), "aPi.eXample.");
        assert_eq!(reply.answers[0].ttl, DNS_TTL_S);
        assert_eq!(reply.answers[0].data, RData::A(A(Ipv4Addr::from(ADDRESS))));
        assert_eq!((event.verdict, event.host.as_deref()), (NetVerdict::Allowed, Some("api.example")));
    }

    #[test]
    fn other_types_of_an_allowed_name_have_no_data() {
        let kinds = [RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB, RecordType::TXT, RecordType::ANY];
        for kind in kinds.into_iter().chain([RecordType::NULL, RecordType::CNAME, RecordType::Unknown(65_280)]) {
            let (reply, event) = ask(&query("api.example.", kind));
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{kind}");
            assert_eq!(event.verdict, NetVerdict::Allowed);
        }
    }

    #[test]
    fn every_other_name_does_not_exist() {
        let long = format!("{0}.{0}.{0}.api.example.", "x".repeat(63));
        for name in ["evil.example.", "x.api.example.", "api.example.lan.", "example.", ".", "api\\.example.", &long] {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::NULL] {
                let (reply, event) = ask(&query(name, kind));
                assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name} {kind}");
                assert!(reply.answers.is_empty() && reply.authorities.is_empty());
                assert_eq!(event.verdict, NetVerdict::Denied);
                assert_eq!(event.host.unwrap(), name.strip_suffix('.').unwrap());
            }
        }
    }

    #[test]
    fn other_operations_classes_and_shapes_are_refused() {
        let mut update = query("api.example.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        let mut chaos = query("api.example.", RecordType::A);
        chaos.queries[0].query_class = DNSClass::CH;
        let mut two = query("api.example.", RecordType::A);
        two.add_query(two.queries[0].clone());
        let mut none = two.clone();
        none.queries.clear();
        let mut answered = query("api.example.", RecordType::A);
        answered.add_answer(Record::from_rdata(Name::root(), 1, RData::A(A(Ipv4Addr::LOCALHOST))));
        for (message, code) in [
            (update, ResponseCode::NotImp),
            (chaos, ResponseCode::Refused),
            (two, ResponseCode::FormErr),
            (none, ResponseCode::FormErr),
            (answered, ResponseCode::FormErr),
        ] {
            let (reply, event) = ask(&message);
            assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, code));
            assert!(reply.answers.is_empty());
            assert_eq!(event.verdict, NetVerdict::Denied);
        }
    }

    #[test]
    fn responses_and_stumps_get_no_reply() {
        let mut response = query("api.example.", RecordType::A);
        response.metadata.message_type = MessageType::Response;
        assert!(answer(&response.to_vec().unwrap(), Transport::Udp, &hosts()).reply.is_none());
        assert!(answer(&[0; HEADER_BYTES - 1], Transport::Udp, &hosts()).reply.is_none());
        assert!(answer(&[], Transport::Tcp, &hosts()).reply.is_none());
    }

    #[test]
    fn malformed_bodies_get_a_format_error() {
        let mut bytes = query("api.example.", RecordType::A).to_vec().unwrap();
        bytes.truncate(bytes.len() - 1);
        let reply = Message::from_vec(&answer(&bytes, Transport::Udp, &hosts()).reply.unwrap()).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::FormErr));
        let mut looping = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1];
        let reply = answer(&looping, Transport::Udp, &hosts()).reply.unwrap();
        assert_eq!(reply[3] & 0x0f, 1);
        looping.resize(DNS_MESSAGE_BYTES_MAX + 1, 0);
        let event = answer(&looping, Transport::Tcp, &hosts()).event;
        assert_eq!(event.reason, "a DNS query over the bound");
    }

    #[test]
    fn edns_is_answered_with_edns_and_other_versions_with_badvers() {
        let mut message = query("api.example.", RecordType::A);
        message.set_edns(Edns::new());
        let (reply, _) = ask(&message);
        assert_eq!(reply.edns.unwrap().version(), 0);
        assert_eq!(reply.answers.len(), 1);
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
        let (reply, _) = ask(&message);
        assert_eq!((reply.edns.unwrap().rcode_high(), reply.answers.len()), (1, 0));
    }

    #[test]
    fn an_answer_without_room_is_cut_and_says_so() {
        let (mut reply, _) = ask(&query("api.example.", RecordType::A));
        let whole = reply.to_vec().unwrap();
        assert_eq!(emit(&reply, whole.len()), Some(whole.clone()));
        let cut = Message::from_vec(&emit(&reply, whole.len() - 1).unwrap()).unwrap();
        assert!(cut.metadata.truncation && cut.answers.is_empty());
        reply.queries.clear();
        assert_eq!(emit(&reply, 1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived_and_no_reply_answers_another_name(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let answer = answer(&bytes, Transport::Udp, &hosts());
            if let Some(reply) = answer.reply {
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply.len() <= DNS_MESSAGE_BYTES_MAX);
                let reply = Message::from_vec(&reply).unwrap();
                prop_assert_eq!(reply.metadata.message_type, MessageType::Response);
                prop_assert!(reply.answers.is_empty());
            }
        }

        #[test]
        fn a_damaged_query_never_gets_a_second_address(place in 0usize..29, value in any::<u8>()) {
            let mut bytes = query("api.example.", RecordType::A).to_vec().unwrap();
            let place = place % bytes.len();
            bytes[place] = value;
            if let Some(reply) = answer(&bytes, Transport::Udp, &hosts()).reply {
                for record in Message::from_vec(&reply).unwrap().answers {
                    prop_assert_eq!(record.data, RData::A(A(Ipv4Addr::from(ADDRESS))));
                }
            }
        }
    }
}
