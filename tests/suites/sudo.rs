//! Trust through the real sudo: an unprivileged user, the shipped drop-in, and what else that user could try.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::arena::{self, Arena, NOBODY, ROOT};
use harness::run::{self, said};
use harness::session::Session;
use harness::{paths, policies, records};
use serde_json::json;

/// Where the drop-in says that we are installed.
const PROGRAM: &str = "/usr/local/bin/intercept-sandbox";
/// A group of the arena's own.
const GROUP: u32 = 65_432;
const KEY: &str = "isb-test-key-of-the-caller";

/// Installs the program, Debian's sudoers with one drop-in, and the group that it names. All of it ends with the arena.
fn install(arena: &Arena, drop_in: &str) {
    arena.small_disk("/usr/local/bin", "1g");
    fs::copy(paths::supervisor(), PROGRAM).expect("it was built");
    fs::set_permissions(PROGRAM, fs::Permissions::from_mode(0o755)).expect("own file");
    let folder = arena.folder("sudoers.d");
    let file = arena.file("sudoers.d/intercept-sandbox", drop_in);
    let main = "Defaults env_reset\nDefaults mail_badpass, use_pty\n\
                Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
                root ALL=(ALL:ALL) ALL\n";
    let main = arena.file("sudoers", format!("{main}@includedir {}\n", folder.display()));
    for file in [&file, &main] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o440)).expect("own file");
    }
    let groups = fs::read_to_string("/etc/group").expect("a host has groups");
    let groups = arena.file("group", format!("{groups}intercept-sandbox:x:{GROUP}:nobody\n"));
    for (source, target) in [(main, "/etc/sudoers"), (groups, "/etc/group")] {
        let bound = Command::new("mount").args(["--bind"]).arg(source).arg(target).status();
        assert!(bound.expect("mount runs").success(), "a private {target}");
    }
}

fn drop_in() -> String {
    fs::read_to_string(paths::workspace().join("packaging/sudoers")).expect("it is shipped")
}

/// A drop-in that allows everything, for what we refuse ourselves.
fn anything() -> String {
    format!("%intercept-sandbox ALL = (root) NOPASSWD: SETENV: {PROGRAM}\n")
}

/// `sudo -n ARGUMENTS` as nobody, the group's one member, or as daemon. sudo asks the group's entry, not the process alone.
fn sudo(member: bool, arguments: &[&str]) -> Command {
    let (id, group) = if member { ("65534", GROUP) } else { ("1", 1) };
    let mut command = run::as_real_root("setpriv".into());
    command.args(["--reuid", id, "--regid", id, "--groups", &group.to_string()]);
    command.args(["sudo", "-n"]).args(arguments);
    command
}

/// A policy of that name for the echo server, installed.
fn profile(arena: &Arena, name: &str) -> PathBuf {
    let program = arena.program("echo_server");
    let text = policies::plain(&["echo"], &format!("{ROOT}/bin")).replace("name: plain", &format!("name: {name}"));
    let text = format!("{text}  env: {{pass: [TOGETHER_API_KEY]}}\nserver: {{command: [{}]}}\n", program.display());
    let draft = arena.file(&format!("{name}.yaml"), text);
    let output = run::subcommand(["policy".as_ref(), "install".as_ref(), draft.as_os_str()]);
    assert!(output.status.success(), "{}", said(&output));
    program
}

fn sessions() -> usize {
    records::of_type(records::DEFAULT_DIRECTORY, "session.start").len()
}

#[test]
fn the_shipped_drop_in_is_valid() {
    let output = Command::new("visudo").arg("-cf").arg(paths::workspace().join("packaging/sudoers")).output();
    let output = output.expect("sudo is installed");
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("warning"), "{}", said(&output));
}

#[test]
fn the_drop_in_runs_its_profile_with_the_callers_key_and_nothing_else_of_his_environment() {
    arena::run(|arena| {
        install(arena, &drop_in());
        let program = profile(arena, "together-ai");
        let mut command = sudo(true, &[PROGRAM, "run", "--profile", "together-ai"]);
        command.env("TOGETHER_API_KEY", KEY);
        let hostile = [
            ("LD_PRELOAD", "/mnt/arena/isb-evil.so"),
            ("LD_AUDIT", "/mnt/arena/isb-evil.so"),
            ("NODE_OPTIONS", "--require=/mnt/arena/isb-evil.js"),
            ("PYTHONPATH", "/mnt/arena/isb-evil"),
            ("BASH_ENV", "/mnt/arena/isb-evil"),
            ("RUST_LOG", "isb-evil"),
            ("SSL_CERT_FILE", "/mnt/arena/isb-evil.pem"),
            ("ISB_WEAKEN", "isb-evil"),
            ("SUDO_UID", "0"),
        ];
        command.envs(hostile);
        let mut session = Session::start(command);
        session.initialize();
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
        let server = session.server(program.to_str().expect("a plain path"));
        let supervisors = session.processes().into_iter().filter(|process| {
            fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe == Path::new(PROGRAM))
        });
        let ours: Vec<_> = supervisors.collect();
        assert!(ours.len() >= 4, "monitor, janitor, relay and egress: {ours:?}");
        let environment = |pid: u32| {
            let bytes = fs::read(format!("/proc/{pid}/environ")).expect("root may look");
            String::from_utf8_lossy(&bytes).replace('\0', "\n")
        };
        for process in ours.iter().chain([&server]) {
            let text = environment(process.pid);
            assert!(!text.contains("isb-evil"), "{process:?}: {text}");
        }
        assert!(environment(server.pid).contains(KEY), "what the policy passes arrives");
        assert_eq!(session.finish().code, 0);
        let starts = records::of_type(records::DEFAULT_DIRECTORY, "session.start");
        assert_eq!(starts[0]["actor"]["sudo_uid"], NOBODY, "{}", starts[0]);
    });
}

