//! The product's story, told on real parts: a real MCP server, a real policy, a real wall, a real log. It all happens in a
//! network namespace of the demo's own, with a stand-in for the API; nothing leaves the machine.

mod attacks;
mod calls;
mod lives;
mod log;
mod screen;

use std::process::ExitCode;
use std::time::Instant;

use harness::arena::{API_ADDRESS, API_HOST, Arena, TOGETHER_SERVER};
use harness::policies;
use harness::run::Run;
use harness::stand_in::StandIn;

/// What a chapter may find: what it saw is not what was promised.
type Chapter = Result<(), String>;

/// What every chapter stands on.
struct Stage {
    arena: Arena,
    stand_in: StandIn,
    images: std::path::PathBuf,
}

impl Stage {
    /// The ready policy, with the two lines that trust the stand-in's CA, on the image server.
    fn run(&self) -> Run {
        Run::new(&self.arena, &policies::together().text)
            .connect_to(&self.stand_in)
            .env("TOGETHER_API_KEY", "demo-key")
            .command(["node", &format!("{TOGETHER_SERVER}/server.js")])
    }
}

fn main() -> ExitCode {
    let begun = Instant::now();
    match tell() {
        Ok(()) => {
            screen::say(&format!("\nThe end: everything held. ({} s)", begun.elapsed().as_secs()));
            ExitCode::SUCCESS
        }
        Err(broken) => {
            screen::say(&format!("\nA PROMISE WAS BROKEN: {broken}"));
            ExitCode::FAILURE
        }
    }
}

fn tell() -> Chapter {
    let arena = Arena::enter();
    let images = arena.together();
    let stand_in =
        StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).map_err(|error| format!("the stand-in: {error}"))?;
    arena.file("ca.pem", stand_in.ca_pem());
    let stage = Stage { arena, stand_in, images };

    screen::say("An AI agent may use an image server that costs money, talks to the outside and writes files.");
    screen::say("intercept-sandbox runs that server under the policy policies/together-ai.yaml:");
    screen::say("one tool, ten calls a minute, arguments within bounds, one API host, one folder. Nothing else.");
    screen::say("For this demo a stand-in plays the API; two lines let the server trust its certificate:");
    for change in policies::together().changes.iter().filter(|change| change.starts_with('+')) {
        screen::say(&format!("    {change}"));
    }

    calls::tell(&stage)?;
    attacks::tell(&stage)?;
    lives::tell(&stage)?;
    log::tell()
}
