//! A fault at every step of a launch, and a death at every step: the run refuses to start, the server's command is never
//! executed, and the host finds nothing left. The steps are the program's own lists, so a new one is walked by itself.
//!
//! Starts the supervisor of a build with the feature `weaken`, which `cargo xtask test` makes: no other takes a fault.

use std::fs;
use std::path::PathBuf;

use harness::arena::{self, API_HOST, Arena, ROOT};
use harness::redis::Redis;
use harness::remains::{Before, GONE_LIMIT};
use harness::run::Run;
use harness::session::Ended;
use harness::{paths, table, wait};
use intercept_sandbox::fault::Stage;
use intercept_sandbox::sandbox::{Layer, Step};

struct Ground {
    canary: PathBuf,
    run: Run,
    /// The same with a shared limit store, which has a process of ours more.
    shared: Run,
    /// The same with a list of programs, which has the child do more.
    listed: Run,
    before: Before,
    _redis: Redis,
}

/// A run whose command leaves a file on the host as the first thing it does.
fn stage(arena: &Arena) -> Ground {
    let canary = arena.writable_folder("images").join("canary");
    let policy = format!(
        "version: \"1\"\nname: faults\ndefault: deny\ntools: {{}}\nsandbox:\n  network: {{allow: [{{host: {API_HOST}}}]}}\n  filesystem:\n    write: [{{path: {ROOT}/images, max: 16M}}]\n"
    );
    let script = format!("echo ran > {ROOT}/images/canary; read line; exit 0");
    let redis = Redis::start(arena);
    let before = Before::look();
    let run = Run::new(arena, &policy).by(paths::weakenable());
    let listed = Run::with_file(arena.file("listed.yaml", format!("{policy}  process: {{exec: [/bin/sh]}}\n")));
    let listed = listed.by(paths::weakenable());
    let shared = run.clone().flag("--state-dsn").flag(redis.dsn_file(arena));
    let [run, shared, listed] = [run, shared, listed].map(|run| run.command(["/bin/sh", "-c", &script, before.mark()]));
    Ground { canary, run, shared, listed, before, _redis: redis }
}

impl Ground {
    /// The runs that pass a place: the link's need a link, and the child's steps are taken with a list of programs, too.
    fn passing(&self, place: &str) -> Vec<&Run> {
        match place.split_once('/') {
            Some(("launch", stage)) if stage.starts_with("link") => vec![&self.shared],
            Some(("sandbox", _)) => vec![&self.run, &self.listed],
            _ => vec![&self.run],
        }
    }

    /// A place in the table.
    fn called(&self, place: String, run: &Run) -> String {
        if std::ptr::eq(run, &self.listed) { format!("{place}, with a list of programs") } else { place }
    }

    fn with(&self, run: &Run, fault: &str) -> Ended {
        let ended = run.clone().env("ISB_FAULT", fault).start().finish();
        assert!(!self.canary.exists(), "{fault}: the command was executed\n{}", ended.stderr);
        ended
    }

    /// The same run without a fault: it starts, and what a dead one left is gone.
    fn healthy(&self) {
        self.works(&self.run);
    }

    fn works(&self, run: &Run) {
        let session = run.start();
        assert!(wait::becomes_true(wait::COMES_LIMIT, || self.canary.exists()), "{}", session.stderr());
        let ended = session.finish();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        fs::remove_file(&self.canary).expect("just made");
        assert_eq!(self.before.after(GONE_LIMIT, Before::all), [] as [String; 0], "after a healthy run");
    }
}

/// The code that the run ended with, from its message.
fn code(ended: &Ended) -> String {
    let at = ended.stderr.find("ISB-R").unwrap_or_else(|| panic!("no code: {}", ended.stderr));
    ended.stderr[at..].chars().take(8).collect()
}

