//! What [`KernelTypes`] found, kept until the next boot, so that every start but the first reads some hundred bytes and not six million.
//!
//! The file is root's, as its directory is; whatever is odd about it (owner, mode, links, length, checksum, another kernel or
//! another boot, another version of this program) is as good as no file: then the kernel is asked anew.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, unlinkat};
use sha2::{Digest, Sha256};

use super::kernel_types::{KernelTypes, TypesError, WANTED};
use crate::audit::chain::hex;
use crate::trust;

/// Directory of the product's life, root's alone.
const DIRECTORY: &str = "/run/intercept-sandbox";
/// The file in it.
const NAME: &str = "kernel-types";
/// What the kernel says of itself: its build, its version and its boot.
const IDENTITY: [&str; 4] =
    ["/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/osrelease", "/proc/sys/kernel/version", "/sys/kernel/notes"];
/// First word of the file, with the version of its form.
const MAGIC: &str = "intercept-sandbox-kernel-types-1";
/// Root alone.
const MODE: Mode = Mode::from_bits_truncate(0o600);
/// The magic, the key, the numbers in hexadecimal with a space before each, the sum, the end of the line.
const BYTES: usize = MAGIC.len() + 65 + WANTED.len() * 9 + 65 + 1;

/// What the running kernel's types are, from the last look or from a new one, which is then kept. A process asks once: the exec audit and
/// the LSM programs both need it.
///
/// # Errors
/// [`TypesError`] of [`KernelTypes::read`]. That it cannot be kept is none.
pub fn types() -> Result<KernelTypes, TypesError> {
    static HELD: OnceLock<KernelTypes> = OnceLock::new();
    if let Some(types) = HELD.get() {
        return Ok(*types);
    }
    let types = types_in(Path::new(DIRECTORY), KernelTypes::read)?;
    Ok(*HELD.get_or_init(|| types))
}

fn types_in(
    directory: &Path,
    look: impl FnOnce() -> Result<KernelTypes, TypesError>,
) -> Result<KernelTypes, TypesError> {
    let Some((directory, key)) = trust::check_directory(directory).ok().zip(key()) else { return look() };
    if let Some(types) = recall(&directory, &key) {
        return Ok(types);
    }
    let types = look()?;
    if let Err(errno) = keep(&directory, &key, types) {
        tracing::debug!("{DIRECTORY}/{NAME}: {errno}; the next start looks at the kernel's types again");
    }
    Ok(types)
}

/// Which kernel, which boot, and what for; none where one of them cannot be read.
fn key() -> Option<String> {
    let mut hash = Sha256::new();
    for place in IDENTITY {
        let bytes = fs::read(place).ok()?;
        hash.update(u64::try_from(bytes.len()).ok()?.to_le_bytes());
        hash.update(&bytes);
    }
    hash.update(format!("{WANTED:?}"));
    Some(hex(&hash.finalize()))
}

/// The file's one line.
fn line(key: &str, types: KernelTypes) -> String {
    let numbers: String = types.0.iter().map(|number| format!(" {number:08x}")).collect();
    let text = format!("{MAGIC} {key}{numbers}");
    let sum = hex(&Sha256::digest(&text));
    format!("{text} {sum}\n")
}

fn recall(directory: &OwnedFd, key: &str) -> Option<KernelTypes> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(directory, NAME, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    let regular = stat.st_mode == SFlag::S_IFREG.bits() | MODE.bits();
    if !regular || stat.st_uid != 0 || stat.st_nlink != 1 || usize::try_from(stat.st_size) != Ok(BYTES) {
        return None;
    }
    let mut text = String::new();
    File::from(file).take(BYTES as u64 + 1).read_to_string(&mut text).ok()?;
    parse(&text, key)
}

/// The numbers of a line that is, to the byte, what [`line`] writes for this key.
fn parse(text: &str, key: &str) -> Option<KernelTypes> {
    let numbers = text.strip_prefix(MAGIC)?.strip_prefix(' ')?.strip_prefix(key)?;
    let mut types = KernelTypes([0; WANTED.len()]);
    let mut words = numbers.split(' ').skip(1);
    for number in &mut types.0 {
        *number = u32::from_str_radix(words.next()?, 16).ok()?;
    }
    (text == line(key, types)).then_some(types)
}

/// Whole or not at all: the file has no name before it is written.
fn keep(directory: &OwnedFd, key: &str, types: KernelTypes) -> Result<(), Errno> {
    let folder = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let file = File::from(open(Path::new(&folder), OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC, MODE)?);
    fchmod(&file, MODE)?; // whatever the umask took
    let written = (&file).write_all(line(key, types).as_bytes());
    written.map_err(|error| crate::sys::process::errno_of(&error))?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let name = || linkat(AT_FDCWD, Path::new(&own), directory, NAME, LinkatFlags::AT_SYMLINK_FOLLOW);
    match name() {
        Err(Errno::EEXIST) => {
            unlinkat(directory, NAME, UnlinkatFlags::NoRemoveDir)?;
            name()
        }
        named => named,
    }
}

#[cfg(test)]
#[path = "kernel_memo_tests.rs"]
mod tests;
