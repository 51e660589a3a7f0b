//! Units of the UTC calendar. Unix time has no leap seconds: every minute has 60 s and every day 86,400.

use super::CalendarUnit;

/// The unit that holds an instant: when it starts and when the next one does, nanoseconds since the Unix epoch.
pub(super) fn unit_of(unit: CalendarUnit, at_ns: u64) -> (u64, u64) {
    let length_ns = unit.seconds() * 1_000_000_000;
    let start = at_ns - at_ns % length_ns;
    (start, start.saturating_add(length_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 15:30:59.999999999 UTC
    const AT: u64 = 1_795_361_459_999_999_999;

    #[test]
    fn units_start_on_the_utc_boundary() {
        let second = 1_000_000_000;
        let minute = 1_795_361_400 * second;
        assert_eq!(unit_of(CalendarUnit::Minute, AT), (minute, minute + 60 * second));
        assert_eq!(unit_of(CalendarUnit::Minute, AT + 1), (minute + 60 * second, minute + 120 * second));
        let hour = minute - 30 * 60 * second;
        assert_eq!(unit_of(CalendarUnit::Hour, AT), (hour, hour + 3_600 * second));
        let day = hour - 15 * 3_600 * second;
        assert_eq!(unit_of(CalendarUnit::Day, AT), (day, day + 86_400 * second));
        assert_eq!(unit_of(CalendarUnit::Day, 0), (0, 86_400 * second));
    }
}
