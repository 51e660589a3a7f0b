//! What a call and a launch cost, side by side in one run; writes docs/performance.md.

mod calls;
mod decisions;
mod launches;
mod sizes;
mod stores;

use std::fs;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use harness::arena::{Arena, ROOT};
use harness::run::{Run, bare};
use harness::{paths, policies, table};

/// Calls of one road.
const CALLS: usize = 5000;
/// Launches of one road.
const LAUNCHES: usize = 50;

fn main() -> std::io::Result<()> {
    let arena = Arena::enter();
    let program = arena.program("echo_server").to_string_lossy().into_owned();
    let policy = |durability: &str| {
        format!("{}audit: {{durability: {durability}}}\n", policies::plain(&["echo"], &format!("{ROOT}/bin")))
    };
    // Log and state on the disk: the arena's own directories are in memory, where a sync costs nothing.
    let run = |durability: &str| {
        let file = arena.file(&format!("{durability}.yaml"), policy(durability));
        let on_disk = Run::with_file(file).flag("--audit-dir").flag(arena.folder("log"));
        on_disk.flag("--state-dir").flag(arena.folder("state")).command([&program])
    };
    let (strict, write) = (run("strict"), run("write"));
    let hops = format!("cat | {program} | cat");
    let roads: [(&str, &dyn Fn() -> Command); 4] = [
        ("direct pipe", &|| bare([&program])),
        ("two cat hops", &|| bare(["sh", "-c", &hops])),
        ("intercept-sandbox, durability write", &|| write.to_command()),
        ("intercept-sandbox, durability strict", &|| strict.to_command()),
    ];
    let roads = calls::medians(&roads);
    let sizes = sizes_section(&arena);
    let unshared = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", &program, "exit", "0"];
    let ours = write.clone().command([&program, "exit", "0"]);
    let starts = launches::medians(&[
        ("plain fork and exec", &|| bare([&program, "exit", "0"])),
        ("bwrap --unshare-all", &|| bare(unshared)),
        ("intercept-sandbox run, first byte to exit", &|| ours.to_command()),
    ]);

    let mut text = String::from(INTRODUCTION);
    text += &section("One allowed call", &format!("64-byte arguments, sequential, median of {CALLS}"), &roads);
    text += &sizes;
    let what = format!("start to exit of a program that does nothing, median of {LAUNCHES}");
    text += &section("One launch", &what, &starts);
    text += &format!("\n{}\n", launch_text(&starts));
    text += &decisions_section();
    let reserved = stores::rows(&arena, &arena.folder("limits"));
    text += &section("One reservation", stores::WHAT, &reserved);
    fs::write(paths::workspace().join("docs/performance.md"), &text)?;
    std::io::stdout().write_all(text.as_bytes())
}