#[test]
fn the_drop_in_allows_nothing_else() {
    arena::run(|arena| {
        install(arena, &drop_in());
        let program = profile(arena, "together-ai");
        profile(arena, "other");
        let program = program.to_str().expect("a plain path");
        let copy = arena.folder("sbin").join("intercept-sandbox");
        fs::copy(PROGRAM, &copy).expect("own folder"); // under another path: not what the rule names
        let copy = copy.to_str().expect("a plain path");
        let good = ["run", "--profile", "together-ai"];
        let with = |more: &[&'static str]| [&[PROGRAM][..], &good, more].concat();
        let installed = "/etc/intercept-sandbox/policies/together-ai.yaml";
        let refused: Vec<Vec<&str>> = vec![
            vec![PROGRAM],
            vec![PROGRAM, "doctor"],
            vec![PROGRAM, "policy", "install", "--force", installed],
            vec![PROGRAM, "approvals", "list"],
            vec![PROGRAM, "run", "--profile", "other"],
            vec![PROGRAM, "run", "--profile", "together-ai other"],
            vec![PROGRAM, "run", "--profile", "../policies/together-ai"],
            vec![PROGRAM, "run", "-c", installed, "--", program],
            with(&["--dry-run"]),
            with(&["--observe"]),
            with(&["--audit-dir", "/mnt/arena/log"]),
            with(&["--state-dir", "/mnt/arena/state"]),
            with(&["--connect-to", "api.together.xyz:443:127.0.0.1:9"]),
            with(&["--", "/bin/sh"]),
            with(&[""]),
            vec![copy, "run", "--profile", "together-ai"],
            vec!["/bin/sh", "-c", "id"],
            vec!["-E", PROGRAM, good[0], good[1], good[2]],
            vec!["--preserve-env=NODE_OPTIONS", PROGRAM, good[0], good[1], good[2]],
            vec!["LD_PRELOAD=/mnt/arena/isb-evil.so", PROGRAM, good[0], good[1], good[2]],
            vec!["-u", "daemon", PROGRAM, good[0], good[1], good[2]],
            vec!["-g", "shadow", PROGRAM, good[0], good[1], good[2]],
            vec!["-s"],
        ];
        let start = |member, arguments: &[&str]| {
            let mut command = sudo(member, arguments);
            command.env("TOGETHER_API_KEY", KEY).env("NODE_OPTIONS", "--require=/mnt/arena/isb-evil.js");
            Session::start(command).finish()
        };
        for arguments in &refused {
            let ended = start(true, arguments);
            assert_eq!(ended.code, 1, "{arguments:?}: sudo refuses: {}", ended.stderr);
            assert!(ended.lines.is_empty(), "{arguments:?}: {:?}", ended.lines);
        }
        let ended = start(false, &[PROGRAM, good[0], good[1], good[2]]);
        assert_eq!(ended.code, 1, "not a member of the group: {}", ended.stderr);
        assert_eq!(records::read(records::DEFAULT_DIRECTORY).len(), 0, "we were not even started");
        let ended = start(true, &[PROGRAM, good[0], good[1], good[2]]);
        assert_eq!((ended.code, sessions()), (0, 1), "the same call without the additions: {}", ended.stderr);
    });
}

/// Runs as nobody through a sudo that allows all of us; the run must be refused with `code`.
fn assert_refused(why: &str, code: &str, arguments: &[&str]) {
    let before = records::refusals(records::DEFAULT_DIRECTORY).len();
    let mut command = sudo(true, &[&[PROGRAM, "run"][..], arguments].concat());
    command.env("TOGETHER_API_KEY", KEY);
    let ended = Session::start(command).finish();
    assert_eq!(ended.code, 125, "{why}: {}", ended.stderr);
    assert!(ended.stderr.contains(&format!("error[{code}]")), "{why}: {}", ended.stderr);
    assert!(ended.lines.is_empty(), "{why}: {:?}", ended.lines);
    let recorded = records::refusals(records::DEFAULT_DIRECTORY);
    assert_eq!(recorded.len(), before + 1, "{why}: {recorded:?}");
    assert!(recorded.iter().any(|refusal| refusal == code), "{why}: {recorded:?}");
}

#[test]
fn a_policy_that_the_caller_could_change_is_refused() {
    arena::run(|arena| {
        install(arena, &anything());
        let program = arena.program("echo_server");
        let program = program.to_str().expect("a plain path");
        let text = policies::plain(&["echo"], &format!("{ROOT}/bin"));
        let good = arena.file("policy.yaml", &text);
        let theirs = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).expect("root can chown");
        let refuse = |why: &str, path: &Path| {
            assert_refused(why, "ISB-R004", &["-c", path.to_str().expect("a plain path"), "--", program]);
        };

        let own = arena.file("own.yaml", &text);
        theirs(&own);
        refuse("the caller's own file", &own);

        let shared = arena.file("shared.yaml", &text);
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o666)).expect("own file");
        refuse("a file that everyone can write", &shared);

        let folder = arena.folder("home");
        symlink(&good, folder.join("link.yaml")).expect("own folder");
        let beside = arena.file("home/policy.yaml", &text);
        theirs(&folder);
        refuse("root's file in the caller's folder", &beside);
        refuse("a link in the caller's folder", &folder.join("link.yaml"));
        let through = arena.path("through");
        symlink(&folder, &through).expect("own folder");
        refuse("a way through the caller's folder", &through.join("policy.yaml"));

        let sticky = arena.folder("sticky");
        fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).expect("own folder");
        let link = sticky.join("link.yaml");
        symlink(&good, &link).expect("own folder");
        let changed = Command::new("chown").args(["-h", "nobody"]).arg(&link).status().expect("coreutils");
        assert!(changed.success());
        refuse("the caller's link in a sticky folder", &link);

        let arguments = [PROGRAM, "run", "-c", good.to_str().expect("a plain path"), "--", program];
        let ended = Session::start(sudo(true, &arguments)).finish();
        assert_eq!(ended.code, 0, "the same text where only root writes: {}", ended.stderr);
    });
}

