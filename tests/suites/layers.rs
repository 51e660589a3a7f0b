//! Each layer by itself, read from the host's /proc: what an attack suite cannot show, because two layers hold each attack.

use std::collections::BTreeMap;
use std::fs;

use harness::arena::{self, Arena, ROOT};
use harness::processes::Process;
use harness::run::Run;
use harness::session::Session;
use harness::{policies, records};
use intercept_sandbox::sandbox::Layer;
use nix::sched::{CloneFlags, setns};
use nix::unistd::gethostname;

fn server(arena: &Arena) -> (Session, Process) {
    arena.program("redteam");
    arena.writable_folder("images");
    arena.folder("shown");
    let program = format!("{ROOT}/bin/redteam");
    let session = Run::new(arena, &policies::hostile()).command([&program]).begin();
    let server = session.server(&program);
    (session, server)
}

fn field(process: &Process, name: &str) -> String {
    process.status(name).unwrap_or_else(|| panic!("{process:?} has no {name}"))
}

#[test]
fn the_server_holds_no_capability() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&server, set), "0000000000000000", "{set}");
        }
    });
}

#[test]
fn the_server_has_no_new_privs() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        assert_eq!(field(&server, "NoNewPrivs"), "1");
    });
}

#[test]
fn the_server_has_a_seccomp_filter() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        assert_eq!(field(&server, "Seccomp"), "2", "SECCOMP_MODE_FILTER");
    });
}

#[test]
fn the_server_runs_as_a_uid_of_its_own_without_groups() {
    arena::run(|arena| {
        let (_one, first) = server(arena);
        let (_two, second) = server(arena);
        let uid = |process: &Process| -> Vec<u32> {
            field(process, "Uid").split_whitespace().map(|id| id.parse().expect("a uid")).collect()
        };
        let (first_ids, second_ids) = (uid(&first), uid(&second));
        assert!(first_ids.iter().all(|id| *id == first_ids[0] && *id >= 0x7000_0000), "{first_ids:?}");
        assert_ne!(first_ids[0], second_ids[0], "two runs never share a uid");
        assert_eq!(field(&first, "Groups"), "", "setgroups([]) came first");
        let map = fs::read_to_string(format!("/proc/{}/uid_map", first.pid)).expect("procfs");
        assert!(map.split_whitespace().nth(1) != Some("0"), "uid 0 of the host is not mapped: {map}");
    });
}

#[test]
fn the_server_shares_no_namespace_with_the_host() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        let host = Process::find(std::process::id()).expect("this test runs");
        for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
            assert_ne!(server.namespace(kind), host.namespace(kind), "{kind}");
        }
    });
}

#[test]
fn the_server_has_three_pipes_and_nothing_else() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        let descriptors = server.descriptors();
        assert_eq!(descriptors.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{descriptors:?}");
        assert!(descriptors.values().all(|text| text.starts_with("pipe:")), "{descriptors:?}");
    });
}

#[test]
fn the_servers_root_is_read_only_and_its_writable_folder_grants_no_setuid() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        let table = fs::read_to_string(format!("/proc/{}/mountinfo", server.pid)).expect("procfs");
        let options: BTreeMap<&str, &str> = table
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                Some((*fields.get(4)?, *fields.get(5)?))
            })
            .collect();
        let has =
            |path: &str, option: &str| options.get(path).is_some_and(|all| all.split(',').any(|one| one == option));
        for path in ["/", "/usr", "/mnt/arena/bin"] {
            assert!(has(path, "ro"), "{path} is read-only: {table}");
        }
        for option in ["nosuid", "nodev", "rw"] {
            assert!(has("/mnt/arena/images", option), "/mnt/arena/images is {option}: {table}");
        }
        for path in ["/sys", "/sys/fs/cgroup", "/sys/fs/bpf"] {
            assert!(!options.contains_key(path), "{path} is not mounted: {table}");
        }
    });
}

#[test]
fn the_servers_environment_is_constructed_not_inherited() {
    arena::run(|arena| {
        arena.program("redteam");
        arena.writable_folder("images");
        arena.folder("shown");
        let program = format!("{ROOT}/bin/redteam");
        let run = Run::new(arena, &policies::hostile()).env("ISB_TEST_SECRET", "isb-secret").command([&program]);
        let session = run.begin();
        let server = session.server(&program);
        let environment = fs::read(format!("/proc/{}/environ", server.pid)).expect("root may look");
        let text = String::from_utf8_lossy(&environment).replace('\0', "\n");
        assert!(!text.contains("ISB_TEST_SECRET"), "{text}");
        assert!(text.lines().any(|line| line == "PATH=/usr/local/bin:/usr/bin:/bin"), "{text}");
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn the_server_sees_a_host_name_that_says_nothing() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        let uts = fs::File::open(format!("/proc/{}/ns/uts", server.pid)).expect("root may look");
        let own = || gethostname().expect("a host has a name").to_string_lossy().into_owned();
        // In a thread of its own, which ends there.
        let inside = std::thread::spawn(move || setns(uts, CloneFlags::CLONE_NEWUTS).map(|()| own()));
        let inside = inside.join().expect("it does not panic").expect("root may enter");
        assert_eq!(inside, "sandbox");
        assert_ne!(gethostname().expect("a host has a name").to_string_lossy(), inside, "or this shows nothing");
    });
}

