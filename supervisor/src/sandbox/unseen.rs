//! Arguments of the command that name what the server will not see: the first thing that goes wrong with a new policy.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::plan::FilesystemPlan;
use super::resolve::in_view;
use super::rootfs::SETTINGS;
use crate::report::printable;

/// What every server has of its own under these names; nothing of the host's can be shown there.
const OWN: [&str; 12] = [
    "/proc",
    "/dev",
    "/sys",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/host.conf",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/shells",
    "/etc/localtime",
];
/// Interpreters that come with a folder of libraries beside `bin`.
const INTERPRETERS: [&str; 7] = ["python", "pypy", "node", "ruby", "perl", "bun", "deno"];

/// The absolute paths among the arguments after the command, and behind `--flag=`, that are outside the view; each once.
/// Looks at nothing but the names.
pub(super) fn unseen(argv: &[OsString], filesystem: &FilesystemPlan) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in argv.iter().skip(1).filter_map(|word| absolute(word)) {
        let own = OWN.iter().chain(&SETTINGS).any(|tree| path.starts_with(tree));
        if !own && !in_view(&path, filesystem) && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// What is told of a path of [`unseen`].
pub(super) fn advice(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = printable(&path);
    format!("{path} is not in the server's view: add it (or its folder) to sandbox.filesystem.read")
}

/// What to show for `program` to run: of an interpreter in a folder of its own, that folder, for its libraries are there.
pub(super) fn to_show(program: &Path) -> &Path {
    let named = |prefix: &str| {
        let rest = program.file_name().and_then(|name| name.as_bytes().strip_prefix(prefix.as_bytes()));
        rest.is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'))
    };
    let in_bin = program.parent().filter(|parent| parent.file_name() == Some(OsStr::new("bin")));
    match in_bin.and_then(Path::parent) {
        Some(folder) if INTERPRETERS.iter().any(|prefix| named(prefix)) && is_its_own(folder) => folder,
        _ => program,
    }
}

/// Neither a home nor a folder that many programs share: showing it would show more than the interpreter.
fn is_its_own(folder: &Path) -> bool {
    let depth = folder.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let home = folder.starts_with("/home") && depth < 3;
    depth > 1 && !home && folder.file_name() != Some(OsStr::new(".local"))
}

/// The path in a word, in normal form: the whole word, or what follows the `=` of an option.
fn absolute(word: &OsStr) -> Option<PathBuf> {
    let bytes = word.as_bytes();
    let value = match bytes.first()? {
        b'/' => bytes,
        b'-' => &bytes[bytes.iter().position(|byte| *byte == b'=')? + 1..],
        _ => return None,
    };
    if value.first() != Some(&b'/') {
        return None;
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(OsStr::from_bytes(value)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => _ = path.pop(),
            _ => {}
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::plan::{FolderId, WritableFolder};

    fn named(words: &[&str], read: &[&str]) -> Vec<PathBuf> {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        let folder = WritableFolder {
            inside: "/images".into(),
            source: "/srv/i".into(),
            id: FolderId::default(),
            owner_uid: 1,
            owner_gid: 1,
            max_bytes: None,
            by_quota: false,
        };
        let read = read.iter().map(PathBuf::from).collect();
        unseen(&argv, &FilesystemPlan { read, write: vec![folder], ..FilesystemPlan::default() })
    }

    #[test]
    fn absolute_arguments_outside_the_view_are_named_once() {
        let words = ["/opt/node", "/work/x/index.js", "--config=/srv/c.json", "-d=/work/./x//index.js", "/images/a"];
        assert_eq!(named(&words, &[]), [PathBuf::from("/work/x/index.js"), PathBuf::from("/srv/c.json")]);
        assert_eq!(named(&words, &["/work/x", "/srv/c.json"]), Vec::<PathBuf>::new());
        assert_eq!(named(&["node", "/usr/../work/x.js"], &[]), [PathBuf::from("/work/x.js")]);
        assert_eq!(named(&["node", "/work/xy"], &["/work/x"]), [PathBuf::from("/work/xy")]);
    }

    #[test]
    fn other_words_and_what_every_server_has_are_not_named() {
        let words =
            ["node", "x/y.js", "", "-", "--flag", "--url=https://a/b", "a=/b", "/", "/tmp", "/usr/lib/x", "/dev/null"];
        assert_eq!(named(&words, &[]), Vec::<PathBuf>::new());
        assert_eq!(named(&["x", "/etc/hosts", "/etc/ssl/certs/a.pem"], &[]), Vec::<PathBuf>::new());
        assert_eq!(named(&["x", "/etc/shadow"], &[]), [PathBuf::from("/etc/shadow")]);
    }

    #[test]
    fn an_interpreter_is_shown_with_its_installation_and_nothing_with_a_home() {
        let cases = [
            ("/root/.local/share/uv/python/cpython-3.12/bin/python3.12", "/root/.local/share/uv/python/cpython-3.12"),
            ("/work/x/.venv/bin/python", "/work/x/.venv"),
            ("/home/ada/node-22/bin/node", "/home/ada/node-22"),
            ("/home/ada/.local/bin/python3", "/home/ada/.local/bin/python3"),
            ("/home/ada/bin/python3", "/home/ada/bin/python3"),
            ("/root/bin/node", "/root/bin/node"),
            ("/work/x/bin/nodemon", "/work/x/bin/nodemon"),
            ("/work/x/node", "/work/x/node"),
        ];
        for (program, folder) in cases {
            assert_eq!(to_show(Path::new(program)), Path::new(folder), "{program}");
        }
    }

    #[test]
    fn advice_cannot_forge_a_line() {
        assert_eq!(
            advice(Path::new("/a\nb")),
            "/a\\nb is not in the server's view: add it (or its folder) to sandbox.filesystem.read"
        );
    }
}
