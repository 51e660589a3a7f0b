//! A launch, from start to exit.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::LAUNCHES;

/// Median of `LAUNCHES` launches by each road. The roads take turns: what the kernel clears up after one launch, while the next one runs,
/// and a busy moment of the machine meet all of them.
pub(crate) fn medians<'a, const N: usize>(roads: &[(&'a str, &dyn Fn() -> Command); N]) -> [(&'a str, Duration); N] {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..LAUNCHES {
        times.iter_mut().zip(roads).for_each(|(times, (_, make))| times.push(launch(make())));
    }
    std::array::from_fn(|road| {
        times[road].sort_unstable();
        (roads[road].0, times[road][LAUNCHES / 2])
    })
}

fn launch(mut command: Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let begun = Instant::now();
    let status = command.status().expect("it can be started");
    let took = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}
