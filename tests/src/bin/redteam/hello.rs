//! ClientHellos, byte by byte (RFC 5246, 7.4.1.2; server name: RFC 6066, 3; ECH: RFC 9849), so that they can be wrong.

/// A name extension: `server_name` with the entries given, each a host name.
pub(crate) fn server_names(names: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.push(0);
        list.extend(with_length(name));
    }
    extension(0, &with_length(&list))
}

/// `encrypted_client_hello` of the outer kind, with keys and a payload of nonsense.
pub(crate) fn encrypted() -> Vec<u8> {
    let mut body = vec![0, 0, 1, 0, 1, 5];
    body.extend(with_length(&[9; 32]));
    body.extend(with_length(&[7; 128]));
    extension(0xfe0d, &body)
}

/// A record with a whole ClientHello that offers TLS 1.2 and the extensions given before the usual ones.
pub(crate) fn record(extensions: &[u8]) -> Vec<u8> {
    let message = message(extensions);
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

/// A record with a ClientHello that offers TLS 1.3 and one group, without a share of it: an empty list asks the server for a
/// HelloRetryRequest (RFC 8446, 4.2.8).
pub(crate) fn without_share(name: &str) -> Vec<u8> {
    with_shares(name, &[])
}

/// The same with a share, as the client answers such a request.
pub(crate) fn with_share(name: &str) -> Vec<u8> {
    with_shares(name, &[&[0, 29][..], &with_length(&[9; 32])].concat())
}

fn with_shares(name: &str, shares: &[u8]) -> Vec<u8> {
    let extensions = [
        server_names(&[name.as_bytes()]),
        extension(10, &with_length(&[0, 29])),
        extension(13, &with_length(&[4, 3, 8, 4, 4, 1])),
        extension(43, &[2, 3, 4]),
        extension(51, &with_length(shares)),
    ];
    let message = message_of(&[0x13, 0x01, 0x13, 0x02], &extensions.concat());
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

/// The hello of [`record`] over records of `piece` bytes each.
pub(crate) fn split(extensions: &[u8], piece: usize) -> Vec<u8> {
    message(extensions).chunks(piece).flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat()).collect()
}

fn message(extensions: &[u8]) -> Vec<u8> {
    let mut all = extensions.to_vec();
    all.extend(extension(10, &with_length(&[0, 29, 0, 23])));
    all.extend(extension(11, &[1, 0]));
    all.extend(extension(13, &with_length(&[4, 3, 8, 4, 4, 1, 5, 3])));
    all.extend(extension(23, &[]));
    message_of(&[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30], &all)
}

fn message_of(suites: &[u8], extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0x42; 32]);
    body.push(0);
    body.extend(with_length(suites));
    body.extend([1, 0]);
    body.extend(with_length(extensions));
    let length = u32::try_from(body.len()).expect("hellos of this program are short").to_be_bytes();
    [&[1, length[1], length[2], length[3]][..], &body].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &with_length(body)].concat()
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("hellos of this program are short");
    [&length.to_be_bytes()[..], bytes].concat()
}
