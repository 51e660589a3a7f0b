//! `run`: launch a server under a policy.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args};

use super::EXIT_NOT_SET_UP;
use crate::audit;
use crate::monitor::ledger::{KEYS, host_name};
use crate::sandbox::plan::ConnectTo;
use crate::session::{self, Outcome, PolicySource, Request, SessionError};
use crate::trust::Caller;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("policy").required(true))]
pub(super) struct RunArgs {
    /// Policy file: root-owned, writable by no one else.
    #[arg(short = 'c', long = "config", value_name = "FILE", group = "policy")]
    config: Option<PathBuf>,
    /// Installed policy: /etc/intercept-sandbox/policies/NAME.yaml; it must say `server.command`.
    #[arg(long, value_name = "NAME", group = "policy")]
    profile: Option<String>,
    /// Print the plan and stop.
    #[arg(long)]
    dry_run: bool,
    /// Let through and record what the policy's tool rules would refuse. Everything else holds.
    #[arg(long)]
    observe: bool,
    /// Root of the audit logs, instead of /var/log/intercept-sandbox.
    #[arg(long, value_name = "DIR")]
    audit_dir: Option<PathBuf>,
    /// Directory of the limit store, instead of /var/lib/intercept-sandbox.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Shared limit store: redis://HOST[:PORT][/DB], unix:///PATH, or file:/PATH of a file that says so and may hold a password.
    #[arg(long, value_name = "DSN", conflicts_with = "state_dir")]
    state_dsn: Option<String>,
    /// Dial HOST2:PORT2 where HOST:PORT is meant; the policy still applies to HOST. Repeatable.
    #[arg(long, value_name = "HOST:PORT:HOST2:PORT2", value_parser = connect_to)]
    connect_to: Vec<ConnectTo>,
    /// The server's command.
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Parses the arguments into a request, runs the session and turns its end into an exit code.
pub(super) fn run(arguments: RunArgs) -> ExitCode {
    let source = match (arguments.config, arguments.profile) {
        (Some(file), _) => PolicySource::File(file),
        (None, Some(name)) => PolicySource::Profile(name),
        (None, None) => return ExitCode::from(EXIT_NOT_SET_UP),
    };
    let environment = crate::sys::environment::take();
    let request = Request {
        source,
        command: arguments.command,
        dry_run: arguments.dry_run,
        observe: arguments.observe,
        audit_dir: arguments.audit_dir,
        state_dir: arguments.state_dir,
        state_dsn: arguments.state_dsn,
        connect_to: arguments.connect_to,
        caller: Caller::discover(&environment),
        environment,
        cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    };
    match session::run(&request) {
        Ok(Outcome::Planned(plan)) => print_plan(&plan),
        Ok(Outcome::Ended(code)) => ExitCode::from(code),
        Err(error) => refuse(&request, &error),
    }
}

/// Tells the caller why, and the log: a refused run is a record too.
fn refuse(request: &Request, error: &SessionError) -> ExitCode {
    match error {
        SessionError::Policy(diagnostics) => {
            for diagnostic in diagnostics {
                // Behind sudo a caller may name any file: he is not shown lines of one that he could not read.
                let shown =
                    if request.caller.is_real_root() { diagnostic.clone() } else { diagnostic.without_quotes() };
                tell(&shown.to_string());
            }
        }
        _ => tell(&format!("error[{}]: {}\n", error.code(), crate::report::printable(&error.chain()))),
    }
    if error.is_unrecorded() && !request.dry_run {
        record(request, error);
    }
    ExitCode::from(error.exit_code())
}

fn record(request: &Request, error: &SessionError) {
    let policy = request.policy_path();
    let refusal = audit::Refusal {
        code: error.code(),
        text: &error.chain(),
        argv: &request.command,
        policy: &policy.to_string_lossy(),
        actor: audit::Actor {
            uid: request.caller.uid,
            sudo_uid: request.caller.behind,
            loginuid: request.caller.login_uid,
            client: None,
        },
        host: &host_name(),
        rejects_policy: matches!(error, SessionError::Trust { .. } | SessionError::Policy(_)),
    };
    let keys = Path::new(KEYS);
    if let Err(failure) = audit::record_refusal(&request.refusal_dir(), keys, crate::clock::now(), &refusal) {
        let text = format!("run refused [{}]: {} (not in the audit log: {failure})", error.code(), error.chain());
        tell(&format!("error: the refusal could not be recorded: {failure}\n"));
        crate::sys::syslog::authpriv(&text);
    }
}

fn tell(text: &str) {
    // A closed stderr leaves no one to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The whole plan, one line a fact.
fn print_plan(plan: &crate::sandbox::Plan) -> ExitCode {
    match writeln!(std::io::stdout(), "{plan}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_NOT_SET_UP),
    }
}

/// `HOST:PORT:HOST2:PORT2`; an IPv6 literal stands in brackets, as in curl(1).
fn connect_to(text: &str) -> Result<ConnectTo, String> {
    let wrong = || format!("`{text}` is not HOST:PORT:HOST2:PORT2");
    let (host, rest) = host_part(text).ok_or_else(wrong)?;
    let (port, rest) = rest.split_once(':').ok_or_else(wrong)?;
    let (to_host, to_port) = host_part(rest).ok_or_else(wrong)?;
    let number = |port: &str| port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
    Ok(ConnectTo {
        host: host.to_ascii_lowercase(),
        port: number(port)?,
        to_host: to_host.to_owned(),
        to_port: number(to_port)?,
    })
}

/// Splits `HOST:rest` or `[v6]:rest`.
fn host_part(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_policy_is_named_by_file_or_profile() {
        #[derive(Debug, clap::Parser)]
        struct Run {
            #[command(flatten)]
            run: RunArgs,
        }
        let parse = |words: &[&str]| {
            let parsed = <Run as clap::Parser>::try_parse_from(["run"].iter().chain(words));
            parsed.map(|parsed| parsed.run).map_err(|error| error.to_string())
        };
        let parsed = parse(&["-c", "p.yaml", "--dry-run", "--observe", "--", "node", "-x"]).unwrap();
        assert!(parsed.dry_run && parsed.command == ["node", "-x"]);
        assert!(parse(&["--profile", "p", "--state-dir", "/s"]).is_ok());
        let nothing = parse(&["--dry-run", "--", "node"]).unwrap_err();
        assert!(nothing.contains("--config <FILE>") && nothing.contains("--profile <NAME>"), "{nothing}");
        assert!(parse(&["-c", "p.yaml", "--profile", "p"]).is_err());
    }

    #[test]
    fn connect_to_reads_names_and_bracketed_literals() {
        let parsed = connect_to("API.together.xyz:443:127.0.0.1:8443").unwrap();
        assert_eq!((parsed.host.as_str(), parsed.port), ("api.together.xyz", 443));
        assert_eq!((parsed.to_host.as_str(), parsed.to_port), ("127.0.0.1", 8443));
        assert_eq!(connect_to("a:1:[::1]:2").unwrap().to_host, "::1");
        for wrong in ["", "a", "a:1", "a:1:b", "a:1:b:0", "a:99999:b:1", ":1:b:2", "a:1:b:2:3", "a:x:b:2"] {
            assert!(connect_to(wrong).is_err(), "{wrong}");
        }
    }
}
