//! The helper process: a plan from the command line, a namespace with `lo` alone, one launch.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use intercept_sandbox::policy::{Durability, TlsMode};
use intercept_sandbox::sandbox::plan::{
    AuditPlan, FilesystemPlan, FolderId, NetworkPlan, PlannedHost, ResourcesPlan, WritableFolder,
};
use intercept_sandbox::sandbox::{Cage, LaunchIo, Layer, Plan, Sight, programs};

use super::network::{Flaw, LISTED, network};

/// First argument of the helper.
pub(crate) const ROLE: &str = "launch-one";

/// What the launcher does on SIGUSR1, once the server runs.
#[derive(Clone, Copy, Default)]
enum Act {
    #[default]
    Wait,
    Cut,
    Terminate,
}

/// What the cases ask for besides a command.
#[derive(Default)]
struct Wishes {
    facts: Option<PathBuf>,
    read: Vec<PathBuf>,
    write: Vec<WritableFolder>,
    exec: Option<BTreeSet<String>>,
    cwd: Option<PathBuf>,
    executable: Option<PathBuf>,
    pids_max: Option<u64>,
    closed_gate: bool,
    unreleased: bool,
    host_network: bool,
    listed: bool,
    flaw: Option<Flaw>,
    act: Act,
}

fn wishes(arguments: &mut impl Iterator<Item = OsString>) -> Wishes {
    let mut wishes = Wishes::default();
    while let Some(option) = arguments.next() {
        let mut text = || arguments.next().unwrap().into_string().unwrap();
        match option.to_str().unwrap() {
            "--" => break,
            "--facts" => wishes.facts = Some(text().into()),
            "--read" => wishes.read.push(text().into()),
            "--write" => {
                let (inside, source, owner) = (text().into(), PathBuf::from(text()), text().parse().unwrap());
                let id = source.symlink_metadata().map(|metadata| FolderId::of(&metadata)).unwrap_or_default();
                wishes.write.push(WritableFolder {
                    inside,
                    source,
                    id,
                    owner_uid: owner,
                    owner_gid: owner,
                    max_bytes: None,
                    by_quota: false,
                });
            }
            "--exec" => {
                wishes.exec.get_or_insert_default().insert(text());
            }
            "--cwd" => wishes.cwd = Some(text().into()),
            "--executable" => wishes.executable = Some(text().into()),
            "--pids" => wishes.pids_max = Some(text().parse().unwrap()),
            "--closed-gate" => wishes.closed_gate = true,
            "--unreleased" => wishes.unreleased = true,
            "--host-network" => wishes.host_network = true,
            "--listed" => wishes.listed = true,
            "--flaw" => wishes.flaw = Some(Flaw::named(&text())),
            "--cut" => wishes.act = Act::Cut,
            "--terminate" => wishes.act = Act::Terminate,
            other => panic!("unknown option {other}"),
        }
    }
    wishes
}

