//! A caller behind sudo who is no friend: what he may do to processes that he started and that run as root.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::arena::{self, Arena, ROOT};
use harness::processes::{Bystander, Process};
use harness::remains::GONE_LIMIT;
use harness::run::{self, Run};
use harness::session::Session;
use harness::{policies, records, wait};
use intercept_sandbox::bounds;
use intercept_sandbox::sandbox::cgroup::hierarchy::Hierarchy;
use intercept_sandbox::sys::kcmp;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

const PROGRAM: &str = "/mnt/arena/bin/echo_server";

fn echo(arena: &Arena) -> Command {
    let program = arena.program("echo_server");
    Run::new(arena, &policies::plain(&["echo"], &format!("{ROOT}/bin"))).command([program]).to_command()
}

/// What `command` says, from a shell in `folder` that has done `first`.
fn after(first: &str, folder: &Path, command: &Command) -> Command {
    let mut shell = run::as_real_root("/bin/sh".into());
    shell.args(["-c", &format!("{first}; exec \"$@\""), "sh"]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(folder);
    shell
}

fn begun(command: Command) -> Session {
    let mut session = Session::start(command);
    session.initialize();
    session
}

/// `codes`: which of two ends is seen first is chance, where one follows from the other.
fn assert_log_is_whole(codes: &[&str]) {
    let ends = records::of_type(records::DEFAULT_DIRECTORY, "session.end");
    let is_one = |end: &Value| codes.iter().any(|code| end["reason"]["code"] == *code);
    assert!(!ends.is_empty() && ends.iter().all(is_one), "{ends:#?}");
    let output = run::subcommand(["audit", "verify"]);
    let said = run::said(&output);
    assert!(output.status.success() && said.starts_with(&format!("ok: {} session", ends.len())), "{said}");
}

fn assert_all_end(crowd: &[Process], what: &str) {
    let alive = || crowd.iter().filter(|process| process.is_alive()).collect::<Vec<_>>();
    assert!(wait::becomes_true(GONE_LIMIT, || alive().is_empty()), "{what}: still alive: {:?}", alive());
}

/// The soft and the hard limit of `/proc/PID/limits`.
fn limits(process: &Process, name: &str) -> [String; 2] {
    let text = fs::read_to_string(format!("/proc/{}/limits", process.pid)).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().expect("soft"), words.next().expect("hard")]
}

/// As the terminal's driver does on Ctrl-Z: to every process of the group. Who stood still would not hear of the end.
#[test]
fn what_stops_a_job_stops_no_session() {
    arena::run(|arena| {
        for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
            let mut command = echo(arena);
            command.process_group(0); // of its own, and not an orphan: there the signals would do nothing
            let mut session = begun(command);
            let crowd = session.processes();
            killpg(Pid::from_raw(session.pid().cast_signed()), signal).expect("the group lives");
            assert!(session.call("echo", json!({"text": "x"}))["result"].is_object(), "{signal}");
            session.signal(Signal::SIGTERM);
            let ended = session.ended();
            assert!(ended.took < wait::on_this_machine(Duration::from_secs(3)), "{signal}: took {:?}", ended.took);
            assert_all_end(&crowd, signal.as_str());
        }
        assert_log_is_whole(&["signal"]);
    });
}

/// The server starts with the mask that every program expects.
#[test]
fn a_server_can_be_stopped_as_any_program() {
    arena::run(|arena| {
        let session = begun(echo(arena));
        let server = session.server(PROGRAM);
        assert_eq!(server.status("SigBlk").as_deref(), Some("0000000000000000"));
        assert_eq!(session.finish().code, 0);
    });
}

/// What is ignored stays so over an execve(2), sudo's too; whose children are reaped by the kernel hears of no end.
#[test]
fn a_caller_who_ignores_his_children_does_not_keep_us_from_hearing_of_ours() {
    arena::run(|arena| {
        let session = begun(after("trap '' CHLD", &arena.folder("callers"), &echo(arena)));
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_log_is_whole(&["client_eof", "server_exit"]);
    });
}