/// Messages of three sizes; the record of each call is written, not synced, so that the disk is not what is measured.
fn sizes_section(arena: &Arena) -> String {
    let program = arena.program("sized_server").to_string_lossy().into_owned();
    let policy = policies::plain(&["take", "give"], &format!("{ROOT}/bin")) + "audit: {durability: write}\n";
    let run = Run::with_file(arena.file("sizes.yaml", policy)).flag("--audit-dir").flag(arena.folder("log"));
    let run = run.flag("--state-dir").flag(arena.folder("state")).command([&program]);
    let hops = format!("cat | {program} | cat");
    let rows = sizes::rows(&[&|| bare([&program]), &|| bare(["sh", "-c", &hops]), &|| run.to_command()]);
    let micros = |median: &Duration| format!("{:.1}", median.as_secs_f64() * 1e6);
    let cells = |row: &sizes::Row| {
        let ratio = row.medians[2].as_secs_f64() / row.medians[1].as_secs_f64();
        let mut cells = vec![row.direction.to_owned(), row.bytes.to_string()];
        cells.extend(row.medians.iter().map(micros));
        cells.push(format!("{ratio:.2}"));
        cells
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let headings = ["large are the", "bytes", "direct, us", "two cat hops, us", "ours (write), us", "ours to cat hops"];
    format!(
        "\n## Small and large messages\n\n{SIZES_TEXT}\n\n```text\n{}\n```\n",
        table::lines(&headings, &rows).join("\n")
    )
}

const SIZES_TEXT: &str =
    "One allowed call with arguments or a result of that size, sequential, medians; durability `write`. A call is read whole, judged, hashed leaf by
leaf for its record (HMAC-SHA256, the largest part of the longest) and written anew from what was judged, once; only then does its first byte leave.";

/// What a launch is made of, and how far it is from its target.
fn launch_text(starts: &[(&str, Duration); 3]) -> String {
    let [_, (_, bwrap), (_, ours)] = starts;
    let ratio = ours.as_secs_f64() / bwrap.as_secs_f64();
    format!("Ours is {ratio:.1} times bwrap; the target is 2. {LAUNCH_TEXT}")
}

const LAUNCH_TEXT: &str = "\
What it does more: three processes of its own, each confined (a fourth where a host is allowed, a fifth where a folder has a `max`), eleven
eBPF programs past the verifier, a log that is on disk before the server runs and signed after it, every layer read back, and the
self-test. It is paid once a session, not a call. Of its processor time, sampled with perf, our own code and the
allocator take a fifth, page faults of five processes a sixth, eBPF a seventh, then the ends of the processes, namespaces, files, filters.
What keeps it short:

- The server's first process moves itself into the version 1 cgroups. Moving it from outside takes the lock on all forks of the
  host, an RCU grace period; so does writing it into the version 2 cgroup that it was cloned into. The monitor looks instead.
- The programs compare addresses as words and write events straight into the ring, which halves what the verifier reads.
- At the end all of our processes are killed at once and then waited for.
- The policy file is watched from 100 ms on. Closing an inotify descriptor waits for its marks, so a session that is over before
  has none, and a longer one takes its marks off while its processes end.
- The verifier reads the programs on a second thread, which is gone before the first fork, while the log is opened and the cgroup made.
- A policy that counts nothing opens no limit store. While the relay ends its log the monitor takes the programs down and loads its key.
- The dynamic loader corrects 26,000 addresses from bitmaps (RELR) and not from a table of 600 KB.
- The view is built first of all that is forked; meanwhile janitor, egress and relay confine themselves. All have said
  so, and the record of the layers is written, before the gate opens.

Why not two times. Measured once beside bwrap's 4.7 ms of wall on two cores: a launch takes 19.1 ms of processor time and 14.4 of wall, where two
times would be 9.4. Its road one step after the other, traced, ms: loader and command line 1.6; policy, log, cgroup, namespace and verifier
3.6; the sandbox's clone, three forks and the probes 1.9; the rest of the view, and the confinement of the others 1.0; user namespace, pid 1,
the server's confinement, self-test and record 2.0; the server 1.0; its pid 1 and our processes end 1.7; cgroup, last note and exit 1.2. Of
the processor time some 3 ms are the verifier's and 0.5 a network namespace's. To pay them once and not at each launch takes a resident
root process, or pinned programs that outlive the session; we have neither.";

const INTRODUCTION: &str = "# Performance

Written by `cargo xtask bench`, which measures every line in one run on one machine, in turns: compare the lines with each other, not
with another machine's. `strict` (the default) waits for `fdatasync` of the record before each call goes on, so its figure is
mostly the disk's.
";

fn decisions_section() -> String {
    let cells = |row: &decisions::Row| {
        let nanos = row.median.as_nanos();
        vec![row.rules.to_string(), nanos.to_string(), row.allocations.to_string()]
    };
    let rows: Vec<Vec<String>> = decisions::rows().iter().map(cells).collect();
    let lines = table::lines(&["rules", "median, ns", "allocations"], &rows);
    format!(
        "\n## One decision\n\nAn allowed call that passes every rule of its tool, each with one condition; the policy alone.\n\n```text\n{}\n```\n",
        lines.join("\n")
    )
}

fn section(title: &str, what: &str, rows: &[(&str, Duration)]) -> String {
    let base = rows[0].1.as_secs_f64();
    let cells = |(name, median): &(&str, Duration)| {
        let micros = median.as_secs_f64() * 1e6;
        vec![(*name).to_owned(), format!("{micros:.1}"), format!("{:.1}", median.as_secs_f64() / base)]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    let lines = table::lines(&["road", "median, us", "times the first"], &rows);
    format!("\n## {title}\n\n{what}.\n\n```text\n{}\n```\n", lines.join("\n"))
}