#[test]
fn what_loosens_is_refused_whatever_is_said_about_the_caller() {
    arena::run(|arena| {
        install(arena, &anything());
        profile(arena, "together-ai");
        let state = format!("{ROOT}/state");
        let log = format!("{ROOT}/log");
        for flags in [
            &["--observe"][..],
            &["--audit-dir", &log],
            &["--state-dir", &state],
            &["--state-dsn", "redis://127.0.0.1"],
            &["--connect-to", "api.together.xyz:443:127.0.0.1:9"],
        ] {
            let arguments = [&["--profile", "together-ai"], flags].concat();
            assert_refused(&format!("{flags:?}"), "ISB-R006", &arguments);
        }
        assert!(!Path::new(&log).exists() && !Path::new(&state).exists(), "nothing was made");
        assert_refused("another command", "ISB-R007", &["--profile", "together-ai", "--", "/bin/sh"]);
        assert_refused("a path for a name", "ISB-R002", &["--profile", "../../../mnt/arena/together-ai"]);
        assert_refused("a profile that is not there", "ISB-R004", &["--profile", "nobody-installed-it"]);

        // sudo itself sets SUDO_UID after the caller's words; they cannot take it away.
        let output = as_nobody_with(&["SUDO_UID=0"], &["run", "--profile", "together-ai", "--observe"]);
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    });
}

fn as_nobody_with(variables: &[&str], arguments: &[&str]) -> Output {
    let mut command = sudo(true, &[variables, &[PROGRAM], arguments].concat());
    command.stdin(std::process::Stdio::null()).env("TOGETHER_API_KEY", KEY);
    command.output().expect("setpriv is installed")
}

#[test]
fn a_folder_that_the_caller_could_not_write_is_not_given_to_the_server() {
    arena::run(|arena| {
        install(arena, &anything());
        let program = arena.program("echo_server");
        let program = program.to_str().expect("a plain path");
        let other = arena.folder("another-users");
        chown(&other, Some(4_242), Some(4_242)).expect("root can chown");
        arena.folder("roots");
        arena.writable_folder("images");
        let policy = |folder: &str| {
            let text = policies::plain(&["echo"], &format!("{ROOT}/bin"));
            arena.file(&format!("{folder}.yaml"), format!("{text}    write: [{ROOT}/{folder}]\n"))
        };
        for folder in ["another-users", "roots", "not-there"] {
            let policy = policy(folder);
            let policy = policy.to_str().expect("a plain path");
            assert_refused(folder, "ISB-R007", &["-c", policy, "--", program]);
        }
        let policy = policy("images");
        let arguments = [PROGRAM, "run", "-c", policy.to_str().expect("a plain path"), "--", program];
        let ended = Session::start(sudo(true, &arguments)).finish();
        assert_eq!(ended.code, 0, "a folder of the caller's own: {}", ended.stderr);
    });
}