/// Ctrl-\ is an end like Ctrl-C, and leaves no file of root's memory where the caller stands.
#[test]
fn quit_is_an_end_in_order_without_a_core_file() {
    arena::run(|arena| {
        let folder = arena.folder("callers");
        let session = begun(after("ulimit -c unlimited", &folder, &echo(arena)));
        let crowd = session.processes();
        for process in &crowd {
            assert_eq!(limits(process, "Max core file size"), ["0", "0"], "{process:?}");
        }
        session.signal(Signal::SIGQUIT);
        let ended = session.ended();
        assert_ne!(ended.code, 128 + Signal::SIGQUIT as i32, "{}", ended.stderr);
        assert_all_end(&crowd, "SIGQUIT");
        assert_log_is_whole(&["signal"]);
        assert_eq!(fs::read_dir(&folder).expect("own folder").count(), 0, "a core file");
    });
}

/// Seconds, on a fast machine, after which the caller's clock rings: the session is up by then.
const RINGS_AFTER: Duration = Duration::from_secs(2);

/// An interval timer stays over an execve(2); a sudo that does not fork is one more.
#[test]
fn a_clock_that_a_caller_left_ends_no_session() {
    arena::run(|arena| {
        let rings_after = wait::on_this_machine(RINGS_AFTER).as_secs();
        let set = "import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])";
        let command = echo(arena);
        let mut caller = run::as_real_root("python3".into());
        caller.args(["-c", set, &rings_after.to_string()]).arg(command.get_program()).args(command.get_args());
        let mut session = begun(caller);
        let has_ended = wait::becomes_true(2 * RINGS_AFTER, || session.has_ended());
        assert!(!has_ended, "ended by its caller's clock: {}", session.ended().stderr);
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
        assert_eq!(session.finish().code, 0);
        assert_log_is_whole(&["client_eof", "server_exit"]);
    });
}

/// Whether a thread of root's may look into `pid` that holds `CAP_SYS_PTRACE`, but has it switched off: into everything of root's that is
/// dumpable (ptrace(2), "Ptrace access mode checking").
fn may_look_into(pid: u32) -> bool {
    let look = move || {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_PTRACE).expect("of this thread alone");
        let (own, other) = (Pid::this(), Pid::from_raw(pid.cast_signed()));
        match kcmp::compare_tables(own, other) {
            Ok(_) => true,
            Err(Errno::EPERM) => false,
            Err(errno) => panic!("{errno}"),
        }
    };
    thread::spawn(look).join().expect("it looks")
}

/// That we are not dumpable shows nowhere else, and it is what keeps a dump of us from a `core_pattern` that is a pipe.
#[test]
fn nobody_is_given_a_dump_of_the_monitor() {
    arena::run(|arena| {
        let session = begun(echo(arena));
        assert!(may_look_into(Bystander::start().pid()), "the look sees nothing at all");
        assert!(!may_look_into(session.pid()));
        assert_eq!(session.finish().code, 0);
    });
}

/// sudo passes it on: the first session makes folders that every later one walks through.
#[test]
fn the_umask_of_a_caller_closes_no_folder_to_the_next_session() {
    const STATE: &str = "/var/lib/intercept-sandbox";
    arena::run(|arena| {
        let mode = |path: &Path| fs::metadata(path).expect("a session made it").mode() & 0o7777;
        let (state, limits) = (Path::new(STATE), Path::new(STATE).join("limits"));
        for (mask, kept) in [("077", None), ("022", None), ("022", Some(0o700))] {
            if let Some(mode) = kept {
                // What a session of an earlier build left behind.
                fs::set_permissions(state, fs::Permissions::from_mode(mode)).expect("root may");
                fs::set_permissions(&limits, fs::Permissions::from_mode(mode)).expect("root may");
            }
            let mut session = begun(after(&format!("umask {mask}"), &arena.folder("callers"), &echo(arena)));
            assert!(session.call("echo", json!({"text": "x"}))["result"].is_object(), "umask {mask}");
            let ended = session.finish();
            assert_eq!(ended.code, 0, "umask {mask}: {}", ended.stderr);
            assert_eq!((mode(state) & 0o711, mode(&limits)), (0o711, 0o711), "umask {mask}");
        }
        assert_log_is_whole(&["client_eof", "server_exit"]);
    });
}

