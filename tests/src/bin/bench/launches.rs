//! A launch, from start to exit.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::LAUNCHES;

/// Median of `LAUNCHES` launches of what `make` gives.
pub(crate) fn median(make: impl Fn() -> Command) -> Duration {
    let launch = |_| {
        let mut command = make();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let begun = Instant::now();
        let status = command.status().expect("it can be started");
        let took = begun.elapsed();
        assert!(status.success(), "{command:?}: {status}");
        took
    };
    let mut times: Vec<Duration> = (0..LAUNCHES).map(launch).collect();
    times.sort_unstable();
    times[times.len() / 2]
}
