//! Whose word a policy is: root's alone, whoever calls, and no one else's on the way to it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use harness::arena::{self, Arena, NOBODY, ROOT};
use harness::run::{self, Run, said};
use harness::session::Session;
use harness::{paths, policies, records, wait};
use serde_json::json;

fn text() -> String {
    policies::plain(&["echo"], &format!("{ROOT}/bin"))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
}

/// Starts the echo server under the policy at `path`; the run must be refused before anything starts.
fn assert_refused(arena: &Arena, path: &Path, why: &str) {
    let program = arena.program("echo_server");
    let ended = Run::with_file(path).command([&program]).start().finish();
    assert_eq!(ended.code, 125, "{why}: {}", ended.stderr);
    assert!(ended.lines.is_empty(), "{why}: {:?}", ended.lines);
    assert!(ended.stderr.contains("error"), "{why}: {}", ended.stderr);
}

#[test]
fn a_policy_that_root_alone_can_write_is_accepted() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let session = Run::new(arena, &text()).command([&program]).begin();
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn a_policy_of_another_owner_is_refused_and_the_refusal_recorded() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", text());
        chown(&path, Some(NOBODY), None).expect("root can chown");
        assert_refused(arena, &path, "owned by nobody");
        let refused = records::refusals(records::DEFAULT_DIRECTORY);
        assert_eq!(refused, ["ISB-R004"], "{:#?}", records::read(records::DEFAULT_DIRECTORY));
    });
}

#[test]
fn a_policy_that_others_can_write_is_refused() {
    arena::run(|arena| {
        let path = arena.file("policy.yaml", text());
        for bits in [0o664, 0o646] {
            mode(&path, bits);
            assert_refused(arena, &path, &format!("mode {bits:o}"));
        }
    });
}

#[test]
fn a_policy_in_a_directory_that_others_can_write_is_refused() {
    arena::run(|arena| {
        let folder = arena.folder("open");
        let path = arena.file("open/policy.yaml", text());
        mode(&folder, 0o777);
        assert_refused(arena, &path, "directory 0777");
        mode(&folder, 0o755);
        chown(&folder, Some(NOBODY), None).expect("root can chown");
        assert_refused(arena, &path, "directory of nobody");
    });
}

#[test]
fn a_policy_in_a_sticky_directory_is_accepted() {
    arena::run(|arena| {
        let folder = arena.folder("sticky");
        let path = arena.file("sticky/policy.yaml", text());
        mode(&folder, 0o1777);
        let program = arena.program("echo_server");
        let ended = Run::with_file(&path).command([&program]).start().finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    });
}

#[test]
fn a_symbolic_link_that_someone_else_could_turn_is_refused() {
    arena::run(|arena| {
        let target = arena.file("policy.yaml", text());
        let folder = arena.folder("theirs");
        let link = folder.join("link.yaml");
        symlink(&target, &link).expect("own folder");
        chown(&folder, Some(NOBODY), None).expect("root can chown");
        assert_refused(arena, &link, "link in nobody's folder");
    });
}

#[test]
fn policy_install_puts_a_checked_policy_where_root_alone_can_write() {
    arena::run(|arena| {
        let draft = arena.file("draft.yaml", text());
        chown(&draft, Some(NOBODY), None).expect("root can chown");
        let output = run::subcommand(["policy".as_ref(), "install".as_ref(), draft.as_os_str()]);
        assert!(output.status.success(), "{}", said(&output));
        let installed = Path::new("/etc/intercept-sandbox/policies/plain.yaml");
        assert_eq!(fs::read_to_string(installed).expect("installed"), text());

        let program = arena.program("echo_server");
        let ended = Run::with_file(installed).command([&program]).start().finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);

        let bad = arena.file("bad.yaml", "toolz: {}\n");
        let output = run::subcommand(["policy".as_ref(), "install".as_ref(), bad.as_os_str()]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(!Path::new("/etc/intercept-sandbox/policies/bad.yaml").exists(), "a bad policy is not installed");
    });
}

