//! What stays when a session ends, and what two of them see of each other.

use super::super::eyes::Judge;
use super::super::ground::Ground;
use super::super::life;
use super::super::outcome::Seen;
use super::super::roads::Road;
use super::{Group, Row};

const fn row(id: &'static str, what: &'static str, case: fn(&Ground, Road) -> Seen, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Lifecycle, id, what, Judge::Life(case), layers)
}

const END: [&str; 2] = ["pid namespace", "cgroup.kill"];

pub(super) const ROWS: &[Row] = &[
    row(
        "outlive-end",
        "a daemon, after the end of the session's input",
        |g, r| life::outlives(g, r, "daemonise", life::End::Input),
        END,
    ),
    row("outlive-term", "a daemon, after SIGTERM", |g, r| life::outlives(g, r, "daemonise", life::End::Term), END),
    row(
        "outlive-kill",
        "a daemon, after SIGKILL of the supervisor",
        |g, r| life::outlives(g, r, "daemonise", life::End::Kill),
        END,
    ),
    row(
        "outlive-stubborn",
        "a daemon that ignores every signal",
        |g, r| life::outlives(g, r, "daemonise-stubborn", life::End::Kill),
        END,
    ),
    row(
        "outlive-stopped",
        "a daemon that is stopped",
        |g, r| life::outlives(g, r, "daemonise-stopped", life::End::Kill),
        END,
    ),
    row("outlive-client", "a daemon, after SIGKILL of the client", life::outlives_client, END),
    row(
        "connect-while-killed",
        "connects while the supervisor is killed",
        life::connects_while_killed,
        ["network namespace", "cgroup BPF"],
    ),
    row("other-session-kill", "kills another session's server", life::kills_other, ["pid namespace", "uid of the run"]),
    row("other-session-read", "reads another session's arguments", life::reads_other, ["own /proc", "pid namespace"]),
    row("other-session-uid", "shares a uid with another session", life::shares_uid, ["uid of the run", ""]),
    row("other-session-file", "reads what another session left in /tmp", life::reads_left, ["own /tmp", ""]),
];