fn plan(wishes: &Wishes, argv: Vec<OsString>) -> Plan {
    let mut random = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    let executable = wishes.executable.clone().unwrap_or_else(|| PathBuf::from(&argv[0]));
    let mut plan = Plan {
        session: random.iter().map(|byte| format!("{byte:02x}")).collect(),
        argv,
        executable,
        cwd: wishes.cwd.clone().unwrap_or_else(|| "/".into()),
        environment: [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        secret_names: Vec::new(),
        secrets: intercept_sandbox::wire::secrets::Secrets::default(),
        filesystem: FilesystemPlan {
            read: wishes.read.clone(),
            write: wishes.write.clone(),
            exec: None,
            tmp_bytes: 16 << 20,
        },
        network: NetworkPlan { hosts: if wishes.listed { vec![listed()] } else { Vec::new() }, connect_to: Vec::new() },
        resources: ResourcesPlan {
            memory_bytes: 256 << 20,
            cpu_millis: 2000,
            pids_max: wishes.pids_max.unwrap_or(64),
            open_files: 256,
            wall: None,
        },
        require: vec![Layer::Landlock],
        audit: AuditPlan { directory: "/nonexistent".into(), durability: Durability::Write },
        state_dir: "/nonexistent".into(),
        observe: false,
        state_dsn: None,
        unseen: Vec::new(),
    };
    let listed = wishes.exec.as_ref();
    plan.filesystem.exec =
        listed.map(|listed| programs::resolve(&plan.executable, listed, &plan.filesystem, Sight::Root).unwrap());
    plan
}

fn listed() -> PlannedHost {
    PlannedHost {
        name: LISTED.0.to_owned(),
        ports: vec![443],
        address: LISTED.1.into(),
        tls: TlsMode::Passthrough,
        max_bytes_out: None,
    }
}

/// Launches, waits, exits as the server did; 125, 126 or 127 with a line on standard error when it did not start.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let wishes = wishes(&mut arguments);
    let mut told = nix::sys::signal::SigSet::empty();
    told.add(nix::sys::signal::Signal::SIGUSR1);
    told.thread_block().unwrap();
    let plan = plan(&wishes, arguments.collect());
    let network = network(wishes.listed, wishes.flaw);
    let own = File::open("/proc/self/ns/net").unwrap();
    let start = Instant::now();
    let cage = match Cage::build(&plan) {
        Ok(cage) => cage,
        Err(error) => return refused(&error, 125),
    };
    let built = start.elapsed();
    let duplicate = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().unwrap();
    let io = LaunchIo {
        netns: if wishes.host_network { own.as_fd() } else { network.namespace.as_fd() },
        stdin: duplicate(std::io::stdin().as_fd()),
        stdout: duplicate(std::io::stdout().as_fd()),
        stderr: duplicate(std::io::stderr().as_fd()),
    };
    if wishes.unreleased {
        let launching = cage.begin(&plan, io).unwrap();
        write_facts(&wishes, (launching.init_pid(), &[]), &cage, &plan, (built.as_micros(), 0));
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        drop(launching);
        cage.into_leaf().remove().unwrap();
        return ExitCode::SUCCESS;
    }
    let code = match cage.launch(&plan, io) {
        Ok(server) => {
            let at_gate = start.elapsed();
            let launched = (server.init_pid(), server.layers());
            write_facts(&wishes, launched, &cage, &plan, (built.as_micros(), at_gate.as_micros()));
            if wishes.closed_gate {
                std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
                drop(server);
                ExitCode::SUCCESS
            } else {
                run(server, wishes.act)
            }
        }
        Err(error) => {
            let code = error.exit_code();
            refused(&error, code)
        }
    };
    cage.into_leaf().remove().unwrap();
    code
}

fn run(server: intercept_sandbox::sandbox::Server, act: Act) -> ExitCode {
    let mut running = match server.open_gate() {
        Ok(running) => running,
        Err(error) => {
            let code = error.exit_code();
            return refused(&error, code);
        }
    };
    // Nothing of ours may keep the server's pipes from ending.
    let null = File::open("/dev/null").unwrap();
    nix::unistd::dup2_stdin(&null).unwrap();
    nix::unistd::dup2_stdout(&null).unwrap();
    match act {
        Act::Wait => {}
        Act::Cut => {
            until_told();
            running.cut_lifeline();
        }
        Act::Terminate => {
            until_told();
            running.terminate().unwrap();
        }
    }
    ExitCode::from(running.wait().unwrap().code())
}

/// SIGUSR1 from the case.
fn until_told() {
    let mut wanted = nix::sys::signal::SigSet::empty();
    wanted.add(nix::sys::signal::Signal::SIGUSR1);
    wanted.wait().unwrap();
}

fn refused(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let mut line = format!("refused: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    eprintln!("{line}");
    ExitCode::from(code)
}

fn write_facts(
    wishes: &Wishes,
    (init, layers): (nix::unistd::Pid, &[intercept_sandbox::sandbox::LayerReport]),
    cage: &Cage,
    plan: &Plan,
    (built, at_gate): (u128, u128),
) {
    let Some(path) = &wishes.facts else { return };
    let mut text = format!(
        "init={init}\nuid={}\nsession={}\nbuilt_us={built}\nat_gate_us={at_gate}\n",
        cage.identity().uid(),
        plan.session
    );
    for report in layers {
        text.push_str(&format!("layer.{}={:?}\n", report.layer.name(), report.answer));
    }
    let partial = path.with_extension("partial");
    File::create(&partial).unwrap().write_all(text.as_bytes()).unwrap();
    std::fs::rename(&partial, path).unwrap();
}