/// `command` as the user nobody, through the real sudo, with a sudoers file of the arena's own.
fn through_sudo(arena: &Arena, arguments: &[&str]) -> Command {
    let binary = arena.folder("sbin").join("intercept-sandbox");
    if !binary.exists() {
        fs::copy(paths::supervisor(), &binary).expect("it was built");
        mode(&binary, 0o755);
        let rule = format!("nobody ALL=(root) NOPASSWD: SETENV: {}\n", binary.display());
        let sudoers = arena.file("sudoers", format!("Defaults !requiretty\nroot ALL=(ALL) ALL\n{rule}"));
        mode(&sudoers, 0o440);
        let bound = Command::new("mount").args(["--bind"]).arg(&sudoers).arg("/etc/sudoers").status();
        assert!(bound.expect("mount runs").success(), "a private /etc/sudoers");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sudo", "-n", "--preserve-env=ISB_WEAKEN"]);
    command.arg(&binary).args(arguments);
    command
}

#[test]
fn an_unprivileged_user_runs_an_installed_policy_through_real_sudo() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let draft = arena.file("echo.yaml", text());
        let output = run::subcommand(["policy".as_ref(), "install".as_ref(), draft.as_os_str()]);
        assert!(output.status.success(), "{}", said(&output));
        let policy = "/etc/intercept-sandbox/policies/plain.yaml";
        let program = program.to_str().expect("a plain path");
        let mut session = Session::start(through_sudo(arena, &["run", "-c", policy, "--", program]));
        session.initialize();
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
        assert_eq!(session.finish().code, 0);
        let starts = records::of_type(records::DEFAULT_DIRECTORY, "session.start");
        assert_eq!(starts.len(), 1);
        assert_eq!(starts[0]["actor"]["sudo_uid"], NOBODY, "{}", starts[0]);
    });
}

#[test]
fn a_caller_behind_sudo_may_not_loosen_and_may_not_bring_a_policy() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let program = program.to_str().expect("a plain path");
        let policy = arena.file("policy.yaml", text());
        let policy = policy.to_str().expect("a plain path");
        let state = format!("{ROOT}/state");
        for flags in [
            &["--connect-to", "api.together.xyz:443:127.0.0.1:9"][..],
            &["--audit-dir", &format!("{ROOT}/log")],
            &["--state-dir", &state],
            &["--observe"],
        ] {
            let arguments = [&["run", "-c", policy], flags, &["--", program]].concat();
            let ended = Session::start(through_sudo(arena, &arguments)).finish();
            assert_eq!(ended.code, 125, "{flags:?}: {}", ended.stderr);
        }
        let own = arena.file("own.yaml", text());
        chown(&own, Some(NOBODY), None).expect("root can chown");
        let arguments = ["run", "-c", own.to_str().expect("a plain path"), "--", program];
        let ended = Session::start(through_sudo(arena, &arguments)).finish();
        assert_eq!(ended.code, 125, "the caller's own policy: {}", ended.stderr);
    });
}

/// What root sees and the caller does not: he may put any path behind `--`, and links into the folders that are his.
#[test]
fn behind_sudo_nothing_is_told_that_the_server_could_not_see() {
    arena::run(|arena| {
        arena.program("echo_server");
        let secret = arena.folder("secret");
        fs::create_dir(secret.join("folder")).expect("own folder");
        arena.file("secret/there", "#!/secret-first-line --token\n");
        mode(&secret.join("there"), 0o755);
        symlink("/secret-target", secret.join("link")).expect("own folder");
        symlink(secret.join("folder"), secret.join("leads-on")).expect("own folder");
        mode(&secret, 0o700);
        let theirs = arena.folder("theirs");
        for name in ["absent", "there", "folder", "link", "leads-on"] {
            symlink(secret.join(name), theirs.join(name)).expect("own folder");
        }
        arena.file("theirs/closed", "#!/secret-second-line\n");
        mode(&theirs.join("closed"), 0o711);
        arena.file("theirs/script", format!("#!{}\n", secret.join("there").display()));
        mode(&theirs.join("script"), 0o755);
        chown(&theirs, Some(NOBODY), Some(NOBODY)).expect("root can chown");
        let text = text().replace(&format!("read: [{ROOT}/bin]"), &format!("read: [{ROOT}/bin, {ROOT}/theirs]"));
        assert!(text.contains("/theirs"), "{text}");
        let listed = text.replace("sandbox:\n", "sandbox:\n  process: {exec: [/usr/bin/true]}\n");
        assert!(listed.contains("exec:"), "{listed}");
        for text in [text, listed] {
            let policy = arena.file("policy.yaml", text);
            let policy = policy.to_str().expect("a plain path");
            let start = |command: &str| {
                let ended = Session::start(through_sudo(arena, &["run", "-c", policy, "--", command])).finish();
                let told: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error")).collect();
                (ended.code, told.join("\n"))
            };
            for folder in [format!("{ROOT}/secret"), format!("{ROOT}/theirs")] {
                let told = |name: &str| {
                    let path = format!("{folder}/{name}");
                    let (code, told) = start(&path);
                    (code, told.replace(&path, "PATH"))
                };
                let absent = told("absent");
                assert_eq!(absent.0, 127, "{}", absent.1);
                assert!(absent.1.contains("command not found in the server's view"), "{}", absent.1);
                for name in ["there", "folder", "link", "leads-on"] {
                    assert_eq!(told(name), absent, "{folder}/{name}");
                }
            }
            let (_, closed) = start(&format!("{ROOT}/theirs/closed"));
            assert!(!closed.contains("secret"), "its first line: {closed}");
            let (code, script) = start(&format!("{ROOT}/theirs/script"));
            assert!(code == 126 && !script.contains("first-line"), "what a #! line names: {code} {script}");
        }
    });
}

