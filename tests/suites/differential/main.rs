//! Hostile lines against servers on the real SDKs, bare and under us: whatever a server executes under us, we had judged exactly
//! that and allowed it; a denied tool is never executed; a normal call is never broken.

mod bypasses;

use harness::arena;
use harness::differential::servers::{self, Server};
use harness::differential::{Grammar, Line, Stage, judged};
use harness::session::denial_code;
use harness::table;

/// Lines for each of the six servers; 20,000 in all.
const LINES: usize = 3_334;
/// Lines for each of them with `cargo xtask test --full`; 2,100,000 in all.
const FULL_LINES: usize = 350_000;
/// Lines of one session: its audit log stands in memory here.
const SESSION_LINES: usize = 10_000;
/// Share of the lines, in percent, that each bare server must execute, or the grammar yields only garbage.
const EXECUTED_PERCENT_MIN: usize = 30;
const SEED: u64 = 20_260_728;

/// Sends the same lines to the bare server and to the server under us, and compares.
fn compare(server: Server, seed: u64, count: usize) {
    // Captured: it is shown when the test fails, wherever it does.
    eprintln!("{}: {count} lines of seed {seed}", server.name);
    arena::run(move |arena| {
        let lines: Vec<Line> = Grammar::new(seed).take(count).collect();
        let stage = Stage::new(arena, server);
        let bare = stage.bare(&lines);
        let policed = stage.policed(&lines);
        let share = bare.executed.len() * 100 / count;
        let row = vec![
            server.name.to_owned(),
            seed.to_string(),
            count.to_string(),
            format!("{} ({share} %)", bare.executed.len()),
            bare.calls.iter().filter(|call| call.contains("\"denied\"")).count().to_string(),
            bare.deaths.len().to_string(),
            policed.calls.len().to_string(),
        ];
        let head = ["server", "seed", "lines", "executed bare", "denied tool", "deaths", "executed under us"];
        table::print("differential", &head, &[row]);
        let findings = judged::findings(&server, &policed.calls, &policed.records, &policed.redactor);
        assert!(
            findings.is_empty(),
            "{}, seed {seed}: {} findings\n{}",
            server.name,
            findings.len(),
            findings[..findings.len().min(10)].join("\n")
        );
        let broken: Vec<&Line> = lines
            .iter()
            .filter(|line| line.is_good)
            .filter(|line| {
                let answer = policed.answers.get(&line.tag);
                !answer.is_some_and(|answer| answer["result"]["content"].is_array() && denial_code(answer).is_none())
            })
            .collect();
        let shown = broken.first().map(|line| (String::from_utf8_lossy(&line.bytes), policed.answers.get(&line.tag)));
        assert!(broken.is_empty(), "{}, seed {seed}: {} good calls were broken: {shown:?}", server.name, broken.len());
        assert!(share >= EXECUTED_PERCENT_MIN, "{}, seed {seed}: the bare server executed {share} %", server.name);
    });
}

#[test]
fn typescript_executes_what_was_judged() {
    compare(servers::TS, SEED, LINES);
}

#[test]
fn typescript_0_6_executes_what_was_judged() {
    compare(servers::TS_OLD, SEED + 1, LINES);
}

#[test]
fn python_1_executes_what_was_judged() {
    compare(servers::PY1, SEED + 2, LINES);
}

#[test]
fn python_2_executes_what_was_judged() {
    compare(servers::PY2, SEED + 3, LINES);
}

#[test]
fn rmcp_executes_what_was_judged() {
    compare(servers::RMCP, SEED + 4, LINES);
}

#[test]
fn go_executes_what_was_judged() {
    compare(servers::GO, SEED + 5, LINES);
}

/// Many sessions, each with lines of its own.
fn many(server: Server, part: u64) {
    for session in 0..FULL_LINES / SESSION_LINES {
        compare(server, SEED + 1_000_000 * (part + 1) + session as u64, SESSION_LINES);
    }
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_typescript() {
    many(servers::TS, 0);
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_typescript_0_6() {
    many(servers::TS_OLD, 1);
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_python_1() {
    many(servers::PY1, 2);
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_python_2() {
    many(servers::PY2, 3);
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_rmcp() {
    many(servers::RMCP, 4);
}

#[test]
#[ignore = "350,000 lines take minutes"]
fn many_lines_to_go() {
    many(servers::GO, 5);
}
