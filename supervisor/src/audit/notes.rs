//! Signed notes: which record the log had reached, in the C2SP signed-note form (<https://c2sp.org/signed-note>).
//!
//! The text is four lines: domain, session, seq, hash. A note kept elsewhere proves later what the log must contain.
#![forbid(unsafe_code)]

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::base64;
use super::chain::{Hash, Head, SESSION_DOMAIN};

/// C2SP's identifier byte of Ed25519.
const ED25519: u8 = 1;

/// The public half of a signing key under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

impl Verifier {
    /// Reads a C2SP verifier key: `<name>+<key id, 8 hex digits>+<base64 of 0x01 and the key>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.trim_end_matches('\n').split_once('+')?;
        let (id, encoded) = rest.split_once('+')?;
        let bytes = base64::decode(encoded)?;
        let (kind, key) = bytes.split_first()?;
        let key = VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
        let verifier = Self { name: name.to_owned(), key };
        (*kind == ED25519 && is_key_name(name) && id == super::chain::hex(&verifier.id())).then_some(verifier)
    }

    /// Name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let mut sha = Sha256::new();
        sha.update(self.name.as_bytes());
        sha.update([b'\n', ED25519]);
        sha.update(self.key.as_bytes());
        let digest: [u8; 32] = sha.finalize().into();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, super::chain::hex(&self.id()), base64::encode(&bytes))
    }
}

/// Whether a name may stand in a note: C2SP forbids spaces and plus signs; we add everything that is not plain ASCII.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

/// Signs notes. The key is wiped when this is dropped.
pub struct Signer {
    verifier: Verifier,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

impl Signer {
    /// A signer under this name; none when the name may not stand in a note.
    #[must_use]
    pub fn new(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_bytes(seed);
        is_key_name(name).then(|| Self { verifier: Verifier { name: name.to_owned(), key: key.verifying_key() }, key })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Signs that the log of `session` had reached `head`. The note ends in an empty line, so that notes can be
    /// appended to one another.
    #[must_use]
    pub fn sign(&self, session: &str, head: Head) -> String {
        let text = note_text(session, head);
        let mut signature = self.verifier.id().to_vec();
        signature.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("{text}\n— {} {}\n\n", self.verifier.name, base64::encode(&signature))
    }
}

fn note_text(session: &str, Head { seq, hash }: Head) -> String {
    format!("{SESSION_DOMAIN}{session}\n{seq}\n{hash}\n")
}

/// A note as it stands in a file; says nothing until [`Note::is_signed_by`] agrees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Line of the file where it begins, from 1.
    pub line: usize,
    /// The session that it is about.
    pub session: String,
    /// What it says the log had reached.
    pub head: Head,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Note {
    /// Whether this key signed it. A signature under the key's name and id that does not verify spoils the note.
    #[must_use]
    pub fn is_signed_by(&self, verifier: &Verifier) -> bool {
        let text = note_text(&self.session, self.head);
        let mut ours = self.signatures.iter().filter_map(|(name, bytes)| {
            let (id, signature) = bytes.split_at_checked(4)?;
            (*name == verifier.name && *id == verifier.id()).then_some(signature)
        });
        let checks = |bytes: &[u8]| {
            Signature::from_slice(bytes)
                .is_ok_and(|signature| verifier.key.verify_strict(text.as_bytes(), &signature).is_ok())
        };
        ours.next().is_some_and(checks) && ours.all(checks)
    }
}

/// A file of notes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Those that could be read, in order.
    pub notes: Vec<Note>,
    /// Line from which on the file is no note; none when all of it is.
    pub spoiled_at: Option<usize>,
}

impl Notes {
    /// Reads notes that stand one after the other, an empty line after each; the last one's may be missing.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut parsed = Self::default();
        let mut rest = bytes;
        let mut line = 1;
        while !rest.is_empty() {
            let Some((note, length)) = parse_note(rest, line) else {
                parsed.spoiled_at = Some(line);
                break;
            };
            line += rest[..length].iter().filter(|byte| **byte == b'\n').count();
            rest = &rest[length..];
            parsed.notes.push(note);
        }
        parsed
    }
}

