//! The path of a call stays on one thread.

use std::fs;

use harness::arena::{self, ROOT};
use harness::policies;
use harness::processes::Process;
use harness::run::Run;
use serde_json::json;

#[test]
fn the_relay_and_the_monitor_have_one_thread_each() {
    arena::run(|arena| {
        let program = arena.program("echo_server");
        let mut session =
            Run::new(arena, &policies::plain(&["echo"], &format!("{ROOT}/bin"))).command([&program]).start();
        session.initialize();
        for number in 0..20 {
            let answer = session.call("echo", json!({"text": number.to_string()}));
            assert_eq!(answer["result"]["content"][0]["text"], number.to_string());
        }
        let monitor = Process::find(session.pid()).expect("it runs");
        assert_eq!(monitor.threads(), 1, "the monitor is never threaded");
        let server = session.server(program.to_str().expect("a plain path"));
        let theirs = pipes(&server);
        // The relay is the one other process that holds the far ends of the server's pipes.
        let relays: Vec<Process> = session
            .processes()
            .into_iter()
            .filter(|process| process.pid != server.pid && process.pid != monitor.pid)
            .filter(|process| pipes(process).iter().filter(|pipe| theirs.contains(pipe)).count() >= 2)
            .collect();
        assert_eq!(relays.len(), 1, "exactly one process sits on the pipe: {:?}", session.processes());
        assert_eq!(relays[0].threads(), 1, "the path of a call stays on one thread");
        assert_eq!(session.finish().code, 0);
    });
}

fn pipes(process: &Process) -> Vec<String> {
    let folder = format!("/proc/{}/fd", process.pid);
    let links =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).filter(|link| link.starts_with("pipe:")).collect()
}
