//! A file system of its own on a folder of the arena.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::arena::Arena;
use nix::sys::statvfs::statvfs;

/// Size of it, bytes.
const BYTES: u64 = 128 << 20;

/// An ext4 on a loop device; unmounted when dropped.
pub(crate) struct Disk {
    /// Where it is mounted.
    pub(crate) folder: PathBuf,
}

fn said(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// Runs what must succeed.
pub(crate) fn run(program: &str, words: &[&str]) {
    let output = said(program, words);
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A path of the arena, as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the arena's paths are text")
}

impl Disk {
    /// Makes it with the `features` of mkfs.ext4(8) and mounts it with `options` on the arena's folder `name`, which belongs to the owner
    /// that a policy takes by default. What mount(8) says otherwise.
    pub(crate) fn mount(arena: &Arena, name: &str, features: &[&str], options: &str) -> Result<Self, String> {
        let (folder, image) = (arena.writable_folder(name), arena.path(&format!("{name}.disk")));
        fs::File::create(&image).and_then(|file| file.set_len(BYTES)).expect("the arena is ours");
        run("mkfs.ext4", &[&["-q", "-F"], features, &[text(&image)]].concat());
        let mounted = said("mount", &["-o", options, text(&image), text(&folder)]);
        if !mounted.status.success() {
            return Err(String::from_utf8_lossy(&mounted.stderr).into_owned());
        }
        run("chown", &["-R", "65534:65534", text(&folder)]);
        Ok(Self { folder })
    }

    /// Bytes in use, removed files included.
    pub(crate) fn used(&self) -> u64 {
        let state = statvfs(&self.folder).expect("it is mounted");
        (state.blocks() - state.blocks_free()) * state.fragment_size()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = said("umount", &["-l", text(&self.folder)]);
    }
}
