//! The host's keys: one that signs notes, one that hashes arguments, made at the first use.
//!
//! Two files, because two processes hold them: the relay gets the [`Redactor`], and the [`Signer`] is to be loaded by
//! the monitor after the relay was forked, so that the signing key never stands in the relay's memory.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::base64;
use super::error::AuditError;
use super::notes::{Signer, Verifier};
use super::redact::Redactor;
use super::trusted;

/// Private: name and seed of the Ed25519 key.
const SIGNING: &str = "signing.key";
/// Private: the HMAC key.
const HMAC: &str = "hmac.key";
/// Public: what `audit verify` checks notes with.
pub const VERIFIER: &str = "verifier.key";

const SIGNING_FORM: &str = "intercept-sandbox/signing-key/v1";
const HMAC_FORM: &str = "intercept-sandbox/hmac-key/v1";
/// Our key files have under 400 bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Makes the directory (0700) and those keys that are not there yet. Several may do so at once: one wins, all agree.
///
/// # Errors
/// When the directory or a file cannot be made, or the directory is another's or writable by others.
pub fn ensure(directory: &Path) -> Result<(), AuditError> {
    let opened = trusted::directory(directory, 0o700)?;
    if !exists(&directory.join(HMAC))? {
        let text = Zeroizing::new(format!("{HMAC_FORM}\n{}\n", *random_key()?));
        publish(directory, HMAC, 0o600, &text)?;
    }
    if !exists(&directory.join(SIGNING))? {
        let text = Zeroizing::new(format!("{SIGNING_FORM}\n{}\n{}\n", default_name(), *random_key()?));
        publish(directory, SIGNING, 0o600, &text)?;
    }
    if !exists(&directory.join(VERIFIER))? {
        publish(directory, VERIFIER, 0o644, &format!("{}\n", load_signer(directory)?.verifier()))?;
    }
    trusted::sync_directory(&opened, directory)
}

/// Loads the key that hashes arguments.
///
/// # Errors
/// When it is missing, another's, readable by others or not what [`ensure`] writes.
pub fn load_redactor(directory: &Path) -> Result<Redactor, AuditError> {
    let path = directory.join(HMAC);
    let text = read_private(&path)?;
    let key = match text.lines().collect::<Vec<_>>().as_slice() {
        [HMAC_FORM, key] => decode_key(key),
        _ => None,
    };
    key.map(|key| Redactor::new(&key)).ok_or(AuditError::BadKey { path, why: "it has another form" })
}

/// Loads the key that signs notes.
///
/// # Errors
/// When it is missing, another's, readable by others or not what [`ensure`] writes.
pub fn load_signer(directory: &Path) -> Result<Signer, AuditError> {
    let path = directory.join(SIGNING);
    let text = read_private(&path)?;
    let signer = match text.lines().collect::<Vec<_>>().as_slice() {
        [SIGNING_FORM, name, seed] => decode_key(seed).and_then(|seed| Signer::new(name, &seed)),
        _ => None,
    };
    signer.ok_or(AuditError::BadKey { path, why: "it has another form" })
}

/// Loads a public key from a file.
///
/// # Errors
/// When it is missing or no C2SP verifier key.
pub fn load_verifier(path: &Path) -> Result<Verifier, AuditError> {
    let file = File::open(path).map_err(AuditError::file("open", path))?;
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(AuditError::file("read", path))?;
    Verifier::parse(&text).ok_or(AuditError::BadKey { path: path.to_owned(), why: "it is no Ed25519 verifier key" })
}

/// A name for a new session: 32 hex digits from getrandom(2).
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn session_name() -> Result<String, AuditError> {
    let mut bytes = [0; 16];
    fill_random(&mut bytes)?;
    Ok(super::chain::hex(&bytes))
}

fn exists(path: &Path) -> Result<bool, AuditError> {
    path.try_exists().map_err(AuditError::file("look for", path))
}

fn fill_random(bytes: &mut [u8]) -> Result<(), AuditError> {
    getrandom::fill(bytes)
        .map_err(|error| AuditError::file("read", Path::new("getrandom(2)"))(std::io::Error::other(error.to_string())))
}

fn random_key() -> Result<Zeroizing<String>, AuditError> {
    let mut key = Zeroizing::new([0; 32]);
    fill_random(&mut *key)?;
    Ok(Zeroizing::new(base64::encode(&*key)))
}

fn decode_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(base64::decode(text)?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// `<host name>/intercept-sandbox`, as C2SP recommends a URL without a scheme.
fn default_name() -> String {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let host: String =
        host.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".-_".contains(*letter)).collect();
    format!("{}/intercept-sandbox", if host.is_empty() { "localhost" } else { &host })
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, AuditError> {
    let file =
        File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path).map_err(AuditError::file("open", path))?;
    trusted::check(&file, path, 0o077)?;
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize));
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(AuditError::file("read", path))?;
    Ok(text)
}

/// Writes a file under another name and links it into place: it is there whole or not at all, and the first one stays.
fn publish(directory: &Path, name: &str, mode: u32, text: &str) -> Result<(), AuditError> {
    let draft = directory.join(format!(".{name}.{}", session_name()?));
    let path = directory.join(name);
    let write = || {
        let mut file =
            File::options().write(true).create_new(true).mode(mode).custom_flags(libc::O_NOFOLLOW).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&draft, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    };
    let written = write();
    let removed = std::fs::remove_file(&draft);
    written.and(removed).map_err(AuditError::file("create", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::audit::chain::Head;
    use crate::audit::notes::Notes;

    #[test]
    fn keys_are_made_once_private_and_agree() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("keys");
        ensure(&directory).unwrap();
        let note = load_signer(&directory).unwrap().sign("s", Head::START);
        let hash = load_redactor(&directory).unwrap().hash("string", "x");
        ensure(&directory).unwrap();
        assert_eq!(load_redactor(&directory).unwrap().hash("string", "x"), hash);
        let verifier = load_verifier(&directory.join(VERIFIER)).unwrap();
        assert!(Notes::parse(note.as_bytes()).notes[0].is_signed_by(&verifier));

        let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode(SIGNING), mode(HMAC)), (0o700, 0o600, 0o600));
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3, "no draft stays");
    }

    #[test]
    fn eight_first_uses_at_once_agree_on_one_key() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("keys");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| ensure(&directory).unwrap());
            }
        });
        let verifier = load_verifier(&directory.join(VERIFIER)).unwrap();
        assert_eq!(*load_signer(&directory).unwrap().verifier(), verifier);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3);
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("keys");
        ensure(&directory).unwrap();
        let path = directory.join(SIGNING);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(load_signer(&directory), Err(AuditError::Untrusted { .. })));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 4]).unwrap();
        assert!(matches!(load_signer(&directory), Err(AuditError::BadKey { .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(load_signer(&directory), Err(AuditError::File { what: "open", .. })));
    }
}