/// He may name any path as the policy, too: what he hears of one is what he could have seen.
#[test]
fn behind_sudo_a_policy_that_the_caller_could_not_see_is_refused_in_one_form() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let program = program.to_str().expect("a plain path");
        let folder = arena.folder("policies");
        fs::create_dir(folder.join("folder")).expect("own folder");
        arena.file("policies/good", text());
        arena.file("policies/broken", "secret-key: secret-value\n");
        arena.file("policies/binary", [0xff, 0xfe]);
        arena.file("policies/long", "#\n".repeat(1 << 20));
        mode(&arena.file("policies/writable", text()), 0o666);
        chown(arena.file("policies/theirs", text()), Some(NOBODY), None).expect("root can chown");
        symlink("/secret-target", folder.join("dangling")).expect("own folder");
        let cases = [
            "folder",
            "broken",
            "binary",
            "long",
            "writable",
            "theirs",
            "dangling",
            "broken/x",
            "folder/x",
            "folder/../x",
        ];
        let told = |ended: &harness::session::Ended, path: &str| {
            assert_eq!(ended.code, 125, "{path}: {}", ended.stderr);
            ended.stderr.replace(path, "PATH")
        };
        let behind = |name: &str| {
            let path = format!("{}/{name}", folder.display());
            told(&Session::start(through_sudo(arena, &["run", "-c", &path, "--", program])).finish(), &path)
        };
        let absent = behind("absent");
        assert!(absent.contains("ENOENT"), "others may search it: {absent}");
        for name in cases.iter().filter(|name| !name.ends_with("/x")) {
            assert_ne!(behind(name), absent, "{name}: he could see it himself");
        }
        for bits in [0o700, 0o750, 0o754] {
            mode(&folder, bits);
            let absent = behind("absent");
            assert!(absent.contains("not there, not root's alone, or no policy"), "{absent}");
            for name in cases {
                assert_eq!(behind(name), absent, "{name}, mode {bits:o}");
            }
            let path = folder.join("absent");
            let root = Run::with_file(&path).command([program]).start().finish();
            assert!(told(&root, &path.display().to_string()).contains("ENOENT"), "root is told: {}", root.stderr);
        }
        let good = format!("{}/good", folder.display());
        let ended = Session::start(through_sudo(arena, &["run", "-c", &good, "--", program])).finish();
        assert_eq!(ended.code, 0, "a policy that is root's is used wherever it stands: {}", ended.stderr);
    });
}

