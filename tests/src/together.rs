//! The ready policy at work: the TypeScript image server, with the stand-in where the API is meant.

use std::path::PathBuf;

use crate::arena::{API_ADDRESS, API_HOST, Arena, TOGETHER_SERVER};
use crate::policies;
use crate::run::Run;
use crate::stand_in::StandIn;

/// A server that is set up and not started.
pub struct Together {
    /// The API.
    pub stand_in: StandIn,
    /// Where its images go.
    pub images: PathBuf,
    /// The run, to be started or added to.
    pub run: Run,
}

impl Together {
    /// Under the ready policy.
    #[must_use]
    pub fn stage(arena: &Arena) -> Self {
        Self::under(arena, &policies::together().text)
    }

    /// Under another policy that shows the server what the ready one does.
    ///
    /// # Panics
    /// When the arena is not fresh.
    #[must_use]
    pub fn under(arena: &Arena, policy: &str) -> Self {
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        Self::before(arena, policy, stand_in)
    }

    /// Under the ready policy, with an API that wants a second ClientHello of everybody.
    ///
    /// # Panics
    /// When the arena is not fresh.
    #[must_use]
    pub fn asking_again(arena: &Arena) -> Self {
        let address = format!("{API_ADDRESS}:443");
        let stand_in = StandIn::serve_asking_again(API_HOST, &address).expect("the arena has the address");
        Self::before(arena, &policies::together().text, stand_in)
    }

    fn before(arena: &Arena, policy: &str, stand_in: StandIn) -> Self {
        let images = arena.together();
        arena.file("ca.pem", stand_in.ca_pem());
        let run = Run::new(arena, policy)
            .connect_to(&stand_in)
            .env("TOGETHER_API_KEY", "isb-test-key")
            .command(["node", &format!("{TOGETHER_SERVER}/server.js")]);
        Self { stand_in, images, run }
    }
}
