//! What the server's filter refuses: the server reads `EPERM`, and the log says which call, how often, and during which tool call.

mod departing;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, ROOT};
use harness::paths;
use harness::processes::Process;
use harness::records::{self, DEFAULT_DIRECTORY};
use harness::remains::GONE_LIMIT;
use harness::run::Run;
use harness::session::{Session, text_of};
use harness::wait;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Calls that are answered at once, and a second after that (`DENIALS_AT_ONCE_MAX`, `DENIALS_A_SECOND_MAX`).
const AT_ONCE: u64 = 512;
const A_SECOND: u64 = 400;
const TOOLS: [&str; 5] = ["tries", "flood", "depart", "ordinary", "echo"];

fn run(arena: &Arena) -> Run {
    arena.folder("bin");
    arena.writable_folder("work");
    let script = arena.file("bin/hostile.py", include_str!("hostile.py"));
    let tools: String = TOOLS.iter().map(|tool| format!("{tool}: {{rules: []}}, ")).collect();
    let policy = format!(
        "version: \"1\"\nname: denials\ndefault: deny\ntools: {{{tools}}}\nsandbox:\n  filesystem: {{read: [{ROOT}/bin], write: [{ROOT}/work]}}\n  process: {{max: 64}}\n"
    );
    Run::new(arena, &policy).command(["python3", script.to_str().expect("a plain path")])
}

fn start(run: &Run) -> (Session, Process) {
    let session = run.begin();
    let server = session.server(&format!("{ROOT}/bin/hostile.py"));
    (session, server)
}

