//! What a folder that may only be read shows besides files: sockets and pipes of the host. Verdicts are the host's.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness::arena::{self, Arena, ROOT};
use harness::run::{Run, bare};
use harness::{records, wait};
use nix::mount::{MsFlags, mount};

/// Connects to each path, and writes down why not.
const CONNECT: &str = r#"for path in "$@"; do
    perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or print "$!\n"' "$path" >> "$OUT/connect"
done; exit 0"#;

/// A socket that everyone may connect to.
fn socket(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).expect("a fresh path");
    listener.set_nonblocking(true).expect("sockets can be made non-blocking");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("own socket");
    listener
}

fn is_reached(listener: &UnixListener) -> bool {
    match listener.accept() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("accept: {error}"),
    }
}

/// A server that runs `script` with what it is told, is shown `read` of the arena and writes its folder `out` as `out`.
fn server(arena: &Arena, read: &str, out: &str, script: &str, told: &[&str]) -> Run {
    arena.writable_folder("out");
    let policy = format!(
        "name: shown\ndefault: deny\ntools: {{}}\nsandbox:\n  filesystem:\n    read: [{ROOT}/{read}]\n    write: [{{path: {out}, from: {ROOT}/out}}]\n"
    );
    let script = format!("OUT={out}; {script}");
    let words = ["/bin/sh", "-c", &script, "sh"].into_iter().chain(told.iter().copied());
    Run::new(arena, &policy).command(words)
}

fn said(arena: &Arena, name: &str) -> String {
    fs::read_to_string(arena.path("out").join(name)).unwrap_or_default()
}

/// A folder whose file system cannot map owners.
fn overlay(arena: &Arena, on: &Path) {
    let part = |name: &str| arena.folder(name).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
    mount(Some("overlay"), on, Some("overlay"), MsFlags::empty(), Some(options.as_str())).expect("root can mount it");
}

#[test]
fn a_socket_in_a_folder_that_may_be_read_is_not_reached_and_its_files_look_as_ever() {
    arena::run(|arena| {
        let shown = arena.folder("shown");
        let listener = socket(&shown.join("socket"));
        arena.file("shown/note", "a note\n");
        fs::write(shown.join("program"), "#!/bin/sh\necho it ran\n").expect("own folder");
        fs::set_permissions(shown.join("program"), fs::Permissions::from_mode(0o755)).expect("own file");
        fs::write(shown.join("closed"), "closed").expect("own folder");
        fs::set_permissions(shown.join("closed"), fs::Permissions::from_mode(0o640)).expect("own file");
        fs::create_dir(shown.join("sticky")).expect("own folder");
        fs::set_permissions(shown.join("sticky"), fs::Permissions::from_mode(0o1777)).expect("own folder");
        std::os::unix::fs::symlink("../note", shown.join("sticky/link")).expect("own folder");
        let path = format!("{ROOT}/shown/socket");
        let out = arena.folder("bare");
        let done = bare(["/bin/sh", "-c", CONNECT, "sh", &path]).env("OUT", &out).status().expect("it runs");
        assert!(done.success() && is_reached(&listener), "bare, it is reached");
        let look = format!(
            "cd {ROOT}/shown; stat -c '%u %g %a' note socket > /out/stat; cat note sticky/link > /out/read; ls > /out/list
            ./program > /out/ran; cat closed > /out/closed; {CONNECT}"
        );
        let ended = server(arena, "shown", "/out", &look, &[&path]).start().ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!is_reached(&listener), "under us it is not");
        assert_eq!(said(arena, "connect"), "Permission denied\n");
        assert_eq!(said(arena, "stat"), "65534 65534 644\n65534 65534 666\n", "as without the map");
        assert_eq!(said(arena, "read"), "a note\na note\n");
        assert_eq!(said(arena, "list"), "closed\nnote\nprogram\nsocket\nsticky\n");
        assert_eq!((said(arena, "ran").as_str(), said(arena, "closed").as_str()), ("it ran\n", ""));
        let rootfs = records::layer("rootfs");
        assert!(!rootfs["reason"].as_str().is_some_and(|reason| reason.contains("socket")), "no gap: {rootfs}");
    });
}

#[test]
fn where_owners_cannot_be_mapped_a_socket_that_everyone_may_reach_refuses_the_run() {
    arena::run(|arena| {
        let shown = arena.folder("shown");
        overlay(arena, &shown);
        fs::create_dir(shown.join("deep")).expect("own folder");
        let path = format!("{ROOT}/shown/deep/socket");
        let listener = socket(Path::new(&path));
        let refused = server(arena, "shown", "/out", CONNECT, &[&path]).start().ended();
        assert_eq!(refused.code, 125, "{}", refused.stderr);
        for part in ["ISB-R013", path.as_str(), "socket or pipe of the host", "cannot map owners"] {
            assert!(refused.stderr.contains(part), "no {part}: {}", refused.stderr);
        }
        assert!(!is_reached(&listener));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("own socket");
        let ended = server(arena, "shown", "/out", CONNECT, &[&path]).start().ended();
        assert_eq!(ended.code, 0, "closed to others it is no way out: {}", ended.stderr);
        assert!(!is_reached(&listener));
        assert_eq!(said(arena, "connect"), "Permission denied\n");
        let rootfs = records::layer("rootfs");
        assert_eq!(rootfs["state"], "partial", "{rootfs}");
        let reason = rootfs["reason"].as_str().expect("a gap has a reason");
        assert!(reason.contains(&format!("below {ROOT}/shown while the server runs")), "{reason}");
    });
}