#[test]
fn check_says_what_is_wrong_and_where() {
    arena::run(|arena| {
        let bad = arena.file("bad.yaml", "version: \"1\"\ntoolz: {}\n");
        let output = run::subcommand(["policy".as_ref(), "check".as_ref(), bad.as_os_str()]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in ["error[ISB-", "bad.yaml:2:1", "^^^^^", "did you mean"] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let ready = paths::workspace().join("policies/together-ai.yaml");
        let output = run::subcommand(["policy".as_ref(), "check".as_ref(), ready.as_os_str()]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    });
}

/// Root owns /proc/PID/comm of a program that runs with root's rights, and whoever started it chose its name.
#[test]
#[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts what a user would")]
fn a_policy_that_is_the_name_of_a_program_is_refused() {
    arena::run(|arena| {
        let named = arena.folder("named").join("default: allow");
        fs::copy("/bin/sleep", &named).expect("a program");
        let mut program = Command::new(&named).arg("1000").spawn().expect("it can be started");
        let comm = format!("/proc/{}/comm", program.id());
        // The name comes a little later than the start is reported.
        let is_named = || fs::read_to_string(&comm).is_ok_and(|name| name == "default: allow\n");
        assert!(wait::becomes_true(wait::COMES_LIMIT, is_named), "{comm}");
        let server = arena.program("echo_server");
        let ended = Run::with_file(&comm).command([&server]).env("SUDO_UID", "65534").start().finish();
        program.kill().and_then(|()| program.wait()).expect("own child");
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        let why = ["is a file of the kernel's", "stands on a nosuid mount"];
        assert!(why.iter().any(|why| ended.stderr.contains(why)), "{}", ended.stderr);
    });
}

/// Sudoers may give a reviewer of logs `audit tail *`: it shows logs, and not what a folder of his leads to.
#[test]
fn behind_sudo_no_log_is_read_that_the_caller_could_have_made() {
    arena::run(|arena| {
        let secret = arena.file("shadow", "hunter2\n");
        mode(&secret, 0o600);
        let folder = arena.folder("log");
        let session = folder.join("2026-11-23").join("0123456789abcdef0123456789abcdef");
        fs::create_dir_all(&session).expect("own folder");
        symlink(&secret, session.join("000001.jsonl")).expect("own folder");
        let said_to = |behind: bool, words: &[&str]| {
            let mut command = run::as_real_root(paths::supervisor());
            command.arg("audit").args(words).args(["--audit-dir", folder.to_str().expect("a plain path")]);
            if behind {
                command.env("SUDO_UID", NOBODY.to_string());
            }
            let output = command.output().expect("it can be started");
            assert_eq!(output.status.code(), Some(2), "{}", said(&output));
            said(&output)
        };
        for words in [&["tail", "--json"][..], &["tail"], &["verify"]] {
            // A link is no segment, whoever asks.
            assert!(!said_to(false, words).contains("hunter2"), "{words:?}");
        }
        fs::remove_file(session.join("000001.jsonl"))
            .and_then(|()| fs::copy(&secret, session.join("000001.jsonl")).map(drop))
            .expect("own folder");
        chown(&folder, Some(NOBODY), None).expect("root can chown");
        for words in [&["tail", "--json"][..], &["tail"], &["show", "1"], &["verify"]] {
            let text = said_to(true, words);
            assert!(text.contains("root alone can write"), "{words:?}: {text}");
            assert!(!text.contains("hunter2"), "{words:?}: {text}");
        }
    });
}

/// Sticky protects what stands in a folder, not the folder from what others put there.
#[test]
fn behind_sudo_no_log_is_read_in_a_folder_that_others_can_write() {
    arena::run(|arena| {
        let folder = arena.folder("log");
        let name = "0123456789abcdef0123456789abcdef";
        let session = folder.join("2026-11-23").join(name);
        fs::create_dir_all(&session).expect("own folder");
        let record = json!({"seq": 1, "time": "2026-11-23T00:00:00.000000000Z", "boot_ns": 1, "type": "session.end", "session": name});
        fs::write(session.join("000001.jsonl"), format!("{record}\n")).expect("own folder");
        for path in [folder.join("2026-11-23"), session.clone(), session.join("000001.jsonl")] {
            chown(&path, Some(NOBODY), None).expect("root can chown");
        }
        let tail = || {
            let mut command = run::as_real_root(paths::supervisor());
            command.args(["audit", "tail", "--audit-dir", folder.to_str().expect("a plain path")]);
            command.env("SUDO_UID", NOBODY.to_string()).output().expect("it can be started")
        };
        mode(&folder, 0o755);
        assert!(said(&tail()).contains("session.end"), "{}", said(&tail()));
        for bits in [0o1777, 0o1775] {
            mode(&folder, bits);
            let output = tail();
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{bits:o}: {}", said(&output));
            assert!(said(&output).contains("root alone can write"), "{bits:o}: {}", said(&output));
        }
    });
}

/// As with errors: places and codes of a file that he may not be allowed to read, and of one below a closed folder nothing.
#[test]
fn behind_sudo_a_warning_shows_no_line_of_the_policy() {
    arena::run(|arena| {
        let text = "version: '1'\nsandbox: {}\ntools: {hunter2: {rules: [{conditions: [{path: args.hunter3, op: eq, value: yes}]}]}}\n";
        let private = arena.file("private.yaml", text);
        mode(&private, 0o600);
        let hidden = arena.folder("hidden");
        mode(&hidden, 0o700);
        let within = arena.file("hidden/policy.yaml", text);
        let warned = |path: &Path, behind: bool| {
            let mut command = run::as_real_root(paths::supervisor());
            command.args(["run", "--dry-run", "-c"]).arg(path).args(["--", "/usr/bin/true"]);
            if behind {
                command.env("SUDO_UID", NOBODY.to_string());
            }
            let output = command.output().expect("it can be started");
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let told = warned(&private, false);
        assert!(told.contains("hunter") && told.contains("WARN"), "{told}");
        let told = warned(&private, true);
        assert!(!told.contains("hunter") && told.contains("ISB-P") && told.contains("private.yaml:"), "{told}");
        assert_eq!(warned(&within, true), "");
    });
}