/// The ceiling of memory of a process of ours, by its name.
fn memory_bytes(comm: &str) -> String {
    let lines_bytes = (bounds::CLIENT_LINE_BYTES_MAX + bounds::SERVER_LINE_BYTES_MAX) as u64;
    let bytes = match comm {
        "isb-janitor" => bounds::JANITOR_MEMORY_BYTES_MAX,
        "isb-relay" => bounds::relay_memory_bytes_max(lines_bytes),
        "isb-egress" => bounds::EGRESS_MEMORY_BYTES_MAX,
        "isb-dialer" => bounds::DIALER_MEMORY_BYTES_MAX,
        "isb-meter" => bounds::METER_MEMORY_BYTES_MAX,
        _ => return "unlimited".into(), // the monitor's
    };
    bytes.to_string()
}

/// Ended by none of them, and the server gets no more than its caller had.
#[test]
fn the_limits_that_a_caller_sets_are_the_servers_and_none_of_ours() {
    arena::run(|arena| {
        let low = "ulimit -Sf 0; ulimit -St 600; ulimit -Sn 64; ulimit -Sv 1000000000";
        let mut session = begun(after(low, &arena.folder("callers"), &echo(arena)));
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
        let server = session.server(PROGRAM);
        let names = ["Max file size", "Max cpu time", "Max address space"];
        let soft = |process: &Process| names.map(|name| limits(process, name)[0].clone());
        for process in session.processes() {
            let of_ours = fs::read_link(format!("/proc/{}/exe", process.pid))
                .is_ok_and(|exe| exe == harness::paths::supervisor());
            if of_ours {
                // Ceilings of our own: the log's of the relay, and memory's.
                let file_bytes = if process.comm == "isb-relay" { "1073741824" } else { "unlimited" };
                assert_eq!(soft(&process), [file_bytes, "unlimited", &memory_bytes(&process.comm)], "{process:?}");
            }
            if process == server {
                assert_eq!(soft(&process), ["0", "600", "1024000000000"], "{process:?}");
            }
        }
        assert_eq!(session.finish().code, 0);
        assert_log_is_whole(&["client_eof", "server_exit"]);
    });
}

/// Holds the lock of the host index, as a process that stands still.
fn hold_the_index() -> File {
    let file = File::open(Path::new(records::DEFAULT_DIRECTORY).join("index.jsonl")).expect("a session was here");
    file.try_lock().expect("nobody else holds it");
    file
}

#[test]
fn a_lock_that_somebody_keeps_stops_a_start_and_no_end() {
    arena::run(|arena| {
        let session = begun(echo(arena));
        let crowd = session.processes();
        let held = hold_the_index();

        let refused = Session::start(echo(arena)).finish();
        assert_eq!(refused.code, 125, "{}", refused.stderr);
        assert!(refused.stderr.contains("cannot lock") && refused.stderr.contains("index.jsonl"), "{}", refused.stderr);
        assert!(refused.lines.is_empty(), "{:?}", refused.lines);

        session.signal(Signal::SIGTERM);
        let ended = session.ended();
        assert_all_end(&crowd, "a held index");
        assert_ne!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("cannot lock") && ended.stderr.contains("index.jsonl"), "{}", ended.stderr);

        drop(held);
        assert_eq!(begun(echo(arena)).finish().code, 0, "the next session");
        let starts: Vec<Value> = records::of_type(records::DEFAULT_DIRECTORY, "session.start");
        assert_eq!(starts.len(), 2, "{starts:#?}");
    });
}

