//! The API's clock: Gregorian seconds (seconds since the year 0), months in UTC, and the forms in which times are shown.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plan::Month;

/// Gregorian seconds of the Unix epoch.
const EPOCH: i64 = 62_167_219_200;

/// Now, in Gregorian seconds.
pub fn now() -> i64 {
    from_unix(Timestamp::now().as_second())
}

/// Unix seconds as Gregorian seconds.
pub fn from_unix(seconds: i64) -> i64 {
    seconds.saturating_add(EPOCH)
}

/// Gregorian seconds as Unix seconds.
pub fn to_unix(gregorian: i64) -> i64 {
    gregorian.saturating_sub(EPOCH)
}

/// Gregorian seconds as a timestamp; what lies outside of the calendar is moved to its edge.
pub fn timestamp(gregorian: i64) -> Timestamp {
    let unix = gregorian.saturating_sub(EPOCH);
    let edge = if unix < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(unix).unwrap_or(edge)
}

/// The month, in UTC, that `gregorian` seconds lie in; none outside of the years 1 to 9999.
pub fn month(gregorian: i64) -> Option<Month> {
    let date = timestamp(gregorian).to_zoned_datetime(TimeZone::UTC);
    Month::from_parts(u16::try_from(date.year()).ok()?, u8::try_from(date.month()).ok()?)
}

/// The first second of a month, in UTC.
pub fn first_second(month: Month) -> Option<i64> {
    let (year, number) = (i16::try_from(month.year()).ok()?, i8::try_from(month.month()).ok()?);
    let first = jiff::civil::DateTime::new(year, number, 1, 0, 0, 0, 0).ok()?;
    Some(from_unix(TimeZone::UTC.to_timestamp(first).ok()?.as_second()))
}

/// `2026-01-02T03:04:05`, UTC, as the envelope shows it.
pub fn iso(gregorian: i64) -> String {
    TimeZone::UTC.to_datetime(timestamp(gregorian)).to_string()
}

/// A time in a named zone by a `strftime` format; in UTC when the zone is unknown (then `false` stands beside it).
pub fn local(gregorian: i64, zone: Option<&str>, format: &str) -> (String, bool) {
    let found = zone.and_then(|zone| TimeZone::get(zone).ok());
    let known = found.is_some();
    let zoned = timestamp(gregorian).to_zoned_datetime(found.unwrap_or(TimeZone::UTC));
    (zoned.strftime(format).to_string(), known)
}

/// A day and an hour in a named zone, as locations have them; in UTC when the zone is unknown, or none.
pub fn moment(gregorian: i64, zone: Option<&str>) -> attachments::Moment {
    let zone = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or(TimeZone::UTC);
    let at = timestamp(gregorian).to_zoned_datetime(zone);
    // A calendar's numbers fit; before the year 0 nothing happened.
    let small = |number: i8| u8::try_from(number).unwrap_or_default();
    let year = u16::try_from(at.year()).unwrap_or_default();
    attachments::Moment { year, month: small(at.month()), day: small(at.day()), hour: small(at.hour()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_its_zone() {
        let at = from_unix(1_767_225_599);
        let here = moment(at, None);
        assert_eq!((here.year, here.month, here.day, here.hour), (2025, 12, 31, 23));
        let there = moment(at, Some("Asia/Tokyo"));
        assert_eq!((there.year, there.month, there.day, there.hour), (2026, 1, 1, 8));
        assert_eq!(moment(at, Some("Nowhere/Land")), here);
    }

    #[test]
    fn gregorian_seconds_are_what_kazoo_says() {
        // 2026-11-23 14:05:09 UTC
        let at = from_unix(1_795_442_709);
        assert_eq!(iso(at), "2026-11-23T14:05:09");
        assert_eq!(month(at).map(|month| month.to_string()), Some("202611".into()));
        assert_eq!(local(at, Some("Europe/Berlin"), "%H-%M"), ("15-05".into(), true));
        assert_eq!(local(at, Some("Mars/Olympus"), "%H-%M"), ("14-05".into(), false));
        for far in [i64::MIN, -1, 0, i64::MAX] {
            iso(far);
            month(far);
        }
    }
}
