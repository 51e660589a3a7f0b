//! RESP2, as much of it as one script needs: a command is an array of bulk strings, a reply is one value.
//!
//! Redis is trusted with the counts and with nothing else: its bytes are read in a process that also holds the audit log. So every
//! length is bounded before it is believed, and whatever is not exactly the grammar ends the connection
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use crate::bounds::{REDIS_BULK_BYTES_MAX, REDIS_ITEMS_MAX, REDIS_LINE_BYTES_MAX};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR ...`: the server refused, and by its word did nothing.
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// `$2`; nothing for the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `*2`, of anything but arrays.
    Array(Vec<Reply>),
}

/// Bytes that are no reply of the kind above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a reply of an unknown kind")]
    Kind,
    #[error("a length or number that is none")]
    Number,
    #[error("a reply over the bounds")]
    TooLong,
    #[error("a line that does not end in CR LF")]
    LineEnd,
    #[error("an array in an array")]
    Nested,
    #[error("more bytes than one reply")]
    Trailing,
}

/// Appends a command.
pub(super) fn write_command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one reply that must be all of `bytes`. None while some of it is still to come.
pub(super) fn read_reply(bytes: &[u8]) -> Result<Option<Reply>, Malformed> {
    let mut rest = bytes;
    match value(&mut rest, true)? {
        Some(_) if !rest.is_empty() => Err(Malformed::Trailing),
        read => Ok(read),
    }
}

fn value(rest: &mut &[u8], may_nest: bool) -> Result<Option<Reply>, Malformed> {
    let Some((kind, mut after)) = rest.split_first() else { return Ok(None) };
    if !b"+-:$*".contains(kind) {
        return Err(Malformed::Kind);
    }
    let Some(line) = line(&mut after)? else { return Ok(None) };
    *rest = after;
    match kind {
        b'+' => Ok(Some(Reply::Simple(line.to_vec()))),
        b'-' => Ok(Some(Reply::Error(line.to_vec()))),
        b':' => Ok(Some(Reply::Integer(number(line)?))),
        b'$' if line == b"-1" => Ok(Some(Reply::Bulk(None))),
        b'$' => bulk(rest, length(line, REDIS_BULK_BYTES_MAX)?),
        _ if !may_nest => Err(Malformed::Nested),
        _ => array(rest, length(line, REDIS_ITEMS_MAX)?),
    }
}

fn bulk(rest: &mut &[u8], length: usize) -> Result<Option<Reply>, Malformed> {
    let Some((text, after)) = rest.split_at_checked(length) else { return Ok(None) };
    match after {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(Reply::Bulk(Some(text.to_vec()))))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(Malformed::LineEnd),
    }
}

fn array(rest: &mut &[u8], length: usize) -> Result<Option<Reply>, Malformed> {
    // Grows with what came, not with what was announced.
    let mut items = Vec::new();
    for _ in 0..length {
        match value(rest, false)? {
            Some(item) => items.push(item),
            None => return Ok(None),
        }
    }
    Ok(Some(Reply::Array(items)))
}

/// Takes the bytes before CR LF, and it.
fn line<'b>(rest: &mut &'b [u8]) -> Result<Option<&'b [u8]>, Malformed> {
    let bytes = *rest;
    let window = &bytes[..bytes.len().min(REDIS_LINE_BYTES_MAX + 1)];
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() <= REDIS_LINE_BYTES_MAX { Ok(None) } else { Err(Malformed::TooLong) };
    };
    match &bytes[end..] {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(&bytes[..end]))
        }
        [b'\r'] => Ok(None),
        _ => Err(Malformed::LineEnd),
    }
}

fn length(line: &[u8], max: usize) -> Result<usize, Malformed> {
    let length = usize::try_from(number(line)?).map_err(|_| Malformed::Number)?;
    if length > max { Err(Malformed::TooLong) } else { Ok(length) }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Number);
    }
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, Malformed> {
        read_reply(bytes)
    }

    fn bulk_of(text: &[u8]) -> Reply {
        Reply::Bulk(Some(text.to_vec()))
    }

    #[test]
    fn replies_are_read_as_the_protocol_says() {
        assert_eq!(read(b"+OK\r\n"), Ok(Some(Reply::Simple(b"OK".to_vec()))));
        assert_eq!(read(b"-ERR no\r\n"), Ok(Some(Reply::Error(b"ERR no".to_vec()))));
        assert_eq!(read(b":-12\r\n"), Ok(Some(Reply::Integer(-12))));
        assert_eq!(read(b"$-1\r\n"), Ok(Some(Reply::Bulk(None))));
        assert_eq!(read(b"$4\r\na\r\nb\r\n"), Ok(Some(bulk_of(b"a\r\nb"))));
        assert_eq!(read(b"*2\r\n$1\r\na\r\n:1\r\n"), Ok(Some(Reply::Array(vec![bulk_of(b"a"), Reply::Integer(1)]))));
        assert_eq!(read(b"*0\r\n"), Ok(Some(Reply::Array(vec![]))));
    }

    #[test]
    fn what_has_not_come_yet_is_waited_for_at_every_byte() {
        let whole = b"*3\r\n$3\r\nabc\r\n:17\r\n+x\r\n";
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Ok(None), "{cut}");
        }
        assert!(matches!(read(whole), Ok(Some(Reply::Array(items))) if items.len() == 3));
    }

    #[test]
    fn lengths_are_bounded_before_they_are_believed() {
        let one_over = |kind: char, max: usize| format!("{kind}{}\r\n", max + 1);
        assert_eq!(read(one_over('$', REDIS_BULK_BYTES_MAX).as_bytes()), Err(Malformed::TooLong));
        assert_eq!(read(one_over('*', REDIS_ITEMS_MAX).as_bytes()), Err(Malformed::TooLong));
        assert_eq!(read(format!("*{REDIS_ITEMS_MAX}\r\n").as_bytes()), Ok(None), "room for no item is taken");
        let line = |bytes: usize| [b"+".as_slice(), &vec![b'a'; bytes], b"\r\n"].concat();
        assert!(matches!(read(&line(REDIS_LINE_BYTES_MAX)), Ok(Some(_))));
        assert_eq!(read(&line(REDIS_LINE_BYTES_MAX + 1)), Err(Malformed::TooLong));
        assert_eq!(read(&vec![b':'; REDIS_LINE_BYTES_MAX + 4]), Err(Malformed::TooLong), "no end in sight");
    }

    #[test]
    fn whatever_is_not_the_grammar_is_refused() {
        for (bytes, what) in [
            (b"HTTP/1.1 400\r\n".as_slice(), Malformed::Kind),
            (b"\0\0", Malformed::Kind),
            (b"%1\r\n", Malformed::Kind),
            (b":\r\n", Malformed::Number),
            (b":+1\r\n", Malformed::Number),
            (b":1 \r\n", Malformed::Number),
            (b":99999999999999999999\r\n", Malformed::Number),
            (b"$-2\r\n", Malformed::Number),
            (b"*-1\r\n", Malformed::Number),
            (b"$1\r\nab\r\n", Malformed::LineEnd),
            (b"+a\nb\r\n", Malformed::LineEnd),
            (b"+a\rb\r\n", Malformed::LineEnd),
            (b"*1\r\n*0\r\n", Malformed::Nested),
            (b"+OK\r\n+OK\r\n", Malformed::Trailing),
        ] {
            assert_eq!(read(bytes), Err(what), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn words_are_written_with_their_lengths() {
        let mut out = Vec::new();
        write_command(&[b"GET", b"a\r\nb", b""], &mut out);
        assert_eq!(out, b"*3\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"+-:$*0123456789\r\n".to_vec())], 0..64)) {
            let _ = read(&bytes);
        }
    }
}