/// A cgroup in every tree, as one that was delegated to a user.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn make() -> Self {
        let hierarchy = Hierarchy::detect().expect("a host with cgroups");
        let name = format!("isb-caller-{}", std::process::id());
        let folders: Vec<PathBuf> = hierarchy.trees().into_iter().map(|tree| tree.join(&name)).collect();
        folders.iter().for_each(|folder| fs::create_dir(folder).expect("root can make a cgroup"));
        Self(folders)
    }

    /// What a shell does to be in it.
    fn enter(&self) -> String {
        self.0
            .iter()
            .map(|folder| format!("echo 0 > '{}/cgroup.procs'", folder.display()))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn write(&self, v2: (&str, &str), v1: (&str, &str)) {
        for folder in &self.0 {
            for (file, text) in [v2, v1] {
                let path = folder.join(file);
                if path.exists() {
                    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                }
            }
        }
    }

    fn freeze(&self) -> Frozen<'_> {
        self.write(("cgroup.freeze", "1"), ("freezer.state", "FROZEN"));
        Frozen(self)
    }

    fn members(&self) -> String {
        self.0.iter().map(|folder| fs::read_to_string(folder.join("cgroup.procs")).expect("it is there")).collect()
    }
}

/// What stands in it is let go on when this is dropped: version 1 lets nobody die in the cold.
struct Frozen<'a>(&'a Delegated);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.write(("cgroup.freeze", "0"), ("freezer.state", "THAWED"));
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = wait::becomes_true(GONE_LIMIT, || self.members().is_empty());
        for folder in &self.0 {
            let _ = fs::remove_dir(folder); // what does not go is in use by what failed
        }
    }
}

#[test]
fn who_owns_the_cgroup_that_we_are_called_from_holds_up_none_of_ours() {
    arena::run(|arena| {
        let delegated = Delegated::make();
        let mut command = after(&delegated.enter(), &arena.folder("callers"), &echo(arena));
        command.env("SUDO_UID", "65534");
        let mut session = begun(command);
        let crowd = session.processes();
        assert!(crowd.len() >= 4, "monitor, janitor, relay and egress at least: {crowd:?}");
        let _frozen = delegated.freeze();
        assert!(session.call("echo", json!({"text": "x"}))["result"].is_object());
        assert_eq!(delegated.members(), "", "of {crowd:?}");
        session.signal(Signal::SIGTERM);
        let ended = session.ended();
        assert!(ended.took < wait::on_this_machine(Duration::from_secs(3)), "took {:?}: {}", ended.took, ended.stderr);
        assert_all_end(&crowd, "a frozen caller");
        assert_log_is_whole(&["signal"]);
    });
}

/// A verify that stands still keeps the lock of the index, which every start of the host waits for.
#[test]
#[expect(clippy::disallowed_methods, reason = "the harness is not the supervisor: it starts it")]
fn what_takes_a_lock_of_the_host_does_not_stand_in_its_callers_cgroup() {
    arena::run(|arena| {
        assert_eq!(begun(echo(arena)).finish().code, 0, "an index is there");
        let delegated = Delegated::make();
        let held = hold_the_index();
        let mut verify = run::as_real_root(harness::paths::supervisor());
        verify.args(["audit", "verify"]);
        let mut command = after(&delegated.enter(), &arena.folder("callers"), &verify);
        command.env("SUDO_UID", "65534").stdout(Stdio::null());
        let mut child = command.spawn().expect("it can be started");
        let entered = wait::becomes_true(GONE_LIMIT, || {
            fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|exe| exe == harness::paths::supervisor())
        });
        assert!(entered, "it has come to be ours");
        assert!(wait::becomes_true(GONE_LIMIT, || delegated.members().is_empty()), "{}", delegated.members());
        assert!(child.try_wait().expect("own child").is_none(), "it waits for the lock");
        drop(held);
        assert!(child.wait().expect("own child").success());
    });
}

