use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::sandbox::usage::Excess;

/// How long each whole count of a server that stands still takes, milliseconds.
const STILL_MS: u64 = 50;

/// A server that has room, though its counts while it runs, none of them certain, say too much: the first `names` looks at its
/// names of each turn, and the first `sums` of names and descriptors. When it stands still, what `still` says.
struct Restive {
    switch: PathBuf,
    names: u32,
    sums: u32,
    /// How long a look at names takes, milliseconds.
    names_ms: u64,
    /// Whether a look at names that finds room, while it runs, is certain.
    settles: bool,
    /// Whether there is too much when it stands still: by names, by descriptors.
    still: (bool, bool),
    looks: Cell<u32>,
    judged: Cell<u32>,
    /// Looks at its names while it stood still, and counts of all, for which it was stopped.
    still_looks: Cell<(u64, u64)>,
    /// From when on it certainly has too much, nanoseconds since boot.
    over_ns: u64,
}

impl Restive {
    fn of(leaf: &Path) -> Self {
        let switch = leaf.join("cgroup.freeze");
        fs::write(&switch, "").unwrap();
        fs::write(leaf.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        let zero = || Cell::new(0);
        let (looks, judged, still_looks) = (zero(), zero(), Cell::new((0, 0)));
        let (names, sums, names_ms, settles, still, over_ns) = (0, 0, 0, false, (false, false), u64::MAX);
        Self { switch, names, sums, names_ms, settles, still, looks, judged, still_looks, over_ns }
    }

    fn stands_still(&self) -> bool {
        fs::read_to_string(&self.switch).unwrap().ends_with('1')
    }

    /// Stops for names, and for all.
    fn stops(&self) -> (u64, u64) {
        let (names, all) = self.still_looks.get();
        (names - all, all)
    }

    fn begin_turn(&self) {
        self.looks.set(0);
        self.judged.set(0);
    }
}

/// One more, and how many that are.
fn count(counter: &Cell<u32>) -> u32 {
    counter.set(counter.get() + 1);
    counter.get()
}

impl Sight for Restive {
    fn counts_removed_files(&self) -> bool {
        true
    }

    fn names(&self) -> Result<Names, CountError> {
        std::thread::sleep(Duration::from_millis(self.names_ms));
        let certain = clock::now().boot_ns >= self.over_ns;
        let (over, settled) = if self.stands_still() {
            let (names, all) = self.still_looks.get();
            self.still_looks.set((names + 1, all));
            (self.still.0, true)
        } else {
            let over = count(&self.looks) <= self.names;
            (over || certain, certain || (self.settles && !over))
        };
        let room_bytes = if over { Err((0, Excess::Bytes)) } else { Ok(1000) };
        Ok(Names { room_bytes, used: HashMap::new(), settled })
    }

    fn held(&mut self) -> Result<Held, CountError> {
        let (names, all) = self.still_looks.get();
        self.still_looks.set((names, all + 1));
        std::thread::sleep(Duration::from_millis(STILL_MS));
        Ok(Held { bytes: [(0, u64::from(self.still.1))].into(), ..Held::default() })
    }

    fn held_lately(&mut self) -> Result<Held, CountError> {
        Ok(Held { bytes: [(1, 1)].into(), ..Held::default() })
    }

    fn judge(&self, names: &Names, held: &Held) -> Finding {
        let settled = names.settled;
        let running = held.bytes.contains_key(&1) && count(&self.judged) <= self.sums;
        if names.room_bytes.is_err() {
            return Finding::Over { text: "too many bytes".into(), settled };
        }
        if running || held.bytes.get(&0) == Some(&1) {
            return Finding::Over { text: "too much is kept".into(), settled: false };
        }
        Finding::Room { bytes: 1000, settled }
    }
}

fn meter(leaf: &Path, change: impl FnOnce(&mut Restive)) -> Meter<Restive> {
    let mut scale = Restive::of(leaf);
    change(&mut scale);
    Meter { scale, freezer: Freezer::of(leaf).unwrap(), pace: Pace::begin(clock::now().boot_ns, 0) }
}

/// A turn now.
fn turn(meter: &mut Meter<Restive>) -> Turn {
    meter.scale.begin_turn();
    meter.turn(clock::now().boot_ns).unwrap()
}

/// How often a server with so many wrong sums is stopped for all, and in how many milliseconds.
fn stops(sums: u32) -> (u64, u64) {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), |scale| scale.sums = sums);
    let start_ns = clock::now().boot_ns;
    let elapsed_ms = || (clock::now().boot_ns - start_ns) / 1_000_000;
    while elapsed_ms() < 2000 {
        assert!(matches!(turn(&mut meter), Turn::Room { .. }), "it never holds too much");
        std::thread::sleep(Duration::from_millis(1));
    }
    (meter.scale.stops().1, elapsed_ms())
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
    let mut meter = meter(leaf.path(), |scale| scale.sums = 2);
    let now_ns = clock::now().boot_ns;
    meter.pace.stood_still(now_ns - 16_000_000_000, now_ns - 12_000_000_000, 0);
    assert!(!meter.pace.takes_doubts(now_ns) && meter.pace.takes_excess(now_ns));
    assert!(matches!(turn(&mut meter), Turn::Room { settled: true, .. }), "it was counted standing still");
    meter.scale.sums = 1;
    meter.pace.stood_still(now_ns - 16_000_000_000, now_ns - 12_000_000_000, 0);
    assert!(matches!(turn(&mut meter), Turn::Room { settled: false, .. }), "and once is a doubt");
}