fn parse_note(bytes: &[u8], line: usize) -> Option<(Note, usize)> {
    let mut taken = 0;
    let mut next = || {
        let end = bytes[taken..].iter().position(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(&bytes[taken..taken + end]).ok()?;
        taken += end + 1;
        Some(text)
    };
    (next()? == SESSION_DOMAIN.trim_end()).then_some(())?;
    let session = next()?.to_owned();
    let digits = next()?;
    let seq: u64 = digits.parse().ok()?;
    (seq.to_string() == digits).then_some(())?;
    let hash = Hash::parse(next()?.as_bytes())?;
    next()?.is_empty().then_some(())?;

    let mut signatures = Vec::new();
    while let Some(text) = next() {
        if text.is_empty() {
            break;
        }
        let (name, encoded) = text.strip_prefix("— ")?.split_once(' ')?;
        signatures.push((name.to_owned(), base64::decode(encoded)?));
        if signatures.len() > 16 {
            return None;
        }
    }
    (!signatures.is_empty()).then_some((Note { line, session, head: Head { seq, hash }, signatures }, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head { seq: 17, hash: Hash([0xab; 32]) };

    fn signer() -> Signer {
        Signer::new("host.example/intercept-sandbox", &[3; 32]).unwrap()
    }

    #[test]
    fn a_note_reads_back_and_verifies() {
        let text = signer().sign("abc", HEAD);
        assert!(text.starts_with("intercept-sandbox/audit/v1\nabc\n17\nabab"));
        let notes = Notes::parse(format!("{text}{text}").as_bytes());
        assert_eq!((notes.notes.len(), notes.spoiled_at), (2, None));
        assert_eq!(notes.notes[1].line, 8);
        assert_eq!(notes.notes[0].head, HEAD);
        assert!(notes.notes.iter().all(|note| note.is_signed_by(signer().verifier())));
    }

    #[test]
    fn a_verifier_key_reads_back_and_has_one_spelling() {
        let text = signer().verifier().to_string();
        assert_eq!(Verifier::parse(&text).unwrap(), *signer().verifier());
        for index in 0..text.len() {
            let mut bad = text.clone().into_bytes();
            bad[index] ^= 1;
            let bad = String::from_utf8(bad).unwrap();
            assert_eq!(Verifier::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_note_spoils_it() {
        let text = signer().sign("abc", HEAD).into_bytes();
        for index in 0..text.len() {
            for bit in 0..8 {
                let mut bad = text.clone();
                bad[index] ^= 1 << bit;
                let notes = Notes::parse(&bad);
                let sound =
                    notes.spoiled_at.is_none() && notes.notes.iter().all(|note| note.is_signed_by(signer().verifier()));
                assert!(!sound, "byte {index} bit {bit}");
            }
        }
    }

    #[test]
    fn another_key_of_the_same_name_signs_nothing_for_us() {
        let other = Signer::new("host.example/intercept-sandbox", &[4; 32]).unwrap();
        let notes = Notes::parse(other.sign("abc", HEAD).as_bytes());
        assert!(notes.notes[0].is_signed_by(other.verifier()));
        assert!(!notes.notes[0].is_signed_by(signer().verifier()));
    }

    #[test]
    fn a_torn_note_is_named_by_its_line() {
        let text = signer().sign("abc", HEAD);
        for cut in 1..text.len() - 2 {
            let notes = Notes::parse(format!("{text}{}", &text.as_bytes()[..cut].escape_ascii()).as_bytes());
            assert_eq!(notes.notes.len(), 1, "{cut}");
            assert_eq!(notes.spoiled_at, Some(8), "{cut}");
        }
    }

    #[test]
    fn names_that_a_note_cannot_carry_are_refused() {
        for bad in ["", "a b", "a+b", "a\u{a0}b", "a\nb"] {
            assert!(Signer::new(bad, &[0; 32]).is_none(), "{bad:?}");
        }
    }
}