#[test]
fn a_fault_at_any_step_refuses_the_run_and_leaves_nothing() {
    arena::run(|arena| {
        let stage = stage(arena);
        stage.healthy();
        stage.works(&stage.shared);
        stage.works(&stage.listed);
        let stages = Stage::ALL.map(|step| (format!("launch/{}", step.name()), step.refusal(), 125));
        let steps = Step::ALL.map(|step| {
            // The command that cannot be executed has an exit code of its own.
            (format!("sandbox/{}", step.name()), "ISB-R013", if step == Step::Exec { 126 } else { 125 })
        });
        let mut rows = Vec::new();
        let places: Vec<_> = stages.into_iter().chain(steps).collect();
        let cases =
            places.iter().flat_map(|case| stage.passing(&case.0).into_iter().map(move |run| (run, case.clone())));
        for (run, (place, refusal, exit)) in cases {
            let ended = stage.with(run, &format!("fail:{place}"));
            assert_eq!((ended.code, code(&ended).as_str()), (exit, refusal), "{place}: {}", ended.stderr);
            // At the gate the parent has turned to other things: it may miss the child before it hears it.
            let step = place.strip_prefix("sandbox/").filter(|step| exit == 125 && *step != Step::Gate.name());
            assert!(
                step.is_none_or(|step| ended.stderr.contains(&format!("step {step}:"))),
                "{place}: {}",
                ended.stderr
            );
            assert_eq!(stage.before.after(GONE_LIMIT, Before::all), [] as [String; 0], "{place}");
            rows.push(vec![
                stage.called(place, run),
                format!("{exit} {refusal}"),
                "nothing executed, nothing left".into(),
            ]);
        }
        table::print("a fault at every step", &["step", "refused with", "after"], &rows);
        stage.healthy();
    });
}

#[test]
fn a_death_at_any_step_executes_nothing_and_leaves_nothing() {
    arena::run(|arena| {
        let stage = stage(arena);
        let in_crew =
            [Stage::Janitor, Stage::Egress, Stage::Link, Stage::Dialer, Stage::Meter, Stage::Relay, Stage::Applied];
        let stages =
            Stage::ALL.map(|step| (format!("launch/{}", step.name()), (!in_crew.contains(&step)).then_some(step)));
        let steps = Step::ALL.map(|step| (format!("sandbox/{}", step.name()), None));
        let mut rows = Vec::new();
        let places: Vec<_> = stages.into_iter().chain(steps).collect();
        let cases =
            places.iter().flat_map(|case| stage.passing(&case.0).into_iter().map(move |run| (run, case.clone())));
        for (run, (place, monitor)) in cases {
            let ended = stage.with(run, &format!("kill:{place}"));
            match monitor {
                Some(_) => assert_eq!(ended.code, 128 + 9, "{place}: the monitor is gone"),
                // A workload that is killed when the gate is open is a server that a signal ended.
                None if ["sandbox/gate", "sandbox/exec"].contains(&place.as_str()) => {
                    assert!([125, 128 + 9].contains(&ended.code), "{place}: {}: {}", ended.code, ended.stderr);
                }
                None => assert_eq!(ended.code, 125, "{place}: {}", ended.stderr),
            }
            assert_eq!(stage.before.after(GONE_LIMIT, Before::processes), [] as [String; 0], "{place}");
            let after = match monitor {
                // Nobody is left to take back what the monitor held; the next start does. Later, the janitor.
                Some(step) if step < Stage::JanitorForked => "the next start sweeps",
                _ => {
                    assert_eq!(stage.before.after(GONE_LIMIT, Before::all), [] as [String; 0], "{place}");
                    "nothing left"
                }
            };
            if monitor.is_some() {
                stage.healthy();
            }
            rows.push(vec![stage.called(place, run), ended.code.to_string(), after.into()]);
        }
        table::print("SIGKILL at every step", &["step", "exit code", "after"], &rows);
    });
}

#[test]
fn a_layer_that_is_needed_and_not_in_force_refuses_the_run() {
    arena::run(|arena| {
        let stage = stage(arena);
        for layer in Layer::ALL.into_iter().filter(|layer| layer.is_core()) {
            let ended = stage.with(&stage.run, &format!("lack:{}", layer.name()));
            assert_eq!(ended.code, 125, "{}: {}", layer.name(), ended.stderr);
            assert!(["ISB-R013", "ISB-R014"].contains(&code(&ended).as_str()), "{}", ended.stderr);
            assert!(ended.stderr.contains(layer.name()), "it is named: {}", ended.stderr);
            assert_eq!(stage.before.after(GONE_LIMIT, Before::all), [] as [String; 0], "{}", layer.name());
        }
        stage.healthy();
    });
}
