//! The generated part of /etc: two accounts, the stub resolver, and nothing of the host.

use std::ffi::OsString;
use std::path::Path;

use super::RootfsError;
use super::place::Root;

/// uid and gid inside.
pub(in crate::sandbox) const INSIDE_ID: u32 = 1000;
/// Host name inside.
pub(in crate::sandbox) const HOST_NAME: &str = "sandbox";

/// Writes the files.
pub(super) fn generate(root: &Root, environment: &[(OsString, OsString)]) -> Result<(), RootfsError> {
    let home = home(environment);
    let files: [(&str, String); 8] = [
        (
            "/etc/passwd",
            format!(
                "server:x:{INSIDE_ID}:{INSIDE_ID}::{home}:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
            ),
        ),
        ("/etc/group", format!("server:x:{INSIDE_ID}:\nnogroup:x:65534:\n")),
        ("/etc/hosts", format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n")),
        ("/etc/hostname", format!("{HOST_NAME}\n")),
        ("/etc/host.conf", "multi on\n".to_owned()),
        // The stub answers from memory: a lost datagram is the only reason to ask twice.
        (
            "/etc/resolv.conf",
            format!("nameserver {}\noptions timeout:2 attempts:2\n", crate::sandbox::selftest::RESOLVER),
        ),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n".to_owned(),
        ),
        ("/etc/shells", String::new()),
    ];
    for (path, content) in files {
        root.file(Path::new(path), &content)?;
    }
    for directory in ["/home", "/run", "/var", "/opt", "/srv"] {
        drop(root.directory(Path::new(directory))?);
    }
    Ok(())
}

/// $HOME when it can stand in passwd(5), else `/`.
fn home(environment: &[(OsString, OsString)]) -> &str {
    let given = environment.iter().find(|(name, _)| name == "HOME").and_then(|(_, value)| value.to_str());
    given.filter(|path| path.starts_with('/') && !path.contains([':', '\n'])).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_cannot_forge_an_account() {
        let with = |value: &str| vec![(OsString::from("HOME"), OsString::from(value))];
        assert_eq!(home(&with("/tmp")), "/tmp");
        for bad in ["/a:/bin/sh\nroot::0:0::/:/bin/sh", "tmp", ""] {
            assert_eq!(home(&with(bad)), "/", "{bad:?}");
        }
        assert_eq!(home(&[]), "/");
    }
}
