//! The wall: a hostile server tries to get data out.

use harness::arena::ROOT;
use harness::canary::Canaries;
use harness::run::{self, Run};
use harness::session::{Session, text_of};
use harness::{policies, records, table, wait};
use serde_json::{Value, json};

use crate::screen::{chapter, must, say};
use crate::{Chapter, Stage};

/// What is tried, where a success would show, and the member of the `net` record that shows the refusal.
const ATTEMPTS: [(&str, &str, &str, &str, &str); 6] = [
    ("another host, by name", "tcp-other-name", "tcp 203.0.113.9:443", "host", "exfil.example"),
    ("the allowed host, another port", "tcp-other-port", "tcp 203.0.113.10:8443", "dst_port", "8443"),
    ("an address, no name", "tcp-metadata", "tcp 169.254.169.254:80", "dst_ip", "169.254.169.254"),
    ("UDP", "udp-sendto", "udp 1.1.1.1:443", "proto", "udp"),
    ("IPv6", "tcp-v6", "tcp [2001:db8::53]:443", "dst_ip", "2001:db8::53"),
    ("a DNS tunnel", "dns-tunnel", "udp 8.8.8.8:53", "host", "6c6f6f746c6f6f746c6f6f74.tunnel.example"),
];

pub(crate) fn tell(stage: &Stage) -> Chapter {
    chapter(5, "A hijacked server tries to get data out");
    say("   A hostile program plays the server. Listeners on the outside count who reaches them.\n");
    let arena = &stage.arena;
    arena.program("redteam");
    arena.writable_folder("images");
    arena.folder("shown");
    let canaries = Canaries::open(&arena.folder("private").join("canary.sock"));
    let program = format!("{ROOT}/bin/redteam");

    let mut bare = Session::start(run::bare([&program]));
    bare.initialize();
    let reached = try_all(&mut bare, &canaries);
    drop(bare);

    let mut ours = Run::new(arena, &policies::hostile()).connect_to(&stage.stand_in).command([&program]).start();
    ours.initialize();
    let known = records::read(records::DEFAULT_DIRECTORY);
    let got_out = try_all(&mut ours, &canaries);

    let mut rows = Vec::new();
    for (index, (what, probe, _, member, value)) in ATTEMPTS.into_iter().enumerate() {
        must(reached[index] > 0, &format!("without us {probe} gets out, or the demo shows nothing"))?;
        must(got_out[index] == 0, &format!("{what} gets nowhere"))?;
        let record = records::wait_for(records::DEFAULT_DIRECTORY, &known, wait::COMES_LIMIT, |record| {
            is_refusal(record, member, value)
        });
        let record = record.ok_or_else(|| format!("{what} is on record"))?;
        let kind = record["type"].as_str().unwrap_or_default();
        let seen = format!("{kind} seq {}: {member} {value}", record["seq"]);
        rows.push(vec![what.to_owned(), reached[index].to_string(), got_out[index].to_string(), seen]);
    }
    let headings = ["attempt", "reached, without us", "with us", "audit record of the refusal"];
    for line in table::lines(&headings, &rows) {
        say(&format!("   {line}"));
    }
    must(ours.finish().code == 0, "the session ends well")
}

fn is_refusal(record: &Value, member: &str, value: &str) -> bool {
    let net = &record["net"];
    let found = net[member].as_str().map_or_else(|| net[member].to_string(), str::to_owned);
    net["verdict"] == "denied" && found == value
}

fn try_all(session: &mut Session, canaries: &Canaries) -> Vec<usize> {
    let attempt = |(_, probe, canary, ..): (&str, &str, &str, &str, &str)| {
        // What the program says of it is not asked: the listeners outside know.
        let _ = text_of(&session.call("probe", json!({"name": probe})));
        canaries.take(canary)
    };
    ATTEMPTS.into_iter().map(attempt).collect()
}
