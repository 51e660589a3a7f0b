//! The host's process that attacks aim at: it holds a secret in its memory, on descriptor 20, in a System V segment, and stands in
//! network and host name namespaces of its own. It tells `ready ADDRESS SEGMENT QUEUE` and waits for the end of its input.

use std::fs;
use std::io::{self, Read, Write};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use crate::raw::{open, syscall};

/// Bytes of the secret's buffer; the second half is what `vm-write` may hit.
const BUFFER_BYTES: usize = 512;

pub(crate) fn stand(file: &str) -> io::Result<()> {
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let secret = fs::read(file)?;
    buffer[..secret.len()].copy_from_slice(&secret);
    let fd = open(file, libc::O_RDONLY).map_err(|_| io::Error::last_os_error())?;
    syscall(libc::SYS_dup2, [fd as usize, 20, 0, 0, 0, 0])?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS)?;
    let segment = segment(&secret)?;
    let queue = syscall(libc::SYS_msgget, [0, 0o1666, 0, 0, 0, 0])?;
    writeln!(io::stdout(), "ready {:x} {segment} {queue}", buffer.as_ptr() as usize)?;
    let mut rest = Vec::new();
    let outcome = io::stdin().read_to_end(&mut rest).map(drop);
    // The queue has no other end than this; a stand that was killed leaves it, and the suite removes it.
    syscall(libc::SYS_msgctl, [queue as usize, 0, 0, 0, 0, 0])?;
    drop(buffer);
    outcome
}

/// A segment with the secret in it. Marked for removal at once: it lives as long as somebody is attached, and on Linux others still
/// attach to it by its id.
fn segment(secret: &[u8]) -> Result<i64, Errno> {
    let id = syscall(libc::SYS_shmget, [0, 4096, 0o1666, 0, 0, 0])?;
    let address = syscall(libc::SYS_shmat, [id as usize, 0, 0, 0, 0, 0])?;
    // SAFETY: a page that was just attached, for reading and writing.
    let page = unsafe { std::slice::from_raw_parts_mut(address as *mut u8, 4096) };
    page[..secret.len()].copy_from_slice(secret);
    syscall(libc::SYS_shmctl, [id as usize, 0, 0, 0, 0, 0])?; // IPC_RMID
    Ok(id)
}
