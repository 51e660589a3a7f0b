//! `doctor` says what this host can enforce, and says so when a part is taken away.

use std::process::{Command, Output};

use harness::arena;
use harness::paths;
use harness::run::{self, said};

/// Runs `doctor` after `spoil`, a shell line in a mount namespace of its own.
fn doctor_after(spoil: &str) -> Output {
    let script = format!("{spoil} && exec \"$0\" doctor");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(paths::supervisor());
    command.output().expect("util-linux is there")
}

fn row<'a>(text: &'a str, check: &str) -> &'a str {
    let found = text.lines().find(|line| line.to_lowercase().contains(check));
    found.unwrap_or_else(|| panic!("doctor has no row for {check}:\n{text}"))
}

#[test]
fn every_check_that_a_run_depends_on_has_a_row() {
    arena::run(|_| {
        let output = run::subcommand(["doctor"]);
        let text = said(&output);
        for check in ["kernel", "cgroup", "namespace", "seccomp", "landlock", "bpf"] {
            let row = row(&text, check);
            assert!(["ok", "degraded", "missing"].iter().any(|state| row.contains(state)), "{row}");
        }
        assert!(output.status.code().is_some_and(|code| code <= 1), "{text}");
    });
}

#[test]
fn a_missing_cgroup_hierarchy_is_said_with_its_fix() {
    arena::run(|_| {
        let output = doctor_after("mount -t tmpfs none /sys/fs/cgroup");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(row(&text, "cgroup").contains("missing"), "{text}");
        assert!(text.contains("mount"), "the fix is named: {text}");
    });
}

#[test]
fn missing_user_namespaces_are_said() {
    arena::run(|_| {
        // A limit of the user namespace that the check runs in: the host's own stays as it is.
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" doctor";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(paths::supervisor());
        let output = command.output().expect("util-linux is there");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(row(&text, "namespace-user").contains("missing"), "{text}");
    });
}

#[test]
fn programs_that_cannot_be_loaded_are_said() {
    arena::run(|_| {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin"]).arg(paths::supervisor());
        let output = command.arg("doctor").output().expect("util-linux is there");
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(row(&text, "bpf").contains("missing"), "{text}");
    });
}
