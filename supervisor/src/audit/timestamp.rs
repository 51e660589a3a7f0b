//! RFC 3339 UTC with nine digits of fraction.
#![forbid(unsafe_code)]

use std::fmt;

/// A wall-clock time in nanoseconds since the Unix epoch; displays as `2025-01-02T03:04:05.000000006Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    year: u64,
    month: u64,
    day: u64,
}

impl Timestamp {
    /// The UTC day as `YYYY-MM-DD`: the name of a day's directory.
    #[must_use]
    pub fn date(self) -> String {
        let Day { year, month, day } = self.day();
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// Reads what [`Timestamp`] displays, nothing else; none too for times before 1970 and after the range of 64 bits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pattern = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
        let fits = |(byte, form): (u8, u8)| if form == b'd' { byte.is_ascii_digit() } else { byte == form };
        if text.len() != pattern.len() || !text.bytes().zip(pattern.bytes()).all(fits) {
            return None;
        }
        let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        // The mirror of `day`: years from March, so that the leap day is the last of its year.
        let from_march = (month + 9) % 12;
        let years = year.checked_sub(u64::from(month < 3))?;
        let days = years * 365 + years / 4 - years / 100 + years / 400 + (from_march * 153 + 2) / 5 + day;
        let seconds = days.checked_sub(719_469)? * 86_400 + hour * 3600 + minute * 60 + second;
        let read = Self(seconds.checked_mul(1_000_000_000)?.checked_add(number(20, 29)?)?);
        (read.to_string() == text).then_some(read) // so that a 31st of April is none
    }

    /// Counts whole 400-year eras, centuries, 4-year cycles and years from 0000-03-01, so that the leap day is the last
    /// day of each.
    const fn day(self) -> Day {
        const ERA_DAYS: u64 = 146_097;
        const CENTURY_DAYS: u64 = 36_524;
        const CYCLE_DAYS: u64 = 1_461;
        /// 0000-03-01 to 1970-01-01.
        const EPOCH_DAYS: u64 = 719_468;

        let mut days = self.0 / 86_400_000_000_000 + EPOCH_DAYS;
        let eras = days / ERA_DAYS;
        days %= ERA_DAYS;
        let centuries = if days / CENTURY_DAYS > 3 { 3 } else { days / CENTURY_DAYS };
        days -= centuries * CENTURY_DAYS;
        let cycles = days / CYCLE_DAYS;
        days %= CYCLE_DAYS;
        let years = if days / 365 > 3 { 3 } else { days / 365 };
        days -= years * 365;

        // Months from March have 31 30 31 30 31 days, twice over, then January and February: 153 days every five.
        let from_march = (days * 5 + 2) / 153;
        let day = days - (from_march * 153 + 2) / 5 + 1;
        let year = eras * 400 + centuries * 100 + cycles * 4 + years;
        if from_march < 10 {
            Day { year, month: from_march + 3, day }
        } else {
            Day { year: year + 1, month: from_march - 9, day }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Day { year, month, day } = self.day();
        let nanos = self.0 % 1_000_000_000;
        let second = self.0 / 1_000_000_000 % 86_400;
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let second = second % 60;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        // python3: datetime.fromtimestamp(seconds, timezone.utc)
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (68_169_600, "1972-02-29T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_799, "2000-02-29T23:59:59"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (18_446_744_073, "2554-07-21T23:34:33"),
        ] {
            let shown = Timestamp(seconds * 1_000_000_000 + 7).to_string();
            assert_eq!(shown, format!("{text}.000000007Z"));
            assert_eq!(Timestamp::parse(&shown), Some(Timestamp(seconds * 1_000_000_000 + 7)));
            assert_eq!(Timestamp(seconds * 1_000_000_000).date(), text[..10]);
        }
    }

    #[test]
    fn what_is_no_timestamp_is_not_read() {
        for text in [
            "",
            "2025-04-31T00:00:00.000000000Z",
            "2025-00-10T00:00:00.000000000Z",
            "2025-13-01T00:00:00.000000000Z",
            "2025-01-01T24:00:00.000000000Z",
            "2025-01-01 00:00:00.000000000Z",
            "2025-01-01T00:00:00.000000000",
            "2025-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "9999-01-01T00:00:00.000000000Z",
            "٢025-01-01T00:00:00.00000000Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_400_years_follows_the_one_before() {
        let day_ns = 86_400_000_000_000;
        let mut last = Timestamp(0).day();
        for number in 1..146_097 {
            let next = Timestamp(number * day_ns).day();
            let leap = last.year.is_multiple_of(4) && (!last.year.is_multiple_of(100) || last.year.is_multiple_of(400));
            let length = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][last.month as usize - 1];
            let expected = if last.day < length {
                Day { day: last.day + 1, ..last }
            } else if last.month < 12 {
                Day { month: last.month + 1, day: 1, ..last }
            } else {
                Day { year: last.year + 1, month: 1, day: 1 }
            };
            assert_eq!(next, expected);
            last = next;
        }
    }
}
