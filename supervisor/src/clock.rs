//! The only place that reads a clock. Everything else is given a time.

use nix::time::{ClockId, clock_gettime};

/// One reading of the host's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since the Unix epoch, wall clock (`CLOCK_REALTIME`); can step.
    pub wall_ns: u64,
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`); never goes back.
    pub boot_ns: u64,
}

/// Reads both clocks. vDSO calls: they cannot fail for these clocks on a supported kernel.
#[must_use]
pub fn now() -> Now {
    Now { wall_ns: read(ClockId::CLOCK_REALTIME), boot_ns: read(ClockId::CLOCK_BOOTTIME) }
}

/// The clock that file systems stamp changes by, nanoseconds since the Unix epoch (`CLOCK_REALTIME_COARSE`, as late as the last
/// tick): what is changed from now on bears no earlier time. It can step.
#[must_use]
pub fn stamps_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME_COARSE)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("these clocks exist since Linux 2.6.39");
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
