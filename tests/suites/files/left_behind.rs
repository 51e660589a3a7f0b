//! What stands in a writable folder on the host when a hostile session is over: files and folders, and nothing else.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use harness::arena;
use harness::run::bare;

use super::{shell, walk};

/// Tries to leave each kind of trap behind, by several ways, and says nothing about what came of it.
const TRAPS: &str = r#"cd "$OUT"; mkdir d; echo x > f; cp /usr/bin/id own
ln -s /etc/passwd link; ln -s /etc d/folder; mv link d/moved
chmod 4755 own; chmod 2755 d; chmod u+s f; cp own own2; install -m 6755 /usr/bin/id installed; mkdir -m 2777 d2
mkfifo fifo; mknod fifo2 p; mknod dev c 1 3; mknod disk b 8 0
perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("socket"))'
perl -e 'sysopen(F, "opened", 0101, 06755); mkdir("made", 06777); chmod(06755, "opened")'
ln f hard; ln /usr/bin/id d/of-the-host; tar cf a.tar own 2>/dev/null; tar xpf a.tar 2>/dev/null
setfacl -m u:0:rwx f; setcap cap_sys_admin+ep own; true"#;

/// What a folder holds besides plain files and folders.
fn traps(folder: &Path) -> Vec<String> {
    let trap = |(path, metadata): &(std::path::PathBuf, std::fs::Metadata)| {
        let kind = metadata.file_type();
        let what = if kind.is_symlink() {
            "symbolic link"
        } else if kind.is_char_device() || kind.is_block_device() {
            "device"
        } else if kind.is_fifo() {
            "fifo"
        } else if kind.is_socket() {
            "socket"
        } else if metadata.mode() & 0o6000 != 0 {
            "set-id bit"
        } else {
            return None;
        };
        Some(format!("{what}: {}", path.display()))
    };
    walk(folder).iter().filter_map(trap).collect()
}

#[test]
fn no_link_device_socket_pipe_or_set_id_file_is_left_behind() {
    arena::run(|arena| {
        let free = arena.folder("free");
        let done = bare(["/bin/sh", "-c", TRAPS]).env("OUT", &free).output().expect("it runs");
        let found = traps(&free).join("\n");
        for kind in ["symbolic link", "device", "fifo", "socket", "set-id bit"] {
            assert!(found.contains(kind), "bare, no {kind}:\n{found}\n{}", String::from_utf8_lossy(&done.stderr));
        }
        let ended = shell(arena, "", "max: 64", &format!("OUT=/out; {TRAPS}")).start().ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let out = arena.path("out");
        assert_eq!(traps(&out), [""; 0], "left behind");
        let others: Vec<_> = walk(&out).into_iter().filter(|(_, metadata)| metadata.uid() != 65_534).collect();
        assert!(others.is_empty(), "files of somebody else: {others:?}");
        assert!(out.join("own").exists() && out.join("d").is_dir(), "it wrote what it may");
    });
}