#[test]
fn mounts_below_one_that_cannot_be_mapped_are_each_treated_by_themselves() {
    arena::run(|arena| {
        let shown = arena.folder("shown");
        let within = |name: &str| {
            let path = shown.join(name);
            fs::create_dir_all(&path).expect("own folder");
            path
        };
        let bind = |source: &str, on: &Path| {
            let source = arena.folder(source);
            fs::write(source.join("from"), source.file_name().expect("it has one").as_encoded_bytes()).expect("own");
            mount(Some(&source), on, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("root can bind");
        };
        // One that cannot be mapped, one with a name that the kernel escapes, one over another, one where the server's own folder stands.
        overlay(arena, &within("over lay"));
        bind("spaced", &within("a b"));
        bind("hidden", &within("twice"));
        fs::create_dir(shown.join("twice/deep")).expect("own folder");
        bind("deep", &shown.join("twice/deep"));
        bind("covering", &within("twice"));
        within("mine/below");
        bind("beneath", &shown.join("mine"));
        fs::create_dir(shown.join("mine/below")).expect("own folder");
        bind("below", &shown.join("mine/below"));
        let listeners = [socket(&shown.join("top")), socket(&shown.join("a b/socket"))];
        let paths = [format!("{ROOT}/shown/top"), format!("{ROOT}/shown/a b/socket")];
        let look = format!(
            "cd {ROOT}/shown; touch 'over lay/x' 'a b/x' x && echo written > $OUT/written
            cat 'a b/from' twice/from > $OUT/read; ls twice mine > $OUT/list; {CONNECT}"
        );
        let mine = format!("{ROOT}/shown/mine");
        let ended = server(arena, "shown", &mine, &look, &[paths[0].as_str(), paths[1].as_str()]).start().ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(!listeners.iter().any(is_reached), "those that can be mapped are");
        assert_eq!(said(arena, "connect"), "Permission denied\nPermission denied\n");
        assert_eq!((said(arena, "read").as_str(), said(arena, "written").as_str()), ("spacedcovering", ""));
        assert_eq!(said(arena, "list"), "mine:\nlist\nread\n\ntwice:\nfrom\n", "what lies over another stays over it");
        let rootfs = records::layer("rootfs");
        let reason = rootfs["reason"].as_str().expect("a gap has a reason");
        assert!(reason.contains(&format!("below {ROOT}/shown/over lay while")), "that one alone: {reason}");
    });
}

/// A FUSE of `user`, which nobody else may look at; with the descriptor closed it is dead.
fn fuse(on: &Path, kind: u32, user: u32) -> fs::File {
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("the kernel has FUSE");
    let options = format!("fd={},rootmode={kind:o},user_id={user},group_id={user}", device.as_raw_fd());
    mount(Some("fuse"), on, Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("root can mount it");
    device
}

#[test]
fn a_mount_that_root_cannot_look_at_is_left_out_and_what_it_lay_over_is_not_seen() {
    arena::run(|arena| {
        let shown = arena.folder("shown");
        for name in ["dead", "closed"] {
            fs::write(arena.folder(&format!("shown/{name}")).join("beneath"), "beneath").expect("own folder");
        }
        arena.file("shown/file", "beneath");
        arena.file("shown/note", "a note\n");
        let inner = arena.folder("shown/closed/inner");
        mount(Some(&arena.folder("other")), &inner, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("root can bind");
        drop(fuse(&shown.join("dead"), 0o40_000, 0));
        drop(fuse(&shown.join("file"), 0o100_000, 0));
        let _kept = fuse(&shown.join("closed"), 0o40_000, 1000);
        let errno = |name: &str| fs::metadata(shown.join(name)).expect_err("root cannot").raw_os_error();
        assert_eq!((errno("dead"), errno("closed")), (Some(107), Some(13)), "ENOTCONN, EACCES");
        let look = format!(
            "cd {ROOT}/shown; cat note > /out/read; ls -a dead closed > /out/list; cat file > /out/file; cat /proc/self/mountinfo > /out/mounts"
        );
        let ended = server(arena, "shown", "/out", &look, &[]).start().ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!((said(arena, "read").as_str(), said(arena, "file").as_str()), ("a note\n", ""));
        assert_eq!(said(arena, "list"), "closed:\n.\n..\n\ndead:\n.\n..\n");
        let mounts = said(arena, "mounts");
        assert!(mounts.contains("/shown/dead") && !mounts.contains(" - fuse "), "{mounts}");
        let rootfs = records::layer("rootfs");
        assert_eq!(rootfs["state"], "partial", "{rootfs}");
        let reason = rootfs["reason"].as_str().expect("a gap has a reason");
        for part in ["not shown: ", &format!("{ROOT}/shown/dead (FUSE;"), &format!("{ROOT}/shown/closed (FUSE;")] {
            assert!(reason.contains(part), "no {part}: {reason}");
        }
    });
}

/// Whoever asks it waits in the kernel, where no signal ends him: not the start, and not a server that looks there.
#[test]
fn a_mount_that_never_answers_holds_up_neither_start_nor_server() {
    arena::run(|arena| {
        let shown = arena.folder("shown");
        fs::write(arena.folder("shown/silent").join("beneath"), "beneath").expect("own folder");
        arena.file("shown/note", "a note\n");
        let silent = fuse(&shown.join("silent"), 0o40_000, 0);
        let look = format!("cd {ROOT}/shown; cat note > /out/read; ls -a silent > /out/list");
        let mut session = server(arena, "shown", "/out", &look, &[]).start();
        let has_ended = wait::becomes_true(wait::COMES_LIMIT, || session.has_ended());
        drop(silent); // now everybody is answered
        let ended = session.ended();
        assert!(has_ended, "it waited: {}", ended.stderr);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!((said(arena, "read").as_str(), said(arena, "list").as_str()), ("a note\n", ".\n..\n"));
    });
}
