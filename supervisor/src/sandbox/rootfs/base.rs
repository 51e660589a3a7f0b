//! What every program finds: /usr, the merged links to it, and the harmless part of /etc.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::readable::minimal;
use super::source::Source;
use super::{RootfsError, while_at};
use crate::sys::process::errno_of;

/// Top-level names besides /usr that hold programs and libraries: links on a merged system, directories on others.
const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Shown when the host has them, read-only. No private keys, no accounts, no configuration of services.
pub(in crate::sandbox) const SETTINGS: [&str; 11] = [
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/etc/protocols",
    "/etc/services",
    "/etc/mime.types",
    "/etc/timezone",
];

/// A link of these is made again when it leads into /usr, which is shown.
const ZONE: &str = "/etc/localtime";

/// Mounts and links of the base.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) mounts: Vec<Source>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
}

/// Looks at the host and collects them; `groups` is the owner map of what is only to be read.
pub(super) fn collect(groups: &OwnedFd) -> Result<Base, RootfsError> {
    let mut base = Base { mounts: vec![minimal(Path::new("/usr"), groups)?], links: Vec::new() };
    base.links.push((PathBuf::from("/var/tmp"), PathBuf::from("../tmp")));
    for path in PROGRAMS.iter().chain([&ZONE]).map(Path::new) {
        match path.read_link() {
            Ok(target) => {
                let lands = Path::new("/").join(path.parent().unwrap_or(Path::new("/"))).join(&target);
                if leads_into_usr(&lands) {
                    base.links.push((path.to_owned(), target));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::InvalidInput => base.mounts.push(minimal(path, groups)?),
            Err(error) => return Err(while_at(path, "read the link")(errno_of(&error))),
        }
    }
    for path in SETTINGS.map(Path::new) {
        // A link here leads to a place that may not be shown; what it names is then simply absent.
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() || metadata.is_dir() => base.mounts.push(minimal(path, groups)?),
            _ => {}
        }
    }
    Ok(base)
}

/// Whether a link's destination, resolved by text alone, lies below /usr.
fn leads_into_usr(path: &Path) -> bool {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain.starts_with("/usr") && plain != Path::new("/usr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_into_usr_are_made_again() {
        for good in ["/usr/lib", "/etc/../usr/share/zoneinfo/UTC", "/etc//usr/../../usr/lib"] {
            assert!(leads_into_usr(Path::new(good)), "{good}");
        }
        for bad in ["/usr", "/usr/../etc/shadow", "/srv/zone", "/usrx/lib"] {
            assert!(!leads_into_usr(Path::new(bad)), "{bad}");
        }
    }
}