#[test]
fn the_server_goes_before_others_when_memory_runs_out() {
    arena::run(|arena| {
        let (session, server) = server(arena);
        let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("procfs");
        assert_eq!(score(server.pid).trim(), "500");
        assert_ne!(score(session.pid()).trim(), "500", "or this shows nothing");
    });
}

#[test]
fn the_session_has_limits_in_its_cgroup() {
    arena::run(|arena| {
        let (_session, server) = server(arena);
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", server.pid)).expect("procfs");
        let limit = |controller: &str, names: [&str; 2]| {
            let line = groups
                .lines()
                .find(|line| line.split(':').nth(1).is_some_and(|all| all.split(',').any(|c| c == controller)));
            let path = match line {
                Some(line) => format!("/sys/fs/cgroup/{controller}{}", line.splitn(3, ':').nth(2).expect("a path")),
                None => {
                    let unified = groups.lines().find(|line| line.starts_with("0::")).expect("cgroup v2");
                    format!("/sys/fs/cgroup{}", &unified[3..])
                }
            };
            let read = names.iter().find_map(|name| fs::read_to_string(format!("{path}/{name}")).ok());
            read.unwrap_or_else(|| panic!("no {names:?} in {path}\n{groups}")).trim().to_owned()
        };
        assert_ne!(limit("memory", ["memory.max", "memory.limit_in_bytes"]), "max");
        let pids: u64 = limit("pids", ["pids.max", "pids.max"]).parse().expect("a number, not max");
        assert!(pids <= 66, "64 and what init needs: {pids}");
    });
}

#[test]
fn every_layer_answers_in_the_log_and_the_core_ones_are_enforced() {
    arena::run(|arena| {
        let (session, _server) = server(arena);
        let applied = records::of_type(records::DEFAULT_DIRECTORY, "sandbox.applied");
        assert_eq!(applied.len(), 1, "{applied:#?}");
        let layers = applied[0]["sandbox"]["layers"].as_array().expect("a list").clone();
        for layer in Layer::ALL {
            let answer = layers.iter().find(|answer| answer["layer"] == layer.name());
            let answer = answer.unwrap_or_else(|| panic!("{} does not answer: {layers:#?}", layer.name()));
            assert!(!layer.is_core() || answer["state"] != "unsupported", "{answer}");
        }
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn lsm_programs_are_in_force_where_the_kernel_calls_them_and_off_with_a_reason_elsewhere() {
    arena::run(|arena| {
        let (session, _server) = server(arena);
        let applied = records::of_type(records::DEFAULT_DIRECTORY, "sandbox.applied");
        let layers = applied[0]["sandbox"]["layers"].as_array().expect("a list").clone();
        let lsm = layers.into_iter().find(|answer| answer["layer"] == "lsm").expect("an answer");
        match fs::read_to_string("/sys/kernel/security/lsm") {
            Ok(list) if list.trim().split(',').any(|module| module == "bpf") => {
                assert_eq!(lsm["state"], "enforced", "{lsm}");
            }
            Ok(_) => assert!(lsm["state"] == "unsupported" && said(&lsm, "lsm= list"), "{lsm}"),
            Err(_) => {
                assert!(lsm["state"] == "unsupported" && said(&lsm, "cannot read /sys/kernel/security/lsm"), "{lsm}")
            }
        }
        assert_eq!(session.finish().code, 0);
    });
}

fn said(answer: &serde_json::Value, part: &str) -> bool {
    answer["reason"].as_str().is_some_and(|reason| reason.contains(part))
}

#[test]
fn our_own_processes_are_confined() {
    arena::run(|arena| {
        let (session, server) = server(arena);
        let monitor = session.pid();
        let own = fs::read_link(format!("/proc/{monitor}/exe")).expect("it runs");
        let crew: Vec<Process> = session
            .processes()
            .into_iter()
            .filter(|process| process.pid != monitor && process.pid != server.pid)
            .filter(|process| fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe == own))
            .collect();
        let unprivileged: Vec<&Process> = crew.iter().filter(|p| !field(p, "Uid").starts_with("0\t")).collect();
        assert_eq!(unprivileged.len(), 3, "relay, egress and dialer: {crew:?}");
        for comm in ["isb-janitor", "memfd:sandbox-i"] {
            let process = session.of_ours(comm);
            assert_eq!(field(&process, "Seccomp"), "2", "{process:?}");
            assert_eq!(field(&process, "NoNewPrivs"), "1", "{process:?}");
        }
        for process in unprivileged {
            assert_eq!(field(process, "CapEff"), "0000000000000000", "{process:?}");
            assert_eq!(field(process, "NoNewPrivs"), "1", "{process:?}");
            assert_eq!(field(process, "Seccomp"), "2", "{process:?}");
        }
    });
}
