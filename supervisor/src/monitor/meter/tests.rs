use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::scale::Names;
use super::*;

/// How long each count of a server that stands still takes, milliseconds.
const STILL_MS: u64 = 50;

/// A server whose counts say too much while it runs, the first `excesses` of each turn, and when it stands still what `still` says.
struct Restive {
    switch: PathBuf,
    excesses: u32,
    still: fn() -> Finding,
    counts: Cell<u32>,
}

impl Sight for Restive {
    fn counts_removed_files(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Names, CountError> {
        Ok(Names { room_bytes: Ok(1000), used: HashMap::new(), settled: true })
    }

    fn held(&mut self) -> Result<Held, CountError> {
        Ok(Held::default())
    }

    fn judge(&self, _: &Names, _: &Held) -> Finding {
        if fs::read_to_string(&self.switch).unwrap().ends_with('1') {
            return (self.still)();
        }
        self.counts.set(self.counts.get() + 1);
        if self.counts.get() <= self.excesses {
            return Finding::Over { text: "too much".into(), settled: false };
        }
        Finding::Room { bytes: 1000, settled: false }
    }
}

fn meter(leaf: &Path, excesses: u32) -> Meter<Restive> {
    let switch = leaf.join("cgroup.freeze");
    fs::write(&switch, "").unwrap();
    fs::write(leaf.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
    let still = || {
        std::thread::sleep(Duration::from_millis(STILL_MS));
        Finding::Room { bytes: 1000, settled: true }
    };
    let scale = Restive { switch, excesses, still, counts: Cell::new(0) };
    Meter { scale, freezer: Freezer::of(leaf).unwrap(), pace: Pace::begin(clock::now().boot_ns, 0) }
}

/// How often such a server is stopped, and in how many milliseconds.
fn stops(excesses: u32) -> (u64, u64) {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), excesses);
    let start_ns = clock::now().boot_ns;
    let elapsed_ms = || (clock::now().boot_ns - start_ns) / 1_000_000;
    while elapsed_ms() < 2000 {
        meter.scale.counts.set(0);
        let turn = meter.turn(clock::now().boot_ns).unwrap();
        assert!(matches!(turn, Turn::Room { .. }), "it never holds too much");
        std::thread::sleep(Duration::from_millis(1));
    }
    let stops = fs::read_to_string(&meter.scale.switch).unwrap().matches('1').count();
    (stops.try_into().unwrap(), elapsed_ms())
}

#[test]
fn too_much_that_is_not_so_takes_no_more_than_a_tenth_of_its_time() {
    let (stops, elapsed_ms) = stops(1);
    assert!(stops > 1, "it is stopped for it");
    assert!((stops - 1) * STILL_MS * 10 <= elapsed_ms, "{stops} stops in {elapsed_ms} ms");
}

#[test]
fn too_much_twice_in_a_row_takes_no_more_than_a_quarter_of_its_time() {
    let (stops, elapsed_ms) = stops(2);
    assert!((stops - 1) * STILL_MS * 4 <= elapsed_ms, "{stops} stops in {elapsed_ms} ms");
}

#[test]
fn too_much_twice_in_a_row_does_not_wait_for_the_rest() {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), 2);
    let now_ns = clock::now().boot_ns;
    meter.pace.stood_still(now_ns - 16_000_000_000, now_ns - 12_000_000_000, 0);
    assert!(!meter.pace.takes_doubts(now_ns) && meter.pace.takes_excess(now_ns));
    let turn = meter.turn(now_ns).unwrap();
    assert!(matches!(turn, Turn::Room { settled: true, .. }), "it was counted standing still");
    meter.scale.excesses = 1;
    meter.scale.counts.set(0);
    meter.pace.stood_still(now_ns - 16_000_000_000, now_ns - 12_000_000_000, 0);
    assert!(matches!(meter.turn(now_ns).unwrap(), Turn::Room { settled: false, .. }), "and once is a doubt");
}

#[test]
fn room_that_moved_while_it_was_counted_is_counted_again_standing_still() {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), 0);
    meter.scale.still = || Finding::Over { text: "too much".into(), settled: true };
    assert!(matches!(meter.turn(clock::now().boot_ns).unwrap(), Turn::Over(_)), "what it hides is found");
}
