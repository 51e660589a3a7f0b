//! Fuzzing on the stable toolchain: libFuzzer, and the compiler's own coverage pass without a sanitizer.
//!
//! What cargo-fuzz does with nightly is more; the targets are laid out for it. This needs a C++ compiler and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use crate::say;
use crate::setup;
use crate::shell::{Outcome, cargo, command, has, output, run, workspace};

const TARGETS: [&str; 6] = ["policy_text", "conditions", "frame", "strict_json", "tools_list", "session"];

/// Edge counters inline, the table of their places, and comparisons, so that the fuzzer can guess words. These flags are the ones of
/// `cargo fuzz -s none`.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// `cargo xtask fuzz`: each target for so many seconds; an error when one of them crashed.
pub(crate) fn fuzz(seconds: u64, only: Option<&str>) -> Outcome {
    let targets: Vec<&str> = TARGETS.into_iter().filter(|target| only.is_none_or(|name| name == *target)).collect();
    if targets.is_empty() {
        return Err(format!("no such target; there are {}", TARGETS.join(", ")));
    }
    if !has("c++") {
        setup::ensure()?;
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let manifest = folder().join("Cargo.toml");
    // With a target named, build scripts and macros stay without instrumentation.
    let mut build = cargo(&["build", "--release", "--target", &triple, "--manifest-path", &manifest.to_string_lossy()]);
    build.env("RUSTFLAGS", INSTRUMENTATION);
    run(build)?;
    let programs = folder().join("target").join(triple).join("release");
    let mut crashed = Vec::new();
    for target in targets {
        if !one(&programs, target, seconds)? {
            crashed.push(target);
        }
    }
    if crashed.is_empty() { Ok(()) } else { Err(format!("crashed: {}", crashed.join(", "))) }
}

/// Runs one target; false when it crashed.
fn one(programs: &Path, target: &str, seconds: u64) -> Outcome<bool> {
    let work = folder().join("target/corpus").join(target);
    let found = folder().join("target/artifacts").join(target);
    for folder in [&work, &found] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let seeds = seeds(target)?;
    say::step(&format!("fuzzing {target} for {seconds} s, {} seeds", seeds.len()));
    for (number, seed) in seeds.iter().enumerate() {
        let path = work.join(format!("seed-{number}"));
        fs::write(&path, seed).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let bounds = [
        format!("-max_total_time={seconds}"),
        format!("-artifact_prefix={}/", found.display()),
        format!("-dict={}", folder().join("words.dict").display()),
        // Nothing that fits in here may take this long: the loader's time is bounded.
        "-timeout=10".to_owned(),
        "-rss_limit_mb=2048".to_owned(),
        "-max_len=16384".to_owned(),
        "-print_final_stats=1".to_owned(),
    ];
    let mut fuzzer = command(programs.join(target), &[]);
    fuzzer.args(bounds).arg(&work);
    let ended = output(fuzzer)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() {
        let tail: Vec<&str> = said.lines().rev().take(60).collect();
        tail.iter().rev().for_each(|line| say::line(line));
        say::line(&format!("{target}: CRASHED; what made it crash is in {}", found.display()));
        return Ok(false);
    }
    let number = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map_or("?", str::trim);
    let executed = number("stat::number_of_executed_units:");
    say::line(&format!("{target}: {executed} executions, {} edges covered, no crash", covered(&said)));
    Ok(true)
}

/// The last `cov: N` of libFuzzer's progress lines.
fn covered(said: &str) -> &str {
    let counts = said.lines().rev().filter_map(|line| line.split_once(" cov: "));
    counts.map(|(_, rest)| rest.split_whitespace().next().unwrap_or("?")).next().unwrap_or("?")
}

/// What to begin with: for the policy language the policies of the repository; for the conditions arguments, each after every byte
/// that chooses a policy and a tool; else the target's own seeds.
fn seeds(target: &str) -> Outcome<Vec<Vec<u8>>> {
    let own = format!("fuzz/seeds/{target}");
    let (folders, chosen): (&[&str], bool) = match target {
        "conditions" => (&[&own], true),
        "policy_text" => (&["policies", "policies/cases", "fuzz/policies"], false),
        _ => (&[&own], false),
    };
    let mut seeds = Vec::new();
    for folder in folders {
        // Not every checkout has cases.
        let Ok(entries) = fs::read_dir(workspace().join(folder)) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            match chosen {
                true => seeds.extend((0..32).map(|choice| [&[choice], bytes.as_slice()].concat())),
                false => seeds.push(bytes),
            }
        }
    }
    if seeds.is_empty() { Err(format!("{target}: no seeds")) } else { Ok(seeds) }
}

fn folder() -> PathBuf {
    workspace().join("fuzz")
}
