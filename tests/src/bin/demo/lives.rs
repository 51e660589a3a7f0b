//! The cord: whichever of our processes dies, the server dies with it.

use std::time::Duration;

use harness::processes::Process;
use harness::{table, wait};
use nix::sys::signal::Signal;

use crate::screen::{chapter, must, say};
use crate::{Chapter, Stage};

/// Everything is gone this soon.
const GONE_LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn tell(stage: &Stage) -> Chapter {
    chapter(6, "Somebody kills us");
    say("   kill -9 of each process of a running session in turn:\n");
    let mut rows = Vec::new();
    let mut index = 0;
    loop {
        let session = stage.run().begin();
        let crowd = session.processes();
        let Some(victim) = crowd.get(index) else {
            must(session.finish().code == 0, "the session ends well")?;
            break;
        };
        must(victim.signal(Signal::SIGKILL), "it runs")?;
        let code = session.ended().code;
        let alive = || crowd.iter().filter(|process| process.is_alive()).collect::<Vec<&Process>>();
        let gone = wait::becomes_true(GONE_LIMIT, || alive().is_empty());
        must(gone, &format!("nothing outlives {}: {:?}", victim.comm, alive()))?;
        rows.push(vec![role(&victim.comm), crowd.len().to_string(), "0".into(), code.to_string()]);
        index += 1;
    }
    let headings = ["killed", "processes before", "after", "exit code"];
    for line in table::lines(&headings, &rows) {
        say(&format!("   {line}"));
    }
    say("\n   The server's network had no road but through us: with us gone, there is none.");
    Ok(())
}

/// What the audience calls a process whose name in /proc is `comm`, cut at 15 bytes there.
fn role(comm: &str) -> String {
    match comm {
        "intercept-sandb" => "monitor, the root process".into(),
        "isb-janitor" | "isb-relay" | "isb-egress" | "isb-dialer" => comm["isb-".len()..].into(),
        "node" => "node, the server itself".into(),
        _ if comm.starts_with("memfd:") => "init, PID 1 of the sandbox".into(),
        _ => comm.to_owned(),
    }
}