/// A meter that has just stopped a server for a second.
fn rested(leaf: &Path, change: impl FnOnce(&mut Restive)) -> Meter<Restive> {
    let mut meter = meter(leaf, change);
    let now_ns = clock::now().boot_ns;
    meter.pace.stood_still(now_ns - 1_000_000_000, now_ns, 0);
    assert!(!meter.pace.takes_doubts(now_ns) && !meter.pace.takes_excess(now_ns));
    meter
}

#[test]
fn too_many_bytes_by_names_alone_twice_in_a_row_wait_for_no_rest_and_no_descriptor() {
    let leaf = tempfile::tempdir().unwrap();
    let mut over = rested(leaf.path(), |scale| (scale.names, scale.still) = (2, (true, false)));
    assert!(matches!(turn(&mut over), Turn::Over(text) if text == "too many bytes"));
    assert_eq!((over.scale.stops(), over.scale.judged.get()), ((1, 0), 0), "nothing but names was counted");
    assert!(over.scale.stands_still(), "nothing is written from here on");

    let mut within = rested(leaf.path(), |scale| scale.names = 2);
    let now_ns = clock::now().boot_ns;
    assert!(matches!(turn(&mut within), Turn::Room { settled: false, stood_ns: 0, .. }), "it is a doubt still");
    assert_eq!((within.scale.stops(), within.scale.judged.get()), ((1, 0), 1), "its descriptors were asked");
    assert!(!within.scale.stands_still() && !within.pace.takes_doubts(now_ns), "and its rest is what it was");

    let mut once = rested(leaf.path(), |scale| scale.names = 1);
    assert!(matches!(turn(&mut once), Turn::Room { settled: false, .. }));
    assert_eq!(once.scale.stops(), (0, 0), "once is a doubt");

    let mut put_away = rested(leaf.path(), |scale| (scale.names, scale.settles) = (1, true));
    let now_ns = clock::now().boot_ns;
    assert!(!put_away.pace.surprises_names(now_ns, 0));
    assert!(matches!(turn(&mut put_away), Turn::Room { settled: true, .. }));
    assert!(put_away.pace.surprises_names(now_ns, 0), "also where the second count is certain");
}

#[test]
fn too_many_bytes_by_names_alone_that_are_not_so_take_no_more_than_a_quarter_of_its_time() {
    let leaf = tempfile::tempdir().unwrap();
    let start_ns = clock::now().boot_ns;
    let mut meter = rested(leaf.path(), |scale| {
        (scale.names, scale.names_ms, scale.over_ns) = (2, 15, start_ns + 3_000_000_000);
    });
    meter.pace.doubt(start_ns); // counts that begin with a stop come on top
    // Each turn has its own looks: with the third of a turn it is not over, and the one after the pause is the first again.
    let mut elapsed_ms = 0;
    while elapsed_ms < 2500 {
        let turn_ns = clock::now().boot_ns;
        assert!(matches!(turn(&mut meter), Turn::Room { .. }), "it has room");
        let now_ns = clock::now().boot_ns;
        let took_ms = (now_ns - turn_ns) / 1_000_000;
        std::thread::sleep(Duration::from_millis(meter.pace.pause_ms(now_ns, 20, took_ms, false, 0)));
        elapsed_ms = (clock::now().boot_ns - start_ns) / 1_000_000;
    }
    let (stops, _) = meter.scale.stops();
    assert!(stops > 5, "{stops}");
    assert!(stops * 15 * 4 <= elapsed_ms, "{stops} stops in {elapsed_ms} ms");
}

#[test]
fn a_suspect_is_stopped_for_its_names_by_chance_whatever_its_rest() {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = rested(leaf.path(), |scale| scale.still = (true, false));
    // It puts away what it has when it sees a walk begin: no count of a server that runs says too much.
    for _ in 0..2000 {
        if let Turn::Over(text) = turn(&mut meter) {
            assert_eq!((text.as_str(), meter.scale.stops()), ("too many bytes", (1, 0)));
            return;
        }
    }
    panic!("chance did not meet it");
}

#[test]
fn what_a_server_stood_still_is_no_reason_for_a_long_pause() {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), |_| ());
    let Turn::Room { settled: true, stood_ns, .. } = turn(&mut meter) else { panic!("a doubt stops it") };
    assert!(stood_ns >= STILL_MS * 1_000_000, "{stood_ns}");
    let start_ns = clock::now().boot_ns;
    (meter.scale.names, meter.scale.over_ns) = (0, start_ns);
    assert!(meter.count_on().unwrap().contains("too many"), "and certain excess ends it");
}

#[test]
fn room_that_moved_while_it_was_counted_is_counted_again_standing_still() {
    let leaf = tempfile::tempdir().unwrap();
    let mut meter = meter(leaf.path(), |scale| scale.still = (false, true));
    assert!(matches!(turn(&mut meter), Turn::Over(_)), "what it hides is found");
}
