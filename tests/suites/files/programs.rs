//! `process.exec`, from the policy to the kernel. What a list holds and leaves open in detail: `cage_root`, its programs.

use std::fs;

use harness::arena::{self, ROOT};
use harness::records;
use harness::run::{Run, said, subcommand};

use super::shell;

#[test]
fn only_what_the_policy_lists_is_executed() {
    arena::run(|arena| {
        // The shell is the command. What it executes answers into a file of the host's.
        let script = "cat /etc/hostname > /out/listed; id -u > /out/unlisted; cp /usr/bin/id /out/copy > /out/copied;
            /proc/self/exe -c 'echo itself' > /out/itself; true";
        let read = |name: &str| fs::read_to_string(arena.path("out").join(name)).unwrap_or_default();
        assert_eq!(shell(arena, "", "max: 64", script).start().ended().code, 0);
        assert_eq!((read("listed").as_str(), read("unlisted").as_str()), ("sandbox\n", "1000\n"), "without a list");
        fs::remove_dir_all(arena.path("out")).expect("root can");
        let ended = shell(arena, "", "exec: [cat]", script).start().ended();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!((read("listed").as_str(), read("unlisted").as_str()), ("sandbox\n", ""), "with a list");
        assert_eq!(read("itself"), "itself\n", "the command may start itself again");
        assert!(!arena.path("out/copy").exists());
        assert_ne!(records::layer("landlock")["state"], "unsupported");
    });
}

#[test]
fn a_folder_that_is_shown_twice_is_not_started_with_a_list() {
    arena::run(|arena| {
        arena.writable_folder("out");
        let policy = |exec: &str, inside: &str| {
            format!(
                "name: files\ndefault: deny\ntools: {{}}\nsandbox:\n  filesystem:\n    read: [{ROOT}]\n    write: [{{path: {inside}, from: {ROOT}/out}}]\n  process: {{{exec}}}\n"
            )
        };
        // A copy, by the loader, from the other path of the same folder.
        let script = format!(
            "out=/out; test -d $out || out={ROOT}/out; cp /usr/bin/id $out/copy
            loader=$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* | head -n 1); $loader {ROOT}/out/copy -u > $out/ran; exit 0"
        );
        let ran = || fs::read_to_string(arena.path("out/ran")).unwrap_or_default();
        let list = "exec: [cp, ls, head]";
        let start = |exec: &str, inside: &str| {
            Run::new(arena, &policy(exec, inside)).command(["/bin/sh", "-c", &script]).start().ended()
        };
        let ended = start(list, "/out");
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("process.exec: {ROOT}/out: ")), "{}", ended.stderr);
        assert!(ended.stderr.contains("show it once") && !arena.path("out/copy").exists(), "{}", ended.stderr);
        let ended = start(list, &format!("{ROOT}/out"));
        assert_eq!(
            (ended.code, ran().as_str()),
            (0, ""),
            "shown once, in its place, and not executed: {}",
            ended.stderr
        );
        let ended = start("max: 64", "/out");
        assert_eq!((ended.code, ran().as_str()), (0, "1000\n"), "without a list it may be: {}", ended.stderr);
    });
}

#[test]
fn a_list_names_what_it_brings_and_what_is_not_there() {
    arena::run(|arena| {
        let run = shell(arena, "", "exec: [cat]", "true").flag("--dry-run");
        let shown = run.to_command().output().expect("it runs");
        let text = said(&shown);
        for part in [
            "execute      /usr/bin/cat (listed)",
            "(the command)",
            "(loader: runs any ELF file",
            "require      landlock",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for (listed, why) in [
            ("no-such-program", "no such program"),
            (&format!("{ROOT}/bin/redteam"), "is not in the server's view"),
            ("/usr/bin", "not an executable file"),
        ] {
            arena.program("redteam");
            let ended = shell(arena, "", &format!("exec: ['{listed}']"), "true").start().ended();
            assert_eq!(ended.code, 125, "{}", ended.stderr);
            assert!(ended.stderr.contains("process.exec") && ended.stderr.contains(why), "{listed}: {}", ended.stderr);
        }
        let explained =
            subcommand(["policy", "explain", "-c", arena.path("policy.yaml").to_str().expect("a plain path")]);
        assert!(said(&explained).contains("exec: [/usr/bin]"), "{}", said(&explained));
    });
}