fn told(answer: &Value) -> Value {
    serde_json::from_str(&text_of(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn denials() -> Vec<Value> {
    records::of_type(DEFAULT_DIRECTORY, "proc.denied")
}

/// How often each call was refused, by the log.
fn counts(records: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        let call = record["proc"]["call"].as_str().expect("a name").to_owned();
        *counts.entry(call).or_insert(0) += record["proc"]["count"].as_u64().expect("a count");
    }
    counts
}

/// Calls that are recorded, with arguments that no kernel takes where they would be obeyed without a filter.
fn hostile() -> Vec<(&'static str, libc::c_long, Vec<u64>)> {
    let bad = (1 << 53) - 1; // the largest integer that a message may have: no address, no descriptor, no process
    vec![
        ("ptrace", libc::SYS_ptrace, vec![16, 1]),
        ("mount", libc::SYS_mount, vec![bad, bad, bad]),
        ("umount2", libc::SYS_umount2, vec![bad]),
        ("bpf", libc::SYS_bpf, vec![bad, bad]),
        ("unshare", libc::SYS_unshare, vec![0x1000_0000]),
        ("setns", libc::SYS_setns, vec![bad, 0]),
        ("clone", libc::SYS_clone, vec![0x1000_0000]),
        ("ioctl", libc::SYS_ioctl, vec![0, 0xff_0000_5412, bad]),
        ("fchmod", libc::SYS_fchmod, vec![bad, 0o4755]),
        ("socket", libc::SYS_socket, vec![38, 5, 0]),
        ("keyctl", libc::SYS_keyctl, vec![bad]),
        ("perf_event_open", libc::SYS_perf_event_open, vec![bad]),
        ("process_vm_readv", libc::SYS_process_vm_readv, vec![1, bad, bad, bad, bad, bad]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, vec![bad, bad, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, vec![bad]),
        ("init_module", libc::SYS_init_module, vec![bad, bad, bad]),
        ("seccomp", libc::SYS_seccomp, vec![1, 8, bad]),
        ("vmsplice", libc::SYS_vmsplice, vec![bad, bad, bad]),
    ]
}

fn try_all(session: &mut Session, times: usize) -> Value {
    let calls: Vec<Value> =
        hostile().iter().cycle().take(hostile().len() * times).map(|(_, call, words)| json!([call, words])).collect();
    told(&session.call("tries", json!({"calls": calls})))
}

#[test]
fn each_refused_call_is_recorded_and_answered_with_eperm() {
    arena::run(|arena| {
        let (mut session, _) = start(&run(arena));
        let began = Instant::now();
        assert_eq!(try_all(&mut session, 3), json!(vec![libc::EPERM; hostile().len() * 3]));
        let took = began.elapsed();
        assert!(took < wait::on_this_machine(Duration::from_secs(3)), "so few calls wait for nobody: {took:?}");
        assert_eq!(session.finish().code, 0);
        let wanted: BTreeMap<String, u64> = hostile().iter().map(|(name, ..)| ((*name).to_owned(), 3)).collect();
        assert_eq!(counts(&denials()), wanted);
    });
}

/// One call alone, and a server that works on after it: of several the first record may count some together, and where the tool
/// call's answer is faster than the refusal's record, none is in flight to be named.
#[test]
fn a_refused_call_is_recorded_at_once_with_its_thread_and_the_tool_call_in_flight() {
    arena::run(|arena| {
        let (mut session, server) = start(&run(arena));
        let arguments = json!({"calls": [[libc::SYS_ptrace, [16, 1]]], "pause_s": 2});
        assert_eq!(told(&session.call("tries", arguments)), json!([libc::EPERM]));
        assert_eq!(session.finish().code, 0);
        let (records, requests) = (denials(), records::of_type(DEFAULT_DIRECTORY, "mcp.request"));
        assert_eq!(records.len(), 1, "{records:#?}");
        let (denial, proc) = (&records[0], &records[0]["proc"]);
        assert_eq!((&denial["effect"], &denial["severity"]), (&json!("denied"), &json!("warning")), "{denial}");
        assert_eq!((&proc["call"], &proc["count"]), (&json!("ptrace"), &json!(1)), "{denial}");
        assert_eq!((&proc["tid"], &proc["comm"]), (&json!(server.pid), &json!("python3")), "{denial}");
        assert_eq!(denial["reason"]["code"], "refused_call");
        let call = requests.iter().find(|record| record["mcp"]["tool"] == "tries").expect("the call is recorded");
        assert_eq!(denial["corr"], call["corr"]);
    });
}

/// The count of a flood is told later, while another tool call is in flight that has nothing to do with it.
#[test]
fn a_count_that_is_told_later_names_no_tool_call() {
    arena::run(|arena| {
        let (mut session, _) = start(&run(arena));
        let calls = json!([[libc::SYS_ptrace, [16, 1]]]);
        session.call("tries", json!({"calls": calls, "pause_s": 0.3}));
        session.call("tries", json!({"calls": calls}));
        session.call("tries", json!({"calls": [], "pause_s": 2}));
        assert_eq!(session.finish().code, 0);
        let records = denials();
        let (first, rest) = records.split_first().expect("a first record");
        assert_eq!(counts(&records)["ptrace"], 2, "{records:#?}");
        let requests = records::of_type(DEFAULT_DIRECTORY, "mcp.request");
        let call = requests.iter().find(|record| record["mcp"]["tool"] == "tries").expect("the call is recorded");
        assert_eq!(first["corr"], call["corr"], "{records:#?}");
        assert!(rest.len() == 1 && rest[0].get("corr").is_none(), "{records:#?}");
    });
}

#[test]
fn a_flood_of_refused_calls_is_counted_at_a_pace_and_holds_up_nobody() {
    arena::run(|arena| {
        let (mut session, server) = start(&run(arena));
        let began = Instant::now();
        let flood = json!({"threads": 8, "times": 12_500, "number": libc::SYS_ptrace});
        assert_eq!(told(&session.call("flood", flood)), "started");
        for round in 0..20 {
            let answer = session.call("echo", json!({"round": round}));
            assert!(answer["result"].is_object(), "{answer}");
            thread::sleep(Duration::from_millis(200));
        }
        assert!(server.is_alive() && server.threads() > 8, "the flood goes on: {} threads", server.threads());
        let ended = session.finish();
        let seconds = began.elapsed().as_secs() + 1;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let records = denials();
        let refused = counts(&records)["ptrace"];
        assert!(refused > AT_ONCE, "{refused} calls in {seconds} s");
        assert!(refused <= AT_ONCE + A_SECOND * seconds, "{refused} calls in {seconds} s: no pace");
        assert!((2..=8).contains(&records.len()), "{} records of one call in {seconds} s", records.len());
        eprintln!("{refused} of 100,000 refused calls were answered in {seconds} s, {} records", records.len());
    });
}

#[test]
fn a_monitor_that_is_killed_in_a_flood_leaves_no_server() {
    arena::run(|arena| {
        let (mut session, server) = start(&run(arena));
        let flood = json!({"threads": 8, "times": 12_500, "number": libc::SYS_ptrace});
        assert_eq!(told(&session.call("flood", flood)), "started");
        session.signal(Signal::SIGKILL);
        assert!(wait::becomes_true(GONE_LIMIT, || !server.is_alive()));
    });
}

#[test]
fn the_monitor_alone_holds_the_listener() {
    arena::run(|arena| {
        let (session, server) = start(&run(arena));
        let holders: Vec<u32> = session
            .processes()
            .into_iter()
            .filter(|process| process.descriptors().values().any(|link| link.contains("seccomp")))
            .map(|process| process.pid)
            .collect();
        assert_eq!(holders, [session.pid()], "the monitor, and the server is {}", server.pid);
        let open = server.descriptors();
        assert_eq!(open.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{open:?}");
    });
}

#[test]
fn what_runtimes_and_everyday_tools_do_leaves_no_record() {
    arena::run(|arena| {
        let (mut session, _) = start(&run(arena));
        let python = "import asyncio,ctypes,multiprocessing,os,socket,sqlite3,ssl,subprocess,tempfile,threading\n\
            server=socket.create_server(('127.0.0.1',0)); multiprocessing.Queue(); subprocess.run(['true'])\n\
            asyncio.run(asyncio.sleep(0)); sqlite3.connect(':memory:').execute('select 1'); print('done')";
        let node = "const s=require('net').createServer().listen(0,()=>{s.close();\
            new (require('worker_threads').Worker)('1',{eval:true});require('fs').readdirSync('/');\
            require('child_process').execSync('true');console.log('done')})";
        let shell = format!(
            "cd {ROOT}/work && mkdir a && echo x > a/b && cp -a a c && tar cf d.tar a && tar xf d.tar -C c && ls -la c && ps ax && nice true && echo done"
        );
        let commands = json!([["python3", "-c", python], ["node", "-e", node], ["sh", "-c", shell]]);
        let answers = told(&session.call("ordinary", json!({"commands": commands})));
        let ran = |answer: &Value| answer.as_str().is_some_and(|text| text.contains("done"));
        assert!(ran(&answers[0]) && ran(&answers[1]), "{answers:#}");
        assert_eq!(session.finish().code, 0);
        assert_eq!(denials(), [] as [Value; 0]);
    });
}

#[test]
fn without_a_listener_the_same_is_refused_and_the_layer_says_so() {
    arena::run(|arena| {
        let run = run(arena).by(paths::weakenable());
        let (mut session, _) = start(&run.clone().env("ISB_FAULT", "lack:listener"));
        assert_eq!(try_all(&mut session, 1), json!(vec![libc::EPERM; hostile().len()]));
        assert_eq!(session.finish().code, 0);
        assert_eq!(denials(), [] as [Value; 0]);
        let (session, _) = start(&run);
        assert_eq!(session.finish().code, 0);
        let answers = records::of_type(DEFAULT_DIRECTORY, "sandbox.applied").into_iter().flat_map(|record| {
            let layers = record["sandbox"]["layers"].as_array().cloned().unwrap_or_default();
            layers.into_iter().filter(|layer| layer["layer"] == "seccomp")
        });
        let (whole, partial): (Vec<Value>, Vec<Value>) = answers.partition(|layer| layer["state"] == "enforced");
        assert_eq!((whole.len(), partial.len()), (1, 1), "{whole:?} {partial:?}");
        assert_eq!(partial[0]["state"], "partial");
        let reason = partial[0]["reason"].to_string();
        assert!(reason.contains("denials are not recorded"), "{reason}");
    });
}