/// Whoever starts us says how much too late the kernel may wake us, over execve(2) and sudo: a wall time that comes in thirty years.
#[test]
fn a_caller_does_not_put_off_our_clocks() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let policy = format!("{}  resources: {{wall: 2s}}\n", policies::plain(&["echo"], &format!("{ROOT}/bin")));
        let command = Run::new(arena, &policy).command([program]).to_command();
        let centuries = "echo 1000000000000000000 > /proc/$$/timerslack_ns";
        let session = begun(after(centuries, &arena.folder("callers"), &command));
        for process in session.processes() {
            // Who cannot be asked is gone already.
            let slack = fs::read_to_string(format!("/proc/{}/timerslack_ns", process.pid)).unwrap_or_default();
            assert!(["50000\n", ""].contains(&slack.as_str()), "{process:?}: {slack}");
        }
        assert_eq!(session.ended().code, 124);
        assert_log_is_whole(&["wall_time"]);
    });
}

/// What a caller behind sudo, or real root, meets who gives a run this kind of stderr.
fn unread(arena: &Arena, kind: &str, behind_sudo: bool) -> Value {
    let policy = format!("{}  resources: {{wall: 5s}}\n", policies::plain(&["echo"], &format!("{ROOT}/bin")));
    let file = arena.file("unread.yaml", policy);
    let program = arena.program("echo_server");
    let command = Run::with_file(&file).command([program]).to_command();
    let patience = wait::on_this_machine(Duration::from_secs(30)).as_secs().to_string();
    let script = arena.file("unread.py", include_str!("callers/unread.py"));
    let mut caller = run::as_real_root("python3".into());
    caller.arg(script).arg(kind).arg(file).arg(patience).arg(command.get_program()).args(command.get_args());
    if behind_sudo {
        caller.env("SUDO_UID", "65534");
    }
    let output = caller.output().expect("python3 can be started");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", run::said(&output)))
}

/// Its keeper lets nobody open the terminal again, and lets it take nothing later on; an eventfd is full after a few words.
#[test]
fn a_stderr_that_its_keeper_can_keep_waiting_is_refused_behind_sudo() {
    arena::run(|arena| {
        for kind in ["locked terminal", "eventfd"] {
            assert_eq!(unread(arena, kind, true)["code"], 125, "{kind}");
        }
        assert!(records::of_type(records::DEFAULT_DIRECTORY, "session.start").is_empty());
        assert_eq!(unread(arena, "terminal", true)["code"], 0);
        assert_eq!(unread(arena, "locked terminal", false)["code"], 0, "root holds up nobody but himself");
    });
}

#[test]
fn a_full_socket_for_stderr_does_not_keep_the_wall_time_from_coming() {
    arena::run(|arena| {
        assert_eq!(unread(arena, "socket", true)["code"], 124);
        assert!(
            !records::of_type(records::DEFAULT_DIRECTORY, "policy.reject").is_empty(),
            "there was something to say"
        );
        assert_log_is_whole(&["wall_time"]);
    });
}

/// The ceilings that a service manager gave the unit hold for us, too.
#[test]
fn a_session_of_real_root_stays_in_the_cgroup_that_it_was_started_in() {
    arena::run(|arena| {
        let delegated = Delegated::make();
        let session = begun(after(&delegated.enter(), &arena.folder("callers"), &echo(arena)));
        let ours: Vec<Process> = session
            .processes()
            .into_iter()
            .filter(|process| process.comm.starts_with("isb-") || process.pid == session.pid())
            .collect();
        assert!(ours.len() >= 4, "monitor, janitor, relay and egress at least: {ours:?}");
        for folder in &delegated.0 {
            let members = fs::read_to_string(folder.join("cgroup.procs")).expect("it is there");
            for process in &ours {
                let stays = members.lines().any(|pid| pid == process.pid.to_string());
                assert!(stays, "{process:?} left {}: {members:?}", folder.display());
            }
        }
        assert_eq!(session.finish().code, 0);
    });
}
