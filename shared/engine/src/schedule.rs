//! When a sync is due.
//!
//! A schedule is five cron fields read in a time zone. What its clock skips (in spring) runs at the first
//! minute after; what it shows twice (in autumn) runs once for a fixed time, and goes on for an
//! interval. The current time is an argument.

use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{Failure, config::Schedule};

/// The latest scheduled instant in `(at - look_back, at]`, to the minute; none when there is none.
///
/// # Errors
///
/// A configuration failure when the schedule is not one.
pub fn due(
    schedule: &Schedule,
    at: Timestamp,
    look_back: SignedDuration,
) -> Result<Option<Timestamp>, Failure> {
    let (cron, zone) = (pattern(&schedule.cron)?, zone(&schedule.timezone)?);
    match cron.find_previous_occurrence(&at.to_zoned(zone), true) {
        Ok(found) => {
            let instant = to_minute(found.timestamp());
            Ok((at.duration_since(instant) < look_back).then_some(instant))
        }
        Err(CronError::TimeSearchLimitExceeded | CronError::InvalidDate) => Ok(None),
        Err(_) => Err(no_occurrence(&schedule.cron)),
    }
}

/// The first scheduled instant after `after`.
///
/// # Errors
///
/// A configuration failure when the schedule is not one, or has no instant after `after`.
pub fn next(schedule: &Schedule, after: Timestamp) -> Result<Timestamp, Failure> {
    let (cron, zone) = (pattern(&schedule.cron)?, zone(&schedule.timezone)?);
    cron.find_next_occurrence(&after.to_zoned(zone), false)
        .map(|found| to_minute(found.timestamp()))
        .map_err(|_| no_occurrence(&schedule.cron))
}

/// Checks that the cron fields are well-formed and come at least once.
pub(crate) fn check(cron: &str) -> Result<(), Failure> {
    pattern(cron)?
        .find_next_occurrence(&Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC), true)
        .map(drop)
        .map_err(|_| no_occurrence(cron))
}

fn pattern(cron: &str) -> Result<Cron, Failure> {
    let count = cron.split_whitespace().count();
    if count != 5 {
        return Err(Failure::configuration(format!("`{cron}` has {count} fields, a schedule has five"))
            .hint("write minute, hour, day of month, month and day of week, such as `0 * * * *`"));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(cron).map_err(|error| {
        Failure::configuration(format!("`{cron}` is not a schedule")).hint(explained(&error))
    })
}

/// A time zone by its IANA name.
pub(crate) fn zone(name: &str) -> Result<TimeZone, Failure> {
    TimeZone::get(name).map_err(|_| {
        Failure::configuration(format!("`{name}` is not a time zone"))
            .hint("write an IANA name such as `UTC` or `Europe/Berlin`")
    })
}

fn explained(error: &CronError) -> String {
    match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.trim_end_matches('.').to_owned(),
        other => other.to_string(),
    }
}

fn no_occurrence(cron: &str) -> Failure {
    Failure::configuration(format!("`{cron}` never comes"))
        .hint("no month has such a day; correct the day of month or the month")
}

fn to_minute(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(60)).unwrap_or(instant)
}
