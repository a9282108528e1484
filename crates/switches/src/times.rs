//! Times as switches write them: counted in four units from two beginnings, or in words.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Gregorian seconds of the Unix epoch.
const EPOCH: i64 = 62_167_219_200;
/// The end of the year 9999 in Gregorian seconds.
const END: i64 = 315_537_897_599;
const AFTER_END: i64 = END + 1;
const MICROS: i64 = 1_000_000;

/// A time in Gregorian seconds. Which unit a number is in, its size tells: Unix seconds, Gregorian seconds, Unix milliseconds, microseconds.
/// Words are `2026-11-23 14:05:09`, in UTC unless an offset follows. Nothing for 0, which is a switch's word for never.
pub(crate) fn gregorian(text: &str) -> Option<i64> {
    let text = text.trim();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    match whole.parse::<i64>() {
        Ok(number) => of_number(number),
        Err(_) => in_words(text),
    }
    .filter(|time| (EPOCH..=END).contains(time))
}

fn of_number(number: i64) -> Option<i64> {
    match number {
        ..=0 => None,
        // Unix seconds reach the first Gregorian second of 1970 in the year 3940.
        1..EPOCH => Some(number + EPOCH),
        EPOCH..=END => Some(number),
        // Unix milliseconds until the year 5138; after them only microseconds are left.
        AFTER_END..=99_999_999_999_999 => Some(number / 1_000 + EPOCH),
        _ => Some(number / MICROS + EPOCH),
    }
}

fn in_words(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_second() + EPOCH);
    }
    let local: DateTime = text.parse().ok()?;
    Some(TimeZone::UTC.to_timestamp(local).ok()?.as_second() + EPOCH)
}

/// Gregorian seconds of microseconds of Unix time; nothing for 0.
pub(crate) fn of_micros(text: &str) -> Option<i64> {
    let micros: i64 = text.trim().parse().ok().filter(|micros| *micros > 0)?;
    Some(micros / MICROS + EPOCH).filter(|time| *time <= END)
}

/// Microseconds of Unix time of Gregorian seconds.
pub(crate) fn to_micros(gregorian: i64) -> Option<i64> {
    gregorian.checked_sub(EPOCH)?.checked_mul(MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_time_in_whatever_unit() {
        for text in [
            "1795442709",
            "63962661909",
            "1795442709123",
            "1795442709123456",
            "1795442709.123456",
            "2026-11-23 14:05:09",
            "2026-11-23T14:05:09Z",
            "2026-11-23T15:05:09+01:00",
            " 2026-11-23 14:05:09.5 ",
        ] {
            assert_eq!(gregorian(text), Some(63_962_661_909), "{text}");
        }
        for none in ["", "0", "-5", "never", "99999999999999999999", "9223372036854775807", "2026-13-01 00:00:00"] {
            assert_eq!(gregorian(none), None, "{none}");
        }
        assert_eq!(of_micros("1795442709123456"), Some(63_962_661_909));
        assert_eq!(to_micros(63_962_661_909), Some(1_795_442_709_000_000));
    }
}
