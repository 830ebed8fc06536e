//! Instants as RFC 3339 writes them.

/// First and last instant that RFC 3339 can write, in unix milliseconds.
const RFC3339_MS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

/// An instant of unix milliseconds as RFC 3339 in UTC, clamped to the years 0000 to 9999.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    let unix_ms = unix_ms.clamp(RFC3339_MS.0, RFC3339_MS.1);
    let (days, ms) = (
        unix_ms.div_euclid(86_400_000),
        unix_ms.rem_euclid(86_400_000),
    );
    let (year, month, day) = civil_from_days(days);
    let seconds = ms / 1_000;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = match ms % 1_000 {
        0 => String::new(),
        fraction => format!(".{fraction:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are taken from March, so that the leap day comes last and months have lengths of
/// 31, 30, 31, 30, 31 in a cycle of 153 days (Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let from_march_0000 = days + 719_468;
    let era = from_march_0000.div_euclid(146_097);
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
