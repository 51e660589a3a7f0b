//! A secret in every dress in which the product promises to find it, written apart from the product.

/// The test's secret: with signs that JSON, URLs and both base64 alphabets treat differently.
pub const SECRET: &str = "hunter2/\"\\ +é>>>???-hunter2";

/// Each dress with its name, as text.
#[must_use]
pub fn dresses(secret: &str) -> Vec<(String, String)> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let escaped = unicode_escaped(secret);
    let mut all = vec![
        ("raw".into(), secret.into()),
        ("hex".into(), hex.clone()),
        ("upper hex".into(), hex.to_uppercase()),
        ("percent".into(), percent(secret, false)),
        ("upper percent".into(), percent(secret, true)),
        ("form".into(), percent(secret, true).replace("%20", "+")),
        ("quoted".into(), serde_json::Value::from(secret).to_string()),
        ("all escaped".into(), escaped),
    ];
    for before in ["", "x", "xx"] {
        let text = format!("{before}{secret}yy");
        for (name, last) in [("base64", *b"+/"), ("base64url", *b"-_")] {
            all.push((format!("{name} behind {before:?}"), base64(text.as_bytes(), last)));
        }
    }
    all
}

/// The names of the dresses in which `text` holds the secret. Of base64 the middle is looked for: its ends are mixed with
/// the neighbours.
#[must_use]
pub fn seen(text: &str, secret: &str) -> Vec<String> {
    let shows = |name: &str, dress: &str| {
        let core = if name.starts_with("base64") { &dress[5..dress.len() - 6] } else { dress };
        text.contains(core)
    };
    dresses(secret).into_iter().filter(|(name, dress)| shows(name, dress)).map(|(name, _)| name).collect()
}

/// Every UTF-16 unit as `\uXXXX`.
#[must_use]
pub fn unicode_escaped(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
}

fn percent(text: &str, upper: bool) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(one).collect()
}

fn base64(bytes: &[u8], last: [u8; 2]) -> String {
    let letters: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let sextet = |bits: &[u8]| (0..6).fold(0, |sum, at| sum << 1 | usize::from(bits.get(at).copied().unwrap_or(0)));
    bits.chunks(6).map(|bits| char::from(letters[sextet(bits)])).collect()
}
